"""Owners whom the exchange does not know: a proved key opens a purse for each wallet that the key has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from eth_account import Account as EthAccount

from pipeline.sim.wallets import wallets_of
from tests.shared import SHARED, needs_shared
from tests.sim_guests import CASH_MICRO, Guest, ask, l1_headers, venue_for_guests
from tests.sim_trader import KEYS, NOW_NS, error_of, json_of, market

SHARE = 10**6
PATH = SHARED / "venues" / "polymarket-vectors.json"


@needs_shared
def test_wallet_addresses_are_the_venues() -> None:
    """Each derived address equals what the official client derives (vectors file)."""
    keys = json.loads(PATH.read_text())["keys"]
    assert 3 == len(keys)
    for key in keys:
        names = ("address", "proxy_wallet", "safe_wallet", "deposit_wallet_beacon", "deposit_wallet_uups")
        assert [key[name] for name in names] == [address for _, _, address in wallets_of(key["address"])]


def test_proved_key_opens_a_purse_for_each_wallet() -> None:
    """The first sign-in funds every wallet once; the second changes nothing."""
    exchange = venue_for_guests([market()])
    guest = Guest(exchange)
    assert 200 == guest.sign_in().status
    assert 400 == guest.sign_in().status
    assert 200 == guest.sign_in(nonce=1).status
    assert ["eoa", "proxy", "safe", "deposit", "deposit-uups"] == list(guest.purses)
    assert [0, 1, 2, 3, 3] == [one.signature_type for one in guest.purses.values()]
    assert {CASH_MICRO} == {exchange.ledger.balance(one.name, "usd") for one in guest.purses.values()}
    exchange.ledger.check([market()])


def test_unproved_address_opens_nothing() -> None:
    """A signature of another key, of another time, or on a name that is no address is 401."""
    exchange = venue_for_guests([market()])
    other = EthAccount.from_key(KEYS[1]).address
    cases = [
        l1_headers(KEYS[0], address=other),
        l1_headers(KEYS[0], now_ns=NOW_NS - 31 * 10**9),
        l1_headers(KEYS[0]) | {"poly_address": "0x12"},
        l1_headers(KEYS[0]) | {"poly_signature": "0x" + "11" * 65},
    ]
    for headers in cases:
        answer = exchange.on_request(NOW_NS, "clob", "POST", "/auth/api-key", headers, b"")
        assert (401, "Invalid L1 Request headers") == (answer.status, error_of(answer))
    assert {} == exchange.accounts


@pytest.mark.parametrize("settings", [{"guest_cash_micro": 0}, {"guests_max": 0}])
def test_guests_are_refused_where_they_are_not_wanted(settings: dict[str, Any]) -> None:
    """Without play money, or with too many owners, an unknown owner is 401 as before."""
    assert 401 == Guest(venue_for_guests([market()], **settings)).sign_in().status


@pytest.mark.parametrize("wallet", ["eoa", "proxy", "safe", "deposit", "deposit-uups"])
def test_each_wallet_spends_its_own_money(wallet: str) -> None:
    """An order of one wallet is paid and kept by its purse; the owner's other wallets are untouched."""
    of = market()
    exchange = venue_for_guests([of])
    exchange.foreign_changes(NOW_NS, of, [(False, 5200, 100 * SHARE)])
    guest = Guest(exchange)
    credentials = guest.credentials()
    trader = guest.trader(credentials, guest.purses[wallet])
    placed = json_of(trader.place(exchange, of, price="0.52", quantity="5.2", order_type="FAK"))
    assert "matched" == placed["status"]
    held = {name: exchange.ledger.balance(one.name, of.tokens[0]) for name, one in guest.purses.items()}
    assert 10 * SHARE == held.pop(wallet)
    assert {0} == set(held.values())
    cash = {name: exchange.ledger.balance(one.name, "usd") for name, one in guest.purses.items()}
    assert cash.pop(wallet) < CASH_MICRO - 5_200_000
    assert {CASH_MICRO} == set(cash.values())


def test_reads_of_an_owner_hold_all_its_wallets() -> None:
    """Orders, trades and cancels of the key reach every purse; the balance is that of the type asked for."""
    of = market()
    exchange = venue_for_guests([of])
    exchange.foreign_changes(NOW_NS, of, [(False, 5200, 100 * SHARE)])
    guest = Guest(exchange)
    credentials = guest.credentials()
    traders = {name: guest.trader(credentials, guest.purses[name]) for name in ("eoa", "safe")}
    ids = [json_of(one.place(exchange, of, price="0.40"))["orderID"] for one in traders.values()]
    bought = json_of(traders["safe"].place(exchange, of, price="0.52", quantity="5.2", order_type="FAK"))
    client = traders["eoa"]
    listed = json_of(client.call(exchange, "GET", "/data/orders"))["data"]
    assert ids == [row["id"] for row in listed]
    assert [one.wallet for one in traders.values()] == [row["maker_address"] for row in listed]
    (row,) = json_of(client.call(exchange, "GET", "/data/trades"))["data"]
    assert (bought["tradeIDs"][0], "TAKER", traders["safe"].wallet) == (
        row["id"], row["trader_side"], row["maker_address"])
    for kind, wallet in ((0, "eoa"), (2, "safe")):
        path = f"/balance-allowance?asset_type=COLLATERAL&signature_type={kind}"
        balance = int(json_of(client.call(exchange, "GET", path))["balance"])
        assert exchange.ledger.balance(guest.purses[wallet].name, "usd") == balance
    assert sorted(ids) == sorted(json_of(client.call(exchange, "DELETE", "/cancel-all"))["canceled"])


def test_another_owners_wallet_is_no_maker() -> None:
    """Two guests: neither may name the other's wallet, nor see or cancel what the other has."""
    of = market()
    exchange = venue_for_guests([of])
    first, second = Guest(exchange), Guest(exchange, KEYS[1])
    mine, theirs = first.credentials(), second.credentials()
    trader = second.trader(theirs, second.purses["safe"])
    order = json_of(trader.place(exchange, of, price="0.40"))["orderID"]
    thief = first.trader(mine, second.purses["safe"])
    assert "maker address not allowed, please use the deposit wallet flow" == error_of(
        thief.place(exchange, of, price="0.40"))
    client = first.trader(mine, first.purses["eoa"])
    assert [] == json_of(client.call(exchange, "GET", "/data/orders"))["data"]
    assert 404 == client.call(exchange, "GET", f"/data/order/{order}").status
    assert {"canceled": [], "not_canceled": {order: "order not found"}} == json_of(
        client.call(exchange, "DELETE", "/order", {"orderID": order}))


def test_lowered_allowance_refuses_what_it_does_not_cover() -> None:
    """The exchange takes no more than the wallet allows it; other exchanges' allowances do not matter."""
    of = market()
    exchange = venue_for_guests([of])
    guest = Guest(exchange)
    trader = guest.trader(guest.credentials(), guest.purses["eoa"])
    purse, spender = guest.purses["eoa"], "0xE111180000d2663C0091e4f400237545B87B996B"
    collateral = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
    purse.allowances[collateral.lower(), spender.lower()] = 4_000_000
    assert "live" == json_of(trader.place(exchange, of, price="0.40", quantity="10"))["status"]
    assert (
        "not enough balance / allowance: the allowance is not enough -> "
        f"spender: {spender}, allowance: 4000000, order amount: 4400000"
    ) == error_of(trader.place(exchange, of, price="0.40", quantity="11"))
    rows = {row["spender"]: row for row in ask(exchange, "data", f"/v2/approvals?user={purse.wallet}")[
        "data"]["contracts"] if row["token"] == collateral}
    assert ("4000000", True) == (rows[spender]["amount"], rows[spender]["approved"])
    assert {"max"} == {row["amount"] for name, row in rows.items() if name != spender}
