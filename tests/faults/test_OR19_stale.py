"""OR19: an intent waits somewhere until its time is over: in front of trade, signer, gateway or the wire.

Every stage's own code in a row, each behind a stall, with clocks that the test sets. Real stalls, of real
processes, are in test_PR04_freezes.py.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from pipeline.codec import runs, unpack
from pipeline.kinds import Cause, Kind, OrderState, Origin
from pipeline.native.ring import Reader, Writer
from pipeline.net.edge import Submit
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.gateway import GatewayMachine, GatewaySettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from tests.models.core_rig import balance, event, started, tick, top
from tests.models.moody_venue import reply
from tests.models.signer_rig import KEY, PLENTY, T0_NS, SignerRig, account_of, ring
from tests.shared import fresh_seed
from tests.tools.faultrows import figure
from tests.world.network import parse_request

STALLS = figure("OR19", "stalls")
TTL_NS = 250 * NS_PER_MS
STAGES = ("trade", "signer", "gateway", "wire")
ROWS = (1, 2)
NO_MATCH = {"success": True, "orderID": "", "errorMsg": (
    "no orders found to match with FAK order. FAK orders are partially filled or killed if no match is "
    "found.")}


class Path4:
    """From a quote to the bytes of an order, with a stall in front of each stage."""

    def __init__(self, directory: Path) -> None:
        self.signer = SignerRig(directory)
        self.now_ns = T0_NS
        self.rig = started(
            *event(ROWS), usd_micro=10**15, intent_ttl_ns=TTL_NS, day_usd_micro_max=10**15)
        who, memory = account_of(KEY), ring(512)
        auth = L2Auth(identity.checksum(who.owner), "key", KEY, Secret(b"phrase"))
        self.machine = GatewayMachine(
            GatewaySettings(source=1, is_dry=False, rates=None), OrderRenderer(who, "key"),
            RequestRenderer("venue.example", auth), Brake(None, PLENTY), HaltPage(directory, "gateway.0"),
            Writer(memory), Counts())
        for row in ROWS:
            self.machine.on_instrument(self.signer.row_of(row), 0)
        self._reports = Reader(memory)

    def stand(self, stalls_ns: dict[str, int], *, is_ahead: bool) -> tuple[dict[int, int], dict[int, int]]:
        """Return when each order left, by its salt, and each intent's deadline; stalls: by stage."""
        signer, machine = self.signer, self.machine
        self.now_ns += NS_PER_S
        decided = self.rig.feed(
            balance(10**15, self.now_ns), *(top(row, [], [(4_000, 50)], self.now_ns) for row in ROWS),
            tick(self.now_ns))
        intents = [one for one in decided if one.kind == Kind.INTENT]
        slots = [slot for slot in self.rig.decisions[-len(decided):] if slot[32] == Kind.INTENT]
        self.now_ns += stalls_ns["trade"]  # what it decided has the time of its cause
        if is_ahead:
            for one in intents:
                signer.signing.sign_ahead((
                    one.order_type, one.side, one.price_ticks, one.size_micro, one.instrument, one.outcome,
                    one.salt, one.timestamp_ms))
        self.now_ns += stalls_ns["signer"]
        signer.now_ns = self.now_ns
        signed = signer.decide(slots)
        self.now_ns += stalls_ns["gateway"]
        for slot in signed:
            machine.on_signed(self.now_ns, slot)
        self.now_ns += stalls_ns["wire"]
        left: dict[int, int] = {}
        while (command := machine.outbox.take()) is not None:
            assert isinstance(command, Submit)
            cause = machine.refuses(self.now_ns, command.tag)
            if cause:
                machine.on_failure(self.now_ns, command.tag, False, cause)
            else:
                salts = salts_in(command.data)
                left |= dict.fromkeys(salts, self.now_ns)
                answer = [NO_MATCH] * len(salts) if len(salts) > 1 else NO_MATCH
                machine.on_answer(self.now_ns, command.tag, *reply(200, answer))
        machine.flush()
        self._end(intents)
        return left, {one.salt: one.deadline_ns for one in intents}

    def _end(self, intents: list[object]) -> None:
        """Tell trade what became of them, so that the next quote finds it free."""
        told = list(runs(self._reports.read(512)))
        self.rig.feed(*(slot[:8] + self.now_ns.to_bytes(8, "little") + slot[16:] for slot in told))
        reports = [one for one in map(unpack, told) if one.kind == Kind.REPORT]
        unsent = [one for one in reports if one.state == OrderState.UNSENT]
        assert {Cause.DEADLINE} >= {one.cause for one in unsent}
        assert {Origin.SIGNER, Origin.GATEWAY} >= {one.origin for one in unsent}
        assert intents
        assert not self.rig.trader.facts.orders.open_count


def salts_in(request: bytes) -> list[int]:
    """Return the salts of the orders in a request, read as any server would."""
    value = json.loads(parse_request(request).body)
    return [one["order"]["salt"] for one in (value if isinstance(value, list) else [value])]


def draw_stalls(draw: random.Random) -> dict[str, int]:
    """Return a stall of each stage: mostly one long one, or several that are too long only together."""
    stalls = dict.fromkeys(STAGES, 0)
    kind = draw.random()
    if kind < 0.6:
        stalls[draw.choice(STAGES)] = draw.randint(300, 60_000) * NS_PER_MS
    elif kind < 0.8:
        for stage in STAGES:
            stalls[stage] = draw.randint(0, TTL_NS // 2)
    else:  # at the edge, to the nanosecond
        stalls[draw.choice(STAGES)] = TTL_NS + draw.randint(-1, 1)
    return stalls


def test_OR19_no_byte_leaves_behind_its_deadline(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Wherever it stood: an order leaves up to its deadline, and never a nanosecond behind it."""
    seed = fresh_seed()
    print(f"seed {seed}")
    draw, path = random.Random(f"OR19:{seed}"), Path4(tmp_path / "signer")
    sent = 0
    for number in range(STALLS):
        stalls = draw_stalls(draw)
        left, deadlines = path.stand(stalls, is_ahead=draw.random() < 0.5)
        late = {salt: ns - deadlines[salt] for salt, ns in left.items() if ns > deadlines[salt]}
        assert {} == late, f"seed {seed}, trial {number}, {stalls}: ns behind the deadline"
        is_in_time = sum(stalls.values()) <= TTL_NS
        assert (set(deadlines) if is_in_time else set()) == set(left), (seed, number, stalls)
        sent += is_in_time
    assert STALLS // 10 < sent < STALLS // 2
    gate_record("OR19", "stalls", STALLS, seed)
