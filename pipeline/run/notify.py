"""What we tell the service manager: up, alive, what we do, going down; and whether we are alive at all.

Writes datagrams to the socket that `NOTIFY_SOCKET` names; without it nothing is sent and nothing fails.
Source: systemd's sd_notify(3) and sd_watchdog_enabled(3), read 2026-11-22.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from pipeline.shm.status import LaneState
from pipeline.units import NS_PER_S

SOCKET = "NOTIFY_SOCKET"
WATCHDOG_USEC = "WATCHDOG_USEC"
WATCHDOG_PID = "WATCHDOG_PID"
NS_PER_US = 1_000
#: Longer than any lane takes to come up, recovery included: what starts of a lane do not mend in this time, a
#: new run with fresh memory may.
RESTART_NS_MAX = 180 * NS_PER_S
READY_S_MAX = 1.0
_STATUS_BYTES_MAX = 500


class Notifier:
    """The way to the service manager. A manager that is gone or does not listen is no reason to stop.

    Takes the variables out of the environment, so that no child speaks or is watched in our name.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        known = os.environ if environment is None else environment
        self._address = _address(known.pop(SOCKET, ""))
        self.watchdog_ns = _watchdog_ns(known.pop(WATCHDOG_USEC, ""), known.pop(WATCHDOG_PID, ""))
        self._status = ""
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    @property
    def is_heard(self) -> bool:
        """Whether a service manager started us and listens."""
        return self._socket is not None

    def ready(self) -> None:
        """Everything runs: the start is over."""
        self._send("READY=1", READY_S_MAX)  # the one word that a start waits for

    def stopping(self) -> None:
        """The end has begun; the watchdog no longer counts."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Pet the watchdog."""
        self._send("WATCHDOG=1")

    def status(self, words: str) -> None:
        """Say in one line what we do; the same line is not sent twice."""
        line = " ".join(words.split()).encode()[:_STATUS_BYTES_MAX].decode(errors="ignore")
        if line != self._status:
            self._status = line
            self._send(f"STATUS={line}")

    def close(self) -> None:
        """Close the socket; from here on nothing is sent."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, message: str, wait_s: float = 0.0) -> None:
        """Send; a manager that does not read must not hold the supervisor for longer than wait_s."""
        if self._socket is None or self._address is None:
            return
        self._socket.settimeout(wait_s)
        with suppress(OSError):  # full, gone or forbidden: whoever waits for us will ask in its own way
            self._socket.sendto(message.encode(), self._address)


def _address(name: str) -> str | None:
    """Return the address to send to; "@name" is in the abstract namespace, which begins with a zero byte."""
    if not name.startswith(("/", "@")) or len(name) < 2:
        return None
    return "\0" + name[1:] if name.startswith("@") else name


def _watchdog_ns(usec: str, pid: str) -> int:
    """Return the watchdog's period, 0 when nobody watches us."""
    is_ours = not pid or pid == str(os.getpid())
    return int(usec) * NS_PER_US if is_ours and usec.isascii() and usec.isdigit() else 0


class Looked(Protocol):
    """What is read of a lane's status page; see shm/status.StatusView."""

    @property
    def progress(self) -> int: ...
    @property
    def pid(self) -> int: ...
    @property
    def state(self) -> LaneState: ...


@dataclass(slots=True)
class _Lane:
    name: str
    view: Looked
    turned: int  # progress at the last pet
    has_moved: bool = False
    away_since_ns: int = -1  # being restarted since; -1 = up


class Watchdog:
    """Pets the service manager's watchdog while every lane's loop turns, at most each half period.

    A lane that is being restarted (its process is gone, or it is not yet running) counts as turning until
    `RESTART_NS_MAX`: the supervisor is at work on it. From then on, and for a loop that stands, nothing is
    sent, and the manager ends and restarts the service.
    """

    def __init__(
        self, notifier: Notifier, lanes: Sequence[tuple[str, Looked]], now_ns: int,
        is_alive: Callable[[int], bool] | None = None, restart_ns_max: int = RESTART_NS_MAX,
    ) -> None:
        self._notifier = notifier
        self._lanes = [_Lane(name, view, view.progress) for name, view in lanes]
        self._is_alive = _is_process if is_alive is None else is_alive
        self._restart_ns_max = restart_ns_max
        self._half_ns = notifier.watchdog_ns // 2
        self._petted_ns = now_ns

    def look(self, now_ns: int) -> bool:
        """Look at every lane; pet when it is time and all have moved. now_ns: any monotonic clock.

        Returns whether the watchdog was petted.
        """
        if not self._half_ns:
            return False
        for lane in self._lanes:
            self._look_at(lane, now_ns)
        if now_ns - self._petted_ns < self._half_ns or not all(lane.has_moved for lane in self._lanes):
            return False
        self._notifier.alive()
        self._petted_ns = now_ns
        for lane in self._lanes:
            lane.has_moved = False
        return True

    @property
    def still(self) -> list[str]:
        """Lanes that have not moved since the last pet."""
        return [lane.name for lane in self._lanes if not lane.has_moved]

    def _look_at(self, lane: _Lane, now_ns: int) -> None:
        is_up = lane.view.state == LaneState.RUNNING and self._is_alive(lane.view.pid)
        if is_up:
            lane.away_since_ns = -1
            turned = lane.view.progress
            if turned != lane.turned:
                lane.turned, lane.has_moved = turned, True
            return
        if lane.away_since_ns < 0:
            lane.away_since_ns = now_ns
        lane.has_moved = now_ns - lane.away_since_ns <= self._restart_ns_max


def _is_process(pid: int) -> bool:
    """Tell whether the process exists and is no corpse that waits for its parent."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b") ")[2][:1] != b"Z"
    except OSError:
        return False
