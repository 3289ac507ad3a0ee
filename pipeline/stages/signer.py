"""signer.<id>: turns intents into signed orders. Holds the wallet key; has no network.

Reads `decisions` (Intent), `stream` (Instrument rows) and the ideas that `detect` hints; writes the `signed`
ring. Signs order structures only, checks deadline, halt level, amounts and its own ceilings again, and lets
a refusal travel in the signed ring, so that order numbers stay in order.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from pipeline.native.flow import Sink, Source
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import CODECS, SLOT_BYTES, Cause, IntentClass, Kind, Rule, kind_of, struct_of
from pipeline.shm.halt import HaltPage
from pipeline.stages import rehearsal
from pipeline.stages.brake import Brake, is_allowed
from pipeline.stages.foresight import Foreseen, Foresight
from pipeline.stages.stage import Clock, Counts
from pipeline.venues.polymarket.amounts import exact_amounts, order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner

INTENTS_PER_POLL = 16
AHEAD_MAX = 64  # signatures that wait to be asked for
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]

#: What signing needs of an INTENT, plain numbers in this order: one unpack a record and no object around it.
FIELDS = (
    "recv_ns", "instrument", "order_no", "group_no", "cause_seq", "deadline_ns", "timestamp_ms", "salt",
    "maker_amount", "taker_amount", "size_micro", "expiration_s", "worst_usd_micro", "price_ticks",
    "batch_index", "batch_count", "outcome", "side", "order_type", "intent_class", "post_only", "account")
Intent = tuple[int, ...]
_INTENT = struct_of(Kind.INTENT, FIELDS)
intent_of = _INTENT.unpack_from  # (slots, byte) -> Intent
_ORDER_NO, _GROUP_NO, _CAUSE_SEQ, _SALT, _BATCH_INDEX, _BATCH_COUNT = map(FIELDS.index, (
    "order_no", "group_no", "cause_seq", "salt", "batch_index", "batch_count"))
# An order's own fields go over as they stand; the cause's position takes the place of the unused source_seq.
# Hashes and signature are neighbours and come as one piece.
_SIGNED = struct.Struct(struct_of(Kind.SIGNED, (
    "recv_ns", "source_seq", "kind", "instrument", "parts", "order_no", "group_no", "deadline_ns",
    "timestamp_ms", "salt", "maker_amount", "taker_amount", "expiration_s", "order_hash", "struct_hash",
    "signature", "outcome", "side", "order_type", "intent_class", "post_only", "account", "batch_index",
    "batch_count", "cause")).format.replace("32s32s65s", "129s"))
assert _SIGNED.format.count("129s") == 1
assert _SIGNED.size == SLOT_BYTES
_UNSIGNED = b""  # zeros in the record
_SIGNED_KIND = int(Kind.SIGNED)
_NEW_RISK = int(IntentClass.NEW_RISK)
_NONE, _NO_INSTRUMENT = Cause.NONE, Cause.NO_INSTRUMENT  # a member looked up costs more than it is used for


class Market(NamedTuple):
    """What signing needs to know about a row."""

    tokens: tuple[bytes, bytes]  # YES, NO
    neg_risk: bool
    v2: bool
    tick_step: int  # that the stream told last


class Signing:
    """Makes SIGNED records of INTENTs with one key behind one brake. No channels, no counters.

    A signer has two: its own, and an understudy with a key that owns nothing and a brake of its own.
    """

    __slots__ = ("_ahead", "_clock", "_level", "_markets", "_seal", "_steps", "brake", "was_ahead")

    def __init__(self, signer: OrderSigner, brake: Brake, halt_page: HaltPage, clock: Clock) -> None:
        self.brake = brake
        self._seal = signer.seal
        self._level = halt_page.words.level  # the number itself: a HaltLevel of it costs ten times as much
        self._clock = clock
        self.was_ahead = False  # the newest record's signature was there before it was asked for
        self._markets: dict[int, Market] = {}
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page
        self._ahead: dict[tuple[object, ...], bytes] = {}  # everything signed -> what seal says, oldest first

    def learn(self, slot: bytes, at: int = 0) -> None:
        """Take the INSTRUMENT or TICK_STEP record at byte `at`."""
        if kind_of(slot, at) == Kind.TICK_STEP:
            change = _TICK_STEP.unpack(slot, at)
            self._steps[change.instrument] = change.new_step
            if (known := self._markets.get(change.instrument)) is not None:
                self._markets[change.instrument] = known._replace(tick_step=change.new_step)
            return
        record = _INSTRUMENT.unpack(slot, at)
        self._markets[record.instrument] = Market(
            (record.token_yes, record.token_no), bool(record.rules & Rule.NEG_RISK),
            bool(record.rules & Rule.V2), self._steps.get(record.instrument, record.tick_step))

    def make(self, intent: Intent) -> tuple[bytes, Cause]:
        """Return the SIGNED record of an INTENT, and why it holds no signature (NONE: it does).

        The brake has stored the order number when this returns: nothing can be pushed before.
        """
        (recv_ns, row, order_no, group_no, cause_seq, deadline_ns, timestamp_ms, salt, maker_amount,
         taker_amount, size_micro, expiration_s, worst_usd_micro, price_ticks, batch_index, batch_count,
         outcome, side, order_type, intent_class, post_only, account) = intent
        self.was_ahead = False
        sealed: bytes | None = _UNSIGNED
        market = self._markets.get(row)
        if market is None:
            cause = _NO_INSTRUMENT
        else:
            tokens, neg_risk, v2, step = market
            amounts = exact_amounts(order_type, side, price_ticks, size_micro, step)
            if amounts != (maker_amount, taker_amount):
                cause = _amounts_cause(order_type, side, price_ticks, size_micro, step)
            else:
                cause = self.brake.refuse(
                    self._clock(), deadline_ns, intent_class, worst_usd_micro, self._level())
            if cause is _NONE:
                asked = (salt, tokens[outcome], maker_amount, taker_amount, side, timestamp_ms, neg_risk, v2)
                sealed = self._ahead.pop(asked, None)
                if sealed is not None:
                    self.was_ahead = True
                else:
                    answer = self._seal(*asked)
                    if isinstance(answer, bytes):
                        sealed = answer
                    else:
                        sealed, cause = _UNSIGNED, answer.cause
        made = _SIGNED.pack(
            recv_ns, cause_seq, _SIGNED_KIND, row, 1, order_no, group_no, deadline_ns, timestamp_ms, salt,
            maker_amount, taker_amount, expiration_s, sealed, outcome, side, order_type, intent_class,
            post_only, account, batch_index, batch_count, cause)
        self.brake.commit(order_no)
        return made, cause

    def sign_ahead(self, foreseen: Foreseen) -> None:
        """Keep the signature of an order that may be asked for; the brake looks when it is."""
        order_type, side, price_ticks, size_micro, row, outcome, salt, timestamp_ms = foreseen
        market = self._markets.get(row)
        if market is None or not is_allowed(self._level(), _NEW_RISK):
            return
        tokens, neg_risk, v2, step = market
        amounts = exact_amounts(order_type, side, price_ticks, size_micro, step)
        if amounts is None:
            return
        maker_amount, taker_amount = amounts
        asked = (salt, tokens[outcome], maker_amount, taker_amount, side, timestamp_ms, neg_risk, v2)
        sealed = self._seal(*asked)
        if isinstance(sealed, bytes):
            if len(self._ahead) >= AHEAD_MAX:
                del self._ahead[next(iter(self._ahead))]
            self._ahead[asked] = sealed


def _amounts_cause(order_type: int, side: int, price_ticks: int, size_micro: int, step: int) -> Cause:
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
        self._count_signed = counts.counter("signed").add
        self._count_refused = counts.counter("sign_refused").add
        self._count_ahead = counts.counter("signed_ahead").add
        self._stamps = stamps
        self._waiting = b""  # intents as they were read
        self._next = 0  # the byte in there at which the next one to sign begins
        understudy.learn(rehearsal.MARKET)

    def poll(self, budget: int) -> int:
        """Sign what waits while the signed ring has room."""
        data = self._rows.read(budget)
        for at in range(0, len(data), SLOT_BYTES):
            self._signing.learn(data, at)
        if self._next >= len(self._waiting):
            self._waiting, self._next = self._intents.read(INTENTS_PER_POLL), 0
        done = len(data) // SLOT_BYTES
        while self._next < len(self._waiting) and self._sink.has_room(1):
            intent = intent_of(self._waiting, self._next)
            self._next += SLOT_BYTES
            self._sign(intent)
            done += 1
        if done:
            return done
        if hint := self._hints.read():
            self._foresight.on_hint(hint)
        if self._foresight.step():
            self._pause.work()
            return 1  # one a poll: what is decided comes first
        if self._pause.is_over:
            self._understudy.make(intent_of(rehearsal.INTENT))
            self._pause.work()
        return 0

    def _sign(self, intent: Intent) -> None:
        made, cause = self._signing.make(intent)
        self._foresight.on_intent(intent[_ORDER_NO], intent[_SALT], intent[_CAUSE_SEQ])
        if cause is _NONE:
            self._count_signed(1)
        else:
            self._count_refused(1)
        if self._signing.was_ahead:
            self._count_ahead(1)
        self._sink.push(made)
        now_ns = self._pause.work()
        if intent[_BATCH_INDEX] + 1 >= intent[_BATCH_COUNT]:
            group_no = intent[_GROUP_NO]
            self._stamps.mark(group_no, group_no + 1, now_ns)

    def close(self) -> None:
        """Persist the ceilings."""
        self._signing.brake.close()
        self._understudy.brake.close()
