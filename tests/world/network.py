"""A small network in simulated time between the edge machines and the exchange: latency, order, faults.

Carries `OpenSocket SendText CloseSocket PauseSocket Ask Submit` to `Scenario.exchange` and brings frames and
answers back. Frames of one socket keep their order (the venue itself may repeat or hold back user events);
everything is drawn from one seeded generator. HTTP requests are parsed here, by other code than wrote them.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from pipeline.kinds import Cause
from pipeline.net.edge import Ask, CloseSocket, OpenSocket, Outbox, PauseSocket, SendText, Submit
from pipeline.sim.book import MatchedBook
from pipeline.sim.exchange import Exchange
from pipeline.stages.gateway import GatewayMachine
from pipeline.units import NS_PER_MS, NS_PER_S

ANSWER_NS_MAX = 3 * NS_PER_S  # the order driver's patience
CLOB_URL, GAMMA_URL, DATA_URL = "https://localhost:1443", "https://localhost:2443", "https://localhost:3443"
SERVICES = {CLOB_URL: "clob", GAMMA_URL: "gamma", DATA_URL: "data"}
At = Callable[[int, Callable[[], None]], None]


@dataclass(frozen=True, slots=True)
class Weather:
    """What goes wrong, as chances a request or frame, and how long the wires are."""

    wire_us: tuple[int, int] = (40, 400)  # one way
    refused: float = 0.0  # provably not sent
    lost: float = 0.0  # left, never arrived
    cut: float = 0.0  # arrived, its answer was lost
    late: float = 0.0  # arrives after the driver gave up
    busy: float = 0.0  # 429 before it was looked at
    broken: float = 0.0  # 500 before it was looked at
    broken_after: float = 0.0  # 500 after it was carried out
    raced: float = 0.0  # somebody takes a leg's depth right before us
    repeat: float = 0.0  # a user event comes twice
    held: float = 0.0  # a user event comes after later ones
    missed: float = 0.0  # a user event never comes; the socket goes on
    cut_ms: int = 0  # mean time between two cuts of a socket; 0 = none
    ask_fault: float = 0.0  # a read fails


def draw_weather(draw: random.Random) -> Weather:
    """Return a calm day, or a few faults at once."""
    low = draw.choice((20, 40, 200))
    values: dict[str, Any] = {"wire_us": (low, low * draw.choice((1, 4, 30)))}
    if draw.random() < 0.2:
        return Weather(**values)
    chances = ("refused", "lost", "cut", "late", "busy", "broken", "broken_after")
    for name in draw.sample(chances, draw.choice((0, 1, 1, 2))):
        values[name] = draw.choice((0.02, 0.1))
    for name, most in (("raced", 0.5), ("repeat", 0.3), ("held", 0.3), ("ask_fault", 0.2)):
        if draw.random() < 0.5:
            values[name] = draw.random() * most
    if draw.random() < 0.4:
        values["cut_ms"] = draw.choice((700, 1_000, 1_500))  # nothing is traded until a reconcile behind it
    return Weather(**values)


@dataclass(slots=True)
class Line:
    """One websocket as both ends see it."""

    conn: int
    machine: Any
    channel: str
    socket: int = 0  # the exchange's id; 0 = not open there
    is_up: bool = True
    up_ns: int = 0  # when the last text of ours arrives
    down_ns: int = 0  # when the last frame of the exchange arrives
    queue: deque[bytes] = field(default_factory=deque)  # arrived, not yet taken by the machine


@dataclass(frozen=True, slots=True)
class HttpRequest:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def parse_request(data: bytes) -> HttpRequest:
    """Return the one request that `data` is; raises ValueError for anything else."""
    head, blank, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("ascii").split("\r\n")
    method, target, version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if not (blank and version == "HTTP/1.1" and headers.get("host") and len(headers) == len(lines)):
        raise ValueError(f"no HTTP/1.1 request with one host and single headers: {head!r}")
    if int(headers.get("content-length", "0")) != len(body):
        raise ValueError(f"content-length {headers.get('content-length')} but {len(body)} bytes of body")
    return HttpRequest(method, target, headers, body)


class Network:
    """The wires of one world. `at(when_ns, action)` is the world's calendar, `clock` its time."""

    def __init__(
        self,
        exchange: Exchange,
        weather: Weather,
        draw: random.Random,
        clock: Callable[[], int],
        at: At,
    ) -> None:
        self.weather = weather
        self.counts: Counter[str] = Counter()
        self.in_flight = 0  # requests without an answer or failure yet
        self.wakes = False  # something reached a machine since it was last cleared
        self._exchange = exchange
        self._draw = draw
        self._now = clock
        self._at = at
        self._lines: dict[int, Line] = {}  # by the exchange's socket
        self._conns: dict[tuple[int, int], Line] = {}  # by (machine, connection)

    def _wire_ns(self) -> int:
        return self._draw.randint(*self.weather.wire_us) * 1_000

    # -- what machines ask for ---------------------------------------------------------------

    def pump(self, machine: Any) -> int:
        """Carry out a machine's commands and hand it what waited for room; return how much was done."""
        done = 0
        for line in [line for line in self._conns.values() if line.machine is machine and line.queue]:
            done += self._drain(line)
        outbox: Outbox = machine.outbox
        while (command := outbox.take()) is not None:
            done += 1
            if isinstance(command, OpenSocket):
                self._open(machine, command)
            elif isinstance(command, SendText):
                self._send(machine, command)
            elif isinstance(command, CloseSocket):
                line = self._conns.get((id(machine), command.conn))
                if line is not None:
                    self._end(line, Cause.DISCONNECT)
            elif isinstance(command, PauseSocket):
                self.counts["pauses"] += command.paused
            elif isinstance(command, Ask):
                base = urlsplit(command.base)
                service = SERVICES[f"{base.scheme}://{base.netloc}"]
                headers = {name.lower(): value for name, value in command.headers}
                request = HttpRequest(command.method, command.target, headers, command.body)
                self._ask(machine, command.tag, service, request)
            elif isinstance(command, Submit):
                self._submit(machine, command.tag, parse_request(command.data))
        if done and isinstance(machine, GatewayMachine):
            machine.flush()  # as the order driver does
        return done

    # -- websockets ----------------------------------------------------------------------------

    def _open(self, machine: Any, command: OpenSocket) -> None:
        line = Line(command.conn, machine, urlsplit(command.url).path.rpartition("/")[2])
        self._conns[id(machine), command.conn] = line

        def accepted() -> None:
            if line.is_up:
                line.socket = self._exchange.open_socket(self._now(), line.channel)
                self._lines[line.socket] = line
                self._at(self._now() + self._wire_ns(), opened)

        def opened() -> None:
            if line.is_up:
                self.wakes = True
                machine.on_open(self._now(), line.conn)

        self._at(self._now() + self._wire_ns(), accepted)

    def _send(self, machine: Any, command: SendText) -> None:
        line = self._conns.get((id(machine), command.conn))
        if line is None or not line.is_up:
            return
        line.up_ns = max(line.up_ns, self._now() + self._wire_ns())
        self._at(line.up_ns, lambda: self._arrive_text(line, command.data))

    def _arrive_text(self, line: Line, data: bytes) -> None:
        if line.is_up and line.socket:
            self._exchange.on_text(self._now(), line.socket, data)

    def write(self, socket: int, data: bytes | memoryview, frames: int) -> None:
        """Take rendered websocket bytes of the exchange's player."""
        found = list(_server_texts(bytes(data)))
        if len(found) != frames:
            raise ValueError(f"the player announced {frames} frames and wrote {len(found)}")
        for text in found:
            self._frame(socket, text)

    def collect(self) -> None:
        """Put what the exchange wants to send on the wires."""
        while output := self._exchange.take_output():
            for item in output:
                if item.frame:
                    self._frame(item.socket, item.frame)
                if item.is_close and item.socket in self._lines:
                    line = self._lines[item.socket]
                    self._at(
                        max(line.down_ns, self._now()), lambda line=line: self._end(line, Cause.DISCONNECT)
                    )

    def _frame(self, socket: int, frame: bytes) -> None:
        line = self._lines.get(socket)
        if line is None or not line.is_up:
            return
        self.counts[f"sent_{line.channel}"] += 1
        if line.channel == "user" and frame != b"PONG":
            if self.weather.missed and self._draw.random() < self.weather.missed:
                self.counts["missed"] += 1
                return
            if self._draw.random() < self.weather.held:
                self.counts["held"] += 1
                when_ns = self._now() + self._draw.randint(1, 400) * NS_PER_MS
                self._at(when_ns, lambda: self._arrive_frame(line, frame))
                return
            if self._draw.random() < self.weather.repeat:
                self.counts["repeated"] += 1
                when_ns = self._now() + self._draw.randint(1, 2_000) * NS_PER_MS
                self._at(when_ns, lambda: self._arrive_frame(line, frame))
        line.down_ns = max(line.down_ns, self._now() + self._wire_ns())
        self._at(line.down_ns, lambda: self._arrive_frame(line, frame))

    def _arrive_frame(self, line: Line, frame: bytes) -> None:
        if line.is_up:
            line.queue.append(frame)
            self._drain(line)

    def _drain(self, line: Line) -> int:
        done = 0
        self.wakes = True
        while line.queue and line.is_up and line.machine.on_frame(self._now(), line.conn, line.queue[0]):
            self.counts[f"handed_{line.channel}"] += 1
            self.counts["pongs"] += line.channel == "market" and line.queue[0] == b"PONG"
            line.queue.popleft()
            done += 1
        return done

    def cut_one(self) -> None:
        """Cut a random websocket: what is on the wire is lost."""
        lines = [line for line in self._conns.values() if line.is_up and line.socket]
        if lines:
            self.counts["cuts"] += 1
            self._end(self._draw.choice(lines), Cause.DISCONNECT)

    def _end(self, line: Line, cause: Cause) -> None:
        if not line.is_up:
            return
        line.is_up = False
        line.queue.clear()
        self.wakes = True
        if line.socket:
            self._lines.pop(line.socket, None)
            self._exchange.close_socket(self._now(), line.socket)
        del self._conns[id(line.machine), line.conn]
        line.machine.on_close(self._now(), line.conn, cause)

    # -- requests ------------------------------------------------------------------------------

    def _ask(self, machine: Any, tag: int, service: str, request: HttpRequest) -> None:
        self.in_flight += 1
        if self._draw.random() < self.weather.ask_fault:
            if self._draw.random() < 0.5:
                self._later(10 * NS_PER_MS, lambda: machine.on_answer(self._now(), tag, 503, {}, b"busy"))
            else:
                self._later(10 * NS_PER_MS, lambda: machine.on_failure(self._now(), tag, True, Cause.TIMEOUT))
            return
        self._at(self._now() + self._wire_ns(), lambda: self._serve(machine, tag, service, request))

    def _serve(self, machine: Any, tag: int, service: str, request: HttpRequest) -> None:
        answer = self._exchange.on_request(
            self._now(), service, request.method, request.target, request.headers, request.body
        )
        headers = {name.lower(): value for name, value in answer.headers.items()}
        self._later(
            self._wire_ns(), lambda: machine.on_answer(self._now(), tag, answer.status, headers, answer.body)
        )

    def _later(self, wait_ns: int, action: Callable[[], None]) -> None:
        def done() -> None:
            self.in_flight -= 1
            self.wakes = True
            action()

        self._at(self._now() + wait_ns, done)

    def _submit(self, machine: Any, tag: int, request: HttpRequest) -> None:
        """Send one order, cancel or heartbeat request, and draw what becomes of it."""
        refused = machine.refuses(self._now(), tag)  # as the order driver asks before each write
        if refused:
            machine.on_failure(self._now(), tag, False, refused)
            return
        self.in_flight += 1
        self.counts["submits"] += 1
        fate = self._fate()
        self.counts[fate] += 1
        if fate == "refused":
            self._later(0, lambda: machine.on_failure(self._now(), tag, False, Cause.NO_CONNECTION))
        elif fate == "lost":
            self._fail(machine, tag, ANSWER_NS_MAX)
        elif fate in ("cut", "late"):
            late_ns = self._draw.choice((1, 4, 20, 60)) * NS_PER_S if fate == "late" else 0
            self._at(self._now() + self._wire_ns() + late_ns, lambda: self._carry_out(request))
            self._fail(machine, tag, ANSWER_NS_MAX if fate == "late" else 2 * self._wire_ns())
        elif fate in ("busy", "broken"):
            status, body = (429, b'{"error":"Too Many Requests"}') if fate == "busy" else (500, b"oops")
            self._later(2 * self._wire_ns(), lambda: machine.on_answer(self._now(), tag, status, {}, body))
        else:
            self._at(self._now() + self._wire_ns(), lambda: self._deliver(machine, tag, request, fate))

    def _fate(self) -> str:
        chance = self._draw.random()
        for name in ("refused", "lost", "cut", "late", "busy", "broken", "broken_after"):
            chance -= getattr(self.weather, name)
            if chance < 0:
                return name
        return "delivered"

    def _fail(self, machine: Any, tag: int, wait_ns: int) -> None:
        self._later(wait_ns, lambda: machine.on_failure(self._now(), tag, True, Cause.TIMEOUT))

    def _deliver(self, machine: Any, tag: int, request: HttpRequest, fate: str) -> None:
        status, headers, body = self._carry_out(request)
        if fate == "broken_after":
            status, headers, body = 500, {}, b'{"error":"internal server error"}'
        self._later(self._wire_ns(), lambda: machine.on_answer(self._now(), tag, status, headers, body))

    def _carry_out(self, request: HttpRequest) -> tuple[int, dict[str, str], bytes]:
        if request.method == "POST" and request.target in ("/order", "/orders"):
            self._race(request.body)
        answer = self._exchange.on_request(
            self._now(), "clob", request.method, request.target, request.headers, request.body
        )
        return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.body

    def _race(self, body: bytes) -> None:
        """Let somebody else take a part of a leg's depth right before our order is looked at."""
        if self._draw.random() >= self.weather.raced:
            return
        parsed = orjson.loads(body)
        if parsed == []:  # a probe: it takes nothing
            return
        item = self._draw.choice(parsed) if isinstance(parsed, list) else parsed
        market, outcome = self._exchange.market_by_token[str(item["order"]["tokenId"])]
        is_bid = outcome == 0  # whoever buys YES lifts offers, whoever buys NO hits bids
        levels = self._exchange.levels(market, not is_bid)
        if not levels or not isinstance(self._exchange.engine.books[market.condition], MatchedBook):
            return
        price_ticks, size_micro = levels[0]
        wanted = size_micro if self._draw.random() < 0.5 else max(10_000, size_micro // 20_000 * 10_000)
        self.counts["raced"] += 1
        self._exchange.foreign_take(self._now(), market, is_bid, price_ticks, wanted)


def _server_texts(data: bytes) -> list[bytes]:
    """Return the texts of whole unmasked server frames (RFC 6455, 5.2)."""
    texts, at = [], 0
    while at < len(data):
        size, start = data[at + 1], at + 2
        if size > 125:
            width = 2 if size == 126 else 8
            size, start = int.from_bytes(data[start : start + width], "big"), start + width
        if data[at] != 0x81 or start + size > len(data):
            raise ValueError(f"no whole text frame at byte {at}: {data[at : at + 8]!r}")
        texts.append(data[start : start + size])
        at = start + size
    return texts
