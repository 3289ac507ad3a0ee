"""What refdata writes: a row's `Instrument` when it is new or changed, its `Question`, and what it pays."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Flag, Kind, Rule
from pipeline.native.flow import Sink
from pipeline.records import HEADER
from pipeline.stages.refrows import Rows
from pipeline.stages.stage import Counts, push_owed
from pipeline.venues.polymarket.universe import MarketInfo, instrument_record, question_record

_HEADER_FIELDS = len(HEADER)


class RowWriter:
    """Owes records to one ring. watch: mark neg-risk markets, whose books then prove each frame."""

    def __init__(
        self, rows: Rows, sink: Sink, counts: Counts, source: int, source_seq: int, watch: bool,
    ) -> None:
        self.written: dict[int, MarketInfo] = {}
        self._rows, self._sink, self._counts = rows, sink, counts
        self._source, self._source_seq, self._watch = source, source_seq, watch
        self._questions: dict[int, tuple[bytes, int]] = {}  # row -> its question as written since our start
        self._owed: deque[bytes] = deque()

    def is_known(self, row: int) -> bool:
        """Tell whether the stream holds the row's INSTRUMENT, or is about to."""
        return row in self.written or row in self._rows.learned

    def has_event(self, row: int) -> bool:
        """Tell whether a known row was written with its event."""
        found = self.written.get(row)
        if found is not None:
            return bool(found.event_id)
        return row in self._rows.learned and bool(self._rows.learned[row].event)

    def is_tradable(self, row: int) -> bool:
        """Tell whether a row stands as tradable in the stream."""
        found = self.written.get(row)
        if found is not None:
            return found.tradable
        return row in self._rows.learned and bool(self._rows.learned[row].rules & Rule.TRADABLE)

    def tokens(self, row: int) -> tuple[bytes, bytes]:
        """Return the tokens of YES and NO of a known row."""
        found = self.written.get(row)
        if found is not None:
            return found.token_yes, found.token_no
        return bytes(self._rows.learned[row].token_yes), bytes(self._rows.learned[row].token_no)

    def has_other_tokens(self, row: int, market: MarketInfo) -> bool:
        """Tell whether the market's tokens are not those that the row is known by."""
        return self.is_known(row) and self.tokens(row) != (market.token_yes, market.token_no)

    def write(self, now_ns: int, row: int, market: MarketInfo) -> None:
        """Owe an active row's INSTRUMENT and QUESTION, unless the stream says the same.

        What the shares of a row are never changes: where the venue says otherwise, the row is closed.
        """
        known_shares = self._shares(row)
        if known_shares is not None and known_shares != _shares_of(market):
            self._counts.add("markets_switched")
            yes, no, neg_risk, v2 = known_shares
            market = replace(
                market, token_yes=yes, token_no=no, neg_risk=neg_risk, v2=v2, accepting=False, event_id="")
        self.written[row] = market
        record = self._record(now_ns, row, market)
        self._counts.put("instruments", len(self._rows.active))
        known = self._rows.learned.get(row)
        if known is None or not _says_the_same(CODECS[Kind.INSTRUMENT].unpack(record), known):
            self._rows.learned.pop(row, None)
            self.owe(record)
        question = question_record(market, row, recv_ns=now_ns)
        if question and self._questions.get(row) != (market.question_id, market.fee_bips):
            self._questions[row] = market.question_id, market.fee_bips
            self.owe(question)  # once a start: what stands in the stream of it is not learned

    def retire(self, now_ns: int, row: int) -> None:
        """Another market needs the row's place: nobody carries it, its number stays its own."""
        market = self.written.pop(row, None)
        if market is None:
            self._relearn(now_ns, row, Rule.RETIRED, Rule.TRADABLE | Rule.HASHED)
        else:
            record = self._record(now_ns, row, market, is_retired=True)
            self._rows.learned[row] = CODECS[Kind.INSTRUMENT].unpack(record)
            self.owe(record)
        self._rows.rest(row)
        self._counts.add("markets_retired")

    def close(self, now_ns: int, row: int) -> None:
        """The order book says that the market is over, whatever Gamma lists: nothing is traded there."""
        market = self.written.get(row)
        if market is None:
            self._relearn(now_ns, row, Rule.CLOSED, Rule.TRADABLE)
        elif not market.closed:
            self.write(now_ns, row, replace(market, accepting=False, closed=True))

    def resolve(self, now_ns: int, row: int, payout: tuple[int, int]) -> None:
        """Tell what a market pays, USD micro a share of YES and of NO."""
        self._counts.add("markets_settled")
        self.owe(CODECS[Kind.RESOLVED].pack(
            recv_ns=now_ns, instrument=row, payout_micro_yes=payout[0], payout_micro_no=payout[1]))

    def flush(self) -> bool:
        """Publish owed records; True when none is left."""
        return push_owed(self._sink, self._owed)

    def _shares(self, row: int) -> tuple[bytes, bytes, bool, bool] | None:
        """Return what the stream says that the shares of a row are, None when it says nothing yet."""
        found, known = self.written.get(row), self._rows.learned.get(row)
        if found is not None:
            return _shares_of(found)
        return None if known is None else (
            bytes(known.token_yes), bytes(known.token_no), bool(known.rules & Rule.NEG_RISK),
            bool(known.rules & Rule.V2))

    def _record(self, now_ns: int, row: int, market: MarketInfo, *, is_retired: bool = False) -> bytes:
        return instrument_record(
            market, row, self._rows.event_number(market.event_id, row), self._rows.active[row],
            watch=self._watch and market.neg_risk, recv_ns=now_ns, is_retired=is_retired)

    def _relearn(self, now_ns: int, row: int, added: int, removed: int) -> None:
        """Owe the INSTRUMENT of an earlier start once more, with other rules."""
        known = self._rows.learned.get(row)
        if known is not None and known.rules & (added | removed) != added:
            changed = known._replace(  # a repeat of a known row would change nothing
                recv_ns=now_ns, flags=known.flags & ~Flag.REPEAT, rules=known.rules & ~removed | added)
            self._rows.learned[row] = changed
            self.owe(CODECS[Kind.INSTRUMENT].pack(**changed._asdict()))

    def owe(self, record: bytes | bytearray) -> None:
        """Number a record of this ring and publish it as soon as there is room."""
        self._source_seq += 1
        stamped = bytearray(record)
        stamped[24:32] = self._source_seq.to_bytes(8, "little")
        stamped[40:42] = self._source.to_bytes(2, "little")
        self._owed.append(bytes(stamped))


def _shares_of(market: MarketInfo) -> tuple[bytes, bytes, bool, bool]:
    """Return the tokens of a market and what chooses the exchange that they are signed for."""
    return market.token_yes, market.token_no, market.neg_risk, market.v2


def _says_the_same(found: Any, known: Any) -> bool:
    """Compare two INSTRUMENT records but for their headers, and the tick where the stream's own one holds."""
    fields = found._fields[_HEADER_FIELDS:]
    if known.flags & Flag.TICKED:
        fields = [name for name in fields if not name.startswith("tick_step")]
    return all(getattr(found, name) == getattr(known, name) for name in fields)
