"""signer.<id>: turns intents into signed orders. Holds the wallet key; has no network.

Reads `decisions` (Intent) and `stream` (Instrument rows); writes the `signed` ring. Signs order
structures only, checks deadline, halt level, amounts and its own ceilings again, and lets a refusal
travel in the signed ring, so that order numbers stay in order.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import CODECS, SLOT_BYTES, Cause, Kind, Mover, Rule, kind_of, offset_of
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.stage import Clock, Counts
from pipeline.units import NS_PER_MS
from pipeline.venues.polymarket.amounts import order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner

_INTENT = CODECS[Kind.INTENT]
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]
INTENTS_PER_POLL = 16
REHEARSE_NS = 2 * NS_PER_MS  # after such a pause the next signature would be a cold one
_NOTHING = _INTENT.pack()
_NO_TOKEN = bytes(31) + b"\x01"

#: An order's own fields go over as they stand; the cause's position takes the place of the unused source_seq.
_TO_SIGNED = Mover(Kind.INTENT, Kind.SIGNED, (
    "recv_ns", "instrument", "order_no", "group_no", "deadline_ns", "timestamp_ms", "salt", "maker_amount",
    "taker_amount", "expiration_s", "outcome", "side", "order_type", "intent_class", "post_only", "account",
    "batch_index", "batch_count"))
_CAUSE_SEQ = offset_of(Kind.INTENT, "cause_seq")
_SOURCE_SEQ = offset_of(Kind.SIGNED, "source_seq")
_HASHES = offset_of(Kind.SIGNED, "order_hash")  # order hash, struct hash, signature: one stretch of 129 bytes
_CAUSE = offset_of(Kind.SIGNED, "cause")
assert offset_of(Kind.SIGNED, "struct_hash") == _HASHES + 32
assert offset_of(Kind.SIGNED, "signature") == _HASHES + 64


class Market(NamedTuple):
    """What signing needs to know about a row."""

    tokens: tuple[bytes, bytes]  # YES, NO
    neg_risk: bool
    v2: bool
    tick_step: int


class SignerStage:
    """Signs what the brake allows; an intent that it refuses goes on as a record with the cause.

    `rehearsal` signs with a key that owns nothing: it keeps the code warm while nothing is to be signed.
    """

    def __init__(
        self, name: str, signer: OrderSigner, rehearsal: OrderSigner, brake: Brake, intents: Filter,
        rows: Filter, sink: Sink, halt_page: HaltPage, clock: Clock, counts: Counts, stamps: Stamps,
    ) -> None:
        self.name = name
        self._signer = signer
        self._rehearsal = rehearsal
        self._worked_ns = 0
        self._brake = brake
        self._intents = intents
        self._rows = rows
        self._sink = sink
        self._halt_page = halt_page
        self._clock = clock
        self._counts = counts
        self._stamps = stamps
        self._markets: dict[int, Market] = {}
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page
        self._waiting: deque[bytes] = deque()

    def poll(self, budget: int) -> int:
        """Sign what waits while the signed ring has room."""
        data = self._rows.read(budget)
        for at in range(0, len(data), SLOT_BYTES):
            if kind_of(data, at) == Kind.TICK_STEP:
                change = _TICK_STEP.unpack(data, at)
                self._steps[change.instrument] = change.new_step
                continue
            record = _INSTRUMENT.unpack(data, at)
            self._markets[record.instrument] = Market(
                (record.token_yes, record.token_no), bool(record.rules & Rule.NEG_RISK),
                bool(record.rules & Rule.V2), record.tick_step)
        intents = self._intents.read(INTENTS_PER_POLL) if not self._waiting else b""
        self._waiting.extend(intents[at : at + SLOT_BYTES] for at in range(0, len(intents), SLOT_BYTES))
        done = len(data) // SLOT_BYTES
        while self._waiting and self._sink.has_room(1):
            self._sign(self._waiting.popleft())
            done += 1
        if not done:
            self._rehearse()
        return done

    def _rehearse(self) -> None:
        """Sign nothing for nobody: a first signature after a pause costs five times a second one.

        A lane is woken by an idea, before its order is decided, so this runs beside the decision.
        """
        now_ns = self._clock()
        if now_ns - self._worked_ns < REHEARSE_NS:
            return
        _TO_SIGNED.move(_NOTHING)
        _INTENT.unpack(_NOTHING)
        self._rehearsal.sign(
            now_ns % 1_000_003, _NO_TOKEN, 1_000_000, 2_000_000, 0, 0, neg_risk=True, v2=False)
        self._worked_ns = self._clock()

    def _sign(self, slot: bytes) -> None:
        intent = _INTENT.unpack(slot)
        market = self._markets.get(intent.instrument)
        made = _TO_SIGNED.move(slot)
        made[_SOURCE_SEQ : _SOURCE_SEQ + 8] = slot[_CAUSE_SEQ : _CAUSE_SEQ + 8]
        cause = self._refusal(intent, market)
        if cause == Cause.NONE and market is not None:
            signed = self._signer.sign(
                intent.salt, market.tokens[intent.outcome], intent.maker_amount, intent.taker_amount,
                intent.side, intent.timestamp_ms, neg_risk=market.neg_risk, v2=market.v2)
            if isinstance(signed, Refusal):
                cause = signed.cause
            else:
                made[_HASHES : _HASHES + 129] = signed.order_hash + signed.struct_hash + signed.signature
        made[_CAUSE : _CAUSE + 2] = int(cause).to_bytes(2, "little")
        self._counts.add("signed" if cause == Cause.NONE else "sign_refused", 1)
        self._sink.push(made)
        self._brake.commit(intent.order_no)
        self._worked_ns = self._clock()
        if intent.batch_index + 1 >= intent.batch_count:
            self._stamps.mark(intent.group_no, intent.group_no + 1, self._worked_ns)

    def _refusal(self, intent: Any, market: Market | None) -> Cause:
        if market is None:
            return Cause.NO_INSTRUMENT
        step = self._steps.get(intent.instrument, market.tick_step)
        amounts = order_amounts(intent.order_type, intent.side, intent.price_ticks, intent.size_micro, step)
        if amounts != (intent.maker_amount, intent.taker_amount):
            return amounts.cause if isinstance(amounts, Refusal) else Cause.BELOW_MINIMUM
        return self._brake.refuse(
            self._clock(), intent.deadline_ns, intent.intent_class, intent.worst_usd_micro,
            self._halt_page.level())

    def close(self) -> None:
        """Persist the ceilings."""
        self._brake.close()
