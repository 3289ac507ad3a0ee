"""Is every order of the decision log accounted for at the exchange, and every order there one of ours.

Reads `Logs` and `Venue`; writes findings. An order ends by the venue's evidence or by proof that it never
left; anything else at the end of a run is a finding, never a guess.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pipeline.core.orders import UNKNOWN_FINAL_NS
from pipeline.kinds import Cause, OrderState, OrderType, Origin, Side
from pipeline.run.judge_logs import Findings, Logs, Venue
from pipeline.units import NS_PER_S, cost_micro

LAST_WORD_NS = 5 * NS_PER_S  # behind T_UNKNOWN_FINAL: a cancel's refusal, then a pass of the next second
SHOWN_DIGITS = 24  # a token id has 77
_VENUE = (Origin.HTTP, Origin.USER_CHANNEL, Origin.RECONCILE)
_NEVER_LEFT = (OrderState.UNSENT, OrderState.DRY)
_OVER = (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, *_NEVER_LEFT)


@dataclass(slots=True)
class Filled:
    """What the fills of one order add up to, by our log: 1e-6 shares, USD micro."""

    size_micro: int = 0
    usd_micro: int = 0
    fee_usd_micro: int = 0
    void_micro: int = 0  # of trades that FAILED: matched, and not ours
    void_usd_micro: int = 0  # what those would have cost, fee included

    @property
    def matched_micro(self) -> int:
        """What the engine matched, settled or not: all that an order can get."""
        return self.size_micro + self.void_micro


@dataclass(slots=True)
class Ending:
    """How one order ended by our log, and where the exchange met it."""

    state: OrderState
    cause: int = 0
    text: str = ""
    arrival_ns: int = 0  # at the exchange; 0 = it never came
    error: str = ""  # the exchange's words when it refused it


@dataclass(slots=True)
class Endings:
    """By order number."""

    orders: dict[int, Ending] = field(default_factory=dict)
    sent_count: int = 0
    refused_unseen_count: int = 0  # refused by HTTP status before the exchange looked at the order
    unknown_unseen_count: int = 0  # a gateway died with them on its way, and they never arrived


def evidence(intent: Any, reports: list[Any], filled: Filled) -> tuple[OrderState, int, str]:
    """Return what is proven about an order: state, Cause, the venue's words."""
    told = [record for record in reports if record.origin in _VENUE]
    is_budget = intent.order_type in (OrderType.FAK, OrderType.FOK)
    spent = is_budget and intent.side == Side.BUY and filled.usd_micro >= cost_micro(
        intent.price_ticks, intent.size_micro)
    is_full = filled.matched_micro >= intent.size_micro or spent
    by_state = {record.state: record for record in told}
    for state in (OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.MATCHED):
        record = by_state.get(state)
        if record is not None and (state != OrderState.MATCHED or is_budget or is_full):
            return state, record.cause, record.text.decode("ascii", "replace")
    if is_full and filled.matched_micro:
        return OrderState.MATCHED, 0, ""
    for state in (OrderState.LIVE, OrderState.DELAYED):
        if state in by_state:
            return state, by_state[state].cause, ""
    return _own_words(reports)


def _own_words(reports: list[Any]) -> tuple[OrderState, int, str]:
    """Return what our own side knows of an order of which the venue says nothing.

    What ended unsent stays so: a gateway that starts again doubts every number up to the stored one. What was
    doubted before it was sent may turn out unsent, e.g. when it still waits to be signed.
    """
    state, cause, text, is_sent = OrderState.INTENDED, 0, "", False
    for record in reports:
        told = OrderState(record.state)
        is_sent = is_sent or told == OrderState.SENT
        is_news = (
            (told == OrderState.SENT and state in (OrderState.INTENDED, *_NEVER_LEFT))
            or (told == OrderState.UNKNOWN and state in (OrderState.INTENDED, OrderState.SENT))
            or (told in _NEVER_LEFT and (state in (OrderState.INTENDED, OrderState.SENT) or not is_sent)))
        if is_news:
            state, cause, text = told, record.cause, record.text.decode("ascii", "replace")
    return state, cause, text


def check_orders(logs: Logs, venue: Venue, filled: dict[int, Filled], findings: Findings) -> Endings:
    """Compare every order of both sides; return how each of ours ended."""
    endings = Endings()
    unseen = list(venue.nameless)
    for order_no, intent in logs.intents.items():
        reports = logs.reports.get(order_no, [])
        ending = Ending(*_ended(logs, intent, reports, filled.get(order_no, Filled())))
        endings.orders[order_no] = ending
        if ending.state == OrderState.UNKNOWN and _never_came(logs, venue, intent, reports):
            endings.unknown_unseen_count += 1
            continue
        endings.sent_count += ending.state not in (*_NEVER_LEFT, OrderState.INTENDED)
        if ending.state not in _OVER:
            findings.broken("open orders", (
                f"{logs.name(order_no)}: an end was expected (matched, canceled, rejected or provably unsent)"
                f", was {ending.state.name} with {Cause(ending.cause).name}"))
        _meet(logs, venue, order_no, ending, unseen, endings, findings)
    _check_strangers(logs, venue, unseen, findings)
    return endings


def _ended(
    logs: Logs, intent: Any, reports: list[Any], filled: Filled,
) -> tuple[OrderState, int, str]:
    """Return what is proven, also by the restart of a gateway: its state file tells what may have left."""
    state, cause, text = evidence(intent, reports, filled)
    if state not in (OrderState.INTENDED, OrderState.SENT, OrderState.UNKNOWN):
        return state, cause, text
    start = next((start for start in logs.gateway_starts if start.seq > intent.source_seq), None)
    if start is None:
        return state, cause, text
    if intent.order_no > start.sent_order_no:  # a later gateway may doubt the number again: it never left
        is_sent = any(record.state == OrderState.SENT for record in reports)
        return (state, cause, text) if is_sent else (OrderState.UNSENT, int(Cause.LANE_DIED), "")
    if state == OrderState.UNKNOWN:
        return state, cause, text
    return OrderState.UNKNOWN, int(Cause.LANE_DIED), ""


def _never_came(logs: Logs, venue: Venue, intent: Any, reports: list[Any]) -> bool:
    """Tell whether nobody at the exchange ever saw it, and nothing more can be asked of us.

    Until T_UNKNOWN_FINAL it may still arrive. Behind it, and the seconds that the venue's last word takes,
    the venue must have refused a cancel, and a whole reconcile must have ended.
    """
    name = logs.hash_of.get(intent.order_no, "")
    if name in venue.orders or name in venue.arrivals:
        return False
    open_until_ns = intent.now_ns + UNKNOWN_FINAL_NS + LAST_WORD_NS
    return venue.report["now_ns"] < open_until_ns or _had_last_word(logs, intent, reports)


def _had_last_word(logs: Logs, intent: Any, reports: list[Any]) -> bool:
    final_ns = intent.now_ns + UNKNOWN_FINAL_NS
    refused = any(
        report.state == OrderState.CANCEL_REFUSED and report.origin in _VENUE and report.now_ns >= final_ns
        for report in reports)
    return refused and any(record.now_ns >= final_ns for record in logs.reconciled)


def unfinished(logs: Logs, filled: dict[int, Filled]) -> dict[int, str]:
    """Return the orders whose end our log does not tell yet: number -> hash, "" while it is not known."""
    found = {}
    for order_no, intent in logs.intents.items():
        reports = logs.reports.get(order_no, [])
        state = _ended(logs, intent, reports, filled.get(order_no, Filled()))[0]
        is_lost = state == OrderState.UNKNOWN and _had_last_word(logs, intent, reports)
        if state not in _OVER and not is_lost:
            found[order_no] = logs.hash_of.get(order_no, "")
    return found


def _meet(
    logs: Logs, venue: Venue, order_no: int, ending: Ending, unseen: list[Any], endings: Endings,
    findings: Findings,
) -> None:
    """Find one order of ours at the exchange and compare what both say of it."""
    name, intent = logs.hash_of.get(order_no, ""), logs.intents[order_no]
    row, arrivals = venue.orders.get(name), venue.arrivals.get(name, [])
    if not row and not arrivals and ending.state == OrderState.REJECTED:
        arrivals = _claim_nameless(logs, venue, intent, unseen)
    if arrivals:
        ending.arrival_ns, ending.error = arrivals[0]["now_ns"], arrivals[0]["error"]
        if ending.arrival_ns < intent.now_ns:
            findings.broken("journal", (
                f"{logs.name(order_no)}: arrived {intent.now_ns - ending.arrival_ns} ns before its intent "
                "was decided"))
    if ending.state in (*_NEVER_LEFT, OrderState.INTENDED):
        if row or arrivals:
            findings.broken("orders", (
                f"{logs.name(order_no)}: never sent by our log ({ending.state.name}), the exchange met it"))
        return
    if row is None and not arrivals:
        if ending.state == OrderState.REJECTED and _was_refused_unseen(logs.reports.get(order_no, [])):
            endings.refused_unseen_count += 1
            return
        findings.broken("orders", (
            f"{logs.name(order_no)}: our log says {ending.state.name}, the exchange never saw it"))
        return
    if len(arrivals) > 1:
        findings.broken("duplicates", f"{logs.name(order_no)}: arrived {len(arrivals)} times at the exchange")
    _compare(logs, venue, order_no, row or arrivals[0], findings)
    if row is None:
        if ending.state not in (OrderState.REJECTED, OrderState.CANCELED):
            findings.broken("orders", (
                f"{logs.name(order_no)}: refused by the exchange ({ending.error}), "
                f"{ending.state.name} in our log"))
        return
    ours = "MATCHED" if ending.state == OrderState.MATCHED else "CANCELED"
    if row["status"] != ours and ending.state in _OVER:
        findings.broken("orders", (
            f"{logs.name(order_no)}: {row['status_text']} at the exchange, {ending.state.name} in our log"))


def _was_refused_unseen(reports: list[Any]) -> bool:
    return any(record.origin == Origin.HTTP and record.state == OrderState.REJECTED for record in reports)


def _claim_nameless(logs: Logs, venue: Venue, intent: Any, unseen: list[Any]) -> list[Any]:
    """Take the refused arrival without an id that carried this order's amounts, if there is one."""
    token = logs.token(intent.instrument, intent.outcome)
    for place, row in enumerate(unseen):
        if (venue.token(row["condition"], row["outcome"]), row["maker_micro"], row["taker_micro"]) == (
            token, intent.maker_amount, intent.taker_amount,
        ):
            return [unseen.pop(place)]
    return []


def _compare(logs: Logs, venue: Venue, order_no: int, row: Any, findings: Findings) -> None:
    """Token, side, type and amounts of an order must be the same on both sides."""
    intent = logs.intents[order_no]
    ours = {
        "token": logs.token(intent.instrument, intent.outcome), "side": Side(intent.side).name,
        "type": OrderType(intent.order_type).name, "maker amount": intent.maker_amount,
        "taker amount": intent.taker_amount}
    theirs = {
        "token": venue.token(row["condition"], row["outcome"]), "side": "BUY" if row["is_buy"] else "SELL",
        "type": row["order_type"], "maker amount": row["maker_micro"], "taker amount": row["taker_micro"]}
    for what, value in ours.items():
        if value != theirs[what]:
            findings.broken("orders", (
                f"{logs.name(order_no)}: {what} was {_short(value)} in our log, "
                f"{_short(theirs[what])} at the exchange"))


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN_DIGITS else f"{text[:10]}…{text[-6:]}"


def _check_strangers(logs: Logs, venue: Venue, unseen: list[Any], findings: Findings) -> None:
    """Everything at the exchange under our account must come from an intent."""
    for name, row in venue.orders.items():
        if name not in logs.order_of:
            findings.broken("orders", (
                f"exchange order {name[:10]}… ({row['order_type']} {'BUY' if row['is_buy'] else 'SELL'}, "
                f"{row['status']}): no intent of our log asked for it"))
    for name, rows in venue.arrivals.items():
        if name not in logs.order_of and name not in venue.orders:
            findings.broken("orders", (
                f"refused exchange order {name[:10]}… ({rows[0]['error']}): "
                "no intent of our log asked for it"))
    for row in unseen:
        findings.broken("orders", (
            f"an order of {row['maker_micro']} for {row['taker_micro']} was refused ({row['error']}): "
            "no rejected intent of our log carries these amounts"))
    for record in logs.strangers:
        findings.broken("orders", (
            f"report seq {record.seq} names order hash 0x{record.order_hash.hex()[:8]}…, "
            "which no intent has"))
