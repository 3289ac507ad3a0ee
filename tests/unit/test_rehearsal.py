"""The understudies of signer and gateway do the whole work of an order, and nobody else notices."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.native.relay import Filter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.net.edge import Command, Outbox, Submit
from pipeline.records import SLOT_BYTES
from pipeline.run.build import _gateway_understudy
from pipeline.shm import halt
from pipeline.stages import rehearsal
from pipeline.stages.brake import Brake
from pipeline.stages.gateway import GatewayMachine, GatewaySettings
from pipeline.stages.gateway_stage import GatewayStage
from pipeline.stages.signer import Signing
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from tests.models.signer_rig import KEY, NOBODY, PLENTY, T0_NS, Leg, SignerRig, account_of, idea, intents

SIGNED = CODECS[Kind.SIGNED]
NOBODYS = identity.checksum(account_of(NOBODY).owner)
ORDERS = 2  # of the rehearsed package


@dataclass
class Watched:
    """An understudy whose records are kept for the test."""

    signing: Signing
    made: list[bytes]

    def make(self, intents: bytes) -> bytes:
        """Make the record as the understudy does."""
        self.made.append(self.signing.make(intents))
        return self.made[-1]


def test_the_signer_rehearses_a_whole_signature(tmp_path: Path) -> None:
    """A rehearsed record is signed with nobody's key; ring, counters, brake and what is ahead stay."""
    rig = SignerRig(tmp_path)
    rig.decide(intents(1, 10, [Leg(1, 5_000, 2_000_000)]))
    rig.hint(idea(20, [Leg(1, 5_000, 2_000_000)]))
    watched = Watched(rig.understudy, [])
    rig.stage._understudy = watched  # type: ignore[assignment]
    brake, ahead = rig.brake_path.read_bytes(), rig.signing.ahead_salts
    for _ in range(5):
        rig.now_ns += rehearsal.REHEARSE_NS
        assert 0 == rig.stage.poll(64)

    assert 5 == len(watched.made)
    for slot in watched.made:
        record = SIGNED.unpack(slot)
        assert (Cause.NONE, Cause.NONE) == (rig.understudy.cause, record.cause)
        assert NOBODYS == Account._recover_hash(record.order_hash, signature=record.signature)
        assert not rig.understudy.was_ahead
    assert [] == rig.signed()
    assert (1, 0, 0) == (rig.count("signed"), rig.count("sign_refused"), rig.count("signed_ahead"))
    assert (brake, 1) == (rig.brake_path.read_bytes(), rig.signing.brake.order_no)
    assert len(ahead) == 1
    assert ahead == rig.signing.ahead_salts


def test_the_signer_rehearses_after_a_pause_only(tmp_path: Path) -> None:
    """While orders come, and right after one, nothing is rehearsed."""
    rig = SignerRig(tmp_path)
    watched = Watched(rig.understudy, [])
    rig.stage._understudy = watched  # type: ignore[assignment]
    rig.decide(intents(1, 10, [Leg(1, 5_000, 2_000_000)]))
    watched.made.clear()
    rig.now_ns += rehearsal.REHEARSE_NS - 1
    rig.stage.poll(64)
    assert [] == watched.made

    rig.now_ns += 1
    rig.stage.poll(64)
    assert 1 == len(watched.made)
    assert 1 == len(rig.decide(intents(2, 20, [Leg(1, 5_000, 2_000_000)], rig.now_ns)))
    assert 1 == len(watched.made)


def test_a_rehearsed_intent_is_signed_at_any_time() -> None:
    """Its deadline never comes, its amounts are exact and its order number is of the smallest."""
    intent = CODECS[Kind.INTENT].unpack(rehearsal.INTENT)

    assert intent.deadline_ns == (1 << 63) - 1
    assert (1, 1, 1) == (intent.instrument, intent.order_no, intent.batch_count)


class Keeper(Outbox):
    """An outbox that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Command] = []

    def put(self, command: Command) -> None:
        """Queue and keep."""
        super().put(command)
        self.kept.append(command)


class GatewayRig:
    """A gateway stage with the understudy of a real one, on rings that nobody else has."""

    def __init__(self, directory: Path) -> None:
        halt.create(directory)
        page, who = halt.HaltPage(directory), account_of(KEY)
        self.now_ns = T0_NS
        self.counts = Counts()
        self.brake_path = directory / "gateway.state"
        self.brake = Brake(self.brake_path, PLENTY)
        settings = GatewaySettings(source=1, is_dry=False, rates=None)
        auth = L2Auth(identity.checksum(who.owner), "a-real-key", KEY, Secret(b"phrase"))
        rings = []
        for _ in range(4):
            rings.append(bytearray(Ring.bytes_for(128)))
            Ring.format(rings[-1], 128)
        signed, decisions, rows, reports = rings
        self.signed, self.reports = Writer(signed), Reader(reports)
        self.machine = GatewayMachine(
            settings, OrderRenderer(who, "a-real-key"), RequestRenderer("real.example", auth), self.brake,
            page, Writer(reports), self.counts)
        self.understudy = _gateway_understudy(settings, page)
        self.outbox = Keeper()
        self.understudy.outbox = self.outbox
        self.stage = GatewayStage(
            "gateway.main", self.machine, self.understudy, Reader(signed),
            Filter(Reader(decisions), [Kind.CANCEL, Kind.BEAT]), Filter(Reader(rows), [Kind.INSTRUMENT]),
            lambda: self.now_ns)


@pytest.fixture
def gateway(tmp_path: Path) -> GatewayRig:
    """A gateway that has nothing to send."""
    return GatewayRig(tmp_path)


def test_the_gateway_rehearses_a_whole_request(gateway: GatewayRig) -> None:
    """A rehearsed package becomes one POST with both orders; the real outbox, ring and brake get nothing."""
    before = gateway.brake_path.read_bytes()
    for _ in range(3):
        gateway.now_ns += rehearsal.REHEARSE_NS
        assert 0 == gateway.stage.poll(64)

    assert 3 == len(gateway.outbox.kept)
    for command in gateway.outbox.kept:
        assert isinstance(command, Submit)
        head, _, body = command.data.partition(b"\r\n\r\n")
        assert head.startswith(b"POST /orders HTTP/1.1\r\n")
        assert b"\r\nHost: localhost\r\n" in head
        assert b"a-real-key" not in command.data
        orders: list[dict[str, Any]] = json.loads(body)
        assert ORDERS == len(orders)
        assert {"0x" + "ab" * 65} == {order["order"]["signature"] for order in orders}
    assert gateway.outbox.take() is None
    assert ({}, {}) == (gateway.understudy.in_flight, gateway.machine.in_flight)
    assert gateway.machine.outbox.take() is None
    assert b"" == gateway.reports.read(16)
    assert 0 == gateway.counts.counter("orders_sent").value
    assert (before, 0) == (gateway.brake_path.read_bytes(), gateway.brake.order_no)


def test_the_gateway_rehearses_after_a_pause_only(gateway: GatewayRig) -> None:
    """Orders keep it awake by themselves: right after one nothing is rehearsed."""
    refused = SIGNED.pack(order_no=1, group_no=1, batch_count=1, cause=int(Cause.DEADLINE))
    gateway.signed.push(refused)
    assert 1 == gateway.stage.poll(64)
    gateway.now_ns += rehearsal.REHEARSE_NS - 1
    gateway.stage.poll(64)
    assert [] == gateway.outbox.kept

    gateway.now_ns += 1
    gateway.stage.poll(64)
    assert 1 == len(gateway.outbox.kept)
    assert SLOT_BYTES == len(gateway.reports.read(16))
