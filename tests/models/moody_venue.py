"""A venue with moods at the other end of a gateway's machine, in simulated time; from the venue sheet.

`MoodyVenue` answers request bytes by its mood of that moment and keeps what arrived. `Wire` carries requests
and answers over a latency, with a clock of its own; nothing here knows how the gateway decides.
"""

from __future__ import annotations

import heapq
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.codec import CODECS, runs, unpack
from pipeline.kinds import Cause, Kind, OrderType, Rule, Side
from pipeline.native.ring import Reader, Writer
from pipeline.net.edge import Submit
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.gateway import GatewayMachine, GatewaySettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from pipeline.venues.polymarket.wire import SignerRates
from tests.models.signer_rig import KEY, PLENTY, T0_NS, account_of, ring, token
from tests.world.network import HttpRequest, parse_request

STEP_NS = 10 * NS_PER_MS
Reply = tuple[int, dict[str, str], bytes]
_CANCEL, _SIGNED, _INSTRUMENT = CODECS[Kind.CANCEL], CODECS[Kind.SIGNED], CODECS[Kind.INSTRUMENT]


def hash_of(order_no: int) -> bytes:
    return order_no.to_bytes(4, "big") * 8


def reply(status: int, value: Any, **headers: str) -> Reply:
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return status, named, json.dumps(value).encode()


class Arrival(NamedTuple):
    """One request as it reached the venue."""

    now_ns: int
    kind: str  # order, orders, cancel, cancels, market, probe, heartbeat
    count: int = 1
    takes: bool = False  # an order that is not post-only is among them
    numbers: tuple[int, ...] = ()


@dataclass
class MoodyVenue:
    """`mood(now_ns, request)` answers instead of the books when it returns something."""

    mood: Callable[[int, Arrival], Reply | None] = lambda _now_ns, _arrival: None
    sees_emptiness_first: bool = False  # `[]` is refused as a payload before the mode is looked at
    open: dict[int, bool] = field(default_factory=dict)  # order number -> is there
    arrivals: list[Arrival] = field(default_factory=list)
    heartbeat_id: str = ""
    beats: int = 0
    status: str = "live"
    cancelled: set[int] = field(default_factory=set)

    def drop(self, number: int) -> bool:
        """Cancel an order; tell whether it was open."""
        was_open = self.open.pop(number, False)
        if was_open:
            self.cancelled.add(number)
        return was_open

    def answer(self, now_ns: int, request: HttpRequest) -> Reply:
        arrival = self._arrival(now_ns, request)
        self.arrivals.append(arrival)
        if arrival.kind == "probe" and self.sees_emptiness_first:
            return reply(400, {"error": "Invalid order payload"})
        return self.mood(now_ns, arrival) or self._serve(request, arrival)

    def _arrival(self, now_ns: int, request: HttpRequest) -> Arrival:
        value = json.loads(request.body)
        name = (request.method, request.target)
        if request.method == "POST" and request.target in ("/order", "/orders"):
            orders = [value] if request.target == "/order" else value
            numbers = tuple(one["order"]["salt"] for one in orders)
            takes = any(not one.get("postOnly") for one in orders)
            kind = request.target[1:] if orders else "probe"
            return Arrival(now_ns, kind, len(orders), takes, numbers)
        if name == ("DELETE", "/order"):
            return Arrival(now_ns, "cancel", 1, False, (number_of(value["orderID"]),))
        if name == ("DELETE", "/orders"):
            return Arrival(now_ns, "cancels", len(value), False, tuple(map(number_of, value)))
        if name == ("DELETE", "/cancel-market-orders"):
            return Arrival(now_ns, "market", 1 + len(self.open))
        assert name == ("POST", "/v1/heartbeats"), name
        return Arrival(now_ns, "heartbeat")

    def _serve(self, request: HttpRequest, arrival: Arrival) -> Reply:
        if arrival.kind == "probe":
            return reply(400, {"error": "Invalid order payload"})
        if arrival.kind == "heartbeat":
            return self._beat(json.loads(request.body)["heartbeat_id"])
        if arrival.kind in ("order", "orders"):
            rows = []
            for number in arrival.numbers:
                self.open[number] = True
                rows.append({"success": True, "errorMsg": "", "orderID": "0x" + hash_of(number).hex(),
                             "status": self.status, "makingAmount": "", "takingAmount": ""})
            return reply(200, rows if arrival.kind == "orders" else rows[0])
        if arrival.kind == "market":
            gone = [number for number in list(self.open) if self.drop(number)]
        else:
            gone = [number for number in arrival.numbers if self.drop(number)]
        missing = {"0x" + hash_of(one).hex(): "order not found" for one in set(arrival.numbers) - set(gone)}
        return reply(200, {"canceled": ["0x" + hash_of(one).hex() for one in gone], "not_canceled": missing})

    def _beat(self, given: str) -> Reply:
        if given != self.heartbeat_id:
            return reply(400, {"error_msg": "Invalid Heartbeat ID", "heartbeat_id": self.heartbeat_id})
        self.beats += 1
        self.heartbeat_id = f"beat-{self.beats}"
        return reply(200, {"heartbeat_id": self.heartbeat_id})

    def seen(self, *kinds: str, since_ns: int = 0, until_ns: int = 1 << 62) -> list[Arrival]:
        return [one for one in self.arrivals if one.kind in kinds and since_ns <= one.now_ns < until_ns]


def number_of(order_id: str) -> int:
    return int(order_id[2:10], 16)


class Wire:
    """One gateway's machine, its venue and the time between them. `trade` beats twice a second by itself."""

    def __init__(
        self, directory: Path, venue: MoodyVenue, seed: int, rates: SignerRates | None = None,
        latency_ms: tuple[int, int] = (1, 30),
    ) -> None:
        if not (directory / halt.FILE_NAME).exists():
            halt.create(directory)
        self.venue, self.now_ns, self.open_orders = venue, T0_NS, 0
        self.beats, self.drops = True, 0.0  # of requests, without an answer
        self._draw, self._latency_ms = random.Random(seed), latency_ms
        self._calendar: list[tuple[int, int, Callable[[], None]]] = []
        self._planned, self._beat_ns, self._group_no = 0, 0, 0
        self.order_no = 0
        who = account_of(KEY)
        self.page = HaltPage(directory, "gateway.0")
        self._ring = ring()
        auth = L2Auth(identity.checksum(who.owner), "key", KEY, Secret(b"phrase"))
        self.counts = Counts()
        self.machine = GatewayMachine(
            GatewaySettings(source=1, is_dry=False, rates=rates or SignerRates(500, 900, 900, 1_800)),
            OrderRenderer(who, "key"), RequestRenderer("venue.example", auth), Brake(None, PLENTY), self.page,
            Writer(self._ring), self.counts)
        for row in (1, 2):
            self.machine.on_instrument(_INSTRUMENT.pack(
                instrument=row, condition=bytes([row]) * 32, token_yes=token(row, 0), token_no=token(row, 1),
                rules=int(Rule.NEG_RISK)), 0)
        self._reader = Reader(self._ring)
        self.told: list[Any] = []  # every record of the report ring
        self.slots: list[bytes] = []  # as they came

    def order(self, count: int = 1, *, post_only: bool = False, ttl_ns: int = NS_PER_S) -> tuple[int, ...]:
        """Hand over one package of signed orders; return their numbers."""
        self._group_no += 1
        numbers = tuple(range(self.order_no + 1, self.order_no + 1 + count))
        self.order_no += count
        for place, number in enumerate(numbers):
            self.machine.on_signed(self.now_ns, _SIGNED.pack(
                order_no=number, salt=number, group_no=self._group_no, deadline_ns=self.now_ns + ttl_ns,
                timestamp_ms=self.now_ns // NS_PER_MS, maker_amount=10**6, taker_amount=2 * 10**6,
                instrument=1, batch_index=place, batch_count=count, side=int(Side.BUY),
                post_only=int(post_only),
                order_type=int(OrderType.GTC if post_only else OrderType.FAK), order_hash=hash_of(number)))
        self._pump()
        return numbers

    def cancel(self, *numbers: int) -> None:
        for number in numbers:
            self.machine.on_cancel(self.now_ns, unpack(_CANCEL.pack(
                order_no=number, order_hash=hash_of(number), instrument=1)))
        self.machine.send_cancels(self.now_ns)
        self._pump()

    def run(self, duration_ns: int) -> None:
        for _ in self.steps(duration_ns):
            pass

    def steps(self, duration_ns: int) -> Iterator[int]:
        """Let time pass; yield after each step, so that the caller may act."""
        end_ns = self.now_ns + duration_ns
        while self.now_ns < end_ns:
            step_ns = min(end_ns, self.now_ns + STEP_NS)
            while self._calendar and self._calendar[0][0] <= step_ns:
                self.now_ns, _, action = heapq.heappop(self._calendar)
                action()
                self._pump()
            self.now_ns = step_ns
            if self.beats and self.now_ns - self._beat_ns >= NS_PER_S // 2:
                self._beat_ns = self.now_ns
                self.machine.on_beat(self.now_ns, 0, 0, self.open_orders)
            self.machine.on_timer(self.now_ns)
            self._pump()
            yield self.now_ns

    def _pump(self) -> None:
        while (command := self.machine.outbox.take()) is not None:
            assert isinstance(command, Submit)
            cause = self.machine.refuses(self.now_ns, command.tag)
            if cause:
                self.machine.on_failure(self.now_ns, command.tag, False, cause)
            elif self._draw.random() < self.drops:
                self._later(3_000, lambda tag=command.tag: self._fail(tag))
            else:
                self._later(self._draw.randint(*self._latency_ms), lambda one=command: self._arrive(one))
        self.machine.flush()
        slots = list(runs(self._reader.read(4_096)))
        self.slots += slots
        self.told += map(unpack, slots)

    def _arrive(self, command: Submit) -> None:
        status, headers, body = self.venue.answer(self.now_ns, parse_request(command.data))
        if status == 0:  # it took the request, or not; no answer comes
            self._later(3_000, lambda: self._fail(command.tag))
            return
        self._later(self._draw.randint(*self._latency_ms), lambda: self.machine.on_answer(
            self.now_ns, command.tag, status, headers, body))

    def _fail(self, tag: int) -> None:
        self.machine.on_failure(self.now_ns, tag, True, Cause.TIMEOUT)

    def _later(self, wait_ms: int, action: Callable[[], None]) -> None:
        self._planned += 1
        heapq.heappush(self._calendar, (self.now_ns + wait_ms * NS_PER_MS, self._planned, action))

    def modes(self) -> list[int]:
        """Return the modes that were told, in order, without repeats."""
        found: list[int] = []
        for one in self.told:
            if one.kind == Kind.VENUE and found[-1:] != [one.mode]:
                found.append(one.mode)
        return found

    def states(self, number: int) -> list[tuple[int, int]]:
        """Return (state, cause) of each report of an order."""
        found = [one for one in self.told if one.kind == Kind.REPORT and one.order_no == number]
        return [(one.state, one.cause) for one in found]
