"""VN03: the venue pauses trading or everything, at any hour of any day; no calendar is known to us.

In simulated time against `MoodyVenue`: the same pause on days when clocks are set, at the hours of the weekly
restarts that old pages name, and in the middle of nowhere, in time zones that have such days.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.kinds import Kind, VenueMode
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, reply
from tests.shared import fresh_seed, scaled
from tests.tools.faultrows import figure

#: New York and Berlin set their clocks, in spring and in autumn; Lord Howe by half an hour; the weekly
#: restart of the older docs, and of another version of them (venue sheet 15.2); midnights; a leap day.
MOMENTS = tuple(datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (
    "2026-03-08T07:00", "2026-11-01T06:00", "2026-03-29T01:00", "2026-10-25T01:00", "2026-04-04T15:00",
    "2026-11-03T12:00", "2026-11-24T01:00", "2026-12-31T23:59:50", "2028-02-29T00:00"))
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC")
NOWHERE_NS = int(datetime(2026, 9, 17, 10, 20, tzinfo=UTC).timestamp()) * NS_PER_S  # a quiet Thursday
RUN_NS, BEFORE_NS = 9 * NS_PER_S, 2 * NS_PER_S
Trace = list[tuple[int, str, int]]


def answer(mode: VenueMode, arrival: Arrival) -> Reply | None:
    """Answer as the venue does in a mode."""
    if arrival.kind == "heartbeat":
        return None
    if mode == VenueMode.DOWN:  # the exchange's pause: no cancels either
        return reply(503, {"error": "trading is disabled"})
    if mode == VenueMode.RESTARTING:
        return reply(425, {"error": "engine restart"})
    if mode == VenueMode.CANCEL_ONLY:  # trading's pause
        return None if arrival.kind.startswith("cancel") else reply(503, {"error": "cancel-only mode"})
    is_refused = mode == VenueMode.POST_ONLY and (arrival.takes or arrival.kind == "probe")
    return reply(503, {"error": "post-only mode", "code": "post_only_mode"}) if is_refused else None


def play(directory: Path, begin_ns: int, mode: VenueMode, seed: int) -> Trace:
    """Return what the venue saw and what was told, by the time since the run's begin."""
    draw = random.Random(f"VN03:{seed}:{mode}")
    from_ns = begin_ns + draw.randint(500, 1_500) * NS_PER_MS
    until_ns = from_ns + draw.randint(1_000, 3_000) * NS_PER_MS
    venue = MoodyVenue(
        lambda now_ns, arrival: answer(mode, arrival) if from_ns <= now_ns < until_ns else None)
    wire = Wire(directory, venue, seed)
    wire.now_ns = begin_ns
    resting: list[int] = []
    for number, _ in enumerate(wire.steps(RUN_NS)):
        if number % 25 == 0:
            wire.order()
            resting += wire.order(post_only=True)
        if len(resting) > 2:
            wire.cancel(resting.pop(0))
    modes = [one for one in wire.told if one.kind == Kind.VENUE]
    assert mode in {one.mode for one in modes} and modes[-1].mode == VenueMode.RUNNING, (mode, seed)
    orders = venue.seen("order", "orders", since_ns=until_ns)
    assert [one for one in orders if one.takes], (mode, seed)  # it goes on, by evidence alone
    return [(one.now_ns - begin_ns, one.kind, one.count) for one in venue.arrivals] + [
        (one.recv_ns - begin_ns, VenueMode(one.mode).name, one.cause) for one in modes]


@pytest.fixture
def zone() -> Iterator[Callable[[str], None]]:
    """Set this process's time zone; the usual one comes back."""
    usual = os.environ.get("TZ")

    def put(name: str | None) -> None:
        os.environ.pop("TZ", None)
        if name is not None:
            os.environ["TZ"] = name
        time.tzset()

    yield put
    put(usual)


def test_VN03_a_pause_is_the_same_on_every_day(
    tmp_path: Path, zone: Callable[[str], None], gate_record: Callable[..., None],
) -> None:
    """Every mode at every such moment: to the nanosecond what happens on a quiet Thursday."""
    seed, count = fresh_seed(), 0
    print(f"seed {seed}")
    for mode in (VenueMode.POST_ONLY, VenueMode.CANCEL_ONLY, VenueMode.RESTARTING, VenueMode.DOWN):
        zone("UTC")
        usual = play(tmp_path, NOWHERE_NS, mode, seed)
        for place, moment in enumerate(MOMENTS):
            for name in scaled((ZONES[place % len(ZONES)],), ZONES):  # type: ignore[arg-type]
                zone(name)
                begin_ns = int(moment.timestamp()) * NS_PER_S - BEFORE_NS
                assert usual == play(tmp_path, begin_ns, mode, seed), (seed, mode, moment, name)
                count += 1
    assert count == figure("VN03", "days")
    gate_record("VN03", "days", count, seed)
