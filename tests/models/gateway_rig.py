"""A gateway's machine after a start, over a ring and a stored number of its own."""

from __future__ import annotations

from pathlib import Path

from pipeline.codec import CODECS, runs, unpack
from pipeline.kinds import Cause, Kind, OrderState, Rule
from pipeline.native.ring import Reader, Writer
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.gateway import GatewayMachine, GatewaySettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from pipeline.venues.polymarket.wire import SignerRates
from tests.models.signer_rig import KEY, PLENTY, T0_NS, account_of, ring, token

SIGNED, INSTRUMENT = CODECS[Kind.SIGNED], CODECS[Kind.INSTRUMENT]
EPOCH = 77


class Gateway:
    """A gateway's machine that came up with an epoch; `reports` are what it owed."""

    def __init__(self, directory: Path, epoch: int = EPOCH, sent_no: int = 0) -> None:
        if not (directory / halt.FILE_NAME).exists():
            halt.create(directory)
        who = account_of(KEY)
        self.brake = Brake(directory / "gateway-main.state", PLENTY)
        self.brake.commit(sent_no)
        self._ring = ring()
        auth = L2Auth(identity.checksum(who.owner), "key", KEY, Secret(b"phrase"))
        self.machine = GatewayMachine(
            GatewaySettings(
                source=1, is_dry=False, rates=SignerRates(100, 100, 200, 200), epoch=epoch, source_seq=5),
            OrderRenderer(who, "key"), RequestRenderer("venue.example", auth), self.brake,
            HaltPage(directory), Writer(self._ring), Counts())
        self.machine.on_instrument(
            INSTRUMENT.pack(
                instrument=1, token_yes=token(1, 0), token_no=token(1, 1), rules=int(Rule.NEG_RISK)),
            0)
        self._reader = Reader(self._ring)

    def sign(self, order_no: int) -> None:
        self.machine.on_signed(T0_NS, SIGNED.pack(
            order_no=order_no, group_no=order_no, deadline_ns=T0_NS + NS_PER_S, timestamp_ms=T0_NS // 10**6,
            maker_amount=10**6, taker_amount=10**6, instrument=1, batch_count=1, order_type=3,
            order_hash=bytes((order_no,)) * 32))

    def sends(self) -> int:
        count = 0
        while self.machine.outbox.take() is not None:
            count += 1
        return count

    def reports(self) -> list[tuple[int, OrderState, Cause]]:
        self.machine.flush()
        return [(record.order_no, OrderState(record.state), Cause(record.cause))
                for record in map(unpack, runs(self._reader.read(64))) if record.kind == Kind.REPORT]
