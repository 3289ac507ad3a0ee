"""The data API: positions and trades follow the fills, pages agree, approvals are complete."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from typing import Any

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Market
from tests.sim_guests import Guest, ask, venue_for_guests
from tests.sim_trader import NOW_NS, Trader, json_of, market

SHARE, SECOND = 10**6, 10**9
CONFIRMED_NS = NOW_NS + 3 * SECOND


def traded() -> tuple[Exchange, Market, Trader]:
    """Return a venue where a guest bought 10 at 0.52 and 20 at 0.55, then sold 6 at 0.50."""
    of = market(fee_rate_ppm=0)
    exchange = venue_for_guests([of, market(2)])
    guest = Guest(exchange)
    trader = guest.trader(guest.credentials(), guest.purses["safe"])
    for is_bid, ticks, size, order in (
        (False, 5200, 10, {"price": "0.52", "quantity": "5.2"}),
        (False, 5500, 20, {"price": "0.55", "quantity": "11"}),
        (True, 5000, 6, {"side": "SELL", "price": "0.50", "quantity": "6"}),
    ):
        exchange.foreign_changes(NOW_NS, of, [(is_bid, ticks, size * SHARE)])
        placed = json_of(trader.place(exchange, of, order_type="FAK", **order))
        assert "matched" == placed["status"], placed
    return exchange, of, trader


def test_position_is_the_average_of_its_fills() -> None:
    """Size, average price, cost and realised profit equal exact arithmetic over the three fills."""
    exchange, of, trader = traded()
    page = ask(exchange, "data", f"/v2/positions?user={trader.wallet}&limit=100")
    (row,) = page["data"]
    average = Fraction(10 * 52 + 20 * 55, 30 * 100)
    assert (of.tokens[0], of.condition, 24.0) == (row["token_id"], row["condition_id"], row["current_size"])
    assert float(average) == pytest.approx(row["avg_price"], abs=1e-9)
    assert float(24 * average) == pytest.approx(row["entry_cost_usdc"], abs=2e-6)
    assert float(6 * (Fraction(1, 2) - average)) == pytest.approx(row["realized_pnl"], abs=2e-6)
    assert {"has_more": False, "next_cursor": None, "limit": 100} == page["pagination"]
    assert ("OPEN", False, of.tokens[1]) == (row["status"], row["mergeable"], row["opposite_token_id"])


def test_trades_appear_when_the_chain_has_them() -> None:
    """Before a transaction there is none; afterwards newest first, filtered by side, market and time."""
    exchange, of, trader = traded()
    path = f"/v2/trades?user={trader.wallet}"
    assert [] == ask(exchange, "data", path)["data"]
    rows = ask(exchange, "data", path, now_ns=CONFIRMED_NS)["data"]
    assert [("SELL", 6.0, 0.5), ("BUY", 20.0, 0.55), ("BUY", 10.0, 0.52)] == [
        (row["side"], row["size"], row["price"]) for row in rows]
    assert all(len(row["transaction_hash"]) == 66 for row in rows)
    for query, count in (
        ("&side=SELL", 1), (f"&condition_id={of.condition}", 3), (f"&condition_id={market(2).condition}", 0),
        (f"&start={NOW_NS // SECOND + 1}", 0), (f"&end={NOW_NS // SECOND}", 3), ("&taker_only=true", 3),
    ):
        assert count == len(ask(exchange, "data", path + query, now_ns=CONFIRMED_NS)["data"]), query
    assert 3 == len(ask(exchange, "data", "/v2/trades", now_ns=CONFIRMED_NS)["data"])


def test_pages_meet_without_gap_or_overlap() -> None:
    """has_more and next_cursor agree; following the cursors gives each row once."""
    exchange, _, trader = traded()
    seen: list[Any] = []
    path = cursor = f"/v2/trades?user={trader.wallet}&limit=2"
    while cursor:
        page = ask(exchange, "data", cursor, now_ns=CONFIRMED_NS)
        seen += page["data"]
        follow = page["pagination"]["next_cursor"]
        assert page["pagination"]["has_more"] is (follow is not None)
        cursor = f"{path}&cursor={follow}" if follow else ""
    assert 3 == len({row["transaction_hash"] for row in seen}) == len(seen)


def test_value_and_closed_positions() -> None:
    """The value is size times the shown price; what was sold to the last share is closed, not open."""
    exchange, of, trader = traded()
    value = ask(exchange, "data", f"/v2/value?user={trader.wallet}")["data"]
    assert trader.wallet == value["proxy_wallet"]
    assert 24 * 0.5 == pytest.approx(value["value"])  # the last print: both sides of the book are empty
    exchange.foreign_changes(NOW_NS, of, [(True, 5000, 24 * SHARE)])
    trader.place(exchange, of, side="SELL", price="0.50", quantity="24", order_type="FAK")
    path = f"/v2/positions?user={trader.wallet}"
    assert [] == ask(exchange, "data", path)["data"]
    (row,) = ask(exchange, "data", path + "&status=CLOSED")["data"]
    assert ("CLOSED", 0.0) == (row["status"], row["current_size"])
    spent, got = Fraction(10 * 52 + 20 * 55, 100), Fraction(30 * 50, 100)
    assert float(got - spent) == pytest.approx(row["realized_pnl"], abs=2e-6)


def test_whole_sets_are_mergeable() -> None:
    """A wallet that holds both outcomes sees the pair under MERGEABLE."""
    exchange, of, trader = traded()
    exchange.ledger.split(NOW_NS, f"{trader.owner.lower()}/safe", of, 5 * SHARE)
    rows = ask(exchange, "data", f"/v2/positions?user={trader.wallet}&status=MERGEABLE")["data"]
    assert {of.tokens[0]: 29.0, of.tokens[1]: 5.0} == {row["token_id"]: row["current_size"] for row in rows}
    assert all(row["mergeable"] for row in rows)


def test_seventeen_approvals() -> None:
    """Every pair that the official client needs is there once; an unknown wallet has approved none."""
    exchange, _, trader = traded()
    for user, is_approved in ((trader.wallet, True), ("0x" + "12" * 20, False)):
        data = ask(exchange, "data", f"/v2/approvals?user={user}")["data"]
        assert (user, 137) == (data["address"], data["chain_id"])
        rows = data["contracts"]
        assert {"ERC20": 7, "ERC1155": 10} == Counter(row["standard"] for row in rows)
        assert 17 == len({(row["token"].lower(), row["spender"].lower()) for row in rows})
        assert {is_approved} == {row["approved"] for row in rows}


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/v2/positions", 400), ("/v2/positions?user=0x1&status=SOME", 400), ("/v2/nothing?user=0x1", 404),
        ("/v2/trades?limit=0", 400), ("/v2/trades?limit=1001", 400), ("/v2/trades?cursor=%21", 400),
        ("/v2/trades?start=soon", 400),
        ("/v2/value?user=0x1&condition_id=" + ",".join(str(number) for number in range(21)), 400),
    ],
)
def test_wrong_questions_are_refused(target: str, status: int) -> None:
    """A question that cannot be answered is an error with words, never an empty answer."""
    assert ask(venue_for_guests([market()]), "data", target, status)["error"]
