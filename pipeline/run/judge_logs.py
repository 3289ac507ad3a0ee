"""What two logs and the exchange's report say about a run, indexed for the judge.

Reads the logs `stream` and `decisions` of a state directory through native filters, with every checksum
verified, and the exchange's report; writes nothing. Nothing of the processes that wrote them is needed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS, HEADER_STRUCT, kind_of
from pipeline.core.positions import PnlFold
from pipeline.kinds import Kind, Outcome, Rule
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES

STREAM_KINDS = (
    Kind.INSTRUMENT, Kind.REPORT, Kind.FILL, Kind.RESOLVED, Kind.LANE_UP, Kind.RESUME, Kind.RECONCILED,
    Kind.GAP, Kind.TICK_STEP, Kind.VENUE)
DECISION_KINDS = (
    Kind.PACKAGE, Kind.INTENT, Kind.VERDICT, Kind.CANCEL, Kind.SUBSCRIBE, Kind.RESYNC, Kind.RECONCILE,
    Kind.BEAT)
READ_SLOTS = 4_096
SHOWN_MAX = 12  # lines of one sort of problem; the rest is counted


class Findings:
    """Collects what is wrong: `broken` data contradict each other, `short` falls below what is asked."""

    def __init__(self) -> None:
        self._lines: dict[tuple[bool, str], list[str]] = {}
        self._counts: Counter[tuple[bool, str]] = Counter()

    def broken(self, sort: str, text: str) -> None:
        """Data contradict each other: exit 7."""
        self._add((True, sort), text)

    def short(self, sort: str, text: str) -> None:
        """The run falls short of what it must reach: exit 1."""
        self._add((False, sort), text)

    def _add(self, key: tuple[bool, str], text: str) -> None:
        self._counts[key] += 1
        lines = self._lines.setdefault(key, [])
        if len(lines) < SHOWN_MAX:
            lines.append(text)

    @property
    def has_broken(self) -> bool:
        """Tell whether any data contradict each other."""
        return any(is_broken for is_broken, _ in self._counts)

    @property
    def counts(self) -> dict[str, int]:
        """Return how many problems of each sort there are."""
        return {sort: count for (_, sort), count in self._counts.items()}

    def texts(self) -> list[str]:
        """Return the problems, contradictions first, each in one line."""
        found = []
        for key, lines in sorted(self._lines.items(), key=lambda item: not item[0][0]):
            found += lines
            more = self._counts[key] - len(lines)
            if more:
                found.append(f"{key[1]}: {more} more of this sort")
        return found


@dataclass(slots=True)
class Logs:
    """The two logs of a run. Order hashes are "0x" + 64 hex digits, as the exchange names orders."""

    fold: PnlFold = field(default_factory=PnlFold)
    instruments: dict[int, Any] = field(default_factory=dict)  # row -> newest INSTRUMENT
    intents: dict[int, Any] = field(default_factory=dict)  # order number -> INTENT
    groups: dict[int, list[Any]] = field(default_factory=dict)  # group number -> its INTENTs
    packages: list[Any] = field(default_factory=list)
    verdicts: list[Any] = field(default_factory=list)
    reports: dict[int, list[Any]] = field(default_factory=dict)  # order number -> REPORTs in log order
    strangers: list[Any] = field(default_factory=list)  # REPORTs that name no order of ours
    hash_of: dict[int, str] = field(default_factory=dict)
    order_of: dict[str, int] = field(default_factory=dict)
    fills: list[Any] = field(default_factory=list)
    resolved: dict[int, tuple[int, int]] = field(default_factory=dict)
    gateway_starts: list[Any] = field(default_factory=list)  # LANE_UP of gateways, each (re)start once
    causes: list[tuple[int, int]] = field(default_factory=list)  # of each decision: (position, cause's seq)
    resumes: list[Any] = field(default_factory=list)  # RESUME of the core's restarts, in log order
    reconciled: list[Any] = field(default_factory=list)  # RECONCILED that were complete
    gaps: list[Any] = field(default_factory=list)
    tick_steps: list[Any] = field(default_factory=list)
    modes: list[Any] = field(default_factory=list)  # VENUE, in log order
    rows_of: dict[str, list[int]] = field(default_factory=dict)  # condition -> rows
    _unnamed: list[Any] = field(default_factory=list)
    _findings: Findings = field(default_factory=Findings)

    def token(self, row: int, outcome: int) -> str:
        """Return the decimal token id of a row's outcome; "" for a row that the stream never named."""
        found = self.instruments.get(row)
        if found is None:
            return ""
        return str(int.from_bytes(found.token_yes if outcome == Outcome.YES else found.token_no, "big"))

    def has_rule(self, condition: str, rule: Rule) -> bool:
        """Tell whether our table says this of every row of the condition."""
        rows = self.rows_of.get(condition, [])
        return bool(rows) and all(self.instruments[row].rules & rule for row in rows)

    def events_of(self, conditions: Iterable[str]) -> dict[int, None]:
        """Return the event rows that these conditions belong to."""
        rows = [row for condition in conditions for row in self.rows_of.get(condition, ())]
        return dict.fromkeys(self.instruments[row].event for row in rows if self.instruments[row].event)

    def label(self, row: int) -> str:
        """Return what a row is called, for people."""
        found = self.instruments.get(row)
        return found.label.decode("utf-8", "replace") if found else ""

    def name(self, order_no: int) -> str:
        """Return an order for people: number, market and hash."""
        intent, known = self.intents.get(order_no), self.hash_of.get(order_no, "")
        label = self.label(intent.instrument) if intent else ""
        return f"order {order_no}" + (f" ({label})" if label else "") + (f" {known[:10]}…" if known else "")


def read_logs(state_dir: Path, findings: Findings) -> Logs:
    """Return both logs of the state directory; raises IntegrityError for a damaged one."""
    logs = Logs(_findings=findings)
    handlers: dict[int, Callable[[Logs, Any], None]] = {
        Kind.INSTRUMENT: _on_instrument, Kind.REPORT: _on_report, Kind.RESOLVED: _on_resolved,
        Kind.LANE_UP: _on_lane_up, Kind.INTENT: _on_intent,
        Kind.RESUME: lambda logs, record: logs.resumes.append(record),
        Kind.GAP: lambda logs, record: logs.gaps.append(record),
        Kind.TICK_STEP: lambda logs, record: logs.tick_steps.append(record),
        Kind.VENUE: lambda logs, record: logs.modes.append(record),
        Kind.RECONCILED: _on_reconciled, Kind.FILL: lambda logs, record: logs.fills.append(record),
        Kind.PACKAGE: lambda logs, record: logs.packages.append(record),
        Kind.VERDICT: lambda logs, record: logs.verdicts.append(record)}
    for name, kinds in (("decisions", DECISION_KINDS), ("stream", STREAM_KINDS)):
        for data in slots_of(state_dir / "logs" / name, name, kinds):
            for at in range(0, len(data), SLOT_BYTES):
                kind = kind_of(data, at)
                if name == "decisions":
                    header = HEADER_STRUCT.unpack_from(data, at)
                    logs.causes.append((header[0], header[3]))
                logs.fold.on_record(data, at)
                handler = handlers.get(kind)
                if handler is not None:
                    handler(logs, CODECS[Kind(kind)].unpack(data, at))
    _link(logs)
    return logs


def slots_of(directory: Path, name: str, kinds: Iterable[int]) -> Iterable[bytes]:
    """Yield the wanted slots of a whole log, many at a time."""
    reader = LogReader(directory, name, 0, verify=True)
    try:
        wanted, position = Filter(reader, kinds), -1
        while True:
            data = wanted.read(READ_SLOTS)
            if data:
                yield data
            elif reader.position == position:
                reader.check()
                return
            position = reader.position
    finally:
        reader.close()


def _on_instrument(logs: Logs, record: Any) -> None:
    condition = "0x" + record.condition.hex()
    rows = logs.rows_of.setdefault(condition, [])
    if record.instrument not in rows:
        rows.append(record.instrument)
    logs.instruments[record.instrument] = record


def _on_intent(logs: Logs, record: Any) -> None:
    if record.order_no in logs.intents:
        logs._findings.broken("duplicates", f"order {record.order_no}: the decision log intends it twice")
        return
    logs.intents[record.order_no] = record
    logs.groups.setdefault(record.group_no, []).append(record)


def _on_resolved(logs: Logs, record: Any) -> None:
    logs.resolved[record.instrument] = (record.payout_micro_yes, record.payout_micro_no)


def _on_lane_up(logs: Logs, record: Any) -> None:
    if b"gateway" in record.stage_name:
        logs.gateway_starts.append(record)


def _on_reconciled(logs: Logs, record: Any) -> None:
    if record.ok:
        logs.reconciled.append(record)


def _on_report(logs: Logs, record: Any) -> None:
    if not record.order_no:
        logs._unnamed.append(record)
        return
    logs.reports.setdefault(record.order_no, []).append(record)
    if not any(record.order_hash):
        return
    name = "0x" + record.order_hash.hex()
    known = logs.hash_of.setdefault(record.order_no, name)
    holder = logs.order_of.setdefault(name, record.order_no)
    if known != name or holder != record.order_no:
        logs._findings.broken(
            "duplicates",
            f"order {record.order_no}: one hash per order expected, {name[:10]}… is also of order {holder} "
            f"or the order also has {known[:10]}…")


def _link(logs: Logs) -> None:
    """Give reports that came by hash alone to their orders, behind those that named the number."""
    for record in logs._unnamed:
        order_no = logs.order_of.get("0x" + record.order_hash.hex())
        if order_no is None:
            logs.strangers.append(record)
        else:
            logs.reports[order_no].append(record)
    logs._unnamed.clear()
    for reports in logs.reports.values():
        reports.sort(key=lambda record: record.seq)


class Venue:
    """The exchange's report, indexed; of orders, arrivals and trades only those of our account."""

    def __init__(self, report: dict[str, Any], known_hashes: Iterable[str]) -> None:
        self.report = report
        self.markets: dict[str, Any] = {row["condition"]: row for row in report["markets"]}
        self.token_at = {
            token: (row["condition"], outcome)
            for row in report["markets"] for outcome, token in enumerate(row["tokens"])}
        self.account = _account(report, dict.fromkeys(known_hashes))
        name = self.account["name"]
        self.orders: dict[str, Any] = {
            row["order_id"]: row for row in report["orders"] if row["account"] == name}
        self.arrivals: dict[str, list[Any]] = {}
        self.nameless: list[Any] = []  # refused before the exchange could name them
        for row in report["arrivals"]:
            if row["account"] == name:
                held = self.arrivals.setdefault(row["order_id"], []) if row["order_id"] else self.nameless
                held.append(row)
        self.trades: dict[str, Any] = {
            row["trade_id"].replace("-", ""): row for row in report["trades"]
            if row["taker_order_id"] in self.orders or row["maker_order_id"] in self.orders}

    def token(self, condition: str, outcome: int) -> str:
        """Return the decimal token id of a condition's outcome."""
        return str(self.markets[condition]["tokens"][outcome])

    def event_markets(self, condition: str) -> list[Any]:
        """Return the markets of the condition's event, the condition's own among them."""
        own = self.markets[condition]
        if own["outcome_count"] <= 1:
            return [own]
        return [row for row in self.report["markets"] if row["event_id"] == own["event_id"]]


def _account(report: dict[str, Any], hashes: dict[str, None]) -> dict[str, Any]:
    """Return our account's row: the one whose orders we know, the first when nothing was traded."""
    rows: list[dict[str, Any]] = report["accounts"]
    names = [row["account"] for row in report["orders"] if row["order_id"] in hashes]
    for row in rows:
        if names and row["name"] == names[0]:
            return row
    return rows[0]
