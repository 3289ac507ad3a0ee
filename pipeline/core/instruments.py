"""The table of instruments: a fold over `Instrument` and `TickStep` records.

Reads INSTRUMENT and TICK_STEP; writes nothing. Used by detect and trade, each with its own table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from pipeline.codec import CODECS
from pipeline.core.fees import FEE_EXPONENT_MAX, FEE_RATE_PPM_MAX
from pipeline.core.worlds import Structure
from pipeline.errors import InvariantError
from pipeline.kinds import Flag, Kind, Outcome, Rule
from pipeline.units import TICKS_PER_USD

INSTRUMENTS_MAX = 1_000_000  # rows; far above any universe, so a runaway edge is seen

_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]
_NO_ID = bytes(32)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One physical book: one condition, its two tokens and the rules to trade it."""

    row: int
    rules: int  # Rule
    event: int  # 0 = none
    outcome_index: int
    outcome_count: int
    tick_step: int
    tick_step_finest: int
    shard: int
    venue: int
    fee_rate_ppm: int
    fee_exponent: int
    size_micro_min: int
    usd_micro_min: int
    taker_delay_ns: int
    ends_ns: int
    condition: bytes
    token_yes: bytes
    token_no: bytes
    label: str
    game_start_ns: int = 0  # of a match; 0 = none named
    #: Orders are accepted and nothing that an order needs is missing (fail closed).
    is_tradable: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "is_tradable", self._is_complete())

    def has(self, rule: int) -> bool:
        """Tell whether every bit of `rule` is set."""
        return self.rules & rule == rule

    def token(self, outcome: int) -> bytes:
        """Return the 32-byte id of the outcome's token."""
        return self.token_yes if outcome == Outcome.YES else self.token_no

    def is_fenced(self, now_ns: int, fence_ns: int) -> bool:
        """Tell whether the market is about to end, or its game to start or just started (VN01).

        From fence_ns before a scheduled end on, until metadata names a later one; around a game's start,
        where the venue may clear the book, as long before as behind. fence_ns 0 = no fence.
        """
        return fence_ns > 0 and (
            0 < self.ends_ns <= now_ns + fence_ns
            or (self.game_start_ns > 0 and abs(self.game_start_ns - now_ns) <= fence_ns))

    def _is_complete(self) -> bool:
        return (
            self.has(Rule.TRADABLE)
            and 1 <= self.tick_step < TICKS_PER_USD
            and self.size_micro_min > 0
            and self.usd_micro_min > 0
            and 0 <= self.fee_rate_ppm < FEE_RATE_PPM_MAX
            and (self.fee_rate_ppm == 0 or 1 <= self.fee_exponent <= FEE_EXPONENT_MAX)
            and _NO_ID not in (self.condition, self.token_yes, self.token_no)
            and self.token_yes != self.token_no
        )


@dataclass(frozen=True, slots=True)
class Question:
    """The question on chain behind a neg-risk market."""

    question_id: bytes  # 32; the last byte is its index in the event
    fee_bips: int  # of a conversion; FEE_NOT_TOLD = the venue does not tell

    @property
    def index(self) -> int:
        """Its place in the event on chain, 0 first."""
        return self.question_id[31]

    @property
    def market(self) -> bytes:
        """The neg-risk market's id: the question's with index 0."""
        return self.question_id[:31] + b"\0"


_FIELDS = tuple(item.name for item in fields(Instrument) if item.init)


def instrument_of(record: Any) -> Instrument:
    """Return the instrument that an unpacked INSTRUMENT record describes."""
    values = {name: getattr(record, name) for name in _FIELDS if name not in ("row", "label")}
    return Instrument(row=record.instrument, label=record.label.decode("utf-8", "replace"), **values)


class Instruments:
    """Rows of the instrument table and the events they belong to, in order of arrival."""

    def __init__(self) -> None:
        self._rows: dict[int, Instrument] = {}  # one dict for life: gate and state keep `rows`
        self._events: dict[int, dict[int, None]] = {}  # event -> rows, in order of arrival
        self._streamed: dict[int, None] = {}  # rows whose tick step came from the stream: newer than metadata
        self._structures: dict[int, Structure | None] = {}
        self._members: dict[int, tuple[int, ...]] = {}  # `event_rows`, until the event changes
        self.version = 0  # grows whenever any row changes
        self._conditions: dict[bytes, list[int]] = {}  # condition -> rows, in order of arrival

    @property
    def rows(self) -> Mapping[int, Instrument]:
        """Every known row, in order of arrival; read only."""
        return self._rows

    def get(self, row: int) -> Instrument | None:
        """Return the row's instrument, None when it is unknown."""
        return self._rows.get(row)

    @property
    def newest_row(self) -> int:
        """Return the row that came last, 0 without one: refdata gives rows in rising order."""
        return next(reversed(self._rows), 0)

    def event_rows(self, event: int) -> tuple[int, ...]:
        """Return the known rows of an event, in order of arrival."""
        members = self._members.get(event)
        if members is None:
            members = self._members[event] = tuple(self._events.get(event, ()))
        return members

    def condition_rows(self, condition: bytes) -> tuple[int, ...]:
        """Return the known rows of a condition: more than one where its tokens have books of their own."""
        return tuple(self._conditions.get(condition, ()))

    def apply(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Instrument | None:
        """Fold one INSTRUMENT record; return the instrument when it is new or changed, else None.

        A `REPEAT` of a known row changes nothing. A tick step that came from the stream stays: a late
        metadata refresh must not restore the old one (MD08). Raises InvariantError when a known row
        changes its condition or tokens: rows are never reused in a run.
        """
        record = _INSTRUMENT.unpack(slot, offset)
        row, known = record.instrument, self._rows.get(record.instrument)
        if known is not None and record.flags & Flag.REPEAT:
            return None
        if not (row > 0 and (known is not None or len(self._rows) < INSTRUMENTS_MAX)):
            raise InvariantError(
                f"core.instruments: expected a row above 0 and at most {INSTRUMENTS_MAX} rows, "
                f"was row {row} with {len(self._rows)} known; check refdata's row range")
        found = instrument_of(record)
        if known is not None:
            same = (known.condition, known.token_yes, known.token_no) == (
                found.condition, found.token_yes, found.token_no)
            if not same:
                raise InvariantError(
                    f"core.instruments: row {row} was condition {known.condition.hex()}, found "
                    f"{found.condition.hex()}; rows are never reused in a run, check refdata")
            if row in self._streamed:
                found = replace(found, tick_step=known.tick_step)
            if found == known:
                return None
        elif record.flags & Flag.TICKED:
            self._streamed[row] = None
        self._put(found)
        return found

    def apply_tick_step(self, slot: bytes | bytearray | memoryview, offset: int = 0) -> Instrument | None:
        """Fold one TICK_STEP record; return the changed instrument, None when nothing changed."""
        record = _TICK_STEP.unpack(slot, offset)
        known = self._rows.get(record.instrument)
        if known is None or not (1 <= record.new_step < TICKS_PER_USD):
            return None
        self._streamed[known.row] = None
        if known.tick_step == record.new_step:
            return None
        finest = min(known.tick_step_finest or record.new_step, record.new_step)
        changed = replace(known, tick_step=record.new_step, tick_step_finest=finest)
        self._put(changed)
        return changed

    def structure(self, event: int) -> Structure | None:
        """Return what is proven about the event's outcomes; None unless every listed outcome is known.

        Needs one venue, one `outcome_count`, each index exactly once, distinct conditions. Augmented and
        protocol v2 events have outcomes that nobody lists, so they are never exhaustive.
        """
        if event not in self._structures:
            self._structures[event] = self._derive(event)
        return self._structures[event]

    def _derive(self, event: int) -> Structure | None:
        members = [self._rows[row] for row in self._events.get(event, ())]
        if not members or event == 0:
            return None
        count = members[0].outcome_count
        conditions = dict.fromkeys(member.condition for member in members)
        if (
            sorted(member.outcome_index for member in members) != list(range(count))
            or any(member.outcome_count != count or member.venue != members[0].venue for member in members)
            or len(conditions) != count
        ):
            return None
        open_ended = any(member.rules & (Rule.AUGMENTED | Rule.V2) for member in members)
        return Structure(
            outcome_count=count,
            exclusive=count > 1 and all(member.has(Rule.EXCLUSIVE) for member in members),
            exhaustive=(
                count > 1 and not open_ended and all(member.has(Rule.EXHAUSTIVE) for member in members)),
            half=not all(member.has(Rule.NEG_RISK) for member in members),
        )

    def _put(self, found: Instrument) -> None:
        known = self._rows.get(found.row)
        self.version += 1
        self._members.pop(found.event, None)
        if known is not None and known.event != found.event:
            self._events.get(known.event, {}).pop(found.row, None)
            self._structures.pop(known.event, None)
            self._members.pop(known.event, None)
        if known is None:
            self._conditions.setdefault(found.condition, []).append(found.row)
        self._rows[found.row] = found
        if found.event:
            self._events.setdefault(found.event, {})[found.row] = None
            self._structures.pop(found.event, None)

    def state(self) -> list[Any]:
        """Return the table as JSON values, for a checkpoint."""
        rows = []
        for instrument in self._rows.values():
            values = [getattr(instrument, name) for name in _FIELDS]
            rows.append([value.hex() if isinstance(value, bytes) else value for value in values])
        events = [[event, list(members)] for event, members in self._events.items()]
        return [rows, events, list(self._streamed)]

    def load(self, state: list[Any]) -> None:
        """Replace the table by what `state()` returned."""
        ids = [_FIELDS.index(name) for name in ("condition", "token_yes", "token_no")]
        rows, events, streamed = state
        self._rows.clear()
        self._conditions.clear()
        for row in rows:
            values: list[Any] = [
                bytes.fromhex(value) if place in ids else value for place, value in enumerate(row)]
            instrument = Instrument(*values)
            self._rows[instrument.row] = instrument
            self._conditions.setdefault(instrument.condition, []).append(instrument.row)
        self._events = {event: dict.fromkeys(members) for event, members in events}
        self._streamed = dict.fromkeys(streamed)
        self._structures.clear()
        self._members.clear()
        self.version += 1
