"""Double entry: every posting balances, every share is covered, no rounding favours anyone."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from pipeline.errors import InvariantError
from pipeline.sim.fees import fee_exact_micro, fees_micro, floor_fee_micro
from pipeline.sim.ledger import COUNTERPARTY, ROUNDING, USD, Ledger, Side
from pipeline.sim.market import Market
from tests.shared import SHARED, needs_shared
from tests.sim_trader import market

SHARE = 1_000_000
PATH = SHARED / "venues" / "polymarket-vectors.json"
FEES: list[dict[str, Any]] = json.loads(PATH.read_text())["fees"] if PATH.is_file() else []


def opened() -> tuple[Ledger, Market]:
    ledger, of = Ledger(), market()
    for name in ("a", "b"):
        ledger.open(name)
        ledger.deposit(0, name, 1_000 * SHARE)
        ledger.endow(0, name, of, 100 * SHARE)
    return ledger, of


@needs_shared
def test_fee_vectors_are_here() -> None:
    """The table below is not empty."""
    assert 16 <= len(FEES)


@pytest.mark.parametrize(
    "vector", FEES, ids=lambda v: f"{v['category']}-{v['price']}-{v['shares']}-{v['side']}"
)
def test_published_fees(vector: dict[str, Any]) -> None:
    """Fees equal the venue's formula, floored to 10 uUSD, on the whole table of vectors."""
    rate_ppm = int(Decimal(vector["rate"]) * 10**6)
    of = market(fee_rate_ppm=rate_ppm, fee_exponent=vector["exponent"])
    price, size = int(Decimal(vector["price"]) * 10_000), int(Decimal(vector["shares"]) * 10**6)

    assert Fraction(vector["fee_exact"]) * 10**6 == fee_exact_micro(of, price, size)
    assert vector["fee_usd_micro"] == floor_fee_micro(fee_exact_micro(of, price, size))


def test_fee_exponent_and_symmetry() -> None:
    """An exponent of 2 squares p(1-p); both tokens of a market pay the same."""
    of = market(fee_exponent=2)

    assert [70_000 * 100 // 16] == fees_micro(of, [(5_000, 100 * SHARE)], per_order=False)
    assert fees_micro(of, [(3_000, 7 * SHARE)], False) == fees_micro(of, [(7_000, 7 * SHARE)], False)
    assert [] == fees_micro(of, [], per_order=True)


@pytest.mark.parametrize(
    ("bid", "ask", "vault"),
    [
        (Side("a", 0, True), Side("b", 0, False), 0),  # transfer of YES
        (Side("a", 1, False), Side("b", 1, True), 0),  # transfer of NO
        (Side("a", 0, True), Side("b", 1, True), 1),  # mint
        (Side("a", 1, False), Side("b", 0, False), -1),  # merge
    ],
)
def test_four_ways_to_match(bid: Side, ask: Side, vault: int) -> None:
    """Payers pay up, receivers get down, and the rounding account keeps the difference."""
    ledger, of = opened()
    size = 1_000_001  # 1.000001 share at 0.3333 is 0.3333003333 USD
    flows = ledger.match(1, of, 3333, size, bid, ask, "t")
    yes, no = Fraction(size * 3333, 10_000), Fraction(size * 6667, 10_000)

    for side, flow in ((bid, flows[0]), (ask, flows[1])):
        exact = yes if side.outcome == 0 else no
        assert abs(abs(flow) - exact) < 1
        assert (flow < 0) == side.is_buy
        assert (-flow >= exact) if side.is_buy else (flow <= exact)
        assert flow == ledger.pnl(side.account) + 100 * SHARE
        held = 100 * SHARE + (size if side.is_buy else -size)
        assert held == ledger.positions(side.account)[of.tokens[side.outcome]]
    assert 200 * SHARE + vault * size == ledger.balance(f"vault:{of.condition}", USD)
    assert 0 <= ledger.balance(ROUNDING, USD) <= 1
    ledger.check([of])


def test_impossible_sides_are_refused() -> None:
    """Two sides that do not face each other are a defect of the caller."""
    ledger, of = opened()
    with pytest.raises(InvariantError):
        ledger.match(1, of, 5_000, SHARE, Side("a", 0, False), Side("b", 0, False), "t")


def test_traders_cannot_overdraw() -> None:
    """Neither money nor shares of a trader go below zero; other participants may owe."""
    ledger, of = opened()
    other = Side(COUNTERPARTY, 1, True)
    with pytest.raises(InvariantError):
        ledger.match(1, of, 5_000, 5_000 * SHARE, Side("a", 0, True), other, "t")
    ledger, of = opened()
    with pytest.raises(InvariantError):
        ledger.match(1, of, 5_000, 101 * SHARE, Side(COUNTERPARTY, 0, True), Side("a", 0, False), "t")
    ledger, of = opened()
    ledger.match(1, of, 5_000, 50 * SHARE, Side("a", 0, True), other, "t")
    assert -25 * SHARE == ledger.balance(COUNTERPARTY, USD)


def test_redemption_of_a_split_payout() -> None:
    """A payout of a half each pays every share half a dollar, rounded down; the vault ends empty."""
    ledger, of = opened()
    ledger.match(1, of, 4_000, 3, Side("a", 0, True), Side(COUNTERPARTY, 1, True), "t")
    ledger.redeem(2, of, (500_000, 500_000))

    assert 1_000 * SHARE - 2 + 50 * SHARE + 50 * SHARE + 1 == ledger.balance("a", USD)
    assert 0 == ledger.balance(f"vault:{of.condition}", USD)
    assert {} == ledger.positions("a") == ledger.positions(COUNTERPARTY)
    with pytest.raises(InvariantError):
        ledger.redeem(3, of, (500_000, 400_000))


def test_digest_sees_every_micro() -> None:
    """Two ledgers differ in their digest as soon as one fee differs by 10 uUSD or one leg is flipped."""

    def run(fee_micro: int, is_flipped: bool) -> str:
        ledger, of = opened()
        first, second = ("b", "a") if is_flipped else ("a", "b")
        ledger.match(1, of, 5_000, SHARE, Side(first, 0, True), Side(second, 0, False), "t")
        ledger.fee(1, "a", fee_micro, "t")
        return ledger.digest()

    assert run(10, False) == run(10, False)
    assert 3 == len({run(10, False), run(20, False), run(10, True)})
