"""The native feed listener against the driver's Python one, over real sockets: same records and counters."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from picows import WSMsgType

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind
from pipeline.records import SLOT_BYTES
from pipeline.sim import render
from tests.models.feed_socket import MARKET, NO, ROW, YES, Heard, Send, change, hear
from tests.sim_trader import market

RECV_AT = 16  # recv_ns: two runs cannot agree on it
RESOLVED = render.market_resolved_frame(market(condition=MARKET, tokens=(YES, NO)), "1", 1, 1_790_766_415_550)
NESTED = change("7", extra={"a": 1})  # good, but for the decoder
TIMED = ("pauses", "pongs")  # how often the ring was found full is a matter of time


def usual(count: int) -> list[Send]:
    return [Send(change(str(number), (YES, NO)[number % 2])) for number in range(1, count + 1)]


def timeless(records: bytes) -> list[bytes]:
    """Return the slots without the time of receipt."""
    return [records[at:at + RECV_AT] + records[at + RECV_AT + 8:at + SLOT_BYTES]
            for at in range(0, len(records), SLOT_BYTES)]


def scanned(heard: Heard) -> list[int]:
    """Return the scanner's counts without the PONGs, whose number is a matter of time."""
    pongs, scanner = heard.counts.get("pongs", 0), heard.scanner
    return [scanner.frame_count - pongs, scanner.ok_count, scanner.fallback_count, scanner.unknown_count,
            scanner.ignored_count - pongs, scanner.source_seq]


def both(
    scripts: list[list[Send]], is_done: Callable[[dict[str, int]], bool], slots: int = 4_096,
    drain_when_held: bool = False,
) -> tuple[Heard, Heard]:
    """Play to either listener; their records and counters must agree. Returns (Python, native)."""
    plain, native = (hear(scripts, is_done, is_native, slots, drain_when_held) for is_native in (False, True))
    assert timeless(plain.records) == timeless(native.records)
    assert [{name: count for name, count in heard.counts.items() if name not in TIMED}
            for heard in (plain, native)] == [
        {name: count for name, count in plain.counts.items() if name not in TIMED}] * 2
    assert scanned(plain) == scanned(native)
    return plain, native


def test_usual_frames_never_reach_the_machine():
    """500 price changes and a resolution: all natively, each stamped after its receipt on the run's clock."""
    script = [*usual(500), Send(RESOLVED)]
    plain, native = both([script], lambda counts: counts.get("frames", 0) >= 501)

    assert [send.data for send in script] == plain.seen
    assert [] == native.seen
    assert 501 * SLOT_BYTES == len(native.records)
    assert {"frames": 501} == {name: count for name, count in native.counts.items() if count}
    assert Kind.RESOLVED == unpack(native.records, 500 * SLOT_BYTES).kind
    received = [unpack(native.records, at).recv_ns for at in range(0, len(native.records), SLOT_BYTES)]
    assert sorted(received) == received
    assert native.began_ns < received[0]
    assert received[-1] < native.ended_ns
    stamped = [native.stamped(recv_ns) for recv_ns in received]
    kept = [pair for pair in zip(received, stamped, strict=True) if pair[1]]
    assert len(kept) > 250  # places of the table are shared by frames 65,536 ns apart
    assert all(recv_ns <= time_ns < native.ended_ns for recv_ns, time_ns in kept)
    assert native.turns > 0


def test_every_other_event_takes_the_machines_way():
    """PONG, unknown tokens, fallbacks, garbage, fragments, binary and pings, amid usual frames."""
    odd = [Send(b"PONG"), Send(change("5", "123")), Send(NESTED), Send(change("x")), Send(b"[]"),
           Send(change("8"), parts=3), Send(NESTED, parts=2)]
    unheard = [Send(b"x", kind=WSMsgType.BINARY), Send(b"", kind=WSMsgType.PING)]
    script: list[Send] = []
    for index, send in enumerate([*odd, *unheard]):
        script += [*usual(3 + index), send]
    script += [Send(b"PONG")]
    plain, native = both([script], lambda counts: counts.get("pongs", 0) >= 2)

    assert [send.data for send in odd] + [b"PONG"] == native.seen
    assert [send.data for send in script if send.kind == WSMsgType.TEXT] == plain.seen
    usual_count = sum(3 + index for index in range(9))
    assert usual_count + 3 == native.counts["frames"]
    assert (2, 1, 1, 3, 1) == tuple(native.counts[name] for name in (
        "pongs", "frames_unknown_token", "frames_ignored", "fallbacks", "frames_rejected"))


@pytest.mark.parametrize("slots", [128, 256])
def test_a_full_ring_makes_frames_wait_in_order(slots):
    """A ring of a few slots that is read only when full: no frame is lost, doubled or overtaken."""
    script = [send for number in range(1, 200) for send in (
        *usual(number % 7), Send(change(str(number), NO)), *([Send(NESTED)] if number % 5 == 0 else []))]
    _, native = both(
        [script], lambda counts: counts.get("frames", 0) >= len(script), slots, drain_when_held=True)

    assert len(script) == native.counts["frames"] == len(native.records) // SLOT_BYTES
    assert native.counts["pauses"] > 0
    assert list(range(1, len(script) + 1)) == [
        unpack(native.records, at).source_seq for at in range(0, len(native.records), SLOT_BYTES)]
    assert 0 < len(native.seen) < len(script)  # the short cut opened again after a pause


def test_a_close_is_a_gap_and_the_next_socket_goes_on():
    """The venue closes amid a fragmented message: a Gap, a new socket, and native frames again."""
    first = [*usual(20), Send(change("9"), parts=3, is_cut=True), Send(b"", kind=WSMsgType.CLOSE)]
    plain, native = both([first, usual(30)], lambda counts: counts.get("frames", 0) >= 50)

    kinds = [unpack(native.records, at) for at in range(0, len(native.records), SLOT_BYTES)]
    assert [Kind.DELTA] * 20 + [Kind.GAP] + [Kind.DELTA] * 30 == [record.kind for record in kinds]
    assert (Cause.DISCONNECT, ROW) == (kinds[20].cause, kinds[0].instrument)
    assert (1, 1) == (native.counts["gaps"], native.counts["disconnects"])
    assert (50, 0) == (len(plain.seen), len(native.seen))
