"""What a restart leaves to the edges: gaps, recalled hashes, rows that are given already."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from pipeline.codec import CODECS, runs, unpack
from pipeline.kinds import Cause, Kind, OrderState, Rule
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.relay import Filter
from pipeline.native.ring import Reader, Writer
from pipeline.run import startpoint, wills
from pipeline.run.startpoint import StartPoint
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.gateway import ORDER_NO_NONE
from pipeline.stages.recall import Recall
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.sign import OrderSigner, order_hasher
from tests.models.gateway_rig import EPOCH, Gateway
from tests.models.signer_rig import KEY, PLENTY, T0_NS, account_of, ring, token

INTENT, INSTRUMENT = CODECS[Kind.INTENT], CODECS[Kind.INSTRUMENT]


def test_an_order_that_was_here_before_is_not_sent_again(tmp_path: Path) -> None:
    """What a restarted signer signs again goes nowhere: at most once on the wire, and no second report."""
    gateway = Gateway(tmp_path)
    gateway.machine.on_beat(T0_NS, EPOCH, 0)
    for order_no in (1, 2, 1, 2, 3):
        gateway.sign(order_no)
    assert 3 == gateway.sends()
    assert [1, 2, 3] == [order_no for order_no, _, _ in gateway.reports()]


def test_what_may_have_left_is_never_sent_again(tmp_path: Path) -> None:
    """Numbers up to the stored one are not even reported: the recall tells their hashes as UNKNOWN."""
    gateway = Gateway(tmp_path, sent_no=7)
    gateway.machine.on_beat(T0_NS, EPOCH, 0)
    for order_no in (6, 7, 8):
        gateway.sign(order_no)
    assert 1 == gateway.sends()
    assert [(8, OrderState.SENT, Cause.NONE)] == gateway.reports()


def test_a_machine_without_an_epoch_has_no_fence(tmp_path: Path) -> None:
    """In simulated time nobody restarts: orders leave at once."""
    gateway = Gateway(tmp_path, epoch=0)
    gateway.sign(1)
    assert 1 == gateway.sends()
    assert ORDER_NO_NONE > 1 << 53  # above every order number


def test_the_recall_tells_the_venue_s_own_ids(tmp_path: Path) -> None:
    """Hashes of intents alone equal those of signed orders; younger, foreign, rowless ones stay out."""
    who = account_of(KEY)
    signer = OrderSigner(KEY, who)
    log = LogWriter(tmp_path, "decisions", 256)
    for order_no, account, row in ((1, 0, 1), (2, 0, 2), (3, 1, 1), (4, 0, 9), (5, 0, 1), (6, 0, 1)):
        assert log.push(INTENT.pack(
            order_no=order_no, group_no=order_no, account=account, instrument=row, salt=1_000 + order_no,
            maker_amount=order_no * 10**6, taker_amount=2 * 10**6, timestamp_ms=T0_NS // 10**6,
            outcome=order_no % 2))
    recall = Recall(who, 0, order_hasher(), 5)
    reader = LogReader(tmp_path, "decisions")
    recall.read(Filter(reader, (Kind.INTENT,)))
    reader.close()
    log.close()
    for row in (1, 2):
        recall.on_instrument(INSTRUMENT.pack(
            instrument=row, token_yes=token(row, 0), token_no=token(row, 1), rules=int(Rule.NEG_RISK)))

    found = recall.orders()
    assert [1, 2, 5] == [one.order_no for one in found]
    for one in found:
        sealed = signer.seal(
            1_000 + one.order_no, token(one.instrument, one.order_no % 2), one.order_no * 10**6, 2 * 10**6, 0,
            T0_NS // 10**6, True, False)
        assert isinstance(sealed, bytes)
        assert sealed[:32] == one.order_hash


def test_a_dead_feed_s_gaps_stand_behind_its_last_record() -> None:
    """Each of its shards gets one GAP, numbered above everything it wrote; a full ring waits and says so."""
    memory = ring()
    writer, reader = Writer(memory), Reader(memory)
    for number in range(1, 121):
        assert writer.push(CODECS[Kind.BBO].pack(source=3, source_seq=number))
    writer.close()
    assert [1, 3, 5] == (shards := wills.shards_of("feed.a.1", ["feed.a.0", "feed.a.1"], 601))
    assert not wills.leave_gaps(memory, 3, list(range(64)))
    reader.read(64)
    assert wills.leave_gaps(memory, 3, shards)
    found = []
    while data := reader.read(64):
        found += [unpack(slot) for slot in runs(data)]
    last = found[-3:]
    assert [(Kind.GAP, 3, shard, Cause.LANE_DIED) for shard in shards] == [
        (record.kind, record.source, record.shard, record.cause) for record in last]
    assert [121, 122, 123] == [record.source_seq for record in last]


def test_the_stored_order_number_is_read_from_the_gateway_s_file(tmp_path: Path) -> None:
    """No file means that nothing left; a foreign one is refused, not taken for zero."""
    assert 0 == wills.sent_order_no(tmp_path, "main")
    brake = Brake(tmp_path / "gateway-main.state", PLENTY)
    brake.commit(41)
    assert 41 == wills.sent_order_no(tmp_path, "main")
    brake.close()
    (tmp_path / "gateway-other.state").write_bytes(b"x" * 4_096)
    with pytest.raises(Exception, match="magic"):
        wills.sent_order_no(tmp_path, "other")


def test_the_start_point_is_where_both_logs_end(tmp_path: Path) -> None:
    """New logs begin at zero; grown ones at their ends, with the cause and time of what stands there last."""
    first = startpoint.find(tmp_path, 128, 1, 9, from_venue=False)
    assert (0, 0, 0, 0, 9) == (first.stream, first.decisions, first.last_seq, first.since_ns, first.epoch)
    stream = LogWriter(tmp_path / "stream", "stream", 128)
    decisions = LogWriter(tmp_path / "decisions", "decisions", 128)
    for number in range(300):
        assert stream.push(CODECS[Kind.TICK].pack(now_ns=T0_NS + number))
        if number % 3 == 0:
            assert decisions.push(CODECS[Kind.BEAT].pack(source_seq=number))
    ends = stream.position, decisions.position
    stream.close()
    decisions.close()
    found = startpoint.find(tmp_path, 128, 1, 10, from_venue=True)
    assert ends == (found.stream, found.decisions)
    assert (297, T0_NS + 299, True) == (found.last_seq, found.since_ns, found.from_venue)
    resume = unpack(found.resume_record())
    assert (297, *ends, 10, 1) == (
        resume.last_seq, resume.live_seq, resume.decisions_seq, resume.epoch, resume.from_venue)


def test_an_account_asks_for_trades_from_its_last_whole_pass_on(tmp_path: Path) -> None:
    """A pass of another account or one that failed proves nothing; without any the old run's end counts."""
    writer = LogWriter(tmp_path, "stream", 128)
    fresh, grown = StartPoint(), StartPoint(since_ns=T0_NS)
    t0_s = T0_NS // NS_PER_S

    def asked(start: StartPoint) -> int:
        return startpoint.trades_since_s(tmp_path, 1, start)

    def told(number: int, account: int, ok: int) -> None:
        run = CODECS[Kind.RECONCILED].pack(recv_ns=T0_NS + number * NS_PER_S, account=account, ok=ok)
        assert writer.push(run)

    assert (0, t0_s - 300, 1) == (asked(fresh), asked(grown), asked(StartPoint(from_venue=True)))
    told(1, 0, 1)
    told(2, 1, 0)
    assert (0, t0_s - 300) == (asked(fresh), asked(grown))
    told(100, 1, 1)
    told(200, 0, 1)
    told(300, 1, 0)
    for _ in range(7 * 128):  # the pass stands eight files back then
        assert writer.push(CODECS[Kind.TICK].pack())
    assert [t0_s + 40] * 3 == [asked(fresh), asked(grown), asked(StartPoint(from_venue=True))]
    writer.close()


@pytest.mark.parametrize("slots", [64, 128, 129, 200])
def test_a_file_made_ahead_is_not_the_end(tmp_path: Path, slots: int) -> None:
    """The end of a live log is behind its last visible record, whatever stands ready after it."""
    writer = LogWriter(tmp_path, "stream", 128)
    for _ in range(slots):
        assert writer.push(bytes(CODECS[Kind.TICK].pack()))
    while not writer.prepare_next():
        pass
    assert writer.position == startpoint.log_end(tmp_path, "stream")
    assert 0 == startpoint.rows_start(tmp_path) % 128
    assert startpoint.rows_start(tmp_path) <= writer.position
    writer.close()


def test_without_a_lease_everybody_halts(tmp_path: Path) -> None:
    """An effect lane takes H3 as in force once nobody renews the lease, and goes on when somebody does."""
    halt.create(tmp_path)
    page, lease = HaltPage(tmp_path), bytearray(64)
    assert not page.words.is_lease_lost()
    page.watch_lease(memoryview(lease), 1 << 62)
    struct.pack_into("<q", lease, 0, 1)
    assert 0 == page.words.level()
    page.watch_lease(memoryview(lease), 1)
    assert page.words.is_lease_lost()
    assert 3 == page.words.level()
    struct.pack_into("<q", lease, 0, (1 << 62) - 1)
    assert 0 == page.words.level()
    page.close()
