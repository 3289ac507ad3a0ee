"""core.trader: what it asks of others and when: subscriptions, resyncs, beats."""

from __future__ import annotations

import itertools
from typing import Any

from pipeline.kinds import Cause, Kind
from pipeline.units import NS_PER_MS
from tests.models.core_rig import T0_NS, Rig, event, instrument, pack, started, tick


def kinds(decided: list[Any]) -> list[Kind]:
    return [Kind(record.kind) for record in decided]


def test_new_rows_are_subscribed_once() -> None:
    """Each new instrument is asked for once; a change or repeat of it is not."""
    rig = Rig()
    decided = rig.feed(*event([1, 2, 3]))
    assert [1, 2, 3] == [record.instrument for record in decided if record.kind == Kind.SUBSCRIBE]
    assert [] == rig.feed(instrument(2, 1, 3, fee_rate_ppm=1), instrument(2, 1, 3, flags=4))


def test_stale_books_are_asked_for_under_a_budget() -> None:
    """A contradiction is resynced at once and once a second; a lost stream heals itself for 5 s first."""
    rig = started()
    wrong = pack(Kind.STALE, instrument=4, cause=int(Cause.HASH_MISMATCH))
    decided = rig.feed(wrong, wrong)
    assert [(Kind.RESYNC, 4, Cause.HASH_MISMATCH)] == [
        (item.kind, item.instrument, item.cause) for item in decided
    ]
    lost = pack(Kind.STALE, instrument=5, cause=int(Cause.DISCONNECT))
    assert [] == rig.feed(lost)
    rig.feed(pack(Kind.STALE, instrument=4, cause=int(Cause.NONE)))
    assert Kind.RESYNC not in kinds(rig.feed(tick(T0_NS + 4_900 * NS_PER_MS)))
    decided = rig.feed(tick(T0_NS + 5_100 * NS_PER_MS))
    assert [5] == [item.instrument for item in decided if item.kind == Kind.RESYNC]
    assert Kind.RESYNC not in kinds(rig.feed(tick(T0_NS + 6_000 * NS_PER_MS)))
    many = started()
    many.feed(*(pack(Kind.STALE, instrument=row, cause=int(Cause.NO_SNAPSHOT)) for row in range(1, 200)))
    for number in range(60, 80):
        runs = many.feed(tick(T0_NS + number * 100 * NS_PER_MS))
        assert kinds(runs).count(Kind.RESYNC) <= 8


def test_a_book_that_was_right_again_is_asked_for_at_once_under_a_budget() -> None:
    """Three at once of one book, then one a second; without a proof in between the next one waits 5 s."""
    def asked(rig: Rig, ms: int, is_proven: bool) -> int:
        now_ns = T0_NS + ms * NS_PER_MS
        wrong = pack(
            Kind.STALE, instrument=4, cause=int(Cause.CROSSED_BOOK), now_ns=now_ns,
            proof_ns=now_ns - NS_PER_MS if is_proven else T0_NS - 1)
        return kinds(rig.feed(wrong, tick(now_ns))).count(Kind.RESYNC)

    assert [1, 1, 1, 0, 0, 1] == [asked(rig, ms, True) for rig in [started()] for ms in (
        10, 300, 600, 900, 1_000, 1_100)]
    assert [1, 0, 0, 1] == [asked(rig, ms, False) for rig in [started()] for ms in (10, 300, 600, 1_020)]


def test_beats_every_half_second_of_stream_time() -> None:
    """A beat at the first tick and every 500 ms from then; ticks between them say nothing."""
    rig = started()
    for number in range(2_001):
        rig.feed(tick(T0_NS + number * NS_PER_MS))
    beats = rig.of(Kind.BEAT)
    assert [1, 2, 3, 4, 5] == [beat.beat_no for beat in beats]
    gaps = [(after.now_ns - before.now_ns) // NS_PER_MS for before, after in itertools.pairwise(beats)]
    assert all(500 <= gap <= 510 for gap in gaps)
