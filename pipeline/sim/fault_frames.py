"""Faults of websocket frames: what a socket's bytes become on their way out.

Reads websocket bytes of whole frames; returns those that go out now, keeps those that go later. PONG
always passes: a socket that answers it proves nothing, which is the point.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping

from pipeline.sim.fault_run import FaultRun
from pipeline.sim.faults import FrameFault
from pipeline.sim.timers import Timers
from pipeline.sim.websocket import server_frame
from pipeline.units import NS_PER_MS

PONG = b"PONG"
Bytes = bytes | memoryview
Write = Callable[[int, Bytes, int], None]  # socket, websocket bytes, frames


class FrameFaults:
    """Called for everything that a websocket is to send. The driver sets `write`: the way past it."""

    def __init__(
        self, runs: list[FaultRun], timers: Timers, sockets: Callable[[], Mapping[int, str]]
    ) -> None:
        self.write: Write = lambda socket, data, frames: None
        self._runs = runs
        self._sockets = sockets  # those that are open, with their channel
        self._timers = timers
        self._late: dict[int, deque[tuple[int, bytes]]] = {}  # socket -> (due ns, frame), in order
        self._swapped: dict[int, tuple[FaultRun, bytes]] = {}  # a frame that lets the next one pass
        self._frozen: dict[tuple[str, int], bool] = {}  # (fault, socket): drawn at the first frame

    def __call__(self, now_ns: int, socket: int, channel: str, data: Bytes, frames: int) -> tuple[Bytes, int]:
        """Return the websocket bytes that go out now instead, and how many frames they are."""
        active = [run for run in self._runs if run.is_active and _is_on(run, channel)]
        if not active and socket not in self._late and socket not in self._swapped:
            return data, frames
        out: list[bytes] = []
        for frame, text in split(data):
            out += [frame] if text == PONG else self._spoil(now_ns, socket, frame, text, active)
        return b"".join(out), len(out)

    def begin(self, run: FaultRun) -> None:
        """Draw which of the sockets that are there a freeze catches."""
        fault = run.fault
        if fault.kind == "freeze" and isinstance(fault, FrameFault):
            for socket, channel in self._sockets().items():
                if _is_on(run, channel):
                    self._frozen[fault.name, socket] = run.hits()

    def end(self, run: FaultRun) -> None:
        """Let go what the fault holds back; what a freeze swallowed is gone."""
        self._frozen = {key: was for key, was in self._frozen.items() if key[0] != run.fault.name}
        for socket in [socket for socket, (by, _) in self._swapped.items() if by is run]:
            self.write(socket, self._swapped.pop(socket)[1], 1)

    def forget(self, socket: int) -> None:
        """Forget a socket that ended."""
        self._late.pop(socket, None)
        self._swapped.pop(socket, None)

    def _spoil(
        self, now_ns: int, socket: int, frame: bytes, text: bytes, active: list[FaultRun]
    ) -> list[bytes]:
        """Return the frames that go out now for this one."""
        frames = [frame]
        for run in active:
            fault = run.fault
            if not isinstance(fault, FrameFault) or not frames:
                continue
            if fault.kind == "freeze":
                if self._is_frozen(run, fault, socket):
                    run.note(now_ns, f"socket {socket}")
                    return []
            elif not (fault.kind == "reorder" and socket in self._swapped) and run.hits():
                run.note(now_ns, f"socket {socket}")
                frames = self._spoil_one(now_ns, socket, run, fault, frames, text)
        return self._after_swap(socket, self._after_late(now_ns, socket, frames))

    def _spoil_one(
        self, now_ns: int, socket: int, run: FaultRun, fault: FrameFault, frames: list[bytes], text: bytes
    ) -> list[bytes]:
        if fault.kind == "drop":
            return []
        if fault.kind == "duplicate":
            return frames * 2
        if fault.kind == "truncate":
            return [server_frame(text[: run.draw.randrange(1, max(2, len(text)))])]
        if fault.kind == "delay":
            due_ns = now_ns + fault.delay_ms * NS_PER_MS
            for one in frames:
                self._keep(due_ns, socket, one)
            return []
        self._swapped[socket] = (run, b"".join(frames))  # reorder: it lets its successor pass
        return []

    def _is_frozen(self, run: FaultRun, fault: FrameFault, socket: int) -> bool:
        """A socket that came after the beginning is caught only if the fault says so."""
        key = (fault.name, socket)
        if key not in self._frozen:
            self._frozen[key] = fault.catches_new and run.hits()
        return self._frozen[key]

    def _after_late(self, now_ns: int, socket: int, frames: list[bytes]) -> list[bytes]:
        """Nothing overtakes what is late."""
        if socket not in self._late:
            return frames
        for frame in frames:
            self._keep(now_ns, socket, frame)
        return []

    def _after_swap(self, socket: int, frames: list[bytes]) -> list[bytes]:
        if not frames or socket not in self._swapped:
            return frames
        return [*frames, *(frame for frame, _ in split(self._swapped.pop(socket)[1]))]

    def _keep(self, due_ns: int, socket: int, frame: bytes) -> None:
        self._late.setdefault(socket, deque()).append((due_ns, frame))
        self._timers.at(due_ns, lambda at_ns: self._release(at_ns, socket))

    def _release(self, now_ns: int, socket: int) -> None:
        late = self._late.get(socket)
        while late and late[0][0] <= now_ns:
            self.write(socket, late.popleft()[1], 1)
        if late is not None and not late:
            del self._late[socket]


def _is_on(run: FaultRun, channel: str) -> bool:
    return isinstance(run.fault, FrameFault) and run.fault.channel in (channel, "both")


def split(data: Bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (frame, text) of a server's websocket bytes: unmasked, final, whole."""
    whole = bytes(data)
    at = 0
    while at < len(whole):
        size, start = whole[at + 1], at + 2
        if size == 126:
            start, size = at + 4, int.from_bytes(whole[at + 2 : at + 4], "big")
        elif size == 127:
            start, size = at + 10, int.from_bytes(whole[at + 2 : at + 10], "big")
        yield whole[at : start + size], whole[start : start + size]
        at = start + size
