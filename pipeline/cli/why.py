"""Why nothing trades, in words: from counters, the summary of `observe` and the halt page.

Reads plain numbers; writes lines, the most decisive first. Empty when something trades and nothing holds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.kinds import Cause
from pipeline.store.words import utc_text
from pipeline.units import NS_PER_MS, NS_PER_S

ORPHANED = "the supervisor is gone: lanes refuse new orders without it and end; start anew with pm run"
QUIET_NS = 60 * NS_PER_S  # a run without a package for this long is asked why

#: Counters of `detect`: looks at a basket that was profitable at first sight and came to nothing.
_DETECT = {
    Cause.BOOK_STALE: "a book of the basket was stale",
    Cause.BOOK_OPEN: "a book of the basket was in the middle of a batch",
    Cause.PROOF_OLD: "the last proof of a book was too old (risk.proof_age_ms_max)",
    Cause.BELOW_EDGE: "below edge: less than strategies.basket.edge_usd_min or edge_ppm_min after fees",
    Cause.BELOW_MINIMUM: "below the market's smallest order",
    Cause.NOT_TRADABLE: "a market of the basket takes no orders",
    Cause.NOT_PROVEN: "the payout could not be proven",
    Cause.DEPTH_USED: "the depth shown was taken by our own order already (strategies.basket.cooldown_ms)",
    Cause.GROUP_BUSY: "an earlier package of the basket was still open",
    Cause.TOO_MANY_ORDERS: "more orders than one batch holds (execution.package_orders_max)",
    Cause.LIMIT_PARTIAL_LOSS: "half a package could lose more than risk.partial_loss_usd_max",
}
#: Verdicts of the risk gate: rule by rule, with the key that sets it.
_GATE = {
    Cause.HALTED: "the run was halted",
    Cause.MISSING_VALUE: "a limit or our balance at the venue was not known",
    Cause.LIMIT_COLLATERAL: "not enough balance at the venue for all legs",
    Cause.LIMIT_ORDER: "one leg above risk.order_usd_max",
    Cause.LIMIT_MARKET: "one market above risk.market_usd_max",
    Cause.LIMIT_EVENT: "one event above risk.event_usd_max",
    Cause.LIMIT_DAY: "the day above risk.day_usd_max",
    Cause.LIMIT_OPEN_ORDERS: "more open orders than risk.open_orders_max",
    Cause.LIMIT_PARTIAL_LOSS: "half a package above risk.partial_loss_usd_max",
    Cause.UNKNOWN_ORDER_OPEN: "an order whose end is not known is still open",
    Cause.RESIDUE: "leftovers above risk.residue_usd_max",
    Cause.VENUE_MODE: "the venue took no such orders then",
    Cause.COOL_DOWN: "the venue had refused too many orders of a market",
    Cause.SELF_MATCH: "an order would have met one of our own",
}



@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of a run. counters: added over the lanes; summary: `summary.json` or {}."""

    is_running: bool
    mode: str
    counters: Mapping[str, int]
    summary: Mapping[str, Any]
    halted: Sequence[Mapping[str, Any]] = ()  # owners above H0, highest first
    lanes: Sequence[Mapping[str, Any]] = ()  # name, is ("running" when all is well), restarts
    books: Mapping[str, int] | None = None  # by state; None = not to be seen
    is_orphaned: bool = False  # lanes without their supervisor
    lease_age_ns: int = 0
    lease_ns_max: int = 0  # 0: not known
    started_ns: int = 0
    now_ns: int = 0


def why_nothing(seen: Seen) -> list[str]:
    """Return one line per reason, the most decisive first."""
    lines = [_halt_line(owner) for owner in seen.halted]
    if seen.is_running:
        lines += _lane_lines(seen) + _venue_lines(seen) + _doubt_lines(seen)
    else:
        lines.append("nothing runs: start it with pm run --config FILE")
    is_held = bool(lines)
    packages_count = seen.summary.get("packages", 0)
    if seen.mode == "dry" and (seen.is_running or packages_count):
        done = "packages are decided and signed, " if packages_count else ""
        lines.append(f"mode dry: {done}nothing is sent")
    if packages_count and not (seen.is_running and _is_quiet(seen)):
        return lines
    found = _market_lines(seen)
    return lines + (found if found or is_held else [_no_opportunity(seen)])


def _halt_line(owner: Mapping[str, Any]) -> str:
    return f"halted {owner['level']} by {owner['owner']}: {owner['reason']}"


def _lane_lines(seen: Seen) -> list[str]:
    """Say which lanes do not do their work."""
    found = [ORPHANED] if seen.is_orphaned else []
    if not found and 0 < seen.lease_ns_max < seen.lease_age_ns:
        found.append(
            f"the supervisor has not looked for {seen.lease_age_ns // NS_PER_MS} ms "
            "(supervision.lease_ms_max): lanes act as at halt H3 until it does")
    for lane in seen.lanes:
        if lane["is"] == "running":
            continue
        again = f"; {lane['restarts']} restarts so far" if lane.get("restarts") else ""
        is_down = lane["is"] in ("dead", "gone", "stopped", "failed")
        state = "down, the supervisor starts it again" if is_down else lane["is"]
        found.append(f"lane {lane['name']} is {state}{again}")
    return found


def _doubt_lines(seen: Seen) -> list[str]:
    """Say what the venue has yet to tell us."""
    counters, found = seen.counters, []
    is_asked = any(name.startswith("account.") for lane in seen.lanes for name in lane.get("stages", ()))
    if counters.get("is_reconciled", 1) == 0 or (is_asked and not counters.get("reconciles")):
        failed = counters.get("reconciles_failed", 0)
        more = f"; {failed} attempts failed" if failed else ""
        found.append(f"not reconciled: the venue has not told our orders and balance since the start{more}")
    states = seen.summary.get("orders_by_state", {})
    unknown_count = max(states.get("unknown", 0), counters.get("doubtful_orders", 0))
    if unknown_count:
        found.append(
            f"unknown orders {unknown_count}: sent, and the venue has not told their end; "
            "their markets take no new package")
    if seen.books and not seen.books.get("proven"):
        found += _book_lines(seen.books)
    return found


_MODES = {
    "post_only": "takes only post-only orders and cancels",
    "cancel_only": "takes only cancels",
    "restarting": "restarts and takes nothing",
    "down": "takes nothing",
}


def _venue_lines(seen: Seen) -> list[str]:
    """Say what a venue does not take now, in its own words, and when it is asked again."""
    lines = []
    for account, told in sorted(seen.summary.get("venues", {}).items()):
        if told["mode"] != "running":
            status = f"{told['http_status']} " if told["http_status"] else ""
            lines.append(
                f"the venue {_MODES[told['mode']]} (account {account}, {told['cause']}: {status}"
                f"{told['text'] or 'no words'}); asked again at {utc_text(told['until_ns'])}")
    waiting = seen.counters.get("cancels_waiting", 0)
    return [*lines, f"{waiting} cancels wait for the venue to take them"] if waiting else lines


def _is_quiet(seen: Seen) -> bool:
    """Tell whether the run that traded once has stopped to, or never did since this start."""
    last_ns = seen.summary.get("last_package_ns", 0)
    if not last_ns or not seen.now_ns:  # not told: take it that it trades
        return False
    return bool(last_ns < seen.started_ns or seen.now_ns - last_ns > QUIET_NS)


def _market_lines(seen: Seen) -> list[str]:
    """Say what is missing on the way from a frame to a package."""
    counters, lines = seen.counters, []
    known = counters.get("instruments", seen.summary.get("instruments", 0))
    if not known:
        errors = counters.get("refdata_errors", 0)
        more = f" ({errors} answers of it were errors)" if errors else ""
        lines.append(f"no markets known: check [universe] and venues.polymarket.gamma_url{more}")
    elif not counters.get("frames"):
        lines.append("no market data: no frame came in; check venues.polymarket.market_ws_url")
    elif "detect_baskets" in counters and not counters["detect_baskets"]:
        lines.append(f"no baskets: {known} markets known, no complete and proven event among them")
    if seen.books and seen.books.get("stale") and seen.books.get("proven"):
        lines += _book_lines(seen.books)
    lines += _detect_lines(counters)
    return lines + _gate_lines(seen.summary.get("refused", {}))


def _book_lines(books: Mapping[str, int]) -> list[str]:
    bad = [f"{count} {state}" for state, count in books.items() if state != "proven" and count]
    return [f"books not to be traded on: {', '.join(bad)}, of {sum(books.values())}"] if bad else []


def _no_opportunity(seen: Seen) -> str:
    when = "now" if seen.summary.get("packages") else "yet"
    return (
        f"no opportunity {when}: {seen.counters.get('detect_baskets', 0)} baskets watched, "
        f"{seen.counters.get('detect_tops', 0)} books seen, none for sale below its payout")


def _detect_lines(counters: Mapping[str, int]) -> list[str]:
    found = {}
    for name, count in counters.items():
        if name.startswith("detect_refused_") and count:
            found[name.removeprefix("detect_refused_").upper()] = count
    return [
        f"{name.lower()} {count}: {_words(_DETECT, name)}"
        for name, count in sorted(found.items(), key=lambda item: (-item[1], item[0]))
    ]


def _gate_lines(refused: Mapping[str, int]) -> list[str]:
    return [
        f"vetoed by {name} {count}: {_words(_GATE, name.upper())}"
        for name, count in sorted(refused.items(), key=lambda item: (-item[1], item[0]))
    ]


def _words(table: Mapping[Cause, str], name: str) -> str:
    return (
        table.get(Cause[name], "see the VERDICT records of pm inspect")
        if name in Cause.__members__
        else "unknown"
    )
