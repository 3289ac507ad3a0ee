"""The CLOB routes: what clients send and need, refusals with the venue's text, limits, heartbeat."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings
from tests.sim_trader import KEYS, NOW_NS, Trader, contract_domain, error_of, exchange_of, json_of, market

SHARE = 1_000_000
SECOND = 10**9
NO_BOOK = "No orderbook exists for the requested token id"


def venue(**trader: Any) -> tuple[Exchange, Market, Trader]:
    of = market()
    client = Trader(sets_micro={of.condition: 1_000 * SHARE}, **trader)
    exchange = exchange_of([client, Trader("other", KEYS[1])], [of])
    exchange.foreign_changes(NOW_NS, of, [(True, 4800, 100 * SHARE), (False, 5200, 100 * SHARE)])
    return exchange, of, client


def get(exchange: Exchange, target: str) -> Any:
    response = exchange.on_request(NOW_NS, "clob", "GET", target, {}, b"")
    assert 200 == response.status, response.body
    return json_of(response)


@pytest.mark.parametrize("signature_type", [0, 1, 2, 3])
def test_place_match_and_read_back(signature_type: int) -> None:
    """An order of every wallet kind is matched, answered as the clients need it, and found in the reads."""
    wallet = "0xBc0fF067b7740Eff76C1ca93c875Ba6B890d6B50" if signature_type else ""
    exchange, of, client = venue(signature_type=signature_type, wallet=wallet)
    answer = client.place(exchange, of, price="0.55", quantity="10", order_type="FAK")
    row = json_of(answer)

    assert 200 == answer.status
    assert (True, "", "matched", "10", "19.230769", []) == tuple(
        row[name]
        for name in ("success", "errorMsg", "status", "makingAmount", "takingAmount", "transactionsHashes")
    )
    (trade,) = json_of(client.call(exchange, "GET", f"/data/trades?id={row['tradeIDs'][0]}"))["data"]
    assert ("TAKER", "MATCHED", "0.52", "19.230769", row["orderID"]) == tuple(
        trade[name] for name in ("trader_side", "status", "price", "size", "taker_order_id")
    )
    exchange.on_timer(NOW_NS + 3 * SECOND)
    read = client.call(exchange, "GET", f"/data/trades?id={trade['id']}", None, NOW_NS + 3 * SECOND)
    (trade,) = json_of(read)["data"]
    assert "CONFIRMED" == trade["status"]
    assert trade["transaction_hash"].startswith("0x")
    order = json_of(client.call(exchange, "GET", f"/data/order/{row['orderID']}", None, NOW_NS + 3 * SECOND))
    assert ("MATCHED", "19.230769") == (order["status"], order["size_matched"])


@pytest.mark.parametrize(
    ("change", "status", "text"),
    [
        ({"domain": contract_domain(market(neg_risk=True))}, 400, "order_version_mismatch"),
        ({"domain": contract_domain(market(version="v2"))}, 400, "order_version_mismatch"),
        ({"signing_key": KEYS[1]}, 400, "invalid signature"),
        ({"change_order": {"makerAmount": "5100000"}}, 400, "invalid signature"),
        ({"change_signed": {"makerAmount": 5_050_000}}, 400, "breaks minimum tick size rule: 0.01"),
        ({"change_signed": {"makerAmount": 5_000_001}}, 400, "invalid amounts"),
        ({"quantity": "4"}, 400, "Size (4) lower than the minimum: 5"),
        ({"owner": "key-of-other"}, 400, "the order owner has to be the owner of the API KEY"),
        ({"change_signed": {"tokenId": 77}}, 404, NO_BOOK),
        ({"quantity": "10000"}, 400, "the balance is not enough -> balance: 1000000000"),
        ({"side": "SELL", "quantity": "2000"}, 400, "not enough balance / allowance"),
        ({"price": "0.52", "postOnly": True}, 400, "invalid post-only order: order crosses book"),
        ({"order_type": "FAK", "price": "0.51"}, 400, "no orders found to match with FAK order."),
        ({"order_type": "FOK", "price": "0.52", "quantity": "53"}, 400, "order couldn't be fully filled."),
        ({"order_type": "FAK", "price": "0.52", "quantity": "0.99"}, 400, "BUY order ($0.99), min size: $1"),
        ({"orderType": "IOC"}, 400, "Invalid order payload"),
        ({"order_type": "GTD", "expiration": NOW_NS // SECOND + 60}, 400, "invalid expiration"),
    ],
)  # fmt: skip
def test_refusals(change: dict[str, Any], status: int, text: str) -> None:
    """Each wrong order is refused with the venue's text, alone and in a batch, and moves nothing."""
    exchange, of, client = venue()
    before = exchange.ledger.digest()
    alone = client.call(exchange, "POST", "/order", client.body(of, **change))
    batch = client.call(exchange, "POST", "/orders", [client.body(of, **change)])

    assert status == alone.status
    assert text in error_of(alone)
    (row,) = json_of(batch)
    assert text in row["errorMsg"]
    assert ("", "", []) == (row["orderID"], row["status"], row["tradeIDs"])
    assert before == exchange.ledger.digest()
    journalled = 0 if text in ("Invalid order payload", NO_BOOK) else 2  # those name no market
    assert journalled == len([a for a in exchange.arrivals if text in a.error])


def test_replayed_order_is_duplicated() -> None:
    """The same signed bytes a second time are refused by their id, also after the first is done."""
    exchange, of, client = venue()
    body = client.body(of, price="0.52")
    first = client.call(exchange, "POST", "/order", body)
    again = client.call(exchange, "POST", "/order", body)

    assert (200, 400) == (first.status, again.status)
    assert f"order {json_of(first)['orderID']} is invalid. Duplicated." == error_of(again)


def test_batch_is_answered_in_order_and_not_atomic() -> None:
    """Legs are evaluated one after the other; a refused one neither stops nor undoes the others."""
    exchange, of, client = venue()
    legs = [
        client.body(of, price="0.52", quantity="60"),
        client.body(of, quantity="1"),
        client.body(of, price="0.4"),
    ]
    rows = json_of(client.call(exchange, "POST", "/orders", legs))

    assert ["matched", "", "live"] == [row["status"] for row in rows]
    assert "lower than the minimum" in rows[1]["errorMsg"]
    assert [1, 1, 1] == [a.batch for a in exchange.arrivals]
    assert [((5200, 60 * SHARE),), (), ()] == [a.filled for a in exchange.arrivals]


def test_batch_limit() -> None:
    """Sixteen orders are too many, with the venue's text."""
    exchange, of, client = venue()
    legs = [client.body(of, price="0.1")] * 16

    refused = client.call(exchange, "POST", "/orders", legs)
    assert (400, "Too many orders in payload: 16, max allowed: 15") == (refused.status, error_of(refused))


@pytest.mark.parametrize("value", [{}, [], "x", None, 7])
def test_malformed_batches(value: Any) -> None:
    """Anything but a list of orders is an invalid payload."""
    exchange, _, client = venue()
    refused = client.call(exchange, "POST", "/orders", value)
    assert (400, "Invalid order payload") == (refused.status, error_of(refused))


def test_body_that_is_not_json() -> None:
    """Bytes that are no JSON are refused after their HMAC was proven."""
    exchange, _, client = venue()
    body = b'{"order":'
    headers = client.headers("POST", "/order", body, NOW_NS)
    refused = exchange.on_request(NOW_NS, "clob", "POST", "/order", headers, body)
    assert (400, "Invalid order payload") == (refused.status, error_of(refused))


def test_cancels() -> None:
    """One, several, by market and all: what was live is cancelled, what was not is named with a reason."""
    exchange, of, client = venue()
    ids = [json_of(client.place(exchange, of, price=f"0.4{n}"))["orderID"] for n in range(5)]
    one = json_of(client.call(exchange, "DELETE", "/order", {"orderID": ids[0]}))
    many = json_of(client.call(exchange, "DELETE", "/orders", [ids[0], ids[1], "0xnone"]))
    by_token = json_of(
        client.call(exchange, "DELETE", "/cancel-market-orders", {"market": "", "asset_id": "12"})
    )
    by_market = client.call(
        exchange, "DELETE", "/cancel-market-orders", {"market": of.condition, "asset_id": "11"}
    )
    everything = json_of(client.call(exchange, "DELETE", "/cancel-all"))

    assert {"canceled": [ids[0]], "not_canceled": {}} == one
    assert [ids[1]] == many["canceled"]
    assert {ids[0]: "already canceled or matched", "0xnone": "order not found"} == many["not_canceled"]
    assert [] == by_token["canceled"]
    assert ids[2:] == json_of(by_market)["canceled"]
    assert {"canceled": [], "not_canceled": {}} == everything
    assert [(4800, 100 * SHARE)] == exchange.levels(of, True)


def test_nobody_cancels_or_reads_for_another() -> None:
    """Orders and trades of one account are invisible to every other."""
    exchange, of, client = venue()
    other = Trader("other", KEYS[1])
    order_id = json_of(client.place(exchange, of, price="0.4"))["orderID"]
    client.place(exchange, of, price="0.52")

    assert 404 == other.call(exchange, "GET", f"/data/order/{order_id}").status
    assert [] == json_of(other.call(exchange, "GET", "/data/trades"))["data"]
    stolen = json_of(other.call(exchange, "DELETE", "/order", {"orderID": order_id}))
    assert {order_id: "order not found"} == stolen["not_canceled"]
    assert 1 == len(json_of(client.call(exchange, "GET", "/data/orders"))["data"])


def test_pages_end_with_the_venues_cursor() -> None:
    """A list is read page by page from MA== to LTE=, each row once; a cursor that is none is refused."""
    of, client = market(), Trader()
    exchange = exchange_of([client], [of], ExchangeSettings(page_rows_max=3))
    ids = [json_of(client.place(exchange, of, price=f"0.0{n}"))["orderID"] for n in range(1, 8)]
    seen, cursor, pages = [], "MA==", 0
    while cursor != "LTE=":
        page = json_of(client.call(exchange, "GET", f"/data/orders?next_cursor={cursor}"))
        seen += [row["id"] for row in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1

    assert (ids, 3) == (seen, 3)
    assert [] == json_of(client.call(exchange, "GET", "/data/orders?next_cursor=LTE="))["data"]
    for bad in ("x", "LTI=", "w6k="):
        assert 400 == client.call(exchange, "GET", f"/data/orders?next_cursor={bad}").status
    found = json_of(
        client.call(exchange, "GET", f"/data/orders?id={ids[2]}&market={of.condition}&asset_id=11")
    )
    assert [ids[2]] == [row["id"] for row in found["data"]]


def test_order_row_has_what_clients_need() -> None:
    """Numbers that clients parse are strings, arrays are never null, created_at is in seconds."""
    exchange, of, client = venue()
    client.place(exchange, of, price="0.4", quantity="12.5", outcome=1)
    (row,) = json_of(client.call(exchange, "GET", "/data/orders"))["data"]

    assert {
        "status": "LIVE", "owner": "key-of-demo", "maker_address": client.wallet, "market": of.condition,
        "asset_id": "12", "side": "BUY", "original_size": "12.5", "size_matched": "0", "price": "0.4",
        "outcome": "No", "order_type": "GTC", "expiration": "0", "created_at": NOW_NS // SECOND,
        "associate_trades": [],
    } == {name: value for name, value in row.items() if name != "id"}  # fmt: skip


def test_maker_sees_its_fill_in_maker_orders() -> None:
    """A resting BUY NO that a BUY YES meets is reported in its own token, under the taker's top level."""
    exchange, of, client = venue()
    other = Trader("other", KEYS[1])
    resting = json_of(client.place(exchange, of, price="0.49", quantity="8", outcome=1))["orderID"]
    taker = json_of(other.place(exchange, of, price="0.51", quantity="8"))
    (row,) = json_of(client.call(exchange, "GET", "/data/trades"))["data"]

    assert ("MAKER", "11", "BUY", "0.51", taker["orderID"]) == tuple(
        row[name] for name in ("trader_side", "asset_id", "side", "price", "taker_order_id")
    )
    (own,) = row["maker_orders"]
    assert (resting, "12", "BUY", "0.49", "8", 1) == tuple(
        own[name] for name in ("order_id", "asset_id", "side", "price", "matched_amount", "outcome_index")
    )


def test_balance_and_allowances() -> None:
    """Balances are base units as text; every exchange contract is allowed without limit."""
    exchange, of, client = venue()
    cash = json_of(client.call(exchange, "GET", "/balance-allowance?asset_type=COLLATERAL&signature_type=0"))
    shares = json_of(
        client.call(exchange, "GET", f"/balance-allowance?asset_type=CONDITIONAL&token_id={of.tokens[0]}")
    )

    assert ("1000000000", "1000000000") == (cash["balance"], shares["balance"])
    assert "0xE111180000d2663C0091e4f400237545B87B996B" in cash["allowances"]
    assert 200 == client.call(exchange, "GET", "/balance-allowance/update?asset_type=COLLATERAL").status
    assert 400 == client.call(exchange, "GET", "/balance-allowance?asset_type=GOLD").status
    assert 404 == client.call(exchange, "GET", "/balance-allowance?asset_type=CONDITIONAL&token_id=1").status
    assert {"closed_only": False} == json_of(client.call(exchange, "GET", "/auth/ban-status/closed-only"))


def test_public_reads() -> None:
    """Metadata and prices in the venue's forms, for either token of the market."""
    exchange, of, _ = venue()

    assert get(exchange, "/time") == NOW_NS // SECOND
    assert "OK" == get(exchange, "/ok")
    assert {"version": 2} == get(exchange, "/version")
    assert {"minimum_tick_size": 0.01} == get(exchange, "/tick-size?token_id=11")
    assert {"neg_risk": False} == get(exchange, "/neg-risk?token_id=12")
    assert {"condition_id": of.condition, "primary_token_id": "11", "secondary_token_id": "12"} == get(
        exchange, "/markets-by-token/12"
    )
    compact = get(exchange, f"/clob-markets/{of.condition}")
    assert ({"r": 0.07, "e": 1, "to": True}, 0.01, 5) == (compact["fd"], compact["mts"], compact["mos"])
    assert "nr" not in compact
    assert {"price": "0.48"} == get(exchange, "/price?token_id=11&side=BUY")
    assert {"price": "0.52"} == get(exchange, "/price?token_id=12&side=SELL")
    assert {"mid": "0.5"} == get(exchange, "/midpoint?token_id=11")
    assert {"spread": "0.04"} == get(exchange, "/spread?token_id=12")
    for path in ("/book?token_id=1", "/markets-by-token/1", "/clob-markets/0x1"):
        assert 404 == exchange.on_request(NOW_NS, "clob", "GET", path, {}, b"").status


def test_book_has_best_level_last_and_a_true_hash() -> None:
    """Both tokens mirror each other; the hash is the SHA-1 of the compact object with an empty hash."""
    exchange, of, client = venue()
    client.place(exchange, of, price="0.47", quantity="8.5")
    yes, no = get(exchange, "/book?token_id=11"), get(exchange, "/book?token_id=12")

    assert [("0.47", "8.5"), ("0.48", "100")] == [(level["price"], level["size"]) for level in yes["bids"]]
    assert [("0.53", "8.5"), ("0.52", "100")] == [(level["price"], level["size"]) for level in no["asks"]]
    for book in (yes, no):
        blank = json.dumps(book | {"hash": ""}, separators=(",", ":"), ensure_ascii=False)
        assert book["hash"] == hashlib.sha1(blank.encode()).hexdigest()
    body = json.dumps([{"token_id": "12"}, {"token_id": "1"}]).encode()
    books = exchange.on_request(NOW_NS, "clob", "POST", "/books", {}, body)
    assert [no] == json_of(books)


def test_orders_are_rate_limited_by_tier() -> None:
    """A batch takes all its tokens or none; the refusal says when to come back, and the bucket refills."""
    exchange, of, client = venue(tier="Standard")
    legs = [client.body(of, price="0.01", quantity="5") for _ in range(15)]
    answers = [client.call(exchange, "POST", "/orders", legs) for _ in range(5)]

    assert [200, 200, 200, 200, 429] == [answer.status for answer in answers]
    assert "0" == answers[3].headers["poly-ratelimit-remaining"]
    assert ("Standard", "1") == (answers[4].headers["poly-ratelimit-tier"], answers[4].headers["retry-after"])
    assert 200 == client.call(exchange, "DELETE", "/cancel-all").status  # cancels have a bucket of their own
    later = NOW_NS + 375 * 10**6  # 15 tokens at 40 a second
    assert 429 == client.call(exchange, "POST", "/orders", legs, later - 1).status
    assert 200 == client.call(exchange, "POST", "/orders", legs, later).status


def test_cancel_all_is_charged_for_what_it_cancels() -> None:
    """Cancel-all costs one plus the number cancelled, and may leave the bucket in debt."""
    exchange, of, client = venue(tier="Standard")
    for ticks in range(1, 48):
        client.place(exchange, of, price=f"0.{ticks:02d}", quantity="5")
    cancelled = client.call(exchange, "DELETE", "/cancel-all")

    assert 47 == len(json_of(cancelled)["canceled"])
    assert str(120 - 48) == cancelled.headers["poly-ratelimit-remaining"]


def test_heartbeat_cancels_after_silence() -> None:
    """Once armed, ten seconds without the next beat cancel every order of the key, once."""
    exchange, of, client = venue()
    beat = "/v1/heartbeats"
    first = json_of(client.call(exchange, "POST", beat, {"heartbeat_id": ""}))["heartbeat_id"]
    order_id = json_of(client.place(exchange, of, price="0.4"))["orderID"]
    wrong = client.call(exchange, "POST", beat, {"heartbeat_id": "x"}, NOW_NS + 4 * SECOND)
    second = client.call(exchange, "POST", beat, {"heartbeat_id": first}, NOW_NS + 5 * SECOND)

    assert (400, "Invalid Heartbeat ID", first) == (
        wrong.status, json_of(wrong)["error_msg"], json_of(wrong)["heartbeat_id"]
    )  # fmt: skip
    assert first != json_of(second)["heartbeat_id"]
    exchange.on_timer(NOW_NS + 15 * SECOND - 1)
    assert "LIVE" == exchange.engine.orders[order_id].status_text
    exchange.on_timer(NOW_NS + 15 * SECOND)
    assert "CANCELED" == exchange.engine.orders[order_id].status_text
    again = client.call(exchange, "POST", beat, {"heartbeat_id": ""}, NOW_NS + 16 * SECOND)
    assert 200 == again.status


def test_unknown_routes_and_methods() -> None:
    """An unknown path needs a login before it is not found; an odd method is refused; a huge body too."""
    exchange, _, client = venue()

    assert 401 == exchange.on_request(NOW_NS, "clob", "GET", "/secret", {}, b"").status
    assert 404 == client.call(exchange, "GET", "/secret").status
    assert 404 == client.call(exchange, "POST", "/secret", {}).status
    assert 405 == exchange.on_request(NOW_NS, "clob", "PATCH", "/order", {}, b"").status
    assert 413 == exchange.on_request(NOW_NS, "clob", "POST", "/order", {}, b"0" * ((1 << 20) + 1)).status
