"""OR16: every price of every grid with sizes at the edges: what makes or judges amounts is exact."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.codec import CODECS
from pipeline.core.legbook import LegBook
from pipeline.kinds import Cause, HaltLevel, Kind, OrderType, Side
from pipeline.native.gate import price_orders
from pipeline.records import DTYPES, SLOT_BYTES
from pipeline.shm import halt
from pipeline.sim import book as sim
from pipeline.sim.accounts import Account
from pipeline.sim.errors_text import Refusal as SimRefusal
from pipeline.sim.orders import Payload, parse, price_of, prove
from pipeline.sim.settings import ExchangeSettings
from pipeline.stages.brake import Brake
from pipeline.stages.signer import Signing
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.amounts import order_amounts
from pipeline.venues.polymarket.encode import OrderRenderer
from pipeline.venues.polymarket.identity import Refusal, checksum
from pipeline.venues.polymarket.sign import OrderSigner
from tests.models.amount_grid import CENT_MICRO, DECIMALS, PRICES, SIZES, WAYS, Case, case_of, cases, slice_of
from tests.models.signer_rig import KEY, PLENTY, T0_NS, account_of, token
from tests.property.test_signing_model import Pair
from tests.shared import fresh_seed, tier
from tests.sim_trader import market
from tests.tools.faultrows import figure

BOUNDARY, RANDOM = figure("OR16", "boundary"), figure("OR16", "random")
ROW, MINIMUM_MICRO, USD_MIN_MICRO = 1, 5_000_000, 1_000_000
TOKEN = int.from_bytes(token(ROW, 0), "big")
CHUNKS = 24  # of the whole grid, in tier gate
PARTS = 40  # a slice in tier commit: with the fresh one, 1/20
Prices = list[tuple[int, int]]


def chunks() -> Iterator[tuple[str, Prices]]:
    """Yield what this tier runs: a known and a fresh slice, or all prices in chunks."""
    if tier() == "commit":
        for seed in (0, fresh_seed()):
            yield f"seed {seed}", slice_of(seed, PARTS)
    else:
        for at in range(CHUNKS):
            yield f"chunk {at}", PRICES[at::CHUNKS]


CHUNK_LIST = list(chunks())
by_chunk = pytest.mark.parametrize(("name", "prices"), CHUNK_LIST, ids=[name for name, _ in CHUNK_LIST])
assert sum(len(prices) for _, prices in CHUNK_LIST) * len(WAYS) * SIZES >= BOUNDARY


def listed(step: int) -> bytes:
    """Return the INSTRUMENT of a plain market with this tick."""
    return CODECS[Kind.INSTRUMENT].pack(
        instrument=ROW, token_yes=token(ROW, 0), token_no=token(ROW, 1), tick_step=step)


class Brief(Signing):
    """The signer without the words of a refusal: `check_python` looks at those."""

    def amounts_cause(self, *said: int) -> Cause:
        """Return some cause other than the halt's."""
        return Cause.OFF_GRID


class Signer:
    """The native signer under a halt: amounts that are right are refused for the halt, others before it."""

    def __init__(self, folder: Path) -> None:
        halt.create(folder)
        page = halt.HaltPage(folder, "trade")
        page.put(HaltLevel.H3, now_ns=T0_NS, reason="a test", durable=False)
        self._native = Brief(OrderSigner(KEY, account_of(KEY)), Brake(None, PLENTY), page, lambda: T0_NS)
        slots = np.zeros(SIZES, DTYPES[Kind.INTENT])
        slots["kind"], slots["parts"], slots["instrument"] = Kind.INTENT, 1, ROW
        slots["deadline_ns"], slots["batch_count"] = 2**62, 1
        self._slots, self._step = slots, 0

    def takes(self, case: Case) -> list[bool]:
        """Tell of each size whether the amounts are those that price and size give."""
        if case.step != self._step:
            self._step = case.step
            self._native.learn(listed(case.step))
        slots = self._slots
        slots["price_ticks"], slots["size_micro"] = case.price, case.sizes
        slots["order_type"], slots["side"] = case.order_type, case.side
        slots["maker_amount"], slots["taker_amount"] = case.makers, case.takers
        data, native, found = slots.tobytes(), self._native, []
        make, halted = native.make, int(Cause.HALT_LEVEL)
        for at in range(0, len(data), SLOT_BYTES):
            make(data, at)
            found.append(native.cause == halted)
        return found


def rows_of(case: Case) -> Iterator[tuple[int, int, int]]:
    """Return (size, maker, taker) of each of its sizes."""
    return zip(case.sizes.tolist(), case.makers.tolist(), case.takers.tolist(), strict=True)


def check_python(case: Case, where: str) -> int:
    """`order_amounts` says exactly these amounts or refuses with the nearest size below; return how many."""
    order_type, side, price, step = case.order_type, case.side, case.price, case.step
    said = 0
    for size, maker, taker in rows_of(case):
        found = order_amounts(order_type, side, price, size, step)
        if maker:
            assert (maker, taker) == found, (where, case, size)
            said += 1
        else:
            assert isinstance(found, Refusal), (where, case, size)
            nearest = max(size, 0) // case.size_step * case.size_step
            assert nearest == found.nearest_size_micro, (where, case, size)
    return said


class Judge:
    """The exchange's word on the amounts of an order; it shares nothing with what made them."""

    def __init__(self) -> None:
        self._markets = {step: market(tick_step=step) for step in DECIMALS}
        self._fields: dict[str, int] = {}
        self._payloads = {
            order_type: Payload(self._fields, b"", 0, sim.OrderType(order_type.name), "", False)
            for order_type in OrderType}

    def check(self, case: Case, where: str) -> None:
        """What can be said is taken at its price, but for a resting order below the market's minimum."""
        fields, payload, of = self._fields, self._payloads[case.order_type], self._markets[case.step]
        is_resting = case.order_type in (OrderType.GTC, OrderType.GTD)
        fields["side"] = int(case.side)
        for size, maker, taker in rows_of(case):
            if maker:
                fields["makerAmount"], fields["takerAmount"] = maker, taker
                found = price_of("0x", payload, of)
                if is_resting and size < MINIMUM_MICRO:
                    assert isinstance(found, SimRefusal), (where, case, size)
                    assert "lower than the minimum" in found.text, found.text
                else:
                    assert case.price == found, (where, case, size, found)


def check_gate(case: Case, legs: dict[int, LegBook], where: str) -> None:
    """The gate prices a BUY exactly and lets through what can be said in whole 0.01 shares, no more."""
    leg, order_type = legs[case.step], case.order_type
    is_fak = order_type == OrderType.FAK
    paid_least = USD_MIN_MICRO
    for size, paid in zip(case.sizes.tolist(), case.makers.tolist(), strict=True):
        answer = price_orders(
            ((0, ROW, 0, int(Side.BUY), int(order_type), case.price, size),), {ROW: leg}, 1, size)
        is_taken = (paid >= paid_least and size % CENT_MICRO == 0
                    and (is_fak or size >= MINIMUM_MICRO))
        assert is_taken == (answer[0] == Cause.NONE), (where, case, size, answer)
        if is_taken:
            assert [paid] == answer[1], (where, case, size, answer)


@by_chunk
def test_OR16_every_price_and_boundary_size(
    name: str, prices: Prices, gate_record: Callable[..., None], tmp_path: Path,
) -> None:
    """Python's amounts, the signer's, the gate's equal exact rationals; the exchange takes what is said."""
    signer, judge, said, asked = Signer(tmp_path), Judge(), 0, 0
    legs = {step: LegBook(ROW, 0, (), (), 70_000, 1, step, MINIMUM_MICRO, USD_MIN_MICRO)
            for step in DECIMALS}
    for case in cases(prices):
        said += check_python(case, name)
        assert (case.makers > 0).tolist() == signer.takes(case), (name, case)
        judge.check(case, name)
        if case.side is Side.BUY and case.order_type in (OrderType.FAK, OrderType.GTC):
            check_gate(case, legs, name)
        asked += SIZES
    assert asked == len(prices) * len(WAYS) * SIZES
    assert asked // 8 < said < asked // 2  # of the edges, both sides are met
    gate_record("OR16", "boundary", asked)


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_OR16_random_sizes(seed: int, gate_record: Callable[..., None]) -> None:
    """Random sizes of every magnitude, half of them legal, at random prices: exact or refused."""
    rng, said = random.Random(seed), 0
    for _ in range(RANDOM // 2 // SIZES):
        step, price = rng.choice(PRICES)
        said += check_python(case_of(step, price, *rng.choice(WAYS), rng), f"seed {seed}")
    assert RANDOM // 5 < said < RANDOM // 2, f"seed {seed}"
    gate_record("OR16", "random", RANDOM // 2, seed)


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_OR16_signed_and_rendered(seed: int, tmp_path: Path) -> None:
    """Each tick, type and side signed, rendered and proven by the exchange: price and size come back."""
    rng, native = random.Random(seed), Pair(tmp_path).native
    renderer = OrderRenderer(account_of(KEY), "key")
    owner = checksum(account_of(KEY).owner)
    account = Account("ours", owner, owner, 0, 0)
    for number, (step, (order_type, side)) in enumerate(itertools.product(DECIMALS, WAYS)):
        case = case_of(step, rng.randrange(step, 10_000, step), order_type, side)
        place = rng.choice([
            at for at in range(SIZES) if case.makers[at] and case.sizes[at] >= MINIMUM_MICRO])
        size = int(case.sizes[place])
        native.learn(listed(step))
        renderer.on_instrument(listed(step))
        body = renderer.render(native.make(CODECS[Kind.INTENT].pack(
            instrument=ROW, order_no=number + 1, salt=number, deadline_ns=2**62,
            timestamp_ms=T0_NS // NS_PER_MS,
            maker_amount=int(case.makers[place]), taker_amount=int(case.takers[place]), size_micro=size,
            price_ticks=case.price, side=int(side), order_type=int(order_type), batch_count=1,
            expiration_s=T0_NS // NS_PER_S + 900 if order_type is OrderType.GTD else 0)))
        assert isinstance(body, bytes), (seed, case, size, native.cause)
        payload, of = parse(json.loads(body)), market(tick_step=step, tokens=(str(TOKEN), "2"))
        assert isinstance(payload, Payload), (seed, body)
        found = prove(T0_NS, payload, account, "key", {of.tokens[0]: (of, 0)}, ExchangeSettings())
        assert isinstance(found, sim.Order), (seed, case, size, found)
        assert (case.price, side is Side.BUY, size) == (found.price_ticks, found.is_buy, found.size_micro), (
            seed, case)
