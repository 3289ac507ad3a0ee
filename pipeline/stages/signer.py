"""signer.<id>: turns intents into signed orders. Holds the wallet key; has no network.

Reads `decisions` (Intent), `stream` (Instrument rows) and the ideas that `detect` hints; writes the `signed`
ring. Signs order structures only, checks deadline, halt level, amounts and its own ceilings again, and lets
a refusal travel in the signed ring, so that order numbers stay in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pipeline.codec import CODECS, kind_of
from pipeline.kinds import Cause, Flag, Kind, Rule
from pipeline.native.flow import Sink, Source
from pipeline.native.relay import Filter
from pipeline.native.signing import IntentSigner
from pipeline.native.stamps import Stamps
from pipeline.records import SLOT_BYTES
from pipeline.shm.halt import HaltPage
from pipeline.stages import rehearsal
from pipeline.stages.brake import Brake
from pipeline.stages.foresight import Foresight
from pipeline.stages.stage import Clock, Counts
from pipeline.venues.polymarket.amounts import fine_step_micro, order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner, token_cause

INTENTS_PER_POLL = 16
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]
_NONE = int(Cause.NONE)


class Market(NamedTuple):
    """What signing needs to know about a row, as its INSTRUMENT record says it."""

    tokens: tuple[bytes, bytes]  # YES, NO
    neg_risk: bool
    v2: bool


class Signing(IntentSigner):
    """Makes SIGNED records of INTENTs (`native/signing`); knows the markets from their records.

    A signer has two: its own, and an understudy with a key that owns nothing and a brake of its own.
    """

    __slots__ = ("_markets", "_refused", "_signer", "_steps")

    def __init__(self, signer: OrderSigner, brake: Brake, halt_page: HaltPage, clock: Clock) -> None:
        super().__init__(signer.sealer, brake, halt_page.words, clock)
        self._signer = signer
        self._markets: dict[int, Market] = {}
        self._refused: set[int] = set()  # rows that were told in two ways
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page

    def learn(self, slot: bytes, at: int = 0) -> None:
        """Take the INSTRUMENT or TICK_STEP record at byte `at`."""
        if kind_of(slot, at) == Kind.TICK_STEP:
            change = _TICK_STEP.unpack(slot, at)
            self._steps[change.instrument] = change.new_step
            if (known := self._markets.get(change.instrument)) is not None:
                self._set(change.instrument, known, change.new_step)
            return
        record = _INSTRUMENT.unpack(slot, at)
        if record.flags & Flag.TICKED:
            self._steps.setdefault(record.instrument, record.tick_step)
        market = Market(
            (record.token_yes, record.token_no), bool(record.rules & Rule.NEG_RISK),
            bool(record.rules & Rule.V2))
        if self._markets.get(record.instrument, market) != market:
            self._refused.add(record.instrument)  # what its shares are never changes: one of both is wrong
        self._markets[record.instrument] = market
        self._set(record.instrument, market, self._steps.get(record.instrument, record.tick_step))

    def _set(self, row: int, market: Market, tick_step: int) -> None:
        tokens, neg_risk, v2 = market
        usual = Cause.NOT_TRADABLE if row in self._refused else Cause.NONE
        causes = [token_cause(token, v2) or usual for token in tokens]
        self.set_market(
            row, *tokens, *map(int, causes),
            self._signer.domain(neg_risk, v2), tick_step, fine_step_micro(tick_step))

    def amounts_cause(
        self, order_type: int, side: int, price_ticks: int, size_micro: int, step: int,
    ) -> Cause:
        """Return what is wrong with amounts that price and size do not give."""
        amounts = order_amounts(order_type, side, price_ticks, size_micro, step)
        return amounts.cause if isinstance(amounts, Refusal) else Cause.BELOW_MINIMUM


class SignerStage:
    """Signs what the brake allows; an intent that it refuses goes on as a record with the cause.

    While nothing is to be signed, `understudy` signs orders that go nowhere: it keeps the code warm.
    """

    def __init__(
        self, name: str, signing: Signing, understudy: Signing, intents: Filter, hints: Source, rows: Filter,
        sink: Sink, clock: Clock, counts: Counts, stamps: Stamps,
        position: Callable[[], int],
    ) -> None:
        """position: of the next intent that is not read yet; a restarted signer goes on there."""
        self.name = name
        self._signing = signing
        self._understudy = understudy
        self._pause = rehearsal.Pause(clock)
        self._foresight = Foresight(signing.sign_ahead)
        self._intents = intents
        self._hints = hints
        self._rows = rows
        self._sink = sink
        self._count_signed = counts.counter("signed").add
        self._count_refused = counts.counter("sign_refused").add
        self._count_ahead = counts.counter("signed_ahead").add
        self._stamps = stamps
        self._position = position
        self._put_position = counts.counter(f"reads.decisions.{name}").put
        self._waiting = b""  # intents as they were read
        self._next = 0  # the byte in there at which the next one to sign begins
        understudy.learn(rehearsal.MARKET)

    def poll(self, budget: int) -> int:
        """Sign what waits while the signed ring has room; the rows that it is of come before it."""
        if self._next >= len(self._waiting):
            self._waiting, self._next = self._intents.read(INTENTS_PER_POLL), 0
        if self._next < len(self._waiting):
            done = self._learn(budget) + self._sign()
            if done:
                return done
        if hint := self._hints.read():
            self._foresight.on_hint(hint)
        if self._foresight.step():
            self._pause.work()
            return 1  # one a poll: what is decided comes first
        if self._pause.is_over:
            self._understudy.make(rehearsal.INTENT)
            self._pause.work()
        if not self._waiting or self._next >= len(self._waiting):
            self._put_position(self._position())
        return self._learn(budget)  # last: after a sleep there is much to pass by

    def _learn(self, budget: int) -> int:
        rows = self._rows.read(budget)
        for at in range(0, len(rows), SLOT_BYTES):
            self._signing.learn(rows, at)
        return len(rows) // SLOT_BYTES

    def _sign(self) -> int:
        """Sign what there is room for; return how many. Counting comes behind the last order."""
        signing, sink, waiting = self._signing, self._sink, self._waiting
        begun, ahead_count, refused_count = self._next, 0, 0
        while self._next < len(waiting) and sink.has_room(1):
            sink.push(signing.make(waiting, self._next))
            self._next += SLOT_BYTES
            if signing.is_last:
                self._stamps.mark(signing.group_no, signing.group_no + 1, self._pause.work())
            ahead_count += signing.was_ahead
            refused_count += signing.cause != _NONE
        count = (self._next - begun) // SLOT_BYTES
        if count:
            self._pause.work()
            self._foresight.on_intent(signing.order_no, signing.salt, signing.cause_seq)
            self._count_signed(count - refused_count)
            self._count_refused(refused_count)
            self._count_ahead(ahead_count)
            if self._next >= len(waiting):
                # Behind the push: whoever starts here may sign the last ones again, and misses none.
                self._put_position(self._position())
        return count

    def close(self) -> None:
        """Persist the ceilings."""
        self._signing.brake.close()
        self._understudy.brake.close()
