"""core.detector and core.strategies.basket: which tops become ideas, and why the others do not."""

from __future__ import annotations

import pytest

from pipeline.codec import unpack
from pipeline.core.detector import Detector
from pipeline.core.strategies.basket import BUILDERS, StrategyId
from pipeline.kinds import Flag, Kind, OrderState, Rule
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import FULL, T0_NS, config, event, fill, instrument, pack, tick, top

CHEAP = [(2_900, 100)], [(3_000, 100)]


def detector(*slots: bytes, **limits: int) -> Detector:
    found = Detector()
    for slot in (config(**limits), *slots):
        assert not found.on_record(slot)
    return found


def cheap(found: Detector, now_ns: int = T0_NS, **last: object) -> list[bytes]:
    """Show three outcomes at 0.30 each; return the idea runs of the last top."""
    for row in (1, 2):
        found.on_record(top(row, *CHEAP, now_ns=now_ns))
    return list(found.on_record(top(3, *CHEAP, now_ns=now_ns, **last)))  # type: ignore[arg-type]


def test_detector_buys_every_outcome() -> None:
    """Three outcomes at 0.30: one idea of three legs that pays 100 and costs 90, stamped by its cause."""
    found = detector(*event([1, 2, 3]))
    runs = cheap(found, seq=77, recv_ns=5)
    idea = unpack(runs[0])
    assert 1 == len(runs)
    assert (StrategyId.BUY_ALL, 3, 3, 3, 100 * MICRO) == (
        idea.strategy,
        idea.leg_count,
        idea.order_count,
        idea.in_part,
        idea.size_micro,
    )
    assert (100 * MICRO, 90 * MICRO, 0) == (idea.payout_usd_micro, idea.cost_usd_micro, idea.fee_usd_micro)
    assert (77, 5, T0_NS, T0_NS) == (idea.seq, idea.recv_ns, idea.now_ns, idea.source_seq)
    assert (1, 2, 3, 0, 0, 0) == idea.leg_instrument
    assert idea.basket == 1 << 3 | StrategyId.BUY_ALL


def test_detector_sells_every_outcome() -> None:
    """Bids that add up to 1.20: buy every NO; two of three pay."""
    found = detector(*event([1, 2, 3]))
    for row in (1, 2):
        found.on_record(top(row, [(4_000, 50)], [(4_100, 50)]))
    idea = unpack(found.on_record(top(3, [(4_000, 50)], [(4_100, 50)]))[0])
    assert (StrategyId.SELL_ALL, 100 * MICRO, 90 * MICRO) == (
        idea.strategy,
        idea.payout_usd_micro,
        idea.cost_usd_micro,
    )
    assert bytes([1, 1, 1, 0, 0, 0]) == idea.leg_outcome
    assert (6_000, 6_000, 6_000) == idea.leg_price_ticks[:3]


def test_detector_sells_a_subset() -> None:
    """An outcome without bids is left out, and so is one whose book is not proven."""
    found = detector(*event([1, 2, 3, 4]))
    found.on_record(top(4, [], [(100, 50)]))
    found.on_record(top(3, [(1_000, 50)], [(4_100, 50)], flags=int(Flag.OPEN)))
    found.on_record(top(1, [(6_000, 50)], [(6_100, 50)]))
    idea = unpack(found.on_record(top(2, [(6_000, 50)], [(6_100, 50)]))[0])
    assert (2, 50 * MICRO, 40 * MICRO) == (idea.leg_count, idea.payout_usd_micro, idea.cost_usd_micro)


def test_detector_pairs_unmirrored_books() -> None:
    """Two books of one condition, each of its own token: YES + NO below 1 is bought; not if mirrored."""
    first = instrument(1, event=0, rules=FULL & ~Rule.MIRRORED)
    known = unpack(first)
    swapped = {
        "condition": known.condition,
        "token_yes": known.token_no,
        "token_no": known.token_yes,
        "event": 0,
    }
    for rules, count in ((FULL & ~Rule.MIRRORED, 1), (FULL, 0)):
        found = detector(first, instrument(2, rules=rules, **swapped))
        found.on_record(top(1, [], [(4_500, 30)]))
        runs = found.on_record(top(2, [], [(5_000, 30)]))
        assert count == len(runs)
        if runs:
            idea = unpack(runs[0])
            assert (StrategyId.PAIR, 30 * MICRO, 28_500_000) == (
                idea.strategy,
                idea.payout_usd_micro,
                idea.cost_usd_micro,
            )
    same = {**swapped, "token_yes": known.token_yes, "token_no": known.token_no}
    found = detector(first, instrument(2, rules=FULL & ~Rule.MIRRORED, **same))
    found.on_record(top(1, [], [(4_500, 30)]))
    assert not found.on_record(top(2, [], [(5_000, 30)]))  # twice the same token is no pair


BLOCKS = [
    ("refused_book_open", {"flags": int(Flag.OPEN)}),
    ("refused_book_stale", {"flags": int(Flag.STALE)}),
    ("refused_crossed_book", {"flags": int(Flag.CROSSED)}),
    ("refused_proof_old", {"proof_ns": T0_NS - 2 * NS_PER_S - 1}),
    ("refused_proof_old", {"proof_ns": 0}),
]


@pytest.mark.parametrize("name, changes", BLOCKS)
def test_I7_unproven_books_block_the_basket(name: str, changes: dict[str, int]) -> None:  # noqa: N802
    """One leg that is open, stale, crossed or proven too long ago: no idea, one counted cause."""
    found = detector(*event([1, 2, 3]))
    assert [] == cheap(found, **changes)
    assert 1 == found.counts[name]
    assert 1 == len(found.on_record(top(3, *CHEAP)))  # proven: the same prices are an idea now


@pytest.mark.parametrize(
    "record",
    [
        pack(Kind.STALE, instrument=2, cause=4),
        pack(Kind.GAP, shard=0, cause=2),
        pack(Kind.GAP, instrument=2, cause=2),
        pack(Kind.RESOLVED, instrument=2, payout_micro_yes=0, payout_micro_no=MICRO),
    ],
)
def test_detector_hears_that_a_book_is_over(record: bytes) -> None:
    """STALE, GAP (of the shard or the row) and RESOLVED block until a fresh top, a resolution for ever."""
    found = detector(*event([1, 2, 3]))
    for row in (1, 2):
        found.on_record(top(row, *CHEAP))
    found.on_record(record)
    assert not found.on_record(top(3, *CHEAP))
    again = found.on_record(top(2, *CHEAP))
    if unpack(record).kind == Kind.GAP and not unpack(record).instrument:
        again = found.on_record(top(1, *CHEAP))
    assert (0 if unpack(record).kind == Kind.RESOLVED else 1) == len(again)


def test_detector_ignores_a_gap_of_another_shard() -> None:
    """A gap names its shard; other books stay valid."""
    found = detector(*event([1, 2, 3]))
    found.on_record(top(1, *CHEAP))
    found.on_record(pack(Kind.GAP, shard=5, cause=2))
    found.on_record(top(2, *CHEAP))
    assert 1 == len(found.on_record(top(3, *CHEAP)))


def test_detector_repeats_an_idea_only_for_a_reason() -> None:
    """The same levels again: nothing; another size: an idea; the cooldown over: an idea, on a tick."""
    found = detector(*event([1, 2, 3]))
    assert 1 == len(cheap(found))
    assert not found.on_record(top(3, *CHEAP))
    assert not found.on_record(top(3, [(2_800, 7)], [(3_000, 100)]))  # the side that we would not take
    assert 1 == len(found.on_record(top(3, [(2_900, 100)], [(3_000, 90)])))
    assert not found.on_record(tick(T0_NS + 99 * NS_PER_MS))
    assert 1 == len(found.on_record(tick(T0_NS + 100 * NS_PER_MS)))


def told_ms(found: Detector, first_ms: int, last_ms: int) -> list[int]:
    """Return the milliseconds whose tick made an idea."""
    return [
        at for at in range(first_ms, last_ms + 1) if found.on_record(tick(T0_NS + at * NS_PER_MS))]


def test_detector_tells_an_untaken_idea_ever_more_rarely() -> None:
    """Nothing moves and no order ends: the pause doubles from the cooldown to a second, and stays there."""
    found = detector(*event([1, 2, 3]), cooldown_ns=NS_PER_MS)
    assert 1 == len(cheap(found))
    wanted = [1, 3, 7, 15, 31, 63, 127, 255, 511, 1_023, 2_023, 3_023]
    fresh = {"proof_ns": T0_NS + 5 * NS_PER_S}
    for row in (1, 2, 3):
        assert not found.on_record(top(row, *CHEAP, **fresh))  # type: ignore[arg-type]
    assert wanted == told_ms(found, 1, 3_100)


def test_detector_keeps_a_cooldown_longer_than_the_pause() -> None:
    """A cooldown of two seconds is the pause: never shorter, never doubled."""
    found = detector(*event([1, 2, 3]), cooldown_ns=2 * NS_PER_S, proof_age_ns_max=60 * NS_PER_S)
    assert 1 == len(cheap(found))
    assert [2_000, 4_000] == told_ms(found, 1, 5_000)


@pytest.mark.parametrize("state", list(OrderState))
def test_detector_looks_again_when_an_order_ends(state: OrderState) -> None:
    """The end of an order that left makes its basket's idea due on the next tick; nothing else does."""
    found = detector(*event([1, 2, 3]), cooldown_ns=NS_PER_MS)
    assert 1 == len(cheap(found))
    assert [1, 3, 7, 15, 31, 63, 127, 255, 511] == told_ms(found, 1, 600)
    assert not found.on_record(pack(
        Kind.REPORT, instrument=2, order_no=1, state=int(state), now_ns=T0_NS + 600 * NS_PER_MS))
    is_over = state in (
        OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.DRY)
    assert ([601, 603, 607, 615] if is_over else []) == told_ms(found, 601, 620)


def test_detector_looks_again_after_a_fill_and_a_move() -> None:
    """A fill and a new size start the pauses anew; an order of another basket does not."""
    intent = unpack(pack(Kind.INTENT, order_no=1, instrument=3, price_ticks=3_000))
    found = detector(*event([1, 2, 3]), *event([4, 5, 6], number=2), cooldown_ns=NS_PER_MS)
    assert 1 == len(cheap(found))
    assert 511 == told_ms(found, 1, 600)[-1]
    found.on_record(pack(
        Kind.REPORT, instrument=4, state=int(OrderState.REJECTED), now_ns=T0_NS + 600 * NS_PER_MS))
    assert [] == told_ms(found, 601, 610)
    found.on_record(fill(intent, MICRO, 1, T0_NS + 610 * NS_PER_MS, venue_ns=T0_NS))
    assert [611, 613] == told_ms(found, 611, 614)
    moved = found.on_record(top(3, [(2_900, 100)], [(3_000, 90)], now_ns=T0_NS + 615 * NS_PER_MS))
    assert 1 == len(moved)
    assert [616, 618, 622] == told_ms(found, 616, 625)


def test_detector_looks_again_under_new_limits() -> None:
    """Limits that come late: the opportunity that stands is told on the next tick."""
    found = Detector()
    for slot in event([1, 2, 3]):
        found.on_record(slot)
    assert [] == cheap(found)
    found.on_record(config())
    assert 1 == len(found.on_record(tick(T0_NS + NS_PER_MS)))


def test_detector_does_not_use_depth_twice() -> None:
    """After our fill an older top is not depth; a top from then on is, or the cooldown's end."""
    intent = unpack(pack(Kind.INTENT, order_no=1, instrument=3, price_ticks=3_000))
    ours = fill(intent, 100 * MICRO, 1, T0_NS + 5)
    found = detector(*event([1, 2, 3]))
    for row in (1, 2):
        found.on_record(top(row, *CHEAP))
    found.on_record(ours)
    assert not found.on_record(top(3, *CHEAP, venue_ns=T0_NS + 4))
    assert 1 == found.counts["refused_depth_used"]
    assert 1 == len(found.on_record(top(3, *CHEAP, venue_ns=T0_NS + 5)))
    waits = detector(*event([1, 2, 3]))
    waits.on_record(ours)
    assert [] == cheap(waits, venue_ns=T0_NS + 4)
    assert not waits.on_record(tick(T0_NS + 100 * NS_PER_MS))
    assert 1 == len(waits.on_record(tick(T0_NS + 5 + 100 * NS_PER_MS)))


def test_detector_follows_changed_instruments() -> None:
    """A fee that appears ends the edge; a member that becomes untradable ends the basket's ideas."""
    found = detector(*event([1, 2, 3]))
    assert 1 == len(cheap(found))
    for slot in event([1, 2, 3], fee_rate_ppm=200_000):
        found.on_record(slot)
    assert [] == cheap(found)
    found.on_record(instrument(3, 2, 3, rules=FULL & ~Rule.TRADABLE))
    for row in (1, 2):
        found.on_record(instrument(row, row - 1, 3))
    assert [] == cheap(found)
    assert found.counts["refused_not_tradable"] > 0


def test_detector_watches_only_rows_in_baskets() -> None:
    """Rows outside complete events are not watched; the version says when the set changed."""
    found = detector(*event([1, 2, 3])[:2])
    assert ({}, 0) == (found.watched(), found.rows_version)
    assert ["no baskets: 2 instruments known, no complete and proven event among them"] == found.why_nothing()
    found.on_record(event([1, 2, 3])[2])
    assert [1, 2, 3] == list(found.watched())
    assert found.rows_version > 0
    found.on_record(instrument(4, 1, 3))  # an index twice: nothing is proven any more
    assert {} == found.watched()


def test_detector_says_why_nothing_happens() -> None:
    """Without limits, without edge, with old proofs: a reason in words each time."""
    bare = Detector()
    assert ["no limits: order_usd_micro_max is missing"] == bare.why_nothing()
    found = detector(*event([1, 2, 3]))
    for row in (1, 2, 3):
        found.on_record(top(row, [(3_200, 9)], [(3_400, 9)]))
    assert "best edge at the best prices -20000 of 1000000 a share (basket 9)" in found.why_nothing()


def test_detector_reads_any_buffer_at_any_offset() -> None:
    """bytes, bytearray and memoryview, also in the middle of a larger buffer, give the same runs."""
    wanted = cheap(detector(*event([1, 2, 3])))
    found = detector(*event([1, 2, 3]))
    buffer = memoryview(bytearray(b"".join(top(row, *CHEAP) for row in (1, 2, 3))))
    runs = [run for at in (0, 256, 512) for run in found.on_record(buffer, at)]
    assert wanted == runs


def test_detector_spreads_many_orders_over_slots() -> None:
    """More than six orders take several slots; each repeats the head and names its own orders."""
    found = detector(*event(list(range(1, 9))), order_usd_micro_max=10**12, package_usd_micro_max=10**12)
    for row in range(1, 9):
        runs = found.on_record(top(row, [(900, 20)], [(1_000, 20)]))
    first, second = unpack(runs[0]), unpack(runs[0], 256)
    assert (8, 6, 2, 0, 1, 2, 2) == (
        first.order_count,
        first.in_part,
        second.in_part,
        first.part,
        second.part,
        first.parts,
        second.parts,
    )
    assert first.idea_no == second.idea_no
    assert [7, 8] == list(second.leg_instrument[:2])


def test_builders_are_listed() -> None:
    """The registry is a dict that people can read."""
    assert ["buy_all", "sell_all", "pair"] == list(BUILDERS)
