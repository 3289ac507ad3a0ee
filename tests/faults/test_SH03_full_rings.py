"""SH03: a ring whose reader stands still for ten minutes: its producer waits, or says what it lost."""

from __future__ import annotations

import json
import random
from collections import Counter, deque

import pytest

from pipeline.codec import CODECS, unpack
from pipeline.kinds import Cause, Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.native.sequence import Sequencer
from pipeline.net.edge import Ask
from pipeline.records import SLOT_BYTES
from pipeline.stages.account import AccountMachine, AccountSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.auth import L2Auth, Secret
from tests.faults.full_feed import FullFeed
from tests.faults.rings import FIXED_SEED
from tests.models.fold import Fold, channel, split, words
from tests.models.log_files import memory_directory, ticks
from tests.models.signer_rig import EPOCH, Leg, SignerRig, intents
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

MINUTES = figure("SH03", "minutes")
FULL_NS = MINUTES * 60 * NS_PER_S
T0_NS = 1_790_000_000 * NS_PER_S
SEEDS = [FIXED_SEED, fresh_seed()]


def slots_of(data: bytes) -> list[object]:
    """Return each slot as a record."""
    return [unpack(data, at) for at in range(0, len(data), SLOT_BYTES)]


@pytest.mark.parametrize("seed", SEEDS)
def test_SH03_a_full_ring_refuses_whole_runs_and_counts_them(seed, gate_record):
    """A push into a full ring 100 times a second: each is False and counted, what was taken comes once."""
    rng = random.Random(seed)
    buffer = bytearray(Ring.bytes_for(128))
    Ring.format(buffer, 128)
    writer, reader = Writer(buffer), Reader(buffer)
    taken, refused, number = [], 0, 0
    for _ in range(FULL_NS // (10 * NS_PER_MS)):
        numbers = list(range(number, number + rng.choice([1, 1, 2, 7, 30])))
        if writer.push(ticks(numbers)):
            taken += numbers
            number += len(numbers)
        else:
            refused += 1
    assert (refused, 128 - 30 < len(taken) <= 128) == (writer.full_count, True)
    found = [record.tick_count for record in slots_of(reader.read(1_000))]
    assert taken == found
    assert writer.push(ticks([number]))
    assert [number] == [record.tick_count for record in slots_of(reader.read(1_000))]
    gate_record("SH03", "minutes", MINUTES, seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_SH03_a_feed_pauses_then_tells_what_it_lost(seed, gate_record, capsys):
    """Frames are in the ring, still with the socket, or counted in a Gap at their place; nobody hammers."""
    feed = FullFeed(seed)
    feed.run(NS_PER_S, is_read=True)
    feed.run(FULL_NS, is_read=False)
    feed.run(90 * NS_PER_S, is_read=True)
    counters = feed.view.counters()
    for shard in feed.shards:
        assert sorted(set(shard.recorded)) == shard.recorded, f"seed {seed}"
        assert shard.holes == shard.holes_told  # a hole in the numbers stands behind a Gap, and only there
        assert shard.told_lost > 0
        assert shard.opened <= 10
    sent, frames = sum(shard.sent for shard in feed.shards), counters["frames"] + counters["pongs"]
    assert sent == frames + counters["frames_lost"] + len(feed.waiting)
    assert counters["frames"] == sum(len(shard.recorded) for shard in feed.shards)
    assert counters["frames_lost"] == sum(shard.told_lost for shard in feed.shards)
    assert counters["gaps"] == sum(shard.gaps for shard in feed.shards)
    with capsys.disabled():
        print(f"\nSH03 feed {seed}: {counters['frames']} frames taken, {counters['frames_lost']} lost and "
              f"told, {counters['gaps']} gaps, {counters['pauses']} pauses")
    gate_record("SH03", "minutes", MINUTES, seed)


def user_order(number: int) -> bytes:
    """Return the user channel's word of a new order."""
    return json.dumps({
        "event_type": "order", "type": "PLACEMENT", "id": f"0x{number:064x}", "owner": "me", "side": "BUY",
        "order_owner": "me", "market": "0x5f", "asset_id": "11", "outcome": "Yes", "original_size": "100",
        "size_matched": "0", "price": "0.5", "order_type": "GTC", "status": "LIVE", "maker_address": "0xf3",
        "associate_trades": None, "created_at": "1790000000", "expiration": "0",
        "timestamp": "1790000000123"}).encode()


def test_SH03_an_account_loses_no_report(gate_record):
    """Reports wait in their socket, passes that failed are told one by one; each comes once, in order."""
    writer, reader = channel(128)
    counts = Counts()
    settings = AccountSettings(user_ws_url="ws://x", clob_url="http://x", source=5, account=0,
                               signature_type=0, source_seq=0, since_s=0, is_gentle=True,
                               login=b"{}")
    auth = L2Auth("0x" + "11" * 20, "me", Secret(b"s" * 32), Secret(b"p"))
    machine = AccountMachine(settings, "me", ("0xf3",), auth, writer, counts)
    machine.on_instrument(unpack(CODECS[Kind.INSTRUMENT].pack(
        instrument=3, token_yes=(11).to_bytes(32, "big"), token_no=(12).to_bytes(32, "big"))))
    socket: deque[bytes] = deque()
    sent, found = 0, []
    machine.on_open(T0_NS, 0)
    for now_ns in range(T0_NS, T0_NS + FULL_NS + 60 * NS_PER_S, 100 * NS_PER_MS):
        if now_ns < T0_NS + FULL_NS:
            sent += 1
            socket.append(user_order(sent))
        else:
            found += slots_of(reader.read(1_000))
        machine.on_frame(now_ns, 0, b"PONG")
        while socket and machine.on_frame(now_ns, 0, socket[0]):
            socket.popleft()
        machine.on_timer(now_ns)
        while (command := machine.rest.outbox.take()) is not None:
            assert isinstance(command, Ask)
            machine.rest.on_failure(now_ns, command.tag, was_sent=True, cause=Cause.TIMEOUT)
        while machine.outbox.take() is not None:
            pass
    assert not socket
    reports = [int.from_bytes(one.order_hash, "big") for one in found if one.kind == Kind.REPORT]
    assert list(range(1, sent + 1)) == reports
    passes = [one for one in found if one.kind == Kind.RECONCILED]
    assert counts.counter("reconciles_failed").value == len(passes) > 0
    assert list(range(1, len(found) + 1)) == [one.source_seq for one in found]
    gate_record("SH03", "minutes", MINUTES)


def test_SH03_a_signer_keeps_intents_until_there_is_room(tmp_path, gate_record):
    """With the signed ring full nothing more is signed; afterwards each intent leaves once, in order."""
    rig = SignerRig(tmp_path / "s")
    waiting = deque(slot for number in range(1, 401) for slot in intents(
        number, number, [Leg(1, 5_000, 10_000_000)], deadline_ns=T0_NS + 2 * FULL_NS))
    pushed, found = 0, []
    for _ in range(FULL_NS // (100 * NS_PER_MS)):
        if waiting and rig._intents.push(waiting[0]):
            waiting.popleft()
            pushed += 1
        rig.work()
        rig.now_ns += 100 * NS_PER_MS
    assert pushed < 400  # both rings are full: trade's log would hold the rest
    assert 128 == rig.count("signed") + rig.count("sign_refused")
    while len(found) < 400:
        found += [CODECS[Kind.SIGNED].unpack(slot) for slot in rig.signed()]
        if waiting and rig._intents.push(waiting[0]):
            waiting.popleft()
        rig.work()
    assert list(range(1, 401)) == [one.order_no for one in found]
    assert {0} == {one.cause for one in found}
    assert {EPOCH} == {one.salt >> 32 for one in found}
    gate_record("SH03", "minutes", MINUTES)


def test_SH03_control_reports_and_fills_pass_feeds_that_wait(gate_record):
    """`book` stands still: feeds fill up and wait; control, report and account records are logged at once."""
    with memory_directory() as place:
        rings = [channel(128) for _ in range(5)]  # control, report, account, two feeds
        sources = [reader for _, reader in rings]
        log = LogWriter(place, "stream", 8_192)
        sequencer = Sequencer(sources[:3], sources[3:], log, instruments_max=4, stream_lag_records_max=40)
        taken, refused = Counter(), Counter()
        urgent, second = 0, 10  # turns a second
        stood = 0
        for turn in range(FULL_NS // NS_PER_S * second + 200):
            is_full = turn < FULL_NS // NS_PER_S * second
            for at, (writer, _) in enumerate(rings):
                if is_full and (at > 2 or turn % second == 0):
                    record = CODECS[Kind.REPORT if at <= 2 else Kind.DELTA].pack(
                        source=at + 1, source_seq=taken[at] + 1)
                    is_taken = writer.push(record)
                    taken[at] += is_taken
                    refused[at] += not is_taken
            stood = stood if is_full else sequencer.position
            sequencer.turn(T0_NS + turn * 100 * NS_PER_MS, stood, 64)
            urgent = sum(taken[at] for at in range(3))
            assert urgent == sum(sequencer.last_source_seq(at + 1) for at in range(3))
        assert 3 * FULL_NS // NS_PER_S == urgent
        assert (0, 0, 0) == tuple(refused[at] for at in range(3))
        reader, found = LogReader(place, "stream", verify=True), Counter()
        while data := reader.read(4_096):
            found.update(one.source for one in slots_of(data) if one.kind != Kind.TICK)
        assert {at + 1: taken[at] for at in range(5)} == dict(found)
        assert [refused[3], refused[4]] == [rings[3][0].full_count, rings[4][0].full_count]
        assert min(refused[3], refused[4]) > 1_000
        assert sequencer.stats()["lagged"] > 0
    gate_record("SH03", "minutes", MINUTES)


@pytest.mark.parametrize("seed", SEEDS)
def test_SH03_books_take_nothing_that_they_could_not_tell(seed, gate_record):
    """With `tops` full the books stop reading; afterwards they say exactly what they would have said."""
    rng = random.Random(seed)
    stream = [CODECS[Kind.INSTRUMENT].pack(instrument=row, tick_step=100, now_ns=T0_NS, seq=row)
              for row in range(1, 6)]
    for number in range(1_200):
        row, draw, now_ns = rng.randrange(1, 6), rng.random(), T0_NS + number * NS_PER_MS
        if draw < 0.1:
            run = CODECS[Kind.GAP].pack(instrument=row, cause=int(Cause.DISCONNECT), seq=number,
                                        now_ns=now_ns)
        elif draw < 0.2:
            run = CODECS[Kind.TRADE_PRINT].pack(instrument=row, price_ticks=500, seq=number, now_ns=now_ns)
        else:
            run = CODECS[Kind.TICK].pack(tick_count=number, seq=number, now_ns=now_ns)
        stream.append(run)
    free, held = Fold(), Fold()
    expected = [one for run in stream for one in free.fold(run)]
    held.sink, held.sink_out = channel(128)
    source, found = deque(stream), []
    for turn in range(FULL_NS // (100 * NS_PER_MS) + 3_000):
        while source and held.source_in.push(source[0]):
            source.popleft()
        before = held.source.position
        handled = held.books.poll(held.source, held.sink, 64)
        assert (handled > 0) == (held.source.position != before)
        if turn >= FULL_NS // (100 * NS_PER_MS):
            found += split(held.sink_out.read(40))
    assert not source
    assert len(found) > 900
    assert expected == [words(run) for run in found], f"seed {seed}"
    gate_record("SH03", "minutes", MINUTES, seed)
