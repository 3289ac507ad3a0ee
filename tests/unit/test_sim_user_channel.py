"""The user channel: logins, filters, and events in the forms that the official client reads."""

from __future__ import annotations

import json
from typing import Any

from pipeline.sim.exchange import Exchange, Output
from pipeline.sim.market import Market
from tests.sim_trader import KEYS, NOW_NS, Trader, exchange_of, json_of, market

SHARE = 1_000_000
SECOND = 10**9


def venue() -> tuple[Exchange, Market, Trader]:
    of = market()
    client = Trader(sets_micro={of.condition: 1_000 * SHARE})
    exchange = exchange_of([client, Trader("other", KEYS[1])], [of, market(2)])
    exchange.foreign_changes(NOW_NS, of, [(True, 4800, 100 * SHARE), (False, 5200, 100 * SHARE)])
    return exchange, of, client


def login(exchange: Exchange, client: Trader, *markets: str, **wrong: str) -> int:
    socket = exchange.open_socket(NOW_NS, "user")
    keys = client.credentials
    auth = {"apiKey": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase} | wrong
    message = {"type": "user", "auth": auth, "markets": list(markets)}
    exchange.on_text(NOW_NS, socket, json.dumps(message).encode())
    return socket


def events(exchange: Exchange, socket: int) -> list[dict[str, Any]]:
    return [json.loads(out.frame) for out in exchange.take_output() if out.socket == socket]


def test_a_matched_order_is_told_step_by_step() -> None:
    """Placement, then one trade as MATCHED, MINED and CONFIRMED; times in seconds and milliseconds."""
    exchange, of, client = venue()
    socket = login(exchange, client)
    row = json_of(client.place(exchange, of, price="0.52", quantity="7.5"))
    exchange.on_timer(NOW_NS + 3 * SECOND)
    order, *trades = events(exchange, socket)

    assert ("order", "PLACEMENT", "MATCHED", "7.5", "7.5", row["orderID"]) == tuple(
        order[name] for name in ("event_type", "type", "status", "original_size", "size_matched", "id")
    )
    assert (str(NOW_NS // SECOND), str(NOW_NS // 10**6)) == (order["created_at"], order["timestamp"])
    assert ["MATCHED", "MINED", "CONFIRMED"] == [trade["status"] for trade in trades]
    assert {row["tradeIDs"][0]} == {trade["id"] for trade in trades}
    assert ["", True, True] == [trade["transaction_hash"] and True for trade in trades]
    assert ("trade", "TRADE", "7.5", "0.52", "BUY", "11", "TAKER", "0") == tuple(
        trades[0][name]
        for name in ("event_type", "type", "size", "price", "side", "asset_id", "trader_side", "fee_rate_bps")
    )
    assert str(NOW_NS // SECOND) == trades[2]["match_time"]
    assert str(NOW_NS // SECOND + 2) == trades[2]["last_update"]


def test_maker_hears_updates_and_cancellation() -> None:
    """A resting order tells PLACEMENT, UPDATE with the cumulative size, then CANCELLATION."""
    exchange, of, client = venue()
    socket = login(exchange, client)
    order_id = json_of(client.place(exchange, of, price="0.49", quantity="10"))["orderID"]
    exchange.foreign_take(NOW_NS, of, False, 4900, 4 * SHARE)
    client.call(exchange, "DELETE", "/order", {"orderID": order_id})
    told = events(exchange, socket)

    assert [("PLACEMENT", "LIVE", "0"), ("UPDATE", "LIVE", "4"), ("CANCELLATION", "CANCELED", "4")] == [
        (e["type"], e["status"], e["size_matched"]) for e in told if e["event_type"] == "order"
    ]
    (trade,) = [e for e in told if e["event_type"] == "trade"]
    assert ("MAKER", order_id, "4") == (
        trade["trader_side"],
        trade["maker_orders"][0]["order_id"],
        trade["maker_orders"][0]["matched_amount"],
    )


def test_killed_fok_is_told_in_free_text() -> None:
    """A killed FOK ends with the venue's free text and an empty size_matched, as captured."""
    exchange, of, client = venue()
    socket = login(exchange, client)
    client.place(exchange, of, price="0.52", quantity="60", order_type="FOK")
    (event,) = events(exchange, socket)

    assert (
        "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed." == event["status"]
    )
    assert ("CANCELLATION", "") == (event["type"], event["size_matched"])


def test_only_own_events_and_only_asked_markets() -> None:
    """Events go to the account's sockets, filtered by condition; the filter changes on request."""
    exchange, of, client = venue()
    mine, elsewhere = (
        login(exchange, client, of.condition.upper()),
        login(exchange, client, market(2).condition),
    )
    login(exchange, Trader("other", KEYS[1]))
    client.place(exchange, of, price="0.4")
    output = exchange.take_output()

    assert [mine] == [out.socket for out in output]
    exchange.on_text(
        NOW_NS, elsewhere, json.dumps({"operation": "subscribe", "markets": [of.condition]}).encode()
    )
    client.place(exchange, of, price="0.4")
    assert {mine, elsewhere} == {out.socket for out in exchange.take_output()}
    message = {"operation": "unsubscribe", "markets": [of.condition]}
    for socket in (mine, elsewhere):
        exchange.on_text(NOW_NS, socket, json.dumps(message).encode())
    client.place(exchange, of, price="0.4")
    assert [] == exchange.take_output()  # a filter that became empty is not "all"


def test_wrong_login_is_closed() -> None:
    """A wrong secret, key or passphrase ends the socket; silence about the reason, as on the venue."""
    exchange, of, client = venue()
    for wrong in ({"secret": "x"}, {"apiKey": "x"}, {"passphrase": "x"}):
        socket = login(exchange, client, **wrong)
        assert [Output(socket, b"", True)] == exchange.take_output()
    client.place(exchange, of, price="0.4")
    assert [] == exchange.take_output()


def test_ping_and_nonsense() -> None:
    """PING is answered with PONG; frames that say nothing are ignored and counted."""
    exchange, _, _ = venue()
    socket = exchange.open_socket(NOW_NS, "user")
    for text in (b"PING", b"\xff", b"[]", b'{"type":"market"}', b'{"type":"user","markets":[1]}'):
        exchange.on_text(NOW_NS, socket, text)

    assert [Output(socket, b"PONG")] == exchange.take_output()
    assert 4 == exchange.users.bad_texts
    exchange.close_socket(NOW_NS, socket)
    exchange.on_text(NOW_NS, socket, b"PING")
    assert [] == exchange.take_output()
    assert 1 == exchange.dropped_frames
