"""What a killer sees of a running pipeline from outside: words, rings, logs and brake files, all read-only.

`look` follows both logs, the signed ring and the report ring at positions of its own; from them each order's
steps are known (journalled, signed, stored, sent, answered, ended). `freeze` stops a lane between two
instructions, so what is read while it stands is what it leaves behind when it is killed there.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from pipeline.codec import CODECS, kind_of
from pipeline.config.topology import LaneSpec
from pipeline.kinds import Kind, OrderState, Origin
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.native.ring import Observer
from pipeline.records import SLOT_BYTES
from pipeline.run import wiring
from pipeline.run.spec import RunSpec, anchored_clock
from pipeline.shm import memory
from pipeline.shm.status import LaneState, StatusView
from tests.shared import wait_until

VENUE = (Origin.HTTP, Origin.USER_CHANNEL, Origin.RECONCILE)
NEVER_LEFT = (OrderState.UNSENT, OrderState.DRY)
OVER = (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, *NEVER_LEFT)
BRAKE_ORDER_NO = slice(40, 48)  # of a brake file: the highest order that may have left
FREEZE_S_MAX = 2.0


@dataclass(slots=True)
class Seen:
    """One order's steps as far as they were seen; `end_ns` is the run's clock, 0 = not ended."""

    order_no: int
    group_no: int
    intended_ns: int
    is_signed: bool = False
    is_sent: bool = False
    is_answered: bool = False
    is_doubtful: bool = False  # a gateway died, and it may have left
    end_ns: int = 0


class Watcher:
    """Follows one run of `state`; `close` before its memory is asked to be gone."""

    def __init__(self, state: Path) -> None:
        self.spec = RunSpec.load(state / "run" / "latest" / "spec.json")
        self.clock = anchored_clock(self.spec.anchor_wall_ns, self.spec.anchor_mono_ns)
        self.state = state
        self.orders: dict[int, Seen] = {}
        self.open: dict[int, Seen] = {}  # of these, the ones whose end was not seen
        self.events: dict[int, int] = {}  # group -> event of its package
        self.causes: dict[int, int] = {}  # group -> stream position that caused it
        self.sent_ns: dict[int, int] = {}  # group -> when its first order was told as sent
        self.decided_ns: dict[int, int] = {}  # group -> stream time of its package
        self.deadline_ns: dict[int, int] = {}  # order -> the time after which it must not leave
        self.order_of: dict[bytes, int] = {}
        self._segments: dict[str, memory.Segment] = {}
        self._views = {lane.name: StatusView(self._buffer(f"status.{lane.name}")) for lane in self.spec.lanes}
        self._signed = Observer(self._buffer("ring.signed.main"), from_oldest=True)
        self._reports = Observer(self._buffer("ring.report.main"), from_oldest=True)
        self._stream = LogReader(state / "logs" / "stream", "stream", 0)
        self._decisions = LogReader(state / "logs" / "decisions", "decisions", 0)
        self._decided = Filter(self._decisions, (Kind.PACKAGE, Kind.INTENT))
        self._told = Filter(self._stream, (Kind.REPORT,))

    def _buffer(self, what: str) -> memoryview:
        name = memory.segment_name(self.spec.instance, self.spec.generation, what)
        self._segments[what] = memory.attach(name, read_only=True)
        return self._segments[what].data

    # -- lanes -----------------------------------------------------------------------------------

    def lane_of(self, kind: str) -> LaneSpec:
        """Return the lane that runs the stage of this kind."""
        return next(
            lane for lane in self.spec.lanes
            if any(wiring.split_name(stage)[0] == kind for stage in lane.stages))

    def view(self, lane: str) -> StatusView:
        return self._views[lane]

    def is_inside(self, kind: str) -> bool:
        """Tell by the stage's own words whether it is inside its poll."""
        stages = self._views[self.lane_of(kind).name].stages()
        begun, ended = next(
            marks for stage, marks in stages.items() if wiring.split_name(stage)[0] == kind)
        return begun > ended

    def counters(self) -> dict[str, dict[str, int]]:
        """Return every lane's counters."""
        return {name: view.counters() for name, view in self._views.items()}

    def is_running(self) -> bool:
        """Tell whether each lane says that it runs and its process is there."""
        return all(view.state == LaneState.RUNNING and is_alive(view.pid) for view in self._views.values())

    def freeze(self, lane: str) -> None:
        """Stop a lane's process where it stands; returns when the kernel says so."""
        pid = self._views[lane].pid
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: process_state(pid) in "TZX", FREEZE_S_MAX, f"lane {lane} to stand", pause_s=0)

    def thaw(self, lane: str) -> None:
        """Let it go on."""
        os.kill(self._views[lane].pid, signal.SIGCONT)

    def kill(self, lane: str) -> int:
        """SIGKILL it, frozen or not, and wait for its death; return when that was, by the run's clock."""
        pid = self._views[lane].pid
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_alive(pid), FREEZE_S_MAX, f"lane {lane} to die", pause_s=0.0005)
        return self.clock()

    # -- orders ----------------------------------------------------------------------------------

    @property
    def stream_position(self) -> int:
        """How far the stream was read."""
        return self._stream.position

    def stored_order_no(self) -> int:
        """Return the highest order number that the gateway stored before a first byte."""
        path = self.state / "gateway-main.state"
        return int.from_bytes(path.read_bytes()[BRAKE_ORDER_NO], "little") if path.exists() else 0

    def look(self) -> None:
        """Take in what is new in both logs and both rings; what is told last is read first.

        An order may be decided, sent and told while this reads: its report must find its intent known.
        """
        reports = [*iter(lambda: self._reports.read(64)[0], b""), *iter(lambda: self._told.read(256), b"")]
        while data := self._decided.read(256):
            for at in range(0, len(data), SLOT_BYTES):
                self._on_decision(data, at)
        while data := self._signed.read(64)[0]:
            for at in range(0, len(data), SLOT_BYTES):
                signed = CODECS[Kind.SIGNED].unpack(data, at)
                if seen := self.orders.get(signed.order_no):
                    seen.is_signed = True
                self.order_of[bytes(signed.order_hash)] = signed.order_no
        for data in reports:
            self._on_reports(data)

    def _on_decision(self, data: bytes, at: int) -> None:
        if kind_of(data, at) == Kind.PACKAGE:
            package = CODECS[Kind.PACKAGE].unpack(data, at)
            self.events[package.group_no] = package.event
            self.causes[package.group_no] = package.cause_seq
            self.decided_ns[package.group_no] = package.now_ns
            return
        intent = CODECS[Kind.INTENT].unpack(data, at)
        self.deadline_ns[intent.order_no] = intent.deadline_ns
        if intent.order_no not in self.orders:
            seen = self.orders[intent.order_no] = Seen(intent.order_no, intent.group_no, intent.now_ns)
            self.open[intent.order_no] = seen

    def _on_reports(self, data: bytes) -> None:
        for at in range(0, len(data), SLOT_BYTES):
            if kind_of(data, at) != Kind.REPORT:
                continue
            report = CODECS[Kind.REPORT].unpack(data, at)
            seen = self.orders.get(report.order_no or self.order_of.get(bytes(report.order_hash), 0))
            if seen is None:
                continue
            if report.state == OrderState.SENT:
                seen.is_sent = seen.is_signed = True
                self.sent_ns.setdefault(seen.group_no, report.recv_ns)
            seen.is_answered = seen.is_answered or report.origin in VENUE or report.state in NEVER_LEFT
            is_over = report.state in OVER and (report.origin in VENUE or report.state in NEVER_LEFT)
            if is_over and not seen.end_ns:
                seen.end_ns = report.recv_ns
                self.open.pop(seen.order_no, None)

    def unsigned(self) -> list[Seen]:
        """Return the orders that are journalled and not signed."""
        return [seen for seen in self.open.values() if not seen.is_signed]

    def unsent(self) -> list[Seen]:
        """Return the orders that are signed and not told as sent, refused ones apart."""
        return [
            seen for seen in self.open.values()
            if seen.is_signed and not seen.is_sent and not seen.is_answered]

    def unanswered(self) -> list[Seen]:
        """Return the orders that were told as sent and have no answer."""
        return [seen for seen in self.open.values() if seen.is_sent and not seen.is_answered]

    def mourn(self, stored_order_no: int, at_ns: int) -> None:
        """A gateway died: what is open up to the number that it stored is in doubt, the rest never left."""
        for seen in list(self.open.values()):
            if seen.order_no <= stored_order_no:
                seen.is_doubtful = True
            else:
                seen.end_ns = at_ns
                del self.open[seen.order_no]

    def forget(self, order_no_max: int) -> None:
        """Leave what is still open of the orders before a death out of the moments to come."""
        for number in [number for number in self.open if number <= order_no_max]:
            del self.open[number]

    def close(self) -> None:
        self._signed.close()
        self._reports.close()
        self._stream.close()
        self._decisions.close()
        for view in self._views.values():
            view.close()
        for segment in self._segments.values():
            segment.close()


def process_state(pid: int) -> str:
    """Return the kernel's letter for a process, X when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return "X"
    return chr(stat[stat.rindex(b")") + 2])


def is_alive(pid: int) -> bool:
    """Tell whether a process runs or stands: a zombie is dead."""
    return pid > 0 and process_state(pid) not in "ZX"
