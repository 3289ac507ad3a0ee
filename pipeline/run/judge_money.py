"""Do the two logs alone tell the exchange's money, fill by fill and to the micro-dollar.

Reads `Logs` and `Venue`; writes findings. Totals come from `core`'s fold; each fill is compared with the
exchange's trade, and its fee and cost with exact fractions of our own, so two wrong numbers that cancel
in a sum are still found.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from pipeline.kinds import Outcome, Side, TradeStatus
from pipeline.run.judge_logs import Findings, Logs, Venue
from pipeline.run.judge_orders import Filled
from pipeline.units import FEE_QUANTUM_USD_MICRO, NS_PER_S, PPM, TICKS_PER_USD, usd_text

WALK = (TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.CONFIRMED)
LOSING = ("drop", "truncate", "freeze")  # planted faults after which a frame was never told
SHOWN_DIGITS = 20  # a token id has 77
TOLD_NS_MAX = NS_PER_S // 2  # a step told later than this before the exchange's end may not have reached us


def fill_orders(logs: Logs, findings: Findings) -> dict[int, Filled]:
    """Return what the fills of each order add up to; a trade counts once, and not when it FAILED."""
    first: dict[tuple[bytes, str], Any] = {}
    failed: dict[tuple[bytes, str], None] = {}
    for fill in logs.fills:
        key = (fill.trade_id, "0x" + fill.order_hash.hex())
        first.setdefault(key, fill)
        if fill.status == TradeStatus.FAILED:
            failed[key] = None
    sums: dict[int, Filled] = {}
    for key, fill in first.items():
        order_no = fill.order_no or logs.order_of.get(key[1], 0)
        if order_no not in logs.intents:
            findings.broken(
                "fills", f"trade {key[0].hex()[:8]}… of order {key[1][:10]}…: no intent asked for it")
        total = sums.setdefault(order_no, Filled())
        if key in failed:
            total.void_micro += fill.size_micro
            total.void_usd_micro += fill.usd_micro + fill.fee_usd_micro
        else:
            total.size_micro += fill.size_micro
            total.usd_micro += fill.usd_micro
            total.fee_usd_micro += fill.fee_usd_micro
    return sums


def fee_usd_micro(price_ticks: int, size_micro: int, rate_ppm: int, exponent: int) -> int:
    """Return the venue's taker fee, from exact fractions: floored to 10 uUSD.

    Source: venue sheet 14.1, read 2026-11-20. Written apart from `core.fees`, which it judges.
    """
    price = Fraction(price_ticks, TICKS_PER_USD)
    exact = Fraction(size_micro) * Fraction(rate_ppm, PPM) * (price * (1 - price)) ** exponent
    return exact // FEE_QUANTUM_USD_MICRO * FEE_QUANTUM_USD_MICRO


def money_usd_micro(price_ticks: int, size_micro: int, *, is_buy: bool) -> int:
    """Return what a fill costs (rounded up) or brings (rounded down), fee apart."""
    exact = Fraction(price_ticks * size_micro, TICKS_PER_USD)
    return -(-exact // 1) if is_buy else exact // 1


def check_money(logs: Logs, venue: Venue, filled: dict[int, Filled], findings: Findings) -> None:
    """Compare totals, every order and every fill."""
    _check_totals(logs, venue, findings)
    _check_payouts(logs, venue, findings)
    seen = _check_fills(logs, venue, findings)
    for trade_id, trade in venue.trades.items():
        for role in ("taker_order_id", "maker_order_id"):
            if trade[role] in venue.orders and (trade_id, trade[role]) not in seen:
                findings.broken("fills", (
                    f"{_order(logs, trade[role])}: trade {trade_id[:8]}… of {trade['size_micro']} micro "
                    "shares at the exchange, no fill of it in our log"))
    _check_walks(logs, venue, seen, findings)
    for name, row in venue.orders.items():
        order_no = logs.order_of.get(name)
        if order_no is None:
            continue
        ours = filled.get(order_no, Filled())
        pairs = (
            ("filled shares", ours.size_micro, row["matched_micro"], "micro"),
            ("money", ours.usd_micro, row["usd_micro"], "uUSD"),
            ("fee", ours.fee_usd_micro, row["fee_micro"], "uUSD"))
        for what, found, expected, unit in pairs:
            if found != expected:
                findings.broken("money", (
                    f"{logs.name(order_no)}: {what} {expected} {unit} at the exchange, {found} by our log"))


def _order(logs: Logs, name: str) -> str:
    order_no = logs.order_of.get(name)
    return logs.name(order_no) if order_no is not None else f"exchange order {name[:10]}…"


def _check_totals(logs: Logs, venue: Venue, findings: Findings) -> None:
    pnl, account = logs.fold.pnl, venue.account
    totals = (
        ("PnL", pnl.pnl_usd_micro, account["pnl_usd_micro"]),
        ("fees", pnl.fees_usd_micro, account["fees_usd_micro"]))
    for what, found, expected in totals:
        if found != expected:
            findings.broken("money", (
                f"{what}: {usd_text(expected)} USD by the exchange's ledger, {usd_text(found)} USD by our "
                f"logs ({found - expected:+d} uUSD)"))
    held: dict[str, int] = {}
    for row in logs.instruments:
        for outcome in Outcome:
            size = logs.fold.positions.held(row, outcome)
            if size:
                token = logs.token(row, outcome)
                held[token] = held.get(token, 0) + size
    theirs = account["positions"]
    for token in sorted({**held, **theirs}):
        if held.get(token, 0) != theirs.get(token, 0):
            findings.broken("money", (
                f"position of token {token[:10]}…: {theirs.get(token, 0)} micro shares at the exchange, "
                f"{held.get(token, 0)} by our log"))


def _check_payouts(logs: Logs, venue: Venue, findings: Findings) -> None:
    """What we hold must be resolved, as the exchange resolved it."""
    if not venue.report["is_final"]:
        findings.broken(
            "resolution", "the exchange ended before every market was resolved: its PnL is not final")
    for row in logs.fold.pnl.open_rows:
        findings.broken("resolution", (
            f"row {row} ({logs.label(row)}): we hold shares and the stream has no resolution of it"))
    for row, payout in logs.resolved.items():
        known = venue.token_at.get(logs.token(row, Outcome.YES))
        if known is None:
            continue
        told = venue.markets[known[0]]["payout_micro"]
        if told is not None and tuple(told if known[1] == 0 else reversed(told)) != payout:
            findings.broken("resolution", (
                f"row {row} ({logs.label(row)}): paid {told} at the exchange, {list(payout)} in our stream"))


def _check_fills(logs: Logs, venue: Venue, findings: Findings) -> dict[tuple[str, str], list[int]]:
    """Compare each FILL record with its trade; return the statuses seen of each (trade, order)."""
    seen: dict[tuple[str, str], list[int]] = {}
    for fill in logs.fills:
        trade_id, name = fill.trade_id.hex(), "0x" + fill.order_hash.hex()
        trade = venue.trades.get(trade_id)
        if trade is None or name not in (trade["taker_order_id"], trade["maker_order_id"]):
            findings.broken("fills", (
                f"{_order(logs, name)}: trade {trade_id[:8]}… in our log, the exchange has no such trade"))
            continue
        seen.setdefault((trade_id, name), []).append(fill.status)
        _check_fill(logs, venue, fill, trade, name, findings)
    return seen


def _check_fill(logs: Logs, venue: Venue, fill: Any, trade: Any, name: str, findings: Findings) -> None:
    """One fill against the exchange's trade and against our own arithmetic."""
    order = venue.orders.get(name)
    if order is None:
        return
    is_taker, is_buy = trade["taker_order_id"] == name, bool(order["is_buy"])
    price = trade["price_ticks"]
    if order["outcome"] != trade["outcome"]:
        price = TICKS_PER_USD - price  # a maker may stand in the sister token
    market = logs.instruments.get(fill.instrument)
    rate, exponent = (market.fee_rate_ppm, market.fee_exponent) if market else (0, 1)
    expected = {
        "token": venue.token(order["condition"], order["outcome"]),
        "side": Side.BUY if is_buy else Side.SELL,
        "price": price, "shares": trade["size_micro"], "fee": trade["fee_micro"] if is_taker else 0,
        "money": money_usd_micro(price, trade["size_micro"], is_buy=is_buy)}
    found = {
        "token": logs.token(fill.instrument, fill.outcome), "side": Side(fill.side),
        "price": fill.price_ticks, "shares": fill.size_micro, "fee": fill.fee_usd_micro,
        "money": fill.usd_micro}
    for what, value in expected.items():
        if found[what] != value:
            findings.broken("fills", (
                f"{_order(logs, name)}: fill {fill.trade_id.hex()[:8]}… (seq {fill.seq}) has {what} "
                f"{_text(found[what])}, the exchange {_text(value)}"))
    exact = fee_usd_micro(price, trade["size_micro"], rate, exponent) if is_taker else 0
    if expected["fee"] == found["fee"] != exact:
        findings.broken("fills", (
            f"{_order(logs, name)}: fee {found['fee']} uUSD on both sides, the fee rule gives {exact} "
            f"({rate} ppm, exponent {exponent})"))


def _text(value: object) -> str:
    if isinstance(value, Side):
        return value.name
    text = str(value)
    return text if len(text) <= SHOWN_DIGITS else f"{text[:10]}…"


def _check_walks(
    logs: Logs, venue: Venue, seen: dict[tuple[str, str], list[int]], findings: Findings,
) -> None:
    """Every step of a settlement that the exchange told must stand in our log.

    Only a run with one user socket whose frames all came was told each of them: nothing is replayed, and a
    list knows the newest step alone.
    """
    users = [row for row in venue.report["sockets"] if row["channel"] == "user"]
    lost = sum(row.get("count", 0) for row in venue.report.get("faults", ()) if row["kind"] in LOSING)
    if len(users) > 1 or lost:
        return
    for (trade_id, name), statuses in seen.items():
        trade = venue.trades[trade_id]
        if trade["status"] not in TradeStatus.__members__ or TradeStatus[trade["status"]] not in WALK:
            continue
        reached = WALK.index(TradeStatus[trade["status"]])
        if venue.report["now_ns"] - trade["updated_ns"] < TOLD_NS_MAX:
            reached -= 1
        due = WALK[: max(reached, 0) + 1]
        missing = [status.name for status in due if status not in statuses]
        if missing:
            findings.broken("fills", (
                f"{_order(logs, name)}: fill {trade_id[:8]}… reached {due[-1].name} at the exchange, "
                f"our log lacks its record {' and '.join(missing)}"))
