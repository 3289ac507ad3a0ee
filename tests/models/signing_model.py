"""Slow model of native.signing and native.brake: INTENT in, SIGNED out, in plain Python without a file.

Amounts, tokens and the 129 bytes of a signature come from `venues.polymarket`, as exact integers do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline.codec import CODECS, kind_of, struct_of
from pipeline.kinds import Cause, HaltLevel, IntentClass, Kind, OrderType, Rule, Side
from pipeline.native.signing import AHEAD_MAX
from pipeline.stages.brake import Ceilings
from pipeline.units import NS_PER_S, TICKS_PER_USD
from pipeline.venues.polymarket.amounts import fine_step_micro, order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner

DAY_NS, MINUTE_NS = 86_400 * NS_PER_S, 60 * NS_PER_S
_SIGNED = struct_of(Kind.SIGNED, (
    "recv_ns", "source_seq", "kind", "instrument", "parts", "order_no", "group_no", "deadline_ns",
    "timestamp_ms", "salt", "maker_amount", "taker_amount", "expiration_s", "order_hash", "struct_hash",
    "signature", "outcome", "side", "order_type", "intent_class", "post_only", "account", "batch_index",
    "batch_count", "cause"))
CENT_MICRO = 10_000  # 0.01 share or USD


def exact_amounts(order_type: int, side: int, price_ticks: int, size_micro: int,
                  tick_step: int) -> tuple[int, int] | None:
    """Return (maker, taker) as `order_amounts` says them, None where it refuses.

    Decides by the two amounts themselves, as `native/signing` does, without a size step.
    """
    fine = fine_step_micro(tick_step)
    if (not fine or not tick_step <= price_ticks <= TICKS_PER_USD - tick_step or price_ticks % tick_step
            or not 0 < size_micro <= (1 << 63) - 1):
        return None
    product = price_ticks * size_micro  # USD in 1e-10
    is_buy = side == Side.BUY
    if order_type in (OrderType.FOK, OrderType.FAK):
        share_unit, usd_unit = (fine, CENT_MICRO) if is_buy else (CENT_MICRO, fine)
        if size_micro % share_unit or product % (usd_unit * TICKS_PER_USD):
            return None
    elif size_micro % CENT_MICRO:
        return None
    usd = product // TICKS_PER_USD
    return (usd, size_micro) if is_buy else (size_micro, usd)


class Market(NamedTuple):
    """What signing needs to know about a row."""

    tokens: tuple[bytes, bytes]  # YES, NO
    neg_risk: bool
    v2: bool
    tick_step: int  # that the stream told last


def is_allowed(level: int, intent_class: int) -> bool:
    """Tell whether the halt ladder lets this class of order through."""
    if level >= HaltLevel.H3:
        return intent_class == IntentClass.CANCEL
    if level == HaltLevel.H2:
        return intent_class in (IntentClass.HEDGE, IntentClass.CANCEL)
    if level == HaltLevel.H1:
        return intent_class != IntentClass.NEW_RISK
    return True


class SlowBrake:
    """Deadline, halt level and ceilings of one lane, in numbers that nothing bounds."""

    def __init__(self, ceilings: Ceilings) -> None:
        self.ceilings = ceilings
        self.day = self.day_usd_micro = self.minute = self.minute_orders = self.order_no = 0

    def refuse(self, now_ns: int, deadline_ns: int, intent_class: int, usd_micro: int, level: int) -> Cause:
        """Return why this order must not go on, or Cause.NONE; counts it when it may."""
        if not now_ns <= deadline_ns:
            return Cause.DEADLINE
        if not is_allowed(level, intent_class):
            return Cause.HALT_LEVEL
        day, minute = now_ns // DAY_NS, now_ns // MINUTE_NS
        if day != self.day:
            self.day, self.day_usd_micro = day, 0
        if minute != self.minute:
            self.minute, self.minute_orders = minute, 0
        day_usd_micro, minute_orders = self.day_usd_micro + usd_micro, self.minute_orders + 1
        is_within = (
            0 <= usd_micro <= self.ceilings.order_usd_micro_max
            and day_usd_micro <= self.ceilings.day_usd_micro_max
            and minute_orders <= self.ceilings.minute_orders_max)
        if not is_within:
            return Cause.CEILING
        self.day_usd_micro, self.minute_orders = day_usd_micro, minute_orders
        return Cause.NONE

    def commit(self, order_no: int) -> None:
        """Remember that this order may have left."""
        self.order_no = max(self.order_no, order_no)


class SlowSigning:
    """Makes SIGNED records of INTENTs with one key behind one brake.

    level: tells the halt level. clock: tells the time in ns.
    """

    def __init__(
        self, signer: OrderSigner, brake: SlowBrake, level: Callable[[], int], clock: Callable[[], int],
    ) -> None:
        self.brake = brake
        self.was_ahead = False  # the newest record's signature was there before it was asked for
        self.markets: dict[int, Market] = {}
        self._signer = signer
        self._level = level
        self._clock = clock
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page
        self.said: dict[int, set[tuple[bytes, bytes, int]]] = {}  # row -> what its shares were said to be
        self._ahead: dict[tuple[int, bytes, int, int, int, int, bool, bool], bytes] = {}  # oldest first

    @property
    def ahead_salts(self) -> list[int]:
        """The salts of all signatures that wait to be asked for, oldest first."""
        return [asked[0] for asked in self._ahead]

    def learn(self, slot: bytes) -> None:
        """Take an INSTRUMENT or TICK_STEP record."""
        if kind_of(slot) == Kind.TICK_STEP:
            change = CODECS[Kind.TICK_STEP].unpack(slot)
            self._steps[change.instrument] = change.new_step
            if (known := self.markets.get(change.instrument)) is not None:
                self.markets[change.instrument] = known._replace(tick_step=change.new_step)
            return
        record = CODECS[Kind.INSTRUMENT].unpack(slot)
        said = record.token_yes, record.token_no, record.rules & (Rule.NEG_RISK | Rule.V2)
        self.said.setdefault(record.instrument, set()).add(said)
        self.markets[record.instrument] = Market(
            (record.token_yes, record.token_no), bool(record.rules & Rule.NEG_RISK),
            bool(record.rules & Rule.V2), self._steps.get(record.instrument, record.tick_step))

    def is_disputed(self, row: int) -> bool:
        """Tell whether two records disagree about what the shares of a row are."""
        return len(self.said.get(row, ())) > 1

    def make(self, slot: bytes) -> tuple[bytes, Cause]:
        """Return the SIGNED record of an INTENT, and why it holds no signature (NONE: it does)."""
        intent = CODECS[Kind.INTENT].unpack(slot)
        self.was_ahead = False
        sealed = self._sealed(intent)
        cause = Cause.NONE if isinstance(sealed, bytes) else sealed
        hashes = sealed if isinstance(sealed, bytes) else bytes(129)
        made = _SIGNED.pack(
            intent.recv_ns, intent.cause_seq, Kind.SIGNED, intent.instrument, 1, intent.order_no,
            intent.group_no, intent.deadline_ns, intent.timestamp_ms, intent.salt, intent.maker_amount,
            intent.taker_amount, intent.expiration_s, hashes[:32], hashes[32:64], hashes[64:], intent.outcome,
            intent.side, intent.order_type, intent.intent_class, intent.post_only, intent.account,
            intent.batch_index, intent.batch_count, cause)
        self.brake.commit(intent.order_no)
        return made, cause

    def _sealed(self, intent: Any) -> bytes | Cause:
        market = self.markets.get(intent.instrument)
        if market is None:
            return Cause.NO_INSTRUMENT
        said = (
            intent.order_type, intent.side, intent.price_ticks, intent.size_micro, market.tick_step)
        if exact_amounts(*said) != (intent.maker_amount, intent.taker_amount):
            amounts = order_amounts(*said)
            return amounts.cause if isinstance(amounts, Refusal) else Cause.BELOW_MINIMUM
        cause = self.brake.refuse(
            self._clock(), intent.deadline_ns, intent.intent_class, intent.worst_usd_micro,
            self._level())
        if cause != Cause.NONE:
            return cause
        if intent.outcome > 1:
            return Cause.MISSING_VALUE
        asked = (
            intent.salt, market.tokens[intent.outcome], intent.maker_amount, intent.taker_amount,
            intent.side, intent.timestamp_ms, market.neg_risk, market.v2)
        if self.is_disputed(intent.instrument):
            answer = self._signer.seal(*asked)
            return Cause.NOT_TRADABLE if isinstance(answer, bytes) else answer.cause
        sealed = self._ahead.pop(asked, None)
        if sealed is not None:
            self.was_ahead = True
            return sealed
        answer = self._signer.seal(*asked)
        return answer if isinstance(answer, bytes) else answer.cause

    def sign_ahead(self, foreseen: tuple[int, int, int, int, int, int, int, int]) -> None:
        """Keep the signature of an order that may be asked for; the brake looks when it is."""
        order_type, side, price_ticks, size_micro, row, outcome, salt, timestamp_ms = foreseen
        market = self.markets.get(row)
        if market is None or outcome > 1 or not is_allowed(self._level(), IntentClass.NEW_RISK):
            return
        if self.is_disputed(row):
            return
        amounts = exact_amounts(order_type, side, price_ticks, size_micro, market.tick_step)
        if amounts is None:
            return
        asked = (
            salt, market.tokens[outcome], *amounts, side, timestamp_ms, market.neg_risk, market.v2)
        sealed = self._signer.seal(*asked)
        if isinstance(sealed, bytes):
            if len(self._ahead) >= AHEAD_MAX:
                del self._ahead[next(iter(self._ahead))]
            self._ahead[asked] = sealed
