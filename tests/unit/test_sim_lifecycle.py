"""Restarts, modes, tick changes, game start: what the venue takes, keeps, tells and refuses then."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.errors import InvariantError
from pipeline.sim.errors_text import Refusal
from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Market
from pipeline.sim.market_channel import MarketChannel
from pipeline.sim.mode import Mode
from pipeline.sim.settings import ExchangeSettings, SelfTrade
from pipeline.sim.trades import Placed
from tests.sim_orders import order
from tests.sim_trader import NOW_NS, Trader, error_of, exchange_of, json_of, market

SHARE = 1_000_000
SECOND = 10**9


def venue(**settings: Any) -> tuple[Exchange, Market, Trader]:
    of = market()
    client = Trader(sets_micro={of.condition: 100 * SHARE})
    exchange = exchange_of([client], [of], ExchangeSettings(**settings))
    channel = MarketChannel(exchange.send, exchange.timers)
    exchange.attach_market_channel(channel)
    channel.add_live(of)
    exchange.foreign_changes(NOW_NS, of, [(False, 5200, 100 * SHARE), (True, 4800, 100 * SHARE)])
    return exchange, of, client


def test_a_restart_is_425_then_post_only_then_all() -> None:
    """90 s of 425 for orders and cancels, then 503 post_only_mode for what may take, then everything."""
    exchange, of, client = venue()
    exchange.lifecycle.restart(NOW_NS, 90 * SECOND, 120 * SECOND, keeps_orders=True)
    phases = [(0, 425, 425, 425), (89, 425, 425, 425), (90, 503, 200, 200), (209, 503, 200, 200)]
    for after_s, taker, poster, cancel in [*phases, (210, 200, 200, 200)]:
        now_ns = NOW_NS + after_s * SECOND
        found = (
            client.place(exchange, of, now_ns, price="0.4", quantity="10").status,
            client.place(exchange, of, now_ns, price="0.4", quantity="10", postOnly=True).status,
            client.call(exchange, "DELETE", "/cancel-all", None, now_ns).status,
        )
        assert (taker, poster, cancel) == found, after_s
    assert 200 == client.call(exchange, "GET", "/data/orders", None, now_ns).status


def test_the_refusals_say_what_the_venue_says() -> None:
    """Texts, code and the seconds that are left, as both official clients read them (clients sheet 4)."""
    exchange, of, client = venue()
    lifecycle = exchange.lifecycle
    lifecycle.set_mode(NOW_NS, Mode.POST_ONLY, NOW_NS + 79 * SECOND)
    refused = client.place(exchange, of)
    assert {
        "error": "post-only mode: only post-only orders and cancels are allowed",
        "code": "post_only_mode",
        "retry_after_seconds": 79,
    } == json_of(refused)
    assert "79" == refused.headers["retry-after"]
    lifecycle.set_mode(NOW_NS, Mode.DISABLED)
    answers = [client.place(exchange, of), client.call(exchange, "DELETE", "/cancel-all")]
    assert [(503, "trading is disabled")] * 2 == [(answer.status, error_of(answer)) for answer in answers]
    lifecycle.set_mode(NOW_NS, Mode.CANCEL_ONLY)
    answers = [client.place(exchange, of, postOnly=True), client.call(exchange, "DELETE", "/cancel-all")]
    assert [503, 200] == [answer.status for answer in answers]
    assert "cancel-only" in error_of(answers[0])
    refused_in = [mode.value for _, mode in exchange.engine.mode.refusals]
    assert ["post_only", "disabled", "disabled", "cancel_only"] == refused_in


def test_a_batch_with_one_taker_is_refused_whole_in_post_only() -> None:
    """No leg of it is placed; a batch of post-only orders is taken."""
    exchange, of, client = venue()
    exchange.lifecycle.set_mode(NOW_NS, Mode.POST_ONLY)
    bodies = [client.body(of, price="0.4", postOnly=flag) for flag in (True, False)]
    assert 503 == client.call(exchange, "POST", "/orders", bodies).status
    assert {} == exchange.engine.orders
    assert 200 == client.call(exchange, "POST", "/orders", bodies[:1]).status


@pytest.mark.parametrize("keeps_orders", [True, False])
def test_orders_are_kept_or_wiped(keeps_orders: bool) -> None:
    """A wipe empties whole books, ours and others', and our owner hears of each cancel; else all stays."""
    exchange, of, _ = venue()
    account = exchange.accounts["demo"]
    ours = order(account, of, True, 4500, 10 * SHARE)
    exchange.engine.submit(NOW_NS, ours)
    exchange.lifecycle.restart(NOW_NS, SECOND, SECOND, keeps_orders)

    assert keeps_orders == bool(exchange.levels(of, True)) == bool(exchange.levels(of, False))
    assert ("LIVE" if keeps_orders else "CANCELED") == ours.status_text
    assert keeps_orders == bool(exchange.engine.open["demo"])
    exchange.ledger.check([of])


def test_a_restart_closes_the_sockets_it_names() -> None:
    """`closes` ends the sockets of those channels and no others, with 1012: the service restarts."""
    exchange, _, _ = venue()
    sockets = {channel: exchange.open_socket(NOW_NS, channel) for channel in ("market", "user")}
    exchange.lifecycle.restart(NOW_NS, SECOND, SECOND, keeps_orders=True, closes=["user"])

    ends = [(out.socket, out.code) for out in exchange.take_output() if out.is_close]
    assert [(sockets["user"], 1012)] == ends
    assert {sockets["market"]: "market"} == exchange.open_sockets()


@pytest.mark.parametrize("channel", ["market", "user"])
def test_who_asks_for_nothing_is_closed(channel: str) -> None:
    """PINGs alone keep no socket; one that said something, even wrongly, stays open in silence."""
    exchange, _, _ = venue()
    silent, speaking = (exchange.open_socket(NOW_NS, channel) for _ in range(2))
    exchange.on_text(NOW_NS, speaking, b'{"asset_ids": [], "type": "market"}')
    exchange.on_text(NOW_NS + 20 * SECOND, silent, b"PING")
    exchange.on_timer(NOW_NS + 29 * SECOND)
    assert {silent, speaking} == exchange.open_sockets().keys()
    exchange.on_timer(NOW_NS + 31 * SECOND)
    assert {speaking} == exchange.open_sockets().keys()
    assert [(silent, 1000)] == [(out.socket, out.code) for out in exchange.take_output() if out.is_close]


def test_others_post_only_too() -> None:
    """In post-only mode nobody's order takes, so the book never crosses and our order is not hit."""
    exchange, of, _ = venue()
    ours = order(exchange.accounts["demo"], of, True, 5000, 10 * SHARE)
    exchange.engine.submit(NOW_NS, ours)
    exchange.lifecycle.set_mode(NOW_NS, Mode.POST_ONLY)
    exchange.foreign_changes(NOW_NS, of, [(False, 4900, 5 * SHARE), (False, 5100, 5 * SHARE)])

    assert 0 == exchange.foreign_take(NOW_NS, of, False, 4000, 5 * SHARE)
    assert (10 * SHARE, 5100) == (ours.left_micro, exchange.levels(of, False)[0][0])
    assert 1 == exchange.engine.tally.posted_only


def test_a_second_restart_is_not_ended_by_the_first() -> None:
    """Phases that were planned for a mode that is over change nothing."""
    exchange, _, _ = venue()
    exchange.lifecycle.restart(NOW_NS, 2 * SECOND, 2 * SECOND, keeps_orders=True)
    exchange.on_timer(NOW_NS + SECOND)
    exchange.lifecycle.restart(NOW_NS + SECOND, 10 * SECOND, SECOND, keeps_orders=True)
    seen = []
    for after_s in (3, 5, 11, 12):
        exchange.on_timer(NOW_NS + after_s * SECOND)
        seen.append(exchange.engine.mode.mode.value)

    assert ["restarting", "restarting", "post_only", "running"] == seen


def test_a_tick_change_is_told_per_asset_and_keeps_what_rests() -> None:
    """Subscribers of each token hear it; off-grid orders stay; new ones must keep the new grid."""
    exchange, of, client = venue()
    socket = exchange.open_socket(NOW_NS, "market")
    exchange.on_text(NOW_NS, socket, json.dumps({"type": "market", "assets_ids": list(of.tokens)}).encode())
    exchange.take_output()
    exchange.lifecycle.change_tick(NOW_NS, of, 10)
    fine = json_of(client.place(exchange, of, price="0.455", quantity="10"))["orderID"]
    exchange.lifecycle.change_tick(NOW_NS, of, 100)

    told = [json.loads(out.frame) for out in exchange.take_output()]
    ticks = [
        (row["asset_id"], row["old_tick_size"], row["new_tick_size"])
        for row in told
        if "new_tick_size" in row
    ]
    there = [(token, "0.01", "0.001") for token in of.tokens]
    assert [*there, *((token, "0.001", "0.01") for token in of.tokens)] == ticks
    assert [fine] == list(exchange.engine.open["demo"])
    of_fine_grid = client.body(
        of, price="0.45", change_signed={"makerAmount": 4_550_000, "takerAmount": 10_000_000}
    )
    refused = client.call(exchange, "POST", "/order", of_fine_grid)
    assert "breaks minimum tick size rule: 0.01" in error_of(refused)
    with pytest.raises(InvariantError, match="tick step"):
        exchange.lifecycle.change_tick(NOW_NS, of, 7)


def test_a_game_start_clears_the_book() -> None:
    """Everything that rests is cancelled in one commit; new orders are taken at once."""
    exchange, of, client = venue()
    ours = order(exchange.accounts["demo"], of, True, 4500, 10 * SHARE)
    exchange.engine.submit(NOW_NS, ours)
    exchange.lifecycle.start_game(NOW_NS, of)

    assert ([], [], "CANCELED") == (exchange.levels(of, True), exchange.levels(of, False), ours.status_text)
    assert 200 == client.place(exchange, of, price="0.4").status


@pytest.mark.parametrize("rule", list(SelfTrade))
@pytest.mark.parametrize("outcome", [0, 1])
def test_self_trades_follow_the_rule(rule: SelfTrade, outcome: int) -> None:
    """A taker that would meet its own order, in either token: matched, refused, or the resting one goes."""
    exchange, of, _ = venue(self_trade=rule)
    account = exchange.accounts["demo"]
    resting = order(account, of, False, 5000, 10 * SHARE)
    exchange.engine.submit(NOW_NS, resting)
    taker = order(account, of, outcome == 0, 5200 if outcome == 0 else 4800, 15 * SHARE, outcome=outcome)
    result = exchange.engine.submit(NOW_NS, taker)

    makers = [trade.maker for trade in getattr(result, "trades", ())]
    if rule is SelfTrade.REFUSE:
        assert isinstance(result, Refusal)
        assert "own account" in result.text
        assert "LIVE" == resting.status_text
    else:
        assert isinstance(result, Placed)
        assert (rule is SelfTrade.MATCH) == (resting in makers)
        assert ("MATCHED" if rule is SelfTrade.MATCH else "CANCELED") == resting.status_text
    exchange.ledger.check([of])
