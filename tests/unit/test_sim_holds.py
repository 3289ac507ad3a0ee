"""Taker delays: what is held, for how long, who is answered when, and what it meets afterwards."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.gamma import Gamma
from pipeline.sim.http import Response
from pipeline.sim.ledger import USD
from pipeline.sim.market import Market
from pipeline.sim.mode import Mode
from pipeline.sim.settings import ExchangeSettings
from tests.sim_trader import NOW_NS, Trader, exchange_of, json_of, market

SHARE = 1_000_000
MS = 10**6
SECOND = 10**9


class Desk:
    """An exchange with one delayed market, a trader, and the answers as they come."""

    def __init__(self, settings: ExchangeSettings | None = None, **of_market: Any) -> None:
        self.of: Market = market(**of_market)
        self.client = Trader(sets_micro={self.of.condition: 50 * SHARE})
        self.exchange: Exchange = exchange_of([self.client], [self.of], settings)
        self.exchange.foreign_changes(NOW_NS, self.of, [(False, 5000, 20 * SHARE), (True, 4800, 20 * SHARE)])
        self.now_ns = NOW_NS
        self.answers: list[tuple[int, int, Any]] = []  # (ns since the start, status, JSON)

    def ask(self, method: str, path: str, value: Any) -> None:
        body = json.dumps(value, separators=(",", ":")).encode()
        headers = self.client.headers(method, path, body, self.now_ns)

        def reply(at_ns: int, answer: Response | None) -> None:
            assert answer is not None
            self.answers.append((at_ns - NOW_NS, answer.status, json_of(answer)))

        self.exchange.ask(self.now_ns, "clob", method, path, headers, body, reply)

    def post(self, **of_order: Any) -> str:
        """Post one order; return its id as the engine knows it, "" when it was refused at once."""
        before = set(self.exchange.engine.orders)
        self.ask("POST", "/order", self.client.body(self.of, **of_order))
        (new,) = set(self.exchange.engine.orders) - before or {""}
        return new

    def at(self, after_ns: int) -> None:
        self.now_ns = NOW_NS + after_ns
        self.exchange.on_timer(self.now_ns)


def test_sd_is_answered_at_once_and_matched_later() -> None:
    """`sd` 3: "delayed" now, no fill for 3 s, then a fill against the book as it is then."""
    desk = Desk(seconds_delay=3)
    order_id = desk.post(price="0.52", quantity="10")
    desk.at(1 * SECOND)
    desk.exchange.foreign_changes(
        desk.now_ns, desk.of, [(False, 5000, -20 * SHARE), (False, 5200, 20 * SHARE)]
    )
    desk.at(3 * SECOND - 1)

    assert [(0, 200, "delayed")] == [(at, status, row["status"]) for at, status, row in desk.answers]
    assert "DELAYED" == desk.exchange.engine.orders[order_id].status_text
    desk.at(3 * SECOND)
    (trade,) = desk.exchange.engine.trades.values()
    assert (5200, 10 * SHARE, order_id) == (
        trade.price_ticks,
        trade.size_micro,
        trade.taker and trade.taker.order_id,
    )


@pytest.mark.parametrize(
    ("delay", "told"),
    [({}, {}), ({"seconds_delay": 3}, {"sd": 3}), ({"delays_takers": True}, {"itode": True})],
)
def test_the_metadata_tells_of_the_delay(delay: dict[str, Any], told: dict[str, Any]) -> None:
    """`sd` and `itode` stand in /clob-markets, and are absent where there is none; Gamma has the seconds."""
    desk = Desk(**delay)
    path = f"/clob-markets/{desk.of.condition}"
    row = json_of(desk.exchange.on_request(NOW_NS, "clob", "GET", path, {}, b""))
    gamma = Gamma({desk.of.condition: desk.of}, lambda _: (None, None))
    (listed,) = json_of(gamma.on_request(NOW_NS, "GET", "/markets", {}, b""))

    assert told == {name: row[name] for name in ("sd", "itode") if name in row}
    assert told.get("sd", 0) == listed["secondsDelay"]


def test_itode_is_answered_after_the_hold() -> None:
    """The POST stays open for the configured hold and then tells of the match."""
    desk = Desk(ExchangeSettings(itode_hold_ns=150 * MS), delays_takers=True)
    desk.post(price="0.5", quantity="10")
    desk.at(149 * MS)
    assert [] == desk.answers
    desk.at(150 * MS)

    ((at, status, row),) = desk.answers
    assert (150 * MS, 200, "matched", "10") == (at, status, row["status"], row["takingAmount"])
    assert 1 == len(row["tradeIDs"])


def test_what_does_not_take_is_not_held() -> None:
    """Orders that rest, and post-only ones, are answered at once; a crossing post-only order is refused."""
    desk = Desk(delays_takers=True)
    desk.post(price="0.45", quantity="10")
    desk.post(price="0.45", quantity="10", postOnly=True)
    desk.post(price="0.5", quantity="10", postOnly=True)

    assert [(0, 200), (0, 200), (0, 400)] == [(at, status) for at, status, _ in desk.answers]
    assert 0 == desk.exchange.engine.tally.held


def test_a_held_order_cannot_be_cancelled() -> None:
    """Neither by id, nor by cancel-all, nor by the dead man's switch; its funds stay reserved."""
    desk = Desk(seconds_delay=3)
    order_id = desk.post(price="0.5", quantity="10")
    account = desk.exchange.accounts["demo"]
    desk.ask("DELETE", "/order", {"orderID": order_id})
    desk.ask("DELETE", "/cancel-all", None)

    assert [{order_id: "order is delayed and cannot be canceled"}, {}] == [
        row["not_canceled"] for _, _, row in desk.answers[1:]
    ]
    assert 5 * SHARE == desk.exchange.engine.funds.reserved_micro(account, USD)
    desk.at(3 * SECOND)
    assert 0 == desk.exchange.engine.funds.reserved_micro(account, USD)
    assert 1 == len(desk.exchange.engine.trades)


@pytest.mark.parametrize(
    ("order_type", "side", "expected"),
    [
        ("GTC", "BUY", "unmatched"),
        ("FOK", "SELL", "couldn't be fully filled"),
        ("FAK", "SELL", "no orders found"),
    ],
)
def test_the_book_went_away_meanwhile(order_type: str, side: str, expected: str) -> None:
    """After the hold a limit order rests as "unmatched"; a FOK or FAK is killed with the venue's words."""
    desk = Desk(delays_takers=True)
    order_id = desk.post(
        side=side, price="0.5" if side == "BUY" else "0.48", quantity="10", order_type=order_type
    )
    desk.exchange.foreign_changes(NOW_NS, desk.of, [(False, 5000, -20 * SHARE), (True, 4800, -20 * SHARE)])
    desk.at(SECOND)

    ((_, _, row),) = desk.answers
    assert expected in (row["status"] if "status" in row else row["error"])
    is_resting = order_id in desk.exchange.engine.open.get("demo", {})
    assert (order_type == "GTC") == is_resting


def test_a_batch_answers_when_its_last_leg_is_through() -> None:
    """Legs that rest and legs that are held come back in one answer, in order."""
    desk = Desk(delays_takers=True)
    bodies = [desk.client.body(desk.of, price=price, quantity="10") for price in ("0.45", "0.5", "0.44")]
    desk.ask("POST", "/orders", bodies)
    assert [] == desk.answers
    desk.at(250 * MS)

    ((_, _, rows),) = desk.answers
    assert ["live", "matched", "live"] == [row["status"] for row in rows]


@pytest.mark.parametrize("ends_by", ["restart", "post-only", "resolution"])
def test_what_is_held_ends_with_its_market_or_engine(ends_by: str) -> None:
    """Nobody waits for ever: a resolution or a restart ends a held order and answers its request."""
    desk = Desk(delays_takers=True)
    order_id = desk.post(price="0.5", quantity="10")
    if ends_by != "resolution":
        mode = Mode.RESTARTING if ends_by == "restart" else Mode.POST_ONLY
        desk.exchange.lifecycle.set_mode(NOW_NS + MS, mode)
        expected = "CANCELED_ORDER_TIMED_OUT"
    else:
        desk.exchange.resolve(NOW_NS + MS, desk.of, 0)
        expected = "CANCELED_MARKET_RESOLVED"
    desk.at(SECOND)

    assert [400] == [status for _, status, _ in desk.answers]
    assert expected == desk.exchange.engine.orders[order_id].status_text
    assert {} == desk.exchange.engine.trades
