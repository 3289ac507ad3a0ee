"""The feed machine when its ring is full: who waits, who is let go, and what is said about it."""

from __future__ import annotations

import json

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.edge import CloseSocket, PauseSocket, SendText
from pipeline.records import SLOT_BYTES
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.stage import Counts
from pipeline.venues.polymarket.market_decode import MarketDecoder

T0_NS, SLOTS, PAUSE_NS, LATE_NS = 1_790_000_000 * 10**9, 128, 1_000, 5_000
TOKENS = {0: ("70", "71"), 1: ("80", "81")}  # by shard, which is also its only row - 1


class Rig:
    """Two open shards of one machine, its ring and what it asks for."""

    def __init__(self) -> None:
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self.view = StatusView(page)
        ring = bytearray(Ring.bytes_for(SLOTS))
        Ring.format(ring, SLOTS)
        self.reader = Reader(ring)
        table = TokenTable()
        self.now_ns = T0_NS
        self.machine = FeedMachine(
            FeedSettings(ws_url="ws://x", source=3, pause_ns_max=PAUSE_NS, late_ns_max=LATE_NS), table,
            Scanner(table, 3),
            MarketDecoder(table.get, 3), Writer(ring), Counts(StatusPage(page)),
            Stamps(bytearray(ENTRY_BYTES)), lambda: self.now_ns)
        for shard, tokens in TOKENS.items():
            self.machine.on_instrument(T0_NS, shard + 1, shard, tokens, market(shard))
            self.machine.on_open(T0_NS, shard)
        self.asked()

    def frame(self, shard: int, size: int) -> bool:
        item = {"asset_id": TOKENS[shard][0], "price": "0.5", "size": str(size), "side": "BUY",
                "hash": "0a" * 20}
        return self.machine.on_frame(self.now_ns, shard, json.dumps({
            "market": market(shard), "price_changes": [item], "timestamp": "1790766981628",
            "event_type": "price_change"}).encode())

    def fill(self) -> None:
        assert all(self.frame(0, number) for number in range(SLOTS))

    def asked(self) -> list[object]:
        found = []
        while (command := self.machine.outbox.take()) is not None:
            found.append(command)
        return found

    def read(self) -> list[object]:
        data = self.reader.read(4_096)
        return [unpack(data, at) for at in range(0, len(data), SLOT_BYTES)]


def market(shard: int) -> str:
    return "0x" + str(shard) * 64


def test_a_socket_stays_paused_until_its_frame_is_in():
    """The timer does not read on from a full ring; the frame that waited comes first and once."""
    rig = Rig()
    rig.fill()
    assert not rig.machine.short_cut.is_held
    assert not rig.frame(0, 500)
    for _ in range(3):
        rig.machine.on_timer(rig.now_ns)
    assert not rig.frame(0, 500)
    assert [PauseSocket(0, paused=True)] == rig.asked()
    assert rig.machine.short_cut.is_held

    assert SLOTS == len(rig.read())
    assert rig.frame(0, 500)
    assert [PauseSocket(0, paused=False)] == rig.asked()
    assert [500_000_000] == [record.size_micro[0] for record in rig.read()]


def test_behind_a_pause_frames_are_as_old_as_the_pause_until_a_pong():
    """What the socket held may be as old as the pause; the PONG of a PING behind it says that all is read."""
    rig = Rig()
    rig.fill()
    assert not rig.frame(0, 500)
    rig.read()
    rig.now_ns += PAUSE_NS
    assert rig.frame(0, 500)
    assert rig.frame(0, 501)
    assert rig.machine.short_cut.is_held
    rig.machine.on_timer(rig.now_ns)
    assert [PauseSocket(0, paused=True), PauseSocket(0, paused=False), SendText(0, b"PING")] == rig.asked()
    assert rig.machine.on_frame(rig.now_ns, 0, b"PONG")
    assert not rig.machine.short_cut.is_held
    assert rig.frame(0, 502)
    assert [T0_NS, T0_NS, T0_NS + PAUSE_NS] == [record.recv_ns for record in rig.read()]


def test_a_socket_that_is_never_read_to_its_end_is_given_up():
    """Short pauses that each end in time, and no PONG within `late_ns_max`: closed, told as one Gap."""
    rig = Rig()
    rig.fill()
    assert not rig.frame(0, 500)
    rig.read()
    assert rig.frame(0, 500)
    rig.machine.on_timer(rig.now_ns)
    rig.now_ns += LATE_NS + 1
    rig.machine.on_timer(rig.now_ns)
    assert CloseSocket(0) == rig.asked()[-1]
    assert rig.frame(0, 501)
    rig.read()
    rig.machine.on_close(rig.now_ns, 0, Cause.DISCONNECT)
    (gap,) = rig.read()
    assert (Kind.GAP, 0, 1, 1) == (gap.kind, gap.shard, gap.lost_count, rig.view.counters()["sockets_late"])


def test_no_other_shard_takes_the_place_of_the_frame_that_waits():
    """A frame of another socket is not taken, so not lost, while one waits for room."""
    rig = Rig()
    rig.fill()
    assert not rig.frame(0, 500)
    rig.read()
    assert not rig.frame(1, 600)
    assert rig.frame(0, 500)
    assert rig.frame(1, 600)
    assert [(1, 500_000_000), (2, 600_000_000)] == [
        (record.instrument, record.size_micro[0]) for record in rig.read()]
    assert SLOTS + 2 == rig.view.counters()["frames"]


def test_a_shard_that_gives_up_loses_only_its_own_frames():
    """After `pause_ns_max` a Gap counts the closed socket's lost frames; the other shard loses nothing."""
    rig = Rig()
    rig.fill()
    assert not rig.frame(0, 500)
    rig.now_ns += PAUSE_NS + 1
    assert rig.frame(0, 500)
    assert [PauseSocket(0, paused=True), CloseSocket(0)] == rig.asked()
    assert rig.frame(0, 501)
    assert SLOTS == len(rig.read())
    assert rig.frame(1, 600)
    assert rig.machine.short_cut.is_held  # shard 0 throws frames away: the machine must see them
    rig.machine.on_close(rig.now_ns, 0, Cause.DISCONNECT)
    delta, gap = rig.read()

    assert (Kind.DELTA, 2, 600_000_000) == (delta.kind, delta.instrument, delta.size_micro[0])
    assert (Kind.GAP, 0, 2, Cause.DISCONNECT) == (gap.kind, gap.shard, gap.lost_count, gap.cause)
    assert (2, 1) == (rig.view.counters()["frames_lost"], rig.view.counters()["gaps"])
    rig.now_ns += 10**10
    rig.machine.on_timer(rig.now_ns)
    rig.machine.on_timer(rig.now_ns)
    assert not rig.machine.short_cut.is_held


def new_market(condition: str, event: object = "759201") -> bytes:
    """Return a frame in the shape of the recorded one, which most sockets of the venue tell."""
    return json.dumps({
        "event_type": "new_market", "market": condition, "condition_id": condition, "assets_ids": ["1", "2"],
        "event_message": {"id": event}, "timestamp": "1785208850592"}).encode()


def test_a_new_market_is_told_once_whoever_hears_of_it():
    """One Announced for both sockets' frames, with its event; without a name neither is guessed."""
    rig, conditions = Rig(), ["0x" + digit * 64 for digit in "cdef"]
    for shard in TOKENS:
        assert rig.machine.on_frame(rig.now_ns, shard, new_market(conditions[0]))
    for event in (5, "7/7", "1" * 21):
        assert rig.machine.on_frame(rig.now_ns, 0, new_market(conditions.pop(), event))
    assert rig.machine.on_frame(rig.now_ns, 0, new_market("0xzz"))
    assert rig.machine.on_frame(rig.now_ns, 0, new_market("0x" + "ab" * 33))
    first, *others = rig.read()
    assert (Kind.ANNOUNCED, b"\xcc" * 32, b"759201", 1_785_208_850_592_000_000) == (
        first.kind, first.condition, first.event_id, first.venue_ns)
    assert [(Kind.ANNOUNCED, b"")] * 3 == [(record.kind, record.event_id) for record in others]
    assert [1, 2, 3, 4] == [record.source_seq for record in (first, *others)]


def test_a_socket_asks_for_its_rows_in_slices():
    """60 rows: three messages, the first as a socket begins, each asset once: small snapshot frames."""
    rig = Rig()
    for row in range(10, 70):
        rig.machine.on_instrument(T0_NS, row, 5, (f"{row}0", f"{row}1"), market(0))
    rig.machine.on_open(T0_NS, 5)
    sent = [json.loads(one.data) for one in rig.asked() if isinstance(one, SendText)]
    assert [50, 50, 20] == [len(one["assets_ids"]) for one in sent]
    assert ["market", None, None] == [one.get("type") for one in sent]
    assert [None, "subscribe", "subscribe"] == [one.get("operation") for one in sent]
    assert 120 == len({asset for one in sent for asset in one["assets_ids"]})
