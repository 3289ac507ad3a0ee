"""From match to chain: what is provisional cannot be spent, what fails is taken back to the micro, once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import InvariantError
from pipeline.sim.accounts import Account
from pipeline.sim.exchange import Exchange
from pipeline.sim.ledger import COUNTERPARTY, FEES, USD
from pipeline.sim.market import Market
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.trades import Placed, Trade
from pipeline.units import PPM
from tests.sim_orders import order
from tests.sim_trader import KEYS, NOW_NS, Trader, exchange_of, json_of, market

SHARE = 1_000_000
SECOND = 10**9
MS = 10**6


def venue(**settings: Any) -> tuple[Exchange, Market, Account]:
    """Others offer 100 shares at 0.50 and bid for 100 at 0.48; our trader has money and no shares."""
    of = market()
    exchange = exchange_of([Trader()], [of], ExchangeSettings(**settings))
    exchange.foreign_changes(NOW_NS, of, [(False, 5000, 100 * SHARE), (True, 4800, 100 * SHARE)])
    return exchange, of, exchange.accounts["demo"]


def buy(exchange: Exchange, of: Market, account: Account, shares: int = 10) -> Trade:
    result = exchange.engine.submit(NOW_NS, order(account, of, True, 5000, shares * SHARE))
    assert isinstance(result, Placed)
    (trade,) = result.trades
    return trade


def walk_of(exchange: Exchange, trade: Trade) -> list[str]:
    """Run to the end of the trade; return each status that it went through."""
    seen = [trade.status]
    while (due_ns := exchange.next_timer_ns()) is not None:
        exchange.on_timer(due_ns)
        seen.append(trade.status)
    return seen


def test_a_ghost_fill_gives_everything_back() -> None:
    """FAILED returns money, fee and shares of both sides exactly; the ledger then is as before the match."""
    exchange, of, account = venue(settle_failed_ppm=PPM)
    before = [exchange.ledger.balance(*key) for key in _keys(of)]
    trade = buy(exchange, of, account)
    assert (10 * SHARE, 175_000) == (
        exchange.ledger.balance("demo", of.tokens[0]),
        exchange.ledger.fees("demo"),
    )

    assert ["MATCHED", "FAILED"] == walk_of(exchange, trade)
    assert before == [exchange.ledger.balance(*key) for key in _keys(of)]
    assert 0 == exchange.ledger.fees("demo") == exchange.ledger.unsettled("demo", of.tokens[0])
    assert 1 == exchange.engine.tally.failed
    exchange.ledger.check([of])


def _keys(of: Market) -> list[tuple[str, str]]:
    names = ("demo", COUNTERPARTY, FEES, f"vault:{of.condition}", f"mint:{of.condition}")
    return [(name, asset) for name in names for asset in (USD, *of.tokens)]


def test_a_reversal_happens_once() -> None:
    """Neither a second FAILED nor one after CONFIRMED finds anything to take back."""
    exchange, of, account = venue(settle_failed_ppm=PPM)
    failed = buy(exchange, of, account)
    walk_of(exchange, failed)
    with pytest.raises(InvariantError, match="held"):
        exchange.ledger.reverse(NOW_NS, failed.trade_id)

    exchange, of, account = venue()
    confirmed = buy(exchange, of, account)
    walk_of(exchange, confirmed)
    with pytest.raises(InvariantError, match="held"):
        exchange.ledger.reverse(NOW_NS, confirmed.trade_id)


def test_an_order_knows_what_of_it_was_a_ghost() -> None:
    """What both orders of a failed match got and paid is void in full: shares, money and the taker's fee."""
    of = market()
    sets = {of.condition: 50 * SHARE}
    traders = [Trader(sets_micro=sets), Trader("other", KEYS[1], sets_micro=sets)]
    exchange = exchange_of(traders, [of], ExchangeSettings(settle_failed_ppm=PPM))
    resting = order(exchange.accounts["other"], of, True, 4000, 30 * SHARE, outcome=1)
    taker = order(exchange.accounts["demo"], of, True, 6500, 20 * SHARE)  # mints against the bid for NO
    for one in (resting, taker):
        assert isinstance(exchange.engine.submit(NOW_NS, one), Placed)
    assert (12 * SHARE, 8 * SHARE) == (taker.usd_micro, resting.usd_micro)
    exchange.on_timer(NOW_NS + 60 * SECOND)

    for one in (resting, taker):
        assert (one.matched_micro, one.usd_micro, one.fee_micro) == (
            one.void_micro,
            one.void_usd_micro,
            one.void_fee_micro,
        )
    assert 20 * SHARE == taker.void_micro
    assert 0 < taker.void_fee_micro


def test_what_may_still_fail_cannot_be_spent() -> None:
    """Shares just bought are no balance and cannot be sold until CONFIRMED (venue sheet 19.8)."""
    exchange, of, account = venue()
    client = Trader()
    trade = buy(exchange, of, account)
    path = f"/balance-allowance?asset_type=CONDITIONAL&token_id={of.tokens[0]}"
    selling = order(account, of, False, 4800, 10 * SHARE)

    refused = exchange.engine.submit(NOW_NS, selling)
    assert "balance: 0" in getattr(refused, "text", "")
    assert "0" == json_of(client.call(exchange, "GET", path))["balance"]
    walk_of(exchange, trade)
    later_ns = NOW_NS + 3 * SECOND
    assert str(10 * SHARE) == json_of(client.call(exchange, "GET", path, None, later_ns))["balance"]
    assert isinstance(exchange.engine.submit(later_ns, order(account, of, False, 4800, 10 * SHARE)), Placed)


def test_proceeds_and_their_fee_go_back_together() -> None:
    """A seller who owns nothing but the shares has his fee out of the proceeds; a failure still balances."""
    of = market()
    poor = Trader(cash_micro=0, sets_micro={of.condition: 10 * SHARE})
    exchange = exchange_of([poor], [of], ExchangeSettings(settle_failed_ppm=PPM))
    exchange.foreign_changes(NOW_NS, of, [(True, 4800, 100 * SHARE)])
    result = exchange.engine.submit(NOW_NS, order(exchange.accounts["demo"], of, False, 4800, 10 * SHARE))
    assert isinstance(result, Placed)
    assert 0 < exchange.ledger.fees("demo")
    walk_of(exchange, result.trades[0])

    assert (0, 10 * SHARE) == tuple(exchange.ledger.balance("demo", asset) for asset in (USD, of.tokens[0]))


def test_retrying_changes_the_transaction() -> None:
    """Each attempt that is sent again has another hash; in the end it is mined or given up."""
    exchange, of, account = venue(settle_retried_ppm=PPM)
    trade = buy(exchange, of, account)
    hashes = []
    while (due_ns := exchange.next_timer_ns()) is not None:
        exchange.on_timer(due_ns)
        hashes.append((trade.status, trade.transaction_hash))

    assert 3 == [status for status, _ in hashes].count("RETRYING")
    assert ["MINED", "CONFIRMED"] == [status for status, _ in hashes[-2:]]
    assert 4 == len({found for _, found in hashes})


def test_trade_ids_may_come_late() -> None:
    """With a delay neither the answer nor the lists know the trade; then the user channel tells."""
    exchange, of, _ = venue(trade_told_after_ns=150 * MS)
    client = Trader()
    socket = exchange.open_socket(NOW_NS, "user")
    login = {"apiKey": client.credentials.api_key, "secret": client.credentials.secret}
    login["passphrase"] = client.credentials.passphrase
    exchange.on_text(NOW_NS, socket, json.dumps({"auth": login, "type": "user"}).encode())
    row = json_of(client.place(exchange, of, price="0.5", quantity="10"))

    assert ("matched", [], []) == (row["status"], row["tradeIDs"], row["transactionsHashes"])
    assert [] == json_of(client.call(exchange, "GET", "/data/trades"))["data"]
    assert ["order"] == [json.loads(out.frame)["event_type"] for out in exchange.take_output()]
    exchange.on_timer(NOW_NS + 150 * MS)
    (told,) = [json.loads(out.frame) for out in exchange.take_output()]
    assert ("trade", "MATCHED", row["orderID"]) == (
        told["event_type"],
        told["status"],
        told["taker_order_id"],
    )
    (read,) = json_of(client.call(exchange, "GET", "/data/trades", None, NOW_NS + SECOND))["data"]
    assert told["id"] == read["id"]


def test_a_resolution_ends_what_is_provisional() -> None:
    """A market that resolves meanwhile settles first: a trade meant to fail pays nobody, a good one pays."""
    for failed_ppm, expected in ((PPM, 0), (0, 5 * SHARE - 175_000)):
        exchange, of, account = venue(settle_failed_ppm=failed_ppm)
        trade = buy(exchange, of, account)
        exchange.resolve(NOW_NS + MS, of, 0)
        walk_of(exchange, trade)

        assert expected == exchange.ledger.pnl("demo")
        assert ("FAILED" if failed_ppm else "CONFIRMED") == trade.status


@pytest.mark.parametrize("seed", range(2))
def test_the_rate_of_ghost_fills_is_the_one_asked_for(seed: int) -> None:
    """Of 800 trades about one in five fails (five sigma), and the same seed fails the same ones."""

    def failed(of_seed: int) -> list[bool]:
        of = market()
        exchange = exchange_of(
            [Trader(cash_micro=10**12)], [of], ExchangeSettings(settle_failed_ppm=200_000), of_seed
        )
        exchange.foreign_changes(NOW_NS, of, [(False, 5000, 100_000 * SHARE)])
        trades = [buy(exchange, of, exchange.accounts["demo"]) for _ in range(800)]
        exchange.on_timer(NOW_NS + 60 * SECOND)
        return [trade.status == "FAILED" for trade in trades]

    found = failed(seed)
    assert 103 <= sum(found) <= 217
    assert found == failed(seed)
