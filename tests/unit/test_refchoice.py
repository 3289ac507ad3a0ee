"""stages.refchoice, refrows, refuniverse: who gets a place when there are too few, and who gives it back."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline.stages.agenda import Agenda
from pipeline.stages.refchoice import WINS_MIN, Choice, Unit
from pipeline.stages.refrows import Rows
from pipeline.stages.refuniverse import RefdataSettings, listings, lookup_path
from pipeline.units import NS_PER_S


def unit(ident: str, volume: int, count: int = 1, rank: int = 0) -> Unit:
    return Unit(ident, rank, volume, tuple(f"{ident}/{place}".encode() for place in range(count)))


def names(units: Any) -> list[str]:
    return [one.ident for one in units]


def by_ident(*units: Unit) -> dict[str, Unit]:
    return {one.ident: one for one in units}


def test_the_best_are_taken_whatever_the_order_of_the_pages() -> None:
    """By preferred tag, then volume, then name; an event is taken whole, or the next one that fits is."""
    units = [unit("a", 10, 3), unit("b", 90, 2), unit("c", 50, 2), unit("d", 1, 1, rank=-1), unit("e", 50, 2)]
    for seed in range(20):
        shuffled = random.Random(seed).sample(units, len(units))
        chosen = Choice(6, 200).choose(by_ident(*shuffled), {})
        assert ["d", "b", "c"] == names(chosen.taken)
        assert (2, ()) == (chosen.waiting_count, chosen.left)
    assert ["d", "b"] == names(Choice(4, 200).choose(by_ident(*units), {}).taken)
    assert ["d"] == names(Choice(2, 200).choose(by_ident(*units), {}).taken)


def test_a_challenger_must_be_better_by_far_and_again_and_again() -> None:
    """Three walks in a row at three times the volume; one bad walk begins the count anew."""
    weak, strong, tall = unit("weak", 100, 0), unit("strong", 900, 0), unit("tall", 290)
    choice = Choice(2, 300)
    held = {"weak": 1, "strong": 1}
    for _ in range(2 * WINS_MIN):
        chosen = choice.choose(by_ident(weak, strong, tall), held)
        assert ((), ()) == (chosen.left, chosen.taken)
    tall = unit("tall", 300)
    for _ in range(WINS_MIN - 1):
        assert () == choice.choose(by_ident(weak, strong, tall), held).left
    assert () == choice.choose(by_ident(weak, strong, unit("tall", 299)), held).left
    for _ in range(WINS_MIN - 1):
        assert () == choice.choose(by_ident(weak, strong, tall), held).left
    chosen = choice.choose(by_ident(weak, strong, tall), held)
    assert (("weak",), ["tall"]) == (chosen.left, names(chosen.taken))


def test_what_was_traded_stays_and_what_ended_goes_first() -> None:
    """A kept unit is never replaced; one that is listed no more gives its place at once, if it is needed."""
    tall = unit("tall", 10_000)
    choice = Choice(1, 200)
    for _ in range(2 * WINS_MIN):
        assert () == choice.choose(by_ident(unit("weak", 1, 0), tall), {"weak": 1}, kept=("weak",)).left
    assert ("gone",) == Choice(1, 200).choose(by_ident(tall), {"gone": 1}).left
    assert () == Choice(1, 200).choose(by_ident(tall), {"gone": 1}, kept=("gone",)).left
    assert () == Choice(2, 200).choose(by_ident(tall), {"gone": 1}).left
    assert () == Choice(1, 200).choose({}, {"gone": 1}).left
    never = Choice(1, 0)
    for _ in range(2 * WINS_MIN):
        assert () == never.choose(by_ident(unit("weak", 1, 0), tall), {"weak": 1}).left


@pytest.mark.parametrize("seed", range(30))
def test_a_noisy_universe_does_not_thrash(seed: int) -> None:
    """Volumes that wander by 30 % around their means: nothing is replaced after the first choice."""
    rng = random.Random(seed)
    means = {f"e{number}": rng.randint(1_000, 2_000) for number in range(40)}
    sizes = {ident: rng.randint(1, 4) for ident in means}
    choice, held, changes = Choice(30, 300), dict[str, int](), 0
    for walk in range(60):
        listed = {ident: unit(ident, mean * rng.randint(70, 130) // 100, 0 if ident in held else sizes[ident])
                  for ident, mean in means.items()}
        chosen = choice.choose(listed, held)
        held = {ident: count for ident, count in held.items() if ident not in chosen.left}
        held |= {one.ident: sizes[one.ident] for one in chosen.taken}
        assert sum(held.values()) <= 30
        changes += len(chosen.left) if walk else 0
    assert 0 == changes


@pytest.mark.parametrize("seed", range(30))
def test_places_are_never_exceeded_and_no_change_is_for_less(seed: int) -> None:
    """Anything goes: what is taken fits, and nobody leaves for somebody weaker."""
    rng = random.Random(seed)
    choice, held = Choice(20, 150), dict[str, int]()
    sizes = {f"e{number}": rng.randint(1, 6) for number in range(15)}
    for _ in range(100):
        listed = {ident: unit(ident, rng.randint(0, 10_000), 0 if ident in held else count, rng.randint(0, 2))
                  for ident, count in sizes.items() if rng.random() < 0.9}
        chosen = choice.choose(listed, held)
        comers = [one.priority for one in chosen.taken if one.ident not in held]
        for ident in chosen.left:
            assert ident not in listed or min(comers) < listed[ident].priority
        held = {ident: count for ident, count in held.items() if ident not in chosen.left}
        for one in chosen.taken:
            held[one.ident] = sizes[one.ident]
        assert sum(held.values()) <= 20


def test_a_retired_row_gives_its_place_in_a_shard_and_keeps_its_number() -> None:
    """Shards of two: the first with room is filled; a row that comes back may go elsewhere."""
    rows = Rows(1, 5, 2)
    given = [rows.give(bytes([number]) * 32) for number in range(5)]
    assert [1, 2, 3, 4, 5] == given
    assert 0 == rows.give(b"\xff" * 32)
    assert [0, 0, 1, 1, 2] == [rows.activate(row) for row in given]
    rows.rest(2)
    rows.resolve(3)
    assert 2 == rows.give(b"\x01" * 32)
    assert [0, 1, 1, 2] == [rows.activate(row) for row in (2, 3, 4, 5)]
    rows.rest(1)
    rows.rest(5)
    assert 0 == rows.activate(5)


def test_what_is_asked_again_waits_twice_as_long_each_time() -> None:
    """1, 2, 4, 4 seconds; a dropped key is never due, and one is dropped after its last try."""
    agenda = Agenda[int](NS_PER_S, 4 * NS_PER_S, tries_max=5)
    agenda.add(7, 0)
    now_ns, waits = 0, []
    while 7 in agenda:
        began_ns = now_ns
        while agenda.due(now_ns) is None:
            now_ns += NS_PER_S // 10
        waits.append((now_ns - began_ns) / NS_PER_S)
        agenda.again(7, now_ns)
    assert [0, 1, 2, 4, 4] == waits
    agenda.add(8, now_ns)
    agenda.drop(8)
    agenda.again(8, now_ns)
    assert agenda.due(now_ns + 100 * NS_PER_S) is None
    agenda.add(9, now_ns)
    agenda.add(9, now_ns + 50 * NS_PER_S)
    assert 9 == agenda.due(now_ns)
    assert agenda.due(now_ns) is None
    assert 1 == len(agenda)


def test_only_what_is_named_is_walked_over() -> None:
    """Slugs in one question of twenty, a question a tag; everything without a name, and every lone market."""
    settings = RefdataSettings("g", 1, event_slugs=tuple(f"s{place}" for place in range(21)), tags=("a b",))
    first, second, third = listings(settings)
    assert 20 == first.count("&slug=")
    assert second.endswith("&limit=100&slug=s20")
    assert third.endswith("&limit=100&tag_slug=a%20b")
    assert ["/events/keyset", "/markets/keyset"] == [
        one.partition("?")[0] for one in listings(RefdataSettings("g", 1))]
    assert "/events/77" == lookup_path(b"\1" * 32, "77")
    for odd in ("", "7/7", "7?x", "\u0667"):
        assert f"/markets/keyset?condition_ids=0x{'01' * 32}" == lookup_path(b"\1" * 32, odd)
