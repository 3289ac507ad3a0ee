"""py-clob-client-v2, unchanged, against the exchange: by its host argument over plain HTTP."""

from __future__ import annotations

import pytest

from tests.peers.conftest import OWNERS, Peers

pytestmark = pytest.mark.timeout(400)
GUEST_MICRO = 10_000 * 10**6
REFUSED = "PolyApiException"


def test_key_is_made_once_and_derived_again(peers: Peers) -> None:
    """A second creation is 400, which sends the client to deriving: the same key, secret and passphrase."""
    found = peers.flow("clob_v2", "keys")
    assert found["same"]
    assert found["listed"]
    assert {"closed_only": False} == found["closed_only"]
    assert (REFUSED, 400) == (found["twice"]["type"], found["twice"]["status_code"])


def test_lists_of_markets_end(peers: Peers) -> None:
    """Each list walked by its cursor holds every market of the exchange once; an unknown market is 404."""
    found = peers.flow("clob_v2", "catalogue")
    assert 4 == len(found["walked"])
    assert {len(peers.report["markets"])} == set(found["walked"].values())
    assert found["same"]
    assert found["info"]
    assert (404, {"error": "market not found"}) == (
        found["unknown"]["status_code"], found["unknown"]["error_msg"])


def test_client_reproduces_every_hash(peers: Peers) -> None:
    """The client's own hash of a served book is the served hash, for every book that it asked for."""
    found = peers.flow("clob_v2", "prices")
    assert found["books"] == found["proven"] == 50
    assert found["single"]
    assert found["best_last"]


def test_price_routes_agree(peers: Peers) -> None:
    """Tick, side, middle and spread come in the client's own types and fit together."""
    found = peers.flow("clob_v2", "prices")
    assert ("0.01", False, 2, True) == (
        found["tick"], found["neg_risk"], found["version"], found["server_s"])
    buy, sell = (float(found["prices"][side]) for side in ("BUY", "SELL"))
    assert 0 < buy < sell < 1
    assert [found["token"]] == found["mids"] == found["spreads"]
    assert {"price", "side"} <= found["last"].keys()
    assert found["token"] == found["lasts"][0]["token_id"]


def test_limit_orders_rest_and_cancel(peers: Peers) -> None:
    """GTC, GTD, post-only and a batch rest; each cancel takes what it names, and the books say so."""
    found = peers.flow("clob_v2", "limit_orders")
    ids = found["ids"]
    assert ["live"] * 6 == found["statuses"]
    assert found["listed"]
    assert found["filtered"]
    assert {
        "id": ids[1], "order_type": "GTD", "expiration": str(found["expires"]), "original_size": "11",
        "status": "LIVE",
    } == found["one"]
    assert {"canceled": [ids[0]], "not_canceled": {}} == found["by_id"]
    assert {"canceled": ids[1:3], "not_canceled": {ids[0]: "already canceled or matched"}} == found["by_ids"]
    assert [ids[5]] == found["by_market"]["canceled"]
    assert sorted(ids[3:5]) == sorted(found["rest"]["canceled"])
    assert [] == found["left"]
    rows = [peers.order(one) for one in ids]
    assert ["GTC", "GTD", "GTC", "GTC", "GTC", "GTC"] == [row["order_type"] for row in rows]
    assert [(size * 10_000, size * 10**6) for size in (10, 11, 12, 13, 14, 15)] == [
        (row["maker_micro"], row["taker_micro"]) for row in rows]
    assert {"CANCELED"} == {row["status_text"] for row in rows}


def test_market_orders_settle(peers: Peers) -> None:
    """FOK and FAK match at once; the client waits for each fill's transaction and sees it CONFIRMED."""
    found = peers.flow("clob_v2", "market_orders")
    assert ["matched"] * 4 == found["statuses"]
    assert [True] * 4 == found["hashes"]
    assert found["walked"]
    rows = [peers.order(one) for one in found["orders"]]
    assert [("FOK", True), ("FAK", True), ("FOK", True), ("FAK", False)] == [
        (row["order_type"], row["is_buy"]) for row in rows]
    booked = [trade for one in found["orders"] for trade in peers.trades(one)]
    assert sorted(found["trades"]) == sorted(row["trade_id"] for row in booked)
    assert {"CONFIRMED"} == {row["status"] for row in booked}
    assert found["history"]
    assert all({"t", "p"} == point.keys() for point in found["history"])


def test_kills_keep_the_venues_words(peers: Peers) -> None:
    """A FOK that cannot be filled and a FAK that meets nothing are refused as on the venue."""
    found = peers.flow("clob_v2", "market_orders")
    assert {"error": "order couldn't be fully filled. FOK orders are fully filled or killed."} == (
        found["killed"]["error_msg"])
    assert found["empty"]["error_msg"]["error"].startswith("no orders found to match with FAK order.")
    assert {400} == {found[name]["status_code"] for name in ("killed", "empty")}


@pytest.mark.parametrize(("kind", "wallet"), [("1", "proxy"), ("2", "safe"), ("3", "deposit")])
def test_each_wallet_trades_from_its_own_purse(peers: Peers, kind: str, wallet: str) -> None:
    """Types 1 to 3 rest and take under one key; what left the client's balance is what the books say."""
    found = peers.flow("clob_v2", "wallets")["made"][kind]
    assert ["live", "live", "matched"] == found["statuses"]
    account = peers.account("anvil3", wallet)
    assert {account["name"]} == {peers.order(one)["account"] for one in found["orders"]}
    taken = peers.order(found["orders"][2])
    assert found["spent"] == taken["usd_micro"] + taken["fee_micro"]
    assert GUEST_MICRO - found["spent"] == account["cash_usd_micro"]
    assert taken["matched_micro"] == sum(account["positions"].values()) > 0
    assert 7 == len(found["spenders"])


def test_another_ones_wallet_is_refused(peers: Peers) -> None:
    """A maker that is no wallet of this type of the key's owner may not trade."""
    found = peers.flow("clob_v2", "wallets")["strange"]
    assert {"error": "maker address not allowed, please use the deposit wallet flow"} == found["error_msg"]


def test_owner_pays_what_its_orders_cost(peers: Peers) -> None:
    """The EOA's cash is its play money less what its orders and fees cost, to the micro-dollar."""
    account = peers.account("anvil3", "eoa")
    rows = [row for row in peers.report["orders"] if row["account"] == account["name"]]
    spent = sum(row["usd_micro"] * (1 if row["is_buy"] else -1) + row["fee_micro"] for row in rows)
    assert spent > 0
    assert GUEST_MICRO - spent == account["cash_usd_micro"]
    assert OWNERS["anvil3"] == account["owner"] == account["wallet"]


def test_silent_key_loses_its_orders(peers: Peers) -> None:
    """Each beat names the one before; a wrong id is told the right one; silence cancels."""
    found = peers.flow("clob_v2", "heartbeats")
    assert {"error": "Invalid Heartbeat ID", "error_msg": "Invalid Heartbeat ID",
            "heartbeat_id": found["second"]} == found["wrong"]["error_msg"]
    assert 400 == found["wrong"]["status_code"]
    assert "CANCELED" == peers.order(found["order"])["status_text"]


@pytest.mark.parametrize(
    ("name", "status", "words"),
    [
        ("twice", 400, "Duplicated."),
        ("small", 400, "Size (1) lower than the minimum: 5"),
        ("poor", 400, "not enough balance / allowance: the balance is not enough"),
        ("crossing", 400, "invalid post-only order: order crosses book"),
        ("chain", 400, "order_version_mismatch"),
        ("key", 401, "Unauthorized/Invalid api key"),
        ("book", 404, "No orderbook exists for the requested token id"),
        ("cursor", 400, "invalid next_cursor"),
        ("order", 404, "not found"),
    ],
)
def test_refusals_reach_the_caller(peers: Peers, name: str, status: int, words: str) -> None:
    """Every refusal is the client's one exception with the venue's status and words as JSON."""
    found = peers.flow("clob_v2", "errors")[name]
    assert (REFUSED, status) == (found["type"], found["status_code"])
    assert words in found["error_msg"]["error"]


def test_repeated_order_is_one_order(peers: Peers) -> None:
    """The refused repetition left one order in the books."""
    first = peers.flow("clob_v2", "errors")["first"]
    assert 1 == len([row for row in peers.report["orders"] if row["order_id"] == first])


def test_small_reads_and_the_end_of_a_key(peers: Peers) -> None:
    """Notifications, scoring and older orders are empty in the right form; a deleted key is no key."""
    found = peers.flow("clob_v2", "account")
    assert ([], "OK", {"scoring": False}, []) == tuple(
        found[name] for name in ("notifications", "dropped", "scoring", "before_migration"))
    assert ["key", "passphrase", "secret"] == found["builder_key"]
    assert ("OK", 401) == (found["deleted"], found["after"]["status_code"])


def test_v2_markets_need_their_own_signature(peers: Peers) -> None:
    """By position id orders rest and take on v2 markets; by token id they are refused."""
    found = peers.flow("clob_v2", "v2_orders")
    assert ["live", "matched"] == found["statuses"]
    assert "v2" == found["version"]
    assert (400, {"error": "order_version_mismatch"}) == (
        found["wrong"]["status_code"], found["wrong"]["error_msg"])
    rested, taken = (peers.order(one) for one in found["orders"])
    versions = {row["condition"]: row["version"] for row in peers.report["markets"]}
    assert {"v2"} == {versions[row["condition"]] for row in (rested, taken)}
    assert [found["orders"][0]] == found["cancelled"]
    assert 0 < found["held"] == taken["matched_micro"]
