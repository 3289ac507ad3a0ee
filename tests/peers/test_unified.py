"""polymarket-client, unchanged, against the exchange: by HTTPS_PROXY and SSL_CERT_FILE alone."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import pytest

from pipeline.sim.hosts import OFFICIAL
from pipeline.sim.wallets import deposit_wallet
from tests.peers.conftest import OWNERS, Peers

pytestmark = pytest.mark.timeout(400)
GUEST_MICRO = 10_000 * 10**6
WALLETS = [("1", "proxy"), ("2", "safe"), ("3", "deposit")]


def test_two_variables_are_all_there_is(peers: Peers) -> None:
    """The exchange tells exactly two variables, and a file of the same lines for `env`."""
    told = peers.ready["environment"]
    assert ["HTTPS_PROXY", "SSL_CERT_FILE"] == sorted(told)
    assert peers.ready["urls"]["proxy"] == told["HTTPS_PROXY"]
    lines = (Path(peers.ready["run_dir"]) / "hosts.env").read_text().splitlines()
    assert [f"{name}={value}" for name, value in told.items()] == lines


def test_every_wallet_type_signs_in(peers: Peers) -> None:
    """Four wallet types share one owner's key; without a wallet the client finds the deposit wallet."""
    found = peers.flow("unified", "sign_in")
    assert {"0": "EOA", "1": "POLY_PROXY", "2": "GNOSIS_SAFE", "3": "DEPOSIT_WALLET"} == found["types"]
    assert deposit_wallet(OWNERS["anvil5"]) == found["default"]
    assert 1 == found["keys"]
    assert found["listed"]
    assert found["closed_only"] is False
    assert "UserInputError" == found["nowhere"]["type"]  # another owner's wallet


def test_catalogue_is_whole(peers: Peers) -> None:
    """Keyset pages hold every market and event once; filters and look-ups name what was asked for."""
    found = peers.flow("unified", "catalogue")
    conditions = {row["condition"] for row in peers.report["markets"]}
    assert len(conditions) == found["markets"] == found["rows"] == found["of_events"]
    assert len({row["event_id"] for row in peers.report["markets"]}) == found["events"]
    assert 0 == found["closed"]
    assert {"ids": True, "slug": True, "condition_ids": True, "clob_token_ids": True} == found["filters"]
    assert found["same"]
    assert found["same_event"]
    assert ("RequestRejectedError", 404) == (found["unknown"]["type"], found["unknown"]["status"])


def test_prices_parse(peers: Peers) -> None:
    """Books and prices pass the client's models and lie in order."""
    found = peers.flow("unified", "prices")
    bid, ask, is_same = found["book"]
    assert 0 < Decimal(bid) < Decimal(ask) < 1
    assert is_same
    assert 1 == found["books"]
    assert 0 < Decimal(found["mid"]) < 1
    assert Decimal(found["spread"]) > 0
    assert Decimal(found["price"]) > 0


def test_limit_orders_rest_and_cancel(peers: Peers) -> None:
    """GTC, GTD, post-only and a batch with one bad leg; each cancel takes what it names."""
    found = peers.flow("unified", "limit_orders")
    ids = found["ids"]
    assert ["live"] * 5 == found["statuses"]
    assert [False, "unknown"] == found["refused_leg"]
    assert found["listed"]
    assert [ids[1], "GTD", "11"] == found["one"]
    assert [ids[0]] == found["by_id"]
    assert [[ids[1]], {ids[0]: "already canceled or matched"}] == found["by_ids"]
    assert sorted(ids[3:5]) == found["by_market"]
    assert [ids[2]] == found["rest"]
    assert [] == found["left"]
    rows = [peers.order(one) for one in ids]
    assert [(size * 10_000, size * 10**6) for size in (10, 11, 12, 13, 14)] == [
        (row["maker_micro"], row["taker_micro"]) for row in rows]
    assert {"CANCELED"} == {row["status_text"] for row in rows}
    assert [0, 0, 0, 1, 1] == [row["outcome"] for row in rows]


def test_market_orders_settle(peers: Peers) -> None:
    """FAK and FOK with and without a bound; the client's wait ends with one transaction for each fill."""
    found = peers.flow("unified", "market_orders")
    assert ["matched"] * 4 == found["statuses"]
    assert [len(trades) for trades in found["trades"]] == found["hashes"]
    booked = {row["trade_id"]: row for one in found["orders"] for row in peers.trades(one)}
    assert sorted(trade for trades in found["trades"] for trade in trades) == sorted(booked)
    assert {"CONFIRMED"} == {row["status"] for row in booked.values()}
    assert sorted(booked) == found["rows"]
    assert ["CONFIRMED"] == found["row_statuses"]
    assert [("FAK", True), ("FOK", True), ("FAK", True), ("FAK", False)] == [
        (row["order_type"], row["is_buy"]) for row in map(peers.order, found["orders"])]


def test_kills_and_crossings_are_told(peers: Peers) -> None:
    """A killed FOK and a crossing post-only order are the client's rejection with the venue's words."""
    found = peers.flow("unified", "market_orders")
    assert ("RequestRejectedError", 400) == (found["killed"]["type"], found["killed"]["status"])
    assert "order couldn't be fully filled. FOK orders are fully filled or killed." == found["killed"]["text"]
    assert "invalid post-only order: order crosses book" == found["crossing"]["text"]


@pytest.mark.parametrize(("kind", "wallet"), WALLETS)
def test_each_wallet_trades_from_its_own_purse(peers: Peers, kind: str, wallet: str) -> None:
    """Rest, take, balance, position, trade and value agree between CLOB, data API and the books."""
    found = peers.flow("unified", "wallets")
    token, found = found["token"], found["made"][kind]
    assert ["live", "matched"] == found["statuses"]
    account = peers.account("anvil5", wallet)
    taken = peers.order(found["orders"][1])
    assert account["name"] == taken["account"]
    assert found["spent"] == taken["usd_micro"] + taken["fee_micro"]
    assert found["held"] == taken["matched_micro"]
    ((asset, size, status),) = found["positions"]
    assert (token, Decimal(taken["matched_micro"]) / 10**6, "OPEN") == (asset, Decimal(size), status)
    assert {account["wallet"]} == {row[0] for row in found["traded"]}
    assert Decimal(size) == sum(Decimal(row[1]) for row in found["traded"])
    assert 0 < Decimal(found["value"]) < Decimal(size)
    assert found["approved"]


@pytest.mark.parametrize(("kind", "wallet"), WALLETS)
def test_relayer_plays_what_the_books_can(peers: Peers, kind: str, wallet: str) -> None:
    """A lowered allowance is missed, mended by the client itself; sets are split and merged in the ledger."""
    found = peers.flow("unified", "relayed")[kind]
    assert ["0xe111180000d2663c0091e4f400237545b87b996b"] == [one.lower() for one in found["missing"]]
    assert found["mended"]
    assert [66, 66] == found["hashes"]
    split, merged = found["held"]
    assert (5_000_000, 3_000_000) == (split, merged)
    taken = peers.order(peers.flow("unified", "wallets")["made"][kind]["orders"][1])
    account = peers.account("anvil5", wallet)
    assert GUEST_MICRO - taken["usd_micro"] - taken["fee_micro"] - 3_000_000 == account["cash_usd_micro"]
    assert sorted([3_000_000, taken["matched_micro"] + 3_000_000]) == sorted(account["positions"].values())
    assert account["name"] == peers.order(found["order"])["account"]


@pytest.mark.parametrize(("kind", "wallet"), WALLETS)
def test_relayer_says_what_it_cannot(peers: Peers, kind: str, wallet: str) -> None:
    """A transfer fails and says that no chain is here; a batch with one impossible call changes nothing."""
    found = peers.flow("unified", "relayed")[kind]
    assert "TransactionFailedError" == found["transfer"]["type"] == found["too_much"]["type"]
    assert "no chain stands behind the local exchange" in found["transfer"]["text"]
    assert "1000000000000 free expected" in found["too_much"]["text"]


@pytest.mark.parametrize("wallet", ["eoa", "deposit"])
def test_v2_markets_trade_like_any_other(peers: Peers, wallet: str) -> None:
    """Rest and take on plain and neg-risk v2 markets; what is held agrees everywhere, and a set is split."""
    flow = peers.flow("unified", "v2_markets")
    found = flow["made"][wallet]
    assert ["live", "live", "matched"] == found["statuses"]
    rows = [peers.order(one) for one in found["orders"]]
    versions = {row["condition"]: row["version"] for row in peers.report["markets"]}
    assert {"v2"} == {versions[row["condition"]] for row in rows}
    assert {peers.account("anvil6", wallet)["name"]} == {row["account"] for row in rows}
    assert 0 < found["held"] == rows[2]["matched_micro"]
    assert [flow["token"], Decimal(found["held"]) / 10**6] in [
        [asset, Decimal(size)] for asset, size in found["positions"]]
    assert 2 == found["cancelled"]
    assert 5_000_000 == flow["split"]


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("small", "RequestRejectedError", "lower than the minimum: 5"),
        ("poor", "RequestRejectedError", "not enough balance / allowance"),
        ("grid", "UserInputError", "tick size 0.01"),
        ("book", "RequestRejectedError", "No orderbook exists"),
    ],
)
def test_refusals_become_the_clients_exceptions(peers: Peers, name: str, kind: str, words: str) -> None:
    """Bodies, statuses and metadata lead the client to its own exception types."""
    found = peers.flow("unified", "errors")[name]
    assert kind == found["type"]
    assert words in found["text"]


def test_heartbeat_mismatch_names_the_right_id(peers: Peers) -> None:
    """The client reads the expected id from the refusal: a type of its own, not a plain rejection."""
    right, wrong = peers.flow("unified", "errors")["heartbeat"]
    assert ("OrderHeartbeatMismatchError", right) == (wrong["type"], wrong["heartbeat_id"])


def test_small_reads(peers: Peers) -> None:
    """Builder fees, notifications and scoring come in the form that the client expects."""
    found = peers.flow("unified", "errors")
    assert re.search(r"taker=Decimal\('0", found["builder"])
    assert (0, False) == (found["notifications"], found["scoring"])


def test_both_clients_are_one_owner(peers: Peers) -> None:
    """py-clob-client-v2 under the venue's own name derives the same key; each sees the other's order."""
    found = peers.flow("unified", "other_client")
    assert found["same"]
    assert found["order"] == found["seen"]
    assert [found["order"]] == found["cancelled"]
    assert "CANCELED" == peers.order(found["order"])["status_text"]


def test_other_names_are_refused_in_one_line(peers: Peers) -> None:
    """The proxy says which names it has; nothing is passed on."""
    found = peers.flow("unified", "refused_hosts")
    assert "ProxyError" == found["type"]
    assert found["text"].startswith("403 example.com:443 is not served by the local exchange")
    assert all(name in found["text"] for name in OFFICIAL)


def test_market_socket(peers: Peers) -> None:
    """Snapshots of both tokens come first; what the frames build is what REST serves for the same time."""
    found = peers.flow("unified_sockets", "market_socket")
    assert ["book", "book"] == found["first"]
    assert {"book", "price_change", "best_bid_ask"} <= found["kinds"].keys()
    assert 1 == found["agreed"]
    assert 0 == found["lost"]


def test_user_socket(peers: Peers) -> None:
    """Placement, cancellation and each status of each trade come once, in order, as the books have them."""
    found = peers.flow("unified_sockets", "user_socket")
    assert [["PLACEMENT", "LIVE"], ["CANCELLATION", "CANCELED"]] == [
        row[1:] for row in found["orders"] if row[0] == found["rests"]]
    assert [["PLACEMENT", "MATCHED"]] == [row[1:] for row in found["orders"] if row[0] == found["taken"]]
    booked = [row["trade_id"] for row in peers.trades(found["taken"])]
    assert {trade: ["MATCHED", "MINED", "CONFIRMED"] for trade in booked} == found["walks"]
    assert 0 == found["lost"]
