"""A signer stage on rings in memory, with a key of nobody and a clock that tests move; and what feeds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from pipeline.codec import CODECS
from pipeline.core.limits import salt_of
from pipeline.kinds import HaltLevel, Kind, OrderType, Rule, Side
from pipeline.native.relay import Filter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.records import IDEA_LEGS, SLOT_BYTES
from pipeline.shm import halt
from pipeline.stages.brake import Brake, Ceilings
from pipeline.stages.signer import SignerStage, Signing
from pipeline.stages.stage import Counts
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.amounts import Amounts, order_amounts
from pipeline.venues.polymarket.auth import Secret
from pipeline.venues.polymarket.sign import OrderSigner, owner_address

T0_NS, SLOTS, EPOCH, STEP = 1_790_000_000 * NS_PER_S, 128, 7, 100
KEY, NOBODY = Secret(bytes(range(1, 33))), Secret(bytes(31) + b"\x02")
PLENTY = Ceilings(
    order_usd_micro_max=1_000 * MICRO, day_usd_micro_max=1_000_000 * MICRO, minute_orders_max=10_000)


def account_of(key: Secret) -> identity.AccountIdentity:
    """Return the plain account (type 0) of a key."""
    owner = identity.checksum(owner_address(key))
    return identity.identify(owner, owner, 0)


def token(row: int, outcome: int) -> bytes:
    """Return a v1 token of a row."""
    return b"\xab" * 30 + bytes((row, outcome))


class Leg(NamedTuple):
    """One order of an idea."""

    row: int
    price_ticks: int
    size_micro: int
    outcome: int = 0
    side: int = int(Side.BUY)
    order_type: int = int(OrderType.FAK)


def idea(seq: int, legs: list[Leg], now_ns: int = T0_NS) -> bytes:
    """Return the run of slots with which detect hints these orders."""
    parts = -(-len(legs) // IDEA_LEGS)
    slots = []
    for part in range(parts):
        shown = legs[part * IDEA_LEGS : (part + 1) * IDEA_LEGS]
        slots.append(CODECS[Kind.IDEA].pack(
            seq=seq, now_ns=now_ns, part=part, parts=parts, in_part=len(shown), order_count=len(legs),
            leg_instrument=[leg.row for leg in shown], leg_price_ticks=[leg.price_ticks for leg in shown],
            leg_size_micro=[leg.size_micro for leg in shown],
            leg_outcome=bytes(leg.outcome for leg in shown).ljust(IDEA_LEGS, b"\0"),
            leg_side=bytes(leg.side for leg in shown).ljust(IDEA_LEGS, b"\0"),
            leg_type=bytes(leg.order_type for leg in shown).ljust(IDEA_LEGS, b"\0")))
    return b"".join(slots)


def intents(
    first_no: int, cause_seq: int, legs: list[Leg], now_ns: int = T0_NS, **changes: Any,
) -> list[bytes]:
    """Return the INTENTs with which trade takes such an idea; `changes` replace fields of every one."""
    found = []
    for place, leg in enumerate(legs):
        amounts = order_amounts(leg.order_type, leg.side, leg.price_ticks, leg.size_micro, STEP)
        assert isinstance(amounts, Amounts)
        fields: dict[str, Any] = {
            "recv_ns": now_ns - 5, "instrument": leg.row, "order_no": first_no + place, "group_no": first_no,
            "cause_seq": cause_seq, "deadline_ns": now_ns + NS_PER_S, "timestamp_ms": now_ns // NS_PER_MS,
            "salt": salt_of(EPOCH, first_no + place), "maker_amount": amounts.maker_amount,
            "taker_amount": amounts.taker_amount, "size_micro": leg.size_micro,
            "worst_usd_micro": 10 * MICRO, "price_ticks": leg.price_ticks, "outcome": leg.outcome,
            "side": leg.side, "order_type": leg.order_type, "batch_index": place, "batch_count": len(legs),
        }
        found.append(CODECS[Kind.INTENT].pack(**fields | changes))
    return found


class SignerRig:
    """One signer stage and the ends of its channels. `hints=False`: detect tells it nothing."""

    def __init__(self, directory: Path, *, hints: bool = True, ceilings: Ceilings = PLENTY) -> None:
        directory.mkdir(exist_ok=True)
        halt.create(directory)
        self.now_ns = T0_NS
        self.brake_path = directory / "signer.state"
        self._hears = hints
        self._operator = halt.HaltPage(directory, "operator")
        page = halt.HaltPage(directory)
        self.counts = Counts()
        self.signing = Signing(
            OrderSigner(KEY, account_of(KEY)), Brake(self.brake_path, ceilings), page, self.clock)
        self.understudy = Signing(
            OrderSigner(NOBODY, account_of(NOBODY)), Brake(None, PLENTY), page, self.clock)
        self._intents, intents_end = _ring()
        self._hints, hints_end = _ring()
        self._rows, rows_end = _ring()
        sink, self.signed_end = _ring()
        self.stage = SignerStage(
            "signer.main", self.signing, self.understudy, Filter(intents_end, [Kind.INTENT]), hints_end,
            Filter(rows_end, [Kind.INSTRUMENT, Kind.TICK_STEP]), sink, self.clock, self.counts,
            Stamps(bytearray(ENTRY_BYTES * 64)), lambda: intents_end.position)
        for row in (1, 2, 3):
            self._rows.push(self.row_of(row))
        self.work()

    @staticmethod
    def row_of(row: int) -> bytes:
        """Return the INSTRUMENT of a row as the signer knows it."""
        return CODECS[Kind.INSTRUMENT].pack(
            instrument=row, token_yes=token(row, 0), token_no=token(row, 1), rules=int(Rule.NEG_RISK),
            tick_step=STEP)

    def clock(self) -> int:
        """Return the time that the test set."""
        return self.now_ns

    def halt(self, level: HaltLevel) -> None:
        """Put the operator's halt level."""
        self._operator.put(level, now_ns=self.now_ns, reason="a test")

    def hint(self, run: bytes) -> None:
        """Let detect hint an idea, and the signer do what it wants to do about it."""
        if self._hears:
            assert self._hints.push(run)
        self.work()

    def decide(self, slots: list[bytes]) -> list[bytes]:
        """Let trade decide these INTENTs; return the SIGNED records that leave."""
        for slot in slots:
            assert self._intents.push(slot)
        self.work()
        return self.signed()

    def work(self) -> None:
        """Poll until there is nothing left to do."""
        while self.stage.poll(64):
            pass

    def signed(self) -> list[bytes]:
        """Return what left since the last call."""
        data = self.signed_end.read(SLOTS)
        return [data[at : at + SLOT_BYTES] for at in range(0, len(data), SLOT_BYTES)]

    def count(self, name: str) -> int:
        """Return a counter of the stage."""
        return self.counts.counter(name).value


def ring(slots: int = 128) -> bytearray:
    """Return the memory of an empty ring."""
    memory = bytearray(Ring.bytes_for(slots))
    Ring.format(memory, slots)
    return memory


def _ring() -> tuple[Writer, Reader]:
    memory = ring(SLOTS)
    return Writer(memory), Reader(memory)
