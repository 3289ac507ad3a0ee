"""What two logs know about one package, idea or order.

Reads the logs through native filters; writes a `Story`.

Numbers may occur again when a run was started anew over the same logs; the first occurrence is the one that
could reach the venue.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS, kind_of, unpack
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.kinds import Kind, Outcome, Side, TradeStatus
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import HEADER_BYTES, SLOT_BYTES
from pipeline.units import MICRO, NS_PER_S

VERDICTS_BEFORE_NS = 5 * NS_PER_S  # verdicts of the same basket shortly before a package belong to its story
VERDICTS_SHOWN_MAX = 5
READ_SLOTS = 4_096
_NUMBER = slice(HEADER_BYTES, HEADER_BYTES + 8)  # order_no: first field of the payload of REPORT and FILL
_REPORT_HASH_AT = HEADER_BYTES + 16
_FILL_HASH_AT = HEADER_BYTES + 8
_FIELDS_NOT_SHOWN = ("check", "part", "parts", "source_seq", "source", "kind")


@dataclass(slots=True)
class Story:
    """Everything about one package, or about an idea that was refused; records as plain dicts."""

    cause_ns: int = 0  # first byte of the causing frame read; 0 = the cause is gone
    cause: dict[str, Any] | None = None
    package: dict[str, Any] | None = None
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    orders: list[dict[str, Any]] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    markets: dict[int, str] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)


def read_story(logs: Path, sort: str, number: int) -> Story:
    """Return the story of "g", "i" or "o" and its number; UsageError with the range when there is none."""
    story, ranges = Story(), {"g": [0, 0], "i": [0, 0], "o": [0, 0]}
    recent: dict[int, list[Any]] = {}
    for record in _decisions(logs):
        kind = Kind(record.kind)
        if kind == Kind.PACKAGE:
            _widen(ranges["g"], record.group_no)
            _widen(ranges["i"], record.idea_no)
            if story.package is None and (sort, number) in (("g", record.group_no), ("i", record.idea_no)):
                _begin(story, record, recent)
        elif kind == Kind.VERDICT:
            _widen(ranges["i"], record.idea_no)
            recent.setdefault(record.basket, []).append(record)
            if sort == "i" and number == record.idea_no and story.package is None and not story.verdicts:
                story.verdicts.append(_plain(record))
        elif kind == Kind.INTENT:
            _widen(ranges["o"], record.order_no)
            if sort == "o" and number == record.order_no and story.package is None:
                return read_story(logs, "g", record.group_no)
            if story.package is not None and record.group_no == story.package["group_no"]:
                story.orders.append(_plain(record))
                if len(story.orders) == story.package["order_count"]:
                    break
    if story.package is None and not story.verdicts:
        raise UsageError(_not_found(sort, number, ranges))
    head = story.package or story.verdicts[0]
    _read_cause(logs, story, head["cause_seq"])
    _read_events(logs, story)
    story.result = _result(story)
    return story


def _begin(story: Story, package: Any, recent: dict[int, list[Any]]) -> None:
    story.package = _plain(package)
    story.verdicts = [
        _plain(verdict)
        for verdict in recent.get(package.basket, [])
        if package.now_ns - verdict.now_ns <= VERDICTS_BEFORE_NS
    ][-VERDICTS_SHOWN_MAX:]


def _widen(span: list[int], number: int) -> None:
    span[0] = min(span[0] or number, number)
    span[1] = max(span[1], number)


def _not_found(sort: str, number: int, ranges: dict[str, list[int]]) -> str:
    names = {"g": "package", "i": "idea", "o": "order"}
    low, high = ranges[sort]
    if not high:
        return f"explain: there is no {names[sort]} {sort}{number}: the logs hold none yet; see pm status"
    if sort == "i" and low <= number <= high:
        return (
            f"explain: idea i{number} has no record of its own: repeats of one refusal are counted in the "
            "next VERDICT of its basket; see pm inspect --kind verdict"
        )
    return f"explain: there is no {names[sort]} {sort}{number}; the logs hold {sort}{low} to {sort}{high}"


def _open(logs: Path, name: str, position: int = 0) -> LogReader:
    directory = logs / name
    if not directory.is_dir() or not any(directory.glob("*.log")):
        raise EnvironmentProblem(f"explain: {directory} holds no log; give --state DIR of a run")
    return LogReader(str(directory), name, position)


def _decisions(logs: Path) -> Iterator[Any]:
    reader = _open(logs, "decisions")
    try:
        wanted = Filter(reader, (Kind.PACKAGE, Kind.VERDICT, Kind.INTENT))
        while data := wanted.read(READ_SLOTS):
            for at in range(0, len(data), SLOT_BYTES):
                yield unpack(data, at)
    finally:
        reader.close()


def _read_cause(logs: Path, story: Story, cause_seq: int) -> None:
    reader = _open(logs, "stream", cause_seq)
    try:
        data = Filter(reader, tuple(Kind)).read(1)
    finally:
        reader.close()
    if not data:
        return
    record = unpack(data)
    if record.seq != cause_seq:
        return
    story.cause = {"kind": Kind(record.kind).name, **_plain(record)}
    story.cause_ns = record.recv_ns or record.now_ns


def _read_events(logs: Path, story: Story) -> None:
    """Collect labels, and the reports, fills and resolutions of our orders."""
    numbers = {order["order_no"].to_bytes(8, "little") for order in story.orders}
    rows = {order["instrument"] for order in story.orders} | (
        {story.cause["instrument"]} if story.cause else set()
    )
    hashes: dict[bytes, int] = {}
    payouts: dict[int, tuple[int, int]] = {}
    reader = _open(logs, "stream")
    try:
        wanted = Filter(reader, (Kind.INSTRUMENT, Kind.REPORT, Kind.FILL, Kind.RESOLVED))
        while data := wanted.read(READ_SLOTS):
            for at in range(0, len(data), SLOT_BYTES):
                kind = kind_of(data, at)
                if kind in (Kind.REPORT, Kind.FILL):
                    _take_event(story, data, at, numbers, hashes)
                    continue
                row = int.from_bytes(data[at + 36 : at + 40], "little")
                if row in rows and kind == Kind.INSTRUMENT:
                    label = CODECS[Kind.INSTRUMENT].unpack(data, at).label.decode("ascii", "backslashreplace")
                    story.markets[row] = "".join(letter for letter in label if letter.isprintable())
                elif row in rows and kind == Kind.RESOLVED:
                    record = CODECS[Kind.RESOLVED].unpack(data, at)
                    payouts[row] = (record.payout_micro_yes, record.payout_micro_no)
    finally:
        reader.close()
    story.events = _without_repeats(story.events)
    story.result["payouts"] = payouts


def _without_repeats(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the events by time; one fill told twice in one state (user channel, reconcile) stands once."""
    kept, seen = [], set()
    for event in sorted(events, key=lambda event: event["recv_ns"] or event["now_ns"]):
        key = (event["order_no"], event["trade_id"], event["status"]) if event["kind"] == "FILL" else None
        if key is None or key not in seen:
            kept.append(event)
        seen.add(key)
    return kept


def _take_event(story: Story, data: bytes, at: int, numbers: set[bytes], hashes: dict[bytes, int]) -> None:
    """Keep a report or fill of our orders; the user channel knows an order by its hash alone."""
    number = data[at : at + SLOT_BYTES][_NUMBER]
    hash_at = at + (_REPORT_HASH_AT if kind_of(data, at) == Kind.REPORT else _FILL_HASH_AT)
    order_hash = data[hash_at : hash_at + 32]
    if number in numbers:
        if any(order_hash):
            hashes[order_hash] = int.from_bytes(number, "little")
    elif any(number) or order_hash not in hashes:
        return
    record = _plain(unpack(data, at))
    record["order_no"] = record["order_no"] or hashes[order_hash]
    story.events.append({"kind": Kind(kind_of(data, at)).name, **record})


def _plain(record: Any) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for name, value in zip(record._fields, record, strict=True):
        if name in _FIELDS_NOT_SHOWN or name.startswith("reserved"):
            continue
        if name == "text" and isinstance(value, bytes):
            text = value.decode("utf-8", "replace")
            shown[name] = "".join(letter for letter in text if letter.isprintable())
        else:
            shown[name] = value.hex() if isinstance(value, bytes) else value
    return shown


def _result(story: Story) -> dict[str, Any]:
    """Return what came of it: each trade counts once, a failed one not at all."""
    payouts = story.result.pop("payouts", {})
    package = story.package
    if package is None:
        return {}
    trades: dict[tuple[str, int], dict[str, Any]] = {}
    for event in story.events:
        if event["kind"] == "FILL":
            trades[event["trade_id"], event["order_no"]] = event
    standing = [trade for trade in trades.values() if trade["status"] != TradeStatus.FAILED]
    legs = {order["order_no"]: order["leg_no"] for order in story.orders}
    filled = [0] * package["leg_count"]
    for trade in standing:
        filled[legs[trade["order_no"]]] += (
            trade["size_micro"] if trade["side"] == Side.BUY else -trade["size_micro"]
        )
    spent = sum(
        trade["usd_micro"] if trade["side"] == Side.BUY else -trade["usd_micro"] for trade in standing
    )
    fees = sum(trade["fee_usd_micro"] for trade in standing)
    sure = (
        package["payout_usd_micro"] * max(0, min(filled)) // package["size_micro"]
        if package["size_micro"]
        else 0
    )
    paid = None
    if all(trade["instrument"] in payouts for trade in standing) and standing:
        paid = sum(
            trade["size_micro"] * payouts[trade["instrument"]][trade["outcome"] == Outcome.NO] // MICRO
            for trade in standing
            if trade["side"] == Side.BUY
        )
    return {
        "filled_by_leg": filled,
        "spent_usd_micro": spent,
        "fees_usd_micro": fees,
        "is_whole": bool(standing) and min(filled) == max(filled),
        "guaranteed_usd_micro": sure,
        "worst_usd_micro": sure - spent - fees,
        "payout_usd_micro": paid,
        "fills": len(standing),
    }
