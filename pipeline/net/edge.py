"""Edges are machines without sockets: events and times in, commands and records out.

The driver in `net/` (or a test with simulated time) opens what a machine asks to open, hands it what
arrives, and decides nothing. Every event carries `now_ns`; a machine never reads a clock.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.kinds import Cause


@dataclass(frozen=True, slots=True)
class OpenSocket:
    """Connect a websocket; the answer is `on_open` or `on_close`."""

    conn: int
    url: str


@dataclass(frozen=True, slots=True)
class SendText:
    """Send one text frame."""

    conn: int
    data: bytes


@dataclass(frozen=True, slots=True)
class CloseSocket:
    """Close a websocket; `on_close` follows."""

    conn: int


@dataclass(frozen=True, slots=True)
class PauseSocket:
    """Stop (or go on) reading: our ring is full, so the venue's queue must hold the data."""

    conn: int
    paused: bool


@dataclass(frozen=True, slots=True)
class Ask:
    """One REST request off the order path; the answer is `on_answer` or `on_failure`."""

    tag: int
    method: str
    base: str  # scheme and host, without a trailing slash
    target: str  # path and query
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Submit:
    """Prebuilt request bytes on the order path: one write on a warm connection."""

    tag: int
    data: bytes


Command = OpenSocket | SendText | CloseSocket | PauseSocket | Ask | Submit


@dataclass(slots=True)
class Outbox:
    """Commands of one machine, in order; bounded, because an edge asks for little at a time."""

    commands_max: int = 4096
    commands: deque[Command] = field(default_factory=deque)

    def put(self, command: Command) -> None:
        """Queue a command; a full queue means that the driver died: the lane must end."""
        if len(self.commands) >= self.commands_max:
            raise OverflowError(
                f"stages.edge: more than {self.commands_max} commands wait for the driver; is its loop stuck?"
            )
        self.commands.append(command)

    def take(self) -> Command | None:
        """Return the oldest command, or None."""
        return self.commands.popleft() if self.commands else None


class SocketMachine(Protocol):
    """An edge that owns websockets."""

    outbox: Outbox

    def on_open(self, now_ns: int, conn: int) -> None:
        """The websocket stands; nothing was sent on it yet."""

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Take one text frame; False = no room, keep it and hand it in again."""

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        """The websocket ended, or never stood; it is opened again only by a new `OpenSocket`."""

    def on_timer(self, now_ns: int) -> None:
        """Do what is due; called every few milliseconds."""


class RestMachine(Protocol):
    """An edge that asks over HTTP."""

    outbox: Outbox

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take the whole answer to request `tag`; header names are in lower case."""

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """No answer will come. `was_sent` False only when provably no byte left this host."""

    def on_timer(self, now_ns: int) -> None:
        """Do what is due; called every few milliseconds."""


class OrderMachine(RestMachine, Protocol):
    """An edge that sends orders."""

    def refuses(self, now_ns: int, tag: int) -> Cause:
        """Say why request `tag` may not leave any more; the driver asks before each write. NONE: it may."""

    def flush(self) -> bool:
        """Publish what is owed; the driver calls it right behind its writes, before it reads anything."""
