"""Why nothing trades, in words: from counters, the summary of `observe` and the halt page.

Reads plain numbers; writes lines, the most decisive first. Empty when something trades and nothing holds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.records import Cause

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
}


def why_nothing(
    is_running: bool,
    mode: str,
    counters: Mapping[str, int],
    summary: Mapping[str, Any],
    halted: list[dict[str, Any]],
) -> list[str]:
    """Return one line per reason.

    counters: added over the lanes; summary: `summary.json` or {}; halted: owners above H0, highest first.
    """
    lines = [f"halted {owner['level']} by {owner['owner']}: {owner['reason']}" for owner in halted[:1]]
    if not is_running:
        lines.append("nothing runs: start it with pm run --config FILE")
    if mode == "dry" and summary.get("packages"):
        lines.append("mode dry: packages are decided and signed, nothing is sent")
    if summary.get("packages"):
        return lines
    known = counters.get("instruments", summary.get("instruments", 0))
    if not known:
        errors = counters.get("refdata_errors", 0)
        more = f" ({errors} answers of it were errors)" if errors else ""
        lines.append(f"no markets known: check [universe] and venues.polymarket.gamma_url{more}")
    elif not counters.get("frames"):
        lines.append("no market data: no frame came in; check venues.polymarket.market_ws_url")
    elif "detect_baskets" in counters and not counters["detect_baskets"]:
        lines.append(f"no baskets: {known} markets known, no complete and proven event among them")
    lines += _detect_lines(counters)
    lines += _gate_lines(summary.get("refused", {}))
    if len(lines) == 0:
        lines.append(
            f"no opportunity yet: {counters.get('detect_baskets', 0)} baskets watched, "
            f"{counters.get('detect_tops', 0)} books seen, none for sale below its payout"
        )
    return lines


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
