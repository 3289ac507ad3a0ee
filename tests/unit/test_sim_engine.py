"""Matching: price and time, the four times in force, minting and merging, other participants' flow."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.errors import InvariantError
from pipeline.sim.accounts import Account
from pipeline.sim.book import Order
from pipeline.sim.errors_text import Refusal
from pipeline.sim.exchange import Exchange
from pipeline.sim.ledger import USD
from pipeline.sim.market import Commit, LevelChange, Market
from pipeline.sim.settings import ExchangeSettings, FeePer
from pipeline.sim.trades import Placed
from tests.sim_orders import order
from tests.sim_trader import NOW_NS, Trader, exchange_of, market

SHARE = 1_000_000
SECOND = 10**9


def venue(*levels: tuple[bool, int, int], **settings: Any) -> tuple[Exchange, Market, Account]:
    """Return an exchange with one market; levels are (is_bid, ticks, shares) of other participants."""
    of = market(planted=True)
    trader = Trader(sets_micro={of.condition: 1_000 * SHARE})
    exchange = exchange_of([trader], [of], ExchangeSettings(**settings))
    exchange.foreign_changes(
        NOW_NS, of, [(is_bid, ticks, shares * SHARE) for is_bid, ticks, shares in levels]
    )
    return exchange, of, exchange.accounts["demo"]


def placed(exchange: Exchange, an_order: Order, now_ns: int = NOW_NS) -> Placed:
    result = exchange.engine.submit(now_ns, an_order)
    assert isinstance(result, Placed), result.text
    return result


def fills(result: Placed) -> list[tuple[int, int]]:
    return [(trade.price_ticks, trade.size_micro) for trade in result.trades]


def refused(exchange: Exchange, an_order: Order) -> str:
    result = exchange.engine.submit(NOW_NS, an_order)
    assert isinstance(result, Refusal)
    return result.text


def test_fak_buy_spends_its_collateral() -> None:
    """10 USD at a limit of 0.52 buy 20 shares where they cost 0.50: more than the 19.23 of the payload."""
    exchange, of, account = venue((False, 5000, 100))
    result = placed(exchange, order(account, of, True, 5200, order_type="FAK", budget_micro=10 * SHARE))

    assert [(5000, 20 * SHARE)] == fills(result)
    assert 10 * SHARE == result.order.usd_micro


def test_gtc_buy_stops_at_its_shares() -> None:
    """The same payload as GTC buys exactly its 19.23 shares, whatever they cost."""
    exchange, of, account = venue((False, 5000, 100))
    result = placed(exchange, order(account, of, True, 5200, 19_230_000))

    assert [(5000, 19_230_000)] == fills(result)
    assert 9_615_000 == result.order.usd_micro
    assert "matched" == result.status


def test_gtc_rests_with_its_remainder_and_fak_dies_with_it() -> None:
    """A limit order that crosses takes up to its limit and rests; a FAK leaves nothing."""
    exchange, of, account = venue((False, 5000, 10))
    placed(exchange, order(account, of, True, 5000, 25 * SHARE, "FAK", budget_micro=0))
    assert [] == exchange.levels(of, True)

    exchange.foreign_change(NOW_NS, of, False, 5000, 10 * SHARE)
    placed(exchange, order(account, of, True, 5000, 25 * SHARE))
    assert [(5000, 15 * SHARE)] == exchange.levels(of, True)


def test_fok_fills_all_or_nothing() -> None:
    """A FOK that the book cannot fill up to its limit is killed with the venue's text and changes nothing."""
    exchange, of, account = venue((False, 5000, 10), (False, 5100, 10), (False, 5200, 100))
    text = "order couldn't be fully filled. FOK orders are fully filled or killed."

    assert text == refused(
        exchange, order(account, of, True, 5100, order_type="FOK", budget_micro=11 * SHARE)
    )
    assert 10 * SHARE == exchange.levels(of, False)[0][1]
    result = placed(exchange, order(account, of, True, 5100, order_type="FOK", budget_micro=10_100_000))
    assert [(5000, 10 * SHARE), (5100, 10 * SHARE)] == fills(result)


def test_fak_without_a_match_is_killed() -> None:
    """A FAK that meets nothing is refused with the venue's text, and its id is spent."""
    exchange, of, account = venue((False, 5000, 10))
    dead = order(account, of, True, 4900, order_type="FAK", budget_micro=5 * SHARE)

    assert refused(exchange, dead).startswith("no orders found to match with FAK order.")
    assert f"order {dead.order_id} is invalid. Duplicated." == refused(exchange, dead)


def test_taker_gets_the_makers_price_level_by_level() -> None:
    """One match per level of other participants, at its own price, each with its own floored fee."""
    exchange, of, account = venue((False, 4800, 3), (False, 4800, 4), (False, 4900, 5))
    result = placed(exchange, order(account, of, True, 5000, 10 * SHARE))

    assert [(4800, 7 * SHARE), (4900, 3 * SHARE)] == fills(result)
    # 7 * 0.07 * 0.48 * 0.52 = 0.122304; 3 * 0.07 * 0.49 * 0.51 = 0.052479
    assert [122_300, 52_470] == [trade.fee_micro for trade in result.trades]
    assert 174_770 == exchange.ledger.fees("demo")


def test_fee_per_order_is_floored_once() -> None:
    """With fees per order the sum is floored once, and sits on the last match."""
    exchange, of, account = venue((False, 4800, 7), (False, 4900, 5), fee_per=FeePer.ORDER)
    result = placed(exchange, order(account, of, True, 5000, 10 * SHARE))

    assert [0, 174_780] == [trade.fee_micro for trade in result.trades]  # 0.174783


def test_time_priority_between_us_and_others() -> None:
    """At one price the older entry is matched first; other participants' cancels leave our place."""
    exchange, of, account = venue((True, 5000, 5))
    ours = placed(exchange, order(account, of, True, 5000, 10 * SHARE)).order
    exchange.foreign_change(NOW_NS, of, True, 5000, 7 * SHARE)
    exchange.foreign_change(NOW_NS, of, True, 5000, -8 * SHARE)  # all 7 behind us, then 1 before

    exchange.foreign_take(NOW_NS, of, False, 5000, 6 * SHARE)
    assert 2 * SHARE == ours.matched_micro  # 4 others stood before us


def test_buying_no_takes_the_yes_bid_by_minting() -> None:
    """BUY NO at q takes a YES bid at 1 - q; both pay, and the vault holds 1 USD a set."""
    exchange, of, account = venue((True, 5500, 10))
    before = exchange.ledger.balance(f"vault:{of.condition}", USD)
    result = placed(
        exchange, order(account, of, True, 4600, order_type="FAK", budget_micro=2_250_000, outcome=1)
    )

    assert [(4500, 5 * SHARE)] == fills(result)
    assert 5 * SHARE == exchange.ledger.balance(f"vault:{of.condition}", USD) - before
    assert 1_005 * SHARE == exchange.ledger.positions("demo")[of.tokens[1]]


def test_selling_both_tokens_merges() -> None:
    """SELL YES at p meets SELL NO at 1 - p: the set is merged, the vault pays both."""
    of = market()
    sets = {of.condition: 100 * SHARE}
    traders = [Trader(sets_micro=sets), Trader("second", sets_micro=sets)]
    exchange = exchange_of(traders, [of])
    first, second = exchange.accounts["demo"], exchange.accounts["second"]
    maker = placed(exchange, order(first, of, False, 6000, 10 * SHARE)).order
    placed(exchange, order(second, of, False, 4000, 10 * SHARE, "FAK", outcome=1))

    assert 6 * SHARE == maker.usd_micro
    assert 90 * SHARE == exchange.ledger.positions("second")[of.tokens[1]]
    assert 190 * SHARE == exchange.ledger.balance(f"vault:{of.condition}", USD)


def test_post_only_that_crosses_is_refused() -> None:
    """A post-only order never takes."""
    exchange, of, account = venue((False, 5000, 10))

    crossing = order(account, of, True, 5000, 10 * SHARE, post_only=True)
    assert "invalid post-only order: order crosses book" == refused(exchange, crossing)
    assert "live" == placed(exchange, order(account, of, True, 4900, 10 * SHARE, post_only=True)).status


def test_gtd_expires_a_minute_early() -> None:
    """The engine takes a GTD order out 60 s before its stated expiration (venue sheet 10.7)."""
    exchange, of, account = venue()
    stated_s = NOW_NS // SECOND + 200
    resting = placed(exchange, order(account, of, True, 5000, 10 * SHARE, "GTD", expiration_s=stated_s)).order

    exchange.on_timer(NOW_NS + 140 * SECOND - 1)
    assert "LIVE" == resting.status_text
    assert NOW_NS + 140 * SECOND == exchange.next_timer_ns()
    exchange.on_timer(NOW_NS + 140 * SECOND)
    assert "CANCELED_EXPIRED_ORDER" == resting.status_text
    assert [] == exchange.levels(of, True)


def test_funds_are_reserved() -> None:
    """Resting orders reserve money and shares, and the refusal names the balance in base units."""
    exchange, of, account = venue()
    placed(exchange, order(account, of, True, 5000, 1_900 * SHARE))
    placed(exchange, order(account, of, False, 6000, 990 * SHARE))

    text = refused(exchange, order(account, of, True, 5000, 101 * SHARE))
    assert text.startswith("not enough balance / allowance: the balance is not enough -> balance: 1000000000")
    assert text.endswith("order amount: 50500000")
    assert "balance: 1000000000" in refused(exchange, order(account, of, False, 6000, 11 * SHARE))
    placed(exchange, order(account, of, False, 6000, 10 * SHARE))


def test_fee_must_be_covered_too() -> None:
    """A taker who can pay the shares but not the fee on top is refused."""
    of = market()
    exchange = exchange_of([Trader(cash_micro=5 * SHARE)], [of])
    exchange.foreign_change(NOW_NS, of, False, 5000, 100 * SHARE)

    taking = order(exchange.accounts["demo"], of, True, 5000, order_type="FAK", budget_micro=5 * SHARE)
    assert "not enough balance" in refused(exchange, taking)


def test_marketable_buy_is_at_least_a_dollar() -> None:
    """Below 1 USD a buy that would trade is refused; a resting one is not."""
    exchange, of, account = venue((False, 1000, 100))
    text = "invalid amount for a marketable BUY order ($0.9), min size: $1"

    assert text == refused(exchange, order(account, of, True, 1000, order_type="FAK", budget_micro=900_000))
    assert text == refused(exchange, order(account, of, True, 1000, 9 * SHARE))
    placed(exchange, order(account, of, True, 900, 10 * SHARE))


def test_foreign_removal_is_clipped_and_counted() -> None:
    """Other participants cannot withdraw what we have already taken."""
    exchange, of, account = venue((False, 5000, 10))
    placed(exchange, order(account, of, True, 5000, 8 * SHARE))
    exchange.foreign_change(NOW_NS, of, False, 5000, -10 * SHARE)

    assert (1, 8 * SHARE) == (exchange.engine.tally.clipped, exchange.engine.tally.clipped_micro)
    assert [] == exchange.levels(of, False)


def test_foreign_flow_fills_our_resting_order() -> None:
    """A crossing addition of other participants takes our order first, and only its rest stands."""
    exchange, of, account = venue((False, 5200, 10))
    ours = placed(exchange, order(account, of, False, 5100, 6 * SHARE)).order
    exchange.foreign_change(NOW_NS, of, True, 5100, 10 * SHARE)

    assert "MATCHED" == ours.status_text
    assert (3_060_000, 0) == (ours.usd_micro, ours.fee_micro)
    assert [(5100, 4 * SHARE)] == exchange.levels(of, True)


def test_removals_of_one_commit_come_before_its_additions() -> None:
    """A book that moves up in one frame never trades with itself."""
    exchange, of, _ = venue((True, 4900, 10), (False, 5000, 10))
    exchange.foreign_changes(
        NOW_NS, of, [(True, 5000, 5 * SHARE), (False, 5000, -10 * SHARE), (False, 5100, SHARE)]
    )

    assert [(5000, 5 * SHARE), (4900, 10 * SHARE)] == exchange.levels(of, True)
    assert [(5100, SHARE)] == exchange.levels(of, False)


def test_commit_carries_levels_and_print() -> None:
    """One action is one commit: its changed levels with absolute sizes, its print, the new last price."""
    exchange, of, account = venue((False, 5000, 10), (False, 5100, 10))
    seen: list[Commit] = []
    exchange.commit_hooks.append(seen.append)
    placed(exchange, order(account, of, True, 5100, 15 * SHARE))

    (commit,) = seen
    assert (LevelChange(False, 5000, 0), LevelChange(False, 5100, 5 * SHARE)) == commit.changes
    assert (True, "0.490", 5100, 15 * SHARE, True, 0) == (
        commit.traded, commit.last_trade, commit.trade_ticks, commit.trade_size_micro, commit.taker_is_buy,
        commit.taker_outcome,
    )  # fmt: skip
    assert (NOW_NS, commit.changes) == exchange.history(of)[-1][:2]


def test_trades_are_mined_and_confirmed() -> None:
    """Each trade goes MATCHED, MINED with a hash, CONFIRMED, at the times of the settings."""
    exchange, of, account = venue((False, 5000, 10))
    (trade,) = placed(exchange, order(account, of, True, 5000, 5 * SHARE)).trades

    assert ("MATCHED", "") == (trade.status, trade.transaction_hash)
    exchange.on_timer(NOW_NS + 400 * 10**6)
    assert ("MINED", 66) == (trade.status, len(trade.transaction_hash))
    exchange.on_timer(NOW_NS + 2 * SECOND)
    assert "CONFIRMED" == trade.status
    assert exchange.next_timer_ns() is None


def test_resolution_pays_and_cancels() -> None:
    """Winning shares become 1 USD each, losing ones nothing, resting orders are cancelled, PnL is cash."""
    exchange, of, account = venue((False, 4000, 100))
    resting = placed(exchange, order(account, of, True, 3000, 10 * SHARE)).order
    placed(exchange, order(account, of, True, 4000, 50 * SHARE))
    exchange.resolve(NOW_NS, of, 0)

    assert "CANCELED_MARKET_RESOLVED" == resting.status_text
    assert {} == exchange.ledger.positions("demo")
    assert 30 * SHARE - 840_000 == exchange.ledger.pnl("demo")  # 50 * 0.6 - 50 * 0.07 * 0.4 * 0.6
    assert 0 == exchange.ledger.balance(f"vault:{of.condition}", USD)
    assert "the market is not yet ready" in refused(exchange, order(account, of, True, 5000, 10 * SHARE))
    with pytest.raises(InvariantError):
        exchange.resolve(NOW_NS, of, 0)


def test_event_resolution_has_one_winner() -> None:
    """In a neg-risk event YES of the winner and NO of all others pay."""
    members = [market(n + 1, event_id="e", outcome_index=n, neg_risk=True) for n in range(3)]
    exchange = exchange_of([Trader(sets_micro={m.condition: 10 * SHARE for m in members})], members)
    exchange.resolve_event(NOW_NS, "e", 1)

    assert [(0, SHARE), (SHARE, 0), (0, SHARE)] == [m.payout_micro for m in members]
    assert 0 == exchange.ledger.pnl("demo")


def test_time_never_decreases() -> None:
    """An earlier time than the last is a defect of the driver, not a state."""
    exchange, _, _ = venue()
    with pytest.raises(InvariantError):
        exchange.on_timer(NOW_NS - 1)


@pytest.mark.parametrize(
    "change",
    [
        {"tick_step": 7},
        {"version": "v3"},
        {"tokens": ("0x1", "2")},
        {"min_order_size": "five"},
        {"tokens": ("11", "9")},
    ],
)
def test_markets_that_cannot_be_judged_are_refused(change: dict[str, Any]) -> None:
    """A market of an unknown tick, version or id, or with a token known already, stops the start."""
    with pytest.raises(InvariantError):
        exchange_of([Trader()], [market(), market(**({"condition": "0x2", "tokens": ("21", "22")} | change))])


def test_another_life_of_an_exchange_has_other_trades() -> None:
    """A pipeline drops a trade id it knows: an exchange started anew under its seed must not repeat ids."""
    ids = []
    for life in (0, 0, 1, 2):
        exchange, of, account = venue((False, 5000, 100), life=life)
        result = placed(exchange, order(account, of, True, 5200, 19_230_000))
        ids.append(result.trades[0].trade_id)

    assert ids[0] == ids[1]
    assert 3 == len(set(ids))
