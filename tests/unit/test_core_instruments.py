"""core.instruments: one row one book, events complete or unproven, the stream's tick wins."""

from __future__ import annotations

import pytest

from pipeline.core.instruments import Instruments
from pipeline.errors import InvariantError
from pipeline.kinds import Flag, Kind, Rule
from tests.models.core_rig import FULL, event, instrument, pack


def table(*slots: bytes) -> Instruments:
    rows = Instruments()
    for slot in slots:
        rows.apply(slot)
    return rows


def test_instruments_fold_and_repeat() -> None:
    """A repeat of a known row changes nothing; a repeat of an unknown one adds it (start of a segment)."""
    rows = Instruments()
    slot = instrument(7, fee_rate_ppm=70_000)
    assert rows.apply(slot) is not None
    assert rows.apply(slot) is None
    assert rows.apply(instrument(7, flags=int(Flag.REPEAT), tick_step=10)) is None
    assert rows.rows[7].tick_step == 100
    assert rows.apply(instrument(8, flags=int(Flag.REPEAT))) is not None
    assert rows.rows[7].fee_rate_ppm == 70_000
    assert (rows.rows[7].token(0), rows.rows[7].token(1)) == (rows.rows[7].token_yes, rows.rows[7].token_no)


def test_instruments_keep_the_streams_tick() -> None:
    """MD08: a late metadata refresh does not restore the tick that the stream replaced."""
    rows = table(instrument(1))
    changed = rows.apply_tick_step(pack(Kind.TICK_STEP, instrument=1, old_step=100, new_step=10))
    assert changed is not None
    assert changed.tick_step == 10
    rows.apply(instrument(1, fee_rate_ppm=1))
    assert (rows.rows[1].tick_step, rows.rows[1].fee_rate_ppm) == (10, 1)
    assert rows.apply_tick_step(pack(Kind.TICK_STEP, instrument=9, new_step=10)) is None


def test_instruments_refuse_a_reused_row() -> None:
    """A row that changes its condition is a broken edge, not an update."""
    rows = table(instrument(1))
    with pytest.raises(InvariantError, match="never reused"):
        rows.apply(instrument(1, condition=b"\7" * 32))
    with pytest.raises(InvariantError, match="above 0"):
        rows.apply(instrument(0))


COMPLETE = event([1, 2, 3])
TRAPS = [
    ("an outcome is missing", COMPLETE[:2]),
    ("an index twice", [*COMPLETE[:2], instrument(3, 1, 3)]),
    ("a condition twice", [*COMPLETE[:2], instrument(3, 2, 3, condition=(1).to_bytes(32, "big"))]),
    ("counts disagree", [*COMPLETE[:2], instrument(3, 2, 4)]),
    ("two venues", [*COMPLETE[:2], instrument(3, 2, 3, venue=1)]),
    ("one more than counted", [*COMPLETE, instrument(4, 3, 3)]),
]


@pytest.mark.parametrize("slots", [trap[1] for trap in TRAPS], ids=[trap[0] for trap in TRAPS])
def test_HG04_incomplete_events_have_no_structure(slots: list[bytes]) -> None:  # noqa: N802
    """Nothing is proven of an event whose outcomes are not exactly the listed ones."""
    assert table(*slots).structure(1) is None


def test_structure_says_what_is_proven() -> None:
    """Flags of every member together: augmented and v2 are never exhaustive, plain ones may be void."""
    whole = table(*COMPLETE).structure(1)
    assert whole is not None
    assert (whole.outcome_count, whole.exclusive, whole.exhaustive, whole.half) == (3, True, True, False)
    for rule in (Rule.AUGMENTED, Rule.V2):
        found = table(*COMPLETE[:2], instrument(3, 2, 3, rules=FULL | rule)).structure(1)
        assert found is not None
        assert (found.exclusive, found.exhaustive) == (True, False)
    plain = table(*COMPLETE[:2], instrument(3, 2, 3, rules=FULL & ~Rule.NEG_RISK)).structure(1)
    assert plain is not None
    assert plain.half
    alone = table(instrument(1)).structure(1)
    assert alone is not None
    assert not (alone.exclusive or alone.exhaustive)
    assert table(*COMPLETE).structure(0) is None


def test_structure_follows_a_moved_row() -> None:
    """A row that leaves an event makes it incomplete."""
    rows = table(*COMPLETE)
    assert rows.structure(1) is not None
    rows.apply(instrument(3, 0, 1, 2))
    assert rows.structure(1) is None
    assert rows.event_rows(2) == (3,)


@pytest.mark.parametrize("name", ["size_micro_min", "usd_micro_min", "tick_step", "fee_exponent"])
def test_RK05_missing_metadata_is_not_tradable(name: str) -> None:  # noqa: N802
    """A market whose tick, minimum or fee schedule is missing takes no orders."""
    good, bad = table(instrument(1, fee_rate_ppm=1)), table(instrument(1, **{"fee_rate_ppm": 1, name: 0}))
    assert good.rows[1].is_tradable
    assert not bad.rows[1].is_tradable


def test_instruments_restore_what_they_were() -> None:
    """state -> load gives an equal table, stream ticks included."""
    rows = table(*COMPLETE, instrument(9, event=0))
    rows.apply_tick_step(pack(Kind.TICK_STEP, instrument=1, new_step=10))
    other = Instruments()
    other.load(rows.state())
    assert rows.state() == other.state()
    assert rows.structure(1) == other.structure(1)
    assert other.condition_rows((9).to_bytes(32, "big")) == (9,)
