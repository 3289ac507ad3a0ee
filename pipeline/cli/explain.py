"""`pm explain g12`: the story of one package, idea or order, read from the two logs alone.

Reads `logs/stream` and `logs/decisions` of a state directory; writes words or JSON. Times are microseconds
since the first byte of the frame that caused it all; decisions bear the time of their cause, so only what an
edge stamped (sent, answered, filled) shows how long things took.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import orjson
import typer

from pipeline.cli.states import one_state
from pipeline.cli.story import Story, read_story
from pipeline.errors import UsageError
from pipeline.kinds import Cause, OrderState, OrderType, Origin, Outcome, Side, TradeStatus
from pipeline.store.segments import whole_logs
from pipeline.store.words import price_text, share_text, utc_text
from pipeline.units import NS_PER_US, usd_text

SORTS = {"g": "package", "i": "idea", "o": "order"}


def explain_ident(ident: str, directory: Path, as_json: bool) -> None:
    """Print the story. Raises UsageError for an id that is malformed or not in the logs."""
    sort, number = parse_ident(ident)
    with whole_logs(one_state(directory) / "logs") as logs:
        story = read_story(logs, sort, number)
    if as_json:
        facts = {"asked": f"{sort}{number}", **asdict(story)}
        typer.echo(orjson.dumps(facts, option=orjson.OPT_NON_STR_KEYS).decode())
        return
    for line in words_of(story):
        typer.echo(line)


def parse_ident(text: str) -> tuple[str, int]:
    """Return ("g", 12) for "g12" or "12". Raises UsageError."""
    match = re.fullmatch(r"([gio]?)([0-9]{1,19})", text.strip().lower(), re.ASCII)
    if match is None:
        raise UsageError(f"explain: expected g12 (package), i12 (idea) or o12 (order), was {text[:40]!r}")
    return match[1] or "g", int(match[2])


def words_of(story: Story) -> list[str]:
    """Return the story line by line, in the order in which it happened."""
    lines = [*_cause(story), *_idea(story), *_verdicts(story)]
    if story.package is not None:
        lines += [*_orders(story), *_events(story), *_result(story)]
    return lines


def _at(story: Story, ns: int) -> str:
    return f"{(ns - story.cause_ns) / NS_PER_US:+12.1f} us" if ns and story.cause_ns else " " * 15


def _cause(story: Story) -> list[str]:
    cause = story.cause
    if cause is None:
        return ["cause      not in the stream log any more"]
    venue = f", venue time {utc_text(cause['venue_ns'])}" if cause.get("venue_ns") else ""
    market = (
        f" of {story.markets.get(cause['instrument'], 'row ' + str(cause['instrument']))}"
        if (cause["instrument"])
        else ""
    )
    sequenced = (
        f", in the stream {(cause['now_ns'] - cause['recv_ns']) / NS_PER_US:.1f} us later"
        if (cause["recv_ns"])
        else ""
    )
    return [
        f"cause      stream record {cause['seq']}: {cause['kind'].lower()}{market}",
        f"           first byte read {utc_text(story.cause_ns)}{venue}{sequenced}",
    ]


def _idea(story: Story) -> list[str]:
    package = story.package
    if package is None:
        return []
    edge = package["payout_usd_micro"] - package["cost_usd_micro"] - package["fee_usd_micro"]
    what = (
        f"package    g{package['group_no']} of idea i{package['idea_no']}: {package['leg_count']} legs, "
        f"{package['order_count']} orders, {share_text(package['size_micro'])} shares each, "
        f"basket {package['basket']}"
    )
    money = (
        f"           pays at least {usd_text(package['payout_usd_micro'])} USD for "
        f"{usd_text(package['cost_usd_micro'])} and fees {usd_text(package['fee_usd_micro'])}: "
        f"edge {usd_text(edge)} USD"
    )
    return [what, money]


def _verdicts(story: Story) -> list[str]:
    lines = []
    for verdict in story.verdicts:
        name = Cause(verdict["cause"]).name.lower()
        repeats = f", {verdict['count']} times since the last such verdict" if verdict["count"] > 1 else ""
        lines.append(
            f"gate       idea i{verdict['idea_no']} refused: {name} (value {verdict['value']}, "
            f"limit {verdict['limit']}){repeats}"
        )
    if story.package is not None:
        lines.append("gate       taken: every rule passed")
    return lines


def _orders(story: Story) -> list[str]:
    lines = []
    for order in story.orders:
        market = story.markets.get(order["instrument"], f"row {order['instrument']}")
        lines.append(
            f"intent     o{order['order_no']} leg {order['leg_no']}: {Side(order['side']).name.lower()} "
            f"{share_text(order['size_micro'])} {Outcome(order['outcome']).name} of {market} at "
            f"{price_text(order['price_ticks'])}, {OrderType(order['order_type']).name}, "
            f"at most {usd_text(order['worst_usd_micro'])} USD"
        )
    return lines


def _events(story: Story) -> list[str]:
    lines = []
    for event in story.events:
        when = _at(story, event["recv_ns"] or event["now_ns"])
        if event["kind"] == "FILL":
            maker = ", resting" if event["is_maker"] else ""
            lines.append(
                f"{when} o{event['order_no']} fill {TradeStatus(event['status']).name.lower()}: "
                f"{share_text(event['size_micro'])} for {usd_text(event['usd_micro'])} USD, fee "
                f"{usd_text(event['fee_usd_micro'])}{maker}"
            )
            continue
        cause = "" if event["cause"] == Cause.NONE else f" ({Cause(event['cause']).name.lower()})"
        text = f": {event['text']}" if event["text"] else ""
        status = f", http {event['http_status']}" if event["http_status"] else ""
        lines.append(
            f"{when} o{event['order_no']} {OrderState(event['state']).name.lower()}{cause}, says "
            f"{Origin(event['origin']).name.lower()}{status}{text}"
        )
    return lines


def _result(story: Story) -> list[str]:
    result = story.result
    bought = (
        f"result     bought {_shares(result['filled_by_leg'])} shares by leg for "
        f"{usd_text(result['spent_usd_micro'])} USD, fees {usd_text(result['fees_usd_micro'])} USD"
    )
    lines = [bought]
    if result["payout_usd_micro"] is not None:
        gain = result["payout_usd_micro"] - result["spent_usd_micro"] - result["fees_usd_micro"]
        lines.append(
            f"           every market resolved: paid {usd_text(result['payout_usd_micro'])} USD, "
            f"result {usd_text(gain)} USD"
        )
    elif result["is_whole"]:
        lines.append(
            f"           all legs are equal: at least {usd_text(result['guaranteed_usd_micro'])} USD "
            f"come back, result at least {usd_text(result['worst_usd_micro'])} USD"
        )
    else:
        lines.append(
            f"           legs are not equal; {usd_text(result['guaranteed_usd_micro'])} USD are sure so far"
        )
    return lines


def _shares(filled: Sequence[int]) -> str:
    return " / ".join(share_text(micro) for micro in filled) if filled else "no"
