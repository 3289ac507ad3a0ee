"""Real sockets around the exchange: HTTP/1.1 with keep-alive and websockets, plain and TLS.

One thread, one epoll set. Each CLOB port serves REST and `/ws/market`, `/ws/user`; Gamma, the data API and
the relayer have ports of their own; behind the CONNECT proxy the host name decides. Reads and writes nothing
but sockets, the clock and the exchange; decides nothing. Every frame goes out under `Wire.send`, so the
report knows per socket how many frames the kernel accepted.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import orjson

from pipeline.errors import EnvironmentProblem
from pipeline.sim import errors_text as texts
from pipeline.sim import websocket
from pipeline.sim.errors_text import Refusal
from pipeline.sim.exchange import Exchange
from pipeline.sim.hosts import Host
from pipeline.sim.http import Response, refuse
from pipeline.sim.http_reader import REASONS, BadRequest, Request, RequestReader, response_bytes
from pipeline.sim.tunnel import Tunnel
from pipeline.sim.websocket import FrameReader, ProtocolViolation, server_frame
from pipeline.sim.wire import Poller, Wire, listen
from pipeline.units import NS_PER_S

CHANNELS = {"/ws/market": "market", "/ws/user": "user"}
POLL_S_MAX = 0.05

Control = Callable[[Request], Response]


class FrameGate(Protocol):
    """Stands before every websocket and may spoil what goes out."""

    def __call__(
        self, now_ns: int, socket: int, channel: str, data: bytes | memoryview, frames: int
    ) -> tuple[bytes | memoryview, int]:
        """Return the websocket bytes that go out now instead, and how many frames they are."""

    def forget(self, socket: int) -> None:
        """Forget a socket that ended."""


class Clock:
    """Wall time that never goes back: anchored once, then monotonic."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    def now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns


@dataclass(slots=True)
class Socket:
    """What is kept of a websocket, also after its end."""

    socket: int
    channel: str
    wire: Wire
    peer: str
    opened_ns: int
    closed_ns: int = 0

    def row(self) -> dict[str, Any]:
        """Return the accounting of this socket; `accepted` frames are with the kernel in full."""
        return {
            "socket": self.socket,
            "channel": self.channel,
            "peer": self.peer,
            "opened_ns": self.opened_ns,
            "closed_ns": self.closed_ns,
            "queued": self.wire.queued,
            "accepted": self.wire.accepted,
        }


class _Connection:
    """One accepted connection: requests first, frames after an upgrade."""

    def __init__(self, server: Server, host: Host, peer: str) -> None:
        self.server = server
        self.service = host.service
        self.has_sockets = host.has_sockets
        self.requests = RequestReader(server.exchange.settings.body_bytes_max)
        self.frames: FrameReader | None = None
        self.socket = 0
        self.peer = peer
        self.waiting: deque[Request] = deque()
        self.is_asking = False  # a request has no answer yet
        self.is_serving = False

    def on_data(self, wire: Wire, data: bytes) -> None:
        if self.frames is not None:
            self._on_frames(wire, data)
            return
        try:
            for request in self.requests.feed(data):
                if request.headers.get("upgrade", "").lower() == "websocket":
                    self._upgrade(wire, request)
                    return
                self.waiting.append(request)
            self._serve(wire)
        except BadRequest as error:
            self._serve(wire)
            reason = REASONS.get(error.status, "bad request").lower()
            wire.send(response_bytes(refuse(Refusal(reason, error.status)), keeps_alive=False))
            wire.close_after_send()

    def _serve(self, wire: Wire) -> None:
        """Ask for one request after the other; behind one whose answer is held, all others wait."""
        while self.waiting and not self.is_asking and wire.is_open:
            request = self.waiting.popleft()
            self.is_asking = self.is_serving = True
            self.server.ask(self.service, request, partial(self._answer, wire, request), self.peer)
            self.is_serving = False

    def _answer(self, wire: Wire, request: Request, answer: Response | None) -> None:
        self.is_asking = False
        if answer is None:
            wire.close()
            return
        wire.send(response_bytes(answer, request.keeps_alive))
        if not request.keeps_alive:
            wire.close_after_send()
        if not self.is_serving:  # it comes late, from a timer: the turn that runs it sends the frames
            self._serve(wire)
        else:
            self.server.flush()

    def _upgrade(self, wire: Wire, request: Request) -> None:
        channel = CHANNELS.get(request.target.partition("?")[0])
        key = request.headers.get("sec-websocket-key")
        if channel is None or key is None or not self.has_sockets or request.method != "GET":
            wire.send(response_bytes(refuse(texts.NOT_FOUND), keeps_alive=False))
            wire.close_after_send()
            return
        headers = {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": websocket.accept_key(key),
        }
        head = (
            "HTTP/1.1 101 Switching Protocols\r\n"
            + "".join(f"{k}: {v}\r\n" for k, v in headers.items())
            + "\r\n"
        )
        wire.send(head.encode())
        self.frames = FrameReader(self.server.exchange.settings.frame_bytes_max)
        self.socket = self.server.opened(channel, wire, self.peer)
        rest = self.requests.rest()
        if rest and wire.is_open:
            self._on_frames(wire, rest)

    def _on_frames(self, wire: Wire, data: bytes) -> None:
        if self.frames is None:
            return
        try:
            for opcode, payload in self.frames.feed(data):
                if opcode == websocket.TEXT:
                    self.server.on_text(self.socket, payload)
                elif opcode == websocket.PING:
                    wire.send(server_frame(payload, websocket.PONG))
                elif opcode == websocket.CLOSE:
                    wire.send(server_frame(payload[:2], websocket.CLOSE))
                    wire.close_after_send()
                    return
        except ProtocolViolation as error:
            wire.send(websocket.close_frame(error.code))
            wire.close_after_send()

    def on_close(self, wire: Wire) -> None:
        self.server.connections.discard(wire)
        if self.socket:
            self.server.closed(self.socket)


class Server:
    """Listeners, connections and the loop. `pump` is called each turn and says when it wants the next."""

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self.exchange = exchange
        self.clock = clock
        self.poller = Poller()
        self.sockets: dict[int, Socket] = {}  # by the exchange's id; kept after the end
        self.connections: set[Wire] = set()
        self.controls: dict[str, Control] = {}
        self.frame_gate: FrameGate | None = None
        self.requests_count = 0
        self.is_stopping = False
        self._listeners: list[socket.socket] = []
        self._open: dict[int, Wire] = {}

    def listen(self, service: str, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Serve a service ("clob", "gamma", "control"); return the port. A port in use is exit 4."""
        of = Host(service, has_sockets=service == "clob")

        def start(connection: socket.socket, peer: str) -> Wire:
            handler = _Connection(self, of, peer)
            return Wire(self.poller, connection, tls, handler.on_data, handler.on_close)

        return self._listen(service, host, port, start)

    def listen_proxy(self, host: str, port: int, tls: ssl.SSLContext) -> int:
        """Serve CONNECT: a tunnel to an official host enters that host's service. Return the port."""

        def start(connection: socket.socket, peer: str) -> Wire:
            tunnel = Tunnel(tls, lambda wire, of: self._enter(wire, of, peer))
            return Wire(self.poller, connection, None, tunnel.on_data, self.connections.discard)

        return self._listen("the CONNECT proxy", host, port, start)

    def _enter(self, wire: Wire, of: Host, peer: str) -> None:
        handler = _Connection(self, of, peer)
        wire.hand_over(handler.on_data, handler.on_close)

    def _listen(self, what: str, host: str, port: int, start: Callable[[socket.socket, str], Wire]) -> int:
        try:
            listener = listen(host, port)
        except OSError as error:
            raise EnvironmentProblem(
                f"exchange: cannot listen on {host}:{port} for {what} ({error.strerror}); "
                "choose another port or 0 for a free one"
            ) from error
        self._listeners.append(listener)
        self.poller.add(listener.fileno(), lambda mask: self._accept(listener, start))
        return int(listener.getsockname()[1])

    def _accept(self, listener: socket.socket, start: Callable[[socket.socket, str], Wire]) -> None:
        while True:
            try:
                connection, address = listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            if len(self.connections) >= self.exchange.settings.sockets_max:
                connection.close()
                continue
            self.connections.add(start(connection, f"{address[0]}:{address[1]}"))

    # -- from the connections -----------------------------------------------------------------

    def ask(
        self, service: str, request: Request, reply: Callable[[Response | None], None], peer: str
    ) -> None:
        """Take one request of a service; `reply` hears the answer once, None to cut the connection."""
        self.requests_count += 1
        if service == "control":
            control = self.controls.get(f"{request.method} {request.target.partition('?')[0]}")
            reply(control(request) if control is not None else Response(404))
            return
        if not service:  # a host for websockets alone
            reply(refuse(texts.NOT_FOUND))
            return
        self.exchange.ask(
            self.clock.now_ns(),
            service,
            request.method,
            request.target,
            request.headers,
            request.body,
            lambda _, answer: reply(answer),
            peer.rpartition(":")[0],
        )

    def opened(self, channel: str, wire: Wire, peer: str) -> int:
        """Register a websocket with the exchange; return its id."""
        now_ns = self.clock.now_ns()
        number = self.exchange.open_socket(now_ns, channel)
        self.sockets[number] = Socket(number, channel, wire, peer, now_ns)
        self._open[number] = wire
        self.flush()
        return number

    def on_text(self, number: int, text: bytes) -> None:
        self.exchange.on_text(self.clock.now_ns(), number, text)
        self.flush()

    def closed(self, number: int) -> None:
        """Forget a websocket that ended; its accounting stays.

        One whose peer died is found by a write in the middle of a turn: then the turn's time is the time.
        """
        now_ns = self._turn_ns or self.clock.now_ns()
        self._open.pop(number, None)
        self.sockets[number].closed_ns = now_ns
        if self.frame_gate is not None:
            self.frame_gate.forget(number)
        self.exchange.close_socket(now_ns, number)

    # -- to the connections -------------------------------------------------------------------

    def flush(self) -> None:
        """Send what the exchange has queued, one write a socket, order kept."""
        while True:
            output = self.exchange.take_output()
            if not output:
                return
            data: dict[int, bytearray] = {}
            counts: dict[int, int] = {}
            ends: list[tuple[int, int]] = []
            for item in output:
                if item.frame:
                    data.setdefault(item.socket, bytearray()).extend(server_frame(item.frame))
                    counts[item.socket] = counts.get(item.socket, 0) + 1
                if item.is_close:
                    ends.append((item.socket, item.code))
            for number, frames in data.items():
                self.write(number, bytes(frames), counts[number])
            for number, code in ends:
                wire = self._open.get(number)
                if wire is not None:
                    wire.send(websocket.close_frame(code))
                    wire.close_after_send()

    def write(self, number: int, data: bytes | memoryview, frames: int) -> None:
        """Send websocket bytes that are `frames` whole frames, through what may spoil them."""
        if self.frame_gate is not None:
            now_ns = self._turn_ns or self.clock.now_ns()
            data, frames = self.frame_gate(now_ns, number, self.sockets[number].channel, data, frames)
        self.write_unspoiled(number, data, frames)

    def write_unspoiled(self, number: int, data: bytes | memoryview, frames: int) -> None:
        """Send websocket bytes as they are."""
        wire = self._open.get(number)
        if wire is not None and data:
            wire.send(data, frames)

    def backlog_bytes(self) -> int:
        """Return the most that any open websocket still waits to send."""
        return max((wire.backlog_bytes for wire in self._open.values()), default=0)

    # -- the loop -----------------------------------------------------------------------------

    def run(self, pump: Callable[[int], float], should_stop: Callable[[], bool]) -> None:
        """Serve until told to stop."""
        wait_s = 0.0
        while not (self.is_stopping or should_stop()):
            self.turn(pump, wait_s)
            wait_s = self._wait_s

    _wait_s = 0.0
    _turn_ns = 0  # the time of the turn that goes on, 0 outside one

    def turn(self, pump: Callable[[int], float], wait_s: float) -> None:
        """One turn: sockets, timers, flow, output."""
        self.poller.poll(wait_s)
        now_ns = self._turn_ns = self.clock.now_ns()
        self.exchange.on_timer(now_ns)
        self.flush()
        pump_s = pump(now_ns)
        self.flush()
        self._turn_ns = 0
        due_ns = self.exchange.next_timer_ns()
        timer_s = POLL_S_MAX if due_ns is None else max(0.0, (due_ns - self.clock.now_ns()) / NS_PER_S)
        self._wait_s = min(POLL_S_MAX, pump_s, timer_s)

    def drain(self, deadline_s: float) -> bool:
        """Flush every websocket; return whether all bytes are with the kernel before the deadline."""
        end = time.monotonic() + deadline_s
        while self.backlog_bytes() and time.monotonic() < end:
            self.poller.poll(0.01)
        return not self.backlog_bytes()

    def close(self) -> None:
        """Close every socket."""
        for listener in self._listeners:
            self.poller.remove(listener.fileno())
            listener.close()
        for wire in list(self.connections):
            wire.close()
        self.poller.close()


def json_answer(value: Any, status: int = 200) -> Response:
    """Return JSON for the control port."""
    return Response(status, {"content-type": "application/json"}, orjson.dumps(value))
