"""signer.<id>: turns intents into signed orders. Holds the wallet key; has no network.

Reads `decisions` (Intent), `stream` (Instrument rows) and the ideas that `detect` hints; writes the `signed`
ring. Signs order structures only, checks deadline, halt level, amounts and its own ceilings again, and lets
a refusal travel in the signed ring, so that order numbers stay in order.
"""

from __future__ import annotations

from collections import deque
from operator import itemgetter
from typing import NamedTuple

from pipeline.native.flow import Sink, Source
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import CODECS, SLOT_BYTES, Cause, IntentClass, Kind, Mover, Rule, kind_of, offset_of
from pipeline.shm.halt import HaltPage
from pipeline.stages import rehearsal
from pipeline.stages.brake import Brake, is_allowed
from pipeline.stages.foresight import Foreseen, Foresight
from pipeline.stages.stage import Clock, Counts
from pipeline.venues.polymarket.amounts import order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner, Signed

INTENTS_PER_POLL = 16
AHEAD_MAX = 64  # signatures that wait to be asked for
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]


class Intent(NamedTuple):
    """What signing needs of an INTENT; fields as in the record."""

    instrument: int
    order_no: int
    group_no: int
    order_type: int
    side: int
    outcome: int
    price_ticks: int
    size_micro: int
    maker_amount: int
    taker_amount: int
    worst_usd_micro: int
    salt: int
    timestamp_ms: int
    deadline_ns: int
    intent_class: int
    cause_seq: int
    batch_index: int
    batch_count: int


_UNPACK = CODECS[Kind.INTENT].struct.unpack_from
_PICK = itemgetter(*(CODECS[Kind.INTENT].at[name] for name in Intent._fields))
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


class Signing:
    """Makes SIGNED records of INTENTs with one key behind one brake. No channels, no counters.

    A signer has two: its own, and an understudy with a key that owns nothing and a brake of its own.
    """

    def __init__(self, signer: OrderSigner, brake: Brake, halt_page: HaltPage, clock: Clock) -> None:
        self.brake = brake
        self._signer = signer
        self._halt_page = halt_page
        self._clock = clock
        self.was_ahead = False  # the newest record's signature was there before it was asked for
        self._markets: dict[int, Market] = {}
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page
        self._ahead: dict[tuple[object, ...], Signed] = {}  # everything signed -> signature, oldest first

    def learn(self, slot: bytes, at: int = 0) -> None:
        """Take the INSTRUMENT or TICK_STEP record at byte `at`."""
        if kind_of(slot, at) == Kind.TICK_STEP:
            change = _TICK_STEP.unpack(slot, at)
            self._steps[change.instrument] = change.new_step
            return
        record = _INSTRUMENT.unpack(slot, at)
        self._markets[record.instrument] = Market(
            (record.token_yes, record.token_no), bool(record.rules & Rule.NEG_RISK),
            bool(record.rules & Rule.V2), record.tick_step)

    def make(self, slot: bytes, intent: Intent) -> tuple[bytearray, Cause]:
        """Return the SIGNED record of an INTENT, and why it holds no signature (NONE: it does)."""
        market = self._markets.get(intent.instrument)
        made = _TO_SIGNED.move(slot)
        made[_SOURCE_SEQ : _SOURCE_SEQ + 8] = slot[_CAUSE_SEQ : _CAUSE_SEQ + 8]
        cause = self._refusal(intent, market)
        if cause == Cause.NONE and market is not None:
            what = (
                intent.salt, market.tokens[intent.outcome], intent.maker_amount, intent.taker_amount,
                intent.side, intent.timestamp_ms)
            signed: Signed | Refusal | None = self._ahead.pop((*what, market.neg_risk, market.v2), None)
            self.was_ahead = signed is not None
            if signed is None:
                signed = self._signer.sign(*what, neg_risk=market.neg_risk, v2=market.v2)
            if isinstance(signed, Refusal):
                cause = signed.cause
            else:
                made[_HASHES : _HASHES + 129] = signed.order_hash + signed.struct_hash + signed.signature
        made[_CAUSE : _CAUSE + 2] = int(cause).to_bytes(2, "little")
        self.brake.commit(intent.order_no)
        return made, cause

    def sign_ahead(self, foreseen: Foreseen) -> None:
        """Keep the signature of an order that may be asked for; the brake looks when it is."""
        order_type, side, price_ticks, size_micro, row, outcome, salt, timestamp_ms = foreseen
        market = self._markets.get(row)
        if market is None or not is_allowed(self._halt_page.level(), IntentClass.NEW_RISK):
            return
        step = self._steps.get(row, market.tick_step)
        amounts = order_amounts(order_type, side, price_ticks, size_micro, step)
        if isinstance(amounts, Refusal):
            return
        what = (salt, market.tokens[outcome], *amounts, side, timestamp_ms)
        signed = self._signer.sign(*what, neg_risk=market.neg_risk, v2=market.v2)
        if isinstance(signed, Signed):
            if len(self._ahead) >= AHEAD_MAX:
                del self._ahead[next(iter(self._ahead))]
            self._ahead[*what, market.neg_risk, market.v2] = signed

    def _refusal(self, intent: Intent, market: Market | None) -> Cause:
        if market is None:
            return Cause.NO_INSTRUMENT
        step = self._steps.get(intent.instrument, market.tick_step)
        amounts = order_amounts(intent.order_type, intent.side, intent.price_ticks, intent.size_micro, step)
        if amounts != (intent.maker_amount, intent.taker_amount):
            return amounts.cause if isinstance(amounts, Refusal) else Cause.BELOW_MINIMUM
        return self.brake.refuse(
            self._clock(), intent.deadline_ns, intent.intent_class, intent.worst_usd_micro,
            self._halt_page.level())


def intent_of(slot: bytes) -> Intent:
    """Return what signing needs of an INTENT."""
    return Intent._make(_PICK(_UNPACK(slot)))


class SignerStage:
    """Signs what the brake allows; an intent that it refuses goes on as a record with the cause.

    While nothing is to be signed, `understudy` signs orders that go nowhere: it keeps the code warm.
    """

    def __init__(
        self, name: str, signing: Signing, understudy: Signing, intents: Filter, hints: Source, rows: Filter,
        sink: Sink, clock: Clock, counts: Counts, stamps: Stamps,
    ) -> None:
        self.name = name
        self._signing = signing
        self._understudy = understudy
        self._pause = rehearsal.Pause(clock)
        self._foresight = Foresight(signing.sign_ahead)
        self._intents = intents
        self._hints = hints
        self._rows = rows
        self._sink = sink
        self._counts = counts
        self._stamps = stamps
        self._waiting: deque[bytes] = deque()
        understudy.learn(rehearsal.MARKET)

    def poll(self, budget: int) -> int:
        """Sign what waits while the signed ring has room."""
        data = self._rows.read(budget)
        for at in range(0, len(data), SLOT_BYTES):
            self._signing.learn(data, at)
        intents = self._intents.read(INTENTS_PER_POLL) if not self._waiting else b""
        self._waiting.extend(intents[at : at + SLOT_BYTES] for at in range(0, len(intents), SLOT_BYTES))
        done = len(data) // SLOT_BYTES
        while self._waiting and self._sink.has_room(1):
            self._sign(self._waiting.popleft())
            done += 1
        if done:
            return done
        if hint := self._hints.read():
            self._foresight.on_hint(hint)
        if self._foresight.step():
            self._pause.work()
            return 1  # one a poll: what is decided comes first
        if self._pause.is_over:
            self._understudy.make(rehearsal.INTENT, intent_of(rehearsal.INTENT))
            self._pause.work()
        return 0

    def _sign(self, slot: bytes) -> None:
        intent = intent_of(slot)
        made, cause = self._signing.make(slot, intent)
        self._foresight.on_intent(intent.order_no, intent.salt, intent.cause_seq)
        self._counts.add("signed" if cause == Cause.NONE else "sign_refused", 1)
        self._counts.add("signed_ahead", int(self._signing.was_ahead))
        self._sink.push(made)
        now_ns = self._pause.work()
        if intent.batch_index + 1 >= intent.batch_count:
            self._stamps.mark(intent.group_no, intent.group_no + 1, now_ns)

    def close(self) -> None:
        """Persist the ceilings."""
        self._signing.brake.close()
        self._understudy.brake.close()
