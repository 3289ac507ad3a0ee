"""MD02: names that do not resolve, handshakes and subscriptions that nobody answers, half-open lines.

Each step of a connection ends; reconnects wait longer each time, no two together, at most one a second.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from pipeline.kinds import Cause
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_MD03_books import markets
from tests.models.chain import Chain
from tests.models.feed_socket import MARKET, NO, ROW, SHARD, YES, Heard, Rig
from tests.models.venue_model import Market
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

TRIALS = figure("MD02", "trials")
INVALID_NS_MAX = 10 * NS_PER_S
NEVER_MS = 10**9
SHARDS = 6


class Lines:
    """A chain of several shards, and the moments at which each of them was asked to connect."""

    def __init__(self, seed: int, sockets: int) -> None:
        self.rng = random.Random(seed)
        rows = markets(self.rng, SHARDS)
        for shard, market in enumerate(rows):
            market.shard = shard
        self.rows: list[Market] = rows
        self.chain = Chain(rows, sockets=sockets)
        assert self.chain.run(20_000, 50, until=self._is_up)
        self.chain.run(3_000, 50)
        self.first_opens = len(self.chain.opens)

    def _is_up(self) -> bool:
        return self.chain.is_settled()

    def believed(self) -> list[int]:
        """Return the rows that a package could be priced from."""
        return [market.row for market in self.rows if self.chain.is_believed(market.row)]

    def no_storm(self) -> None:
        """At most one reconnect a second, all shards together."""
        times = [when for when, _ in self.chain.opens[self.first_opens:]]
        assert all(later - earlier >= NS_PER_S for earlier, later in pairwise(times)), times


def _half_open(lines: Lines) -> None:
    """Nothing comes on any line, old or new, and nobody says so."""
    lines.chain.venue.on_line = lambda _, line: setattr(line, "is_dead", True)
    for line in lines.chain.venue.lines.values():
        line.is_dead = True


def _cut_off(lines: Lines) -> None:
    """Every line is cut, and no new one comes to stand: no name, no handshake."""
    lines.chain.opening_ns = NEVER_MS * NS_PER_MS
    for conn in list(lines.chain.venue.lines):
        lines.chain.cut(conn)


def _unheard(lines: Lines) -> None:
    """Every line is cut; new ones stand and take the subscription, but nothing ever comes but PONG."""
    lines.chain.venue.on_line = lambda _, line: setattr(line, "is_frozen", True)
    for conn in list(lines.chain.venue.lines):
        lines.chain.cut(conn)


def _heal(lines: Lines) -> None:
    lines.chain.opening_ns = 2 * NS_PER_MS
    lines.chain.venue.on_line = lambda _, line: None
    for line in lines.chain.venue.lines.values():
        line.is_dead = line.is_frozen = False


@pytest.mark.parametrize("seed", [2, fresh_seed()])
def test_MD02_books_end_in_time_and_nobody_storms(seed: int, gate_record: Callable[..., None]) -> None:
    """Half-open, refused or unheard, one or two sockets: no book within 10 s, <= 1 reconnect/s."""
    rng = random.Random(seed)
    faults = (_half_open, _cut_off, _unheard)
    for trial in range(TRIALS // 2):
        told = f"seed {seed}, trial {trial}"
        lines = Lines(rng.randrange(1 << 30), 1 + trial % 2)
        faults[trial % len(faults)](lines)
        chain, begun_ns = lines.chain, lines.chain.now_ns
        assert chain.run(11_000, 50, until=lambda: not lines.believed()), told  # noqa: B023
        assert chain.now_ns - begun_ns <= INVALID_NS_MAX, told
        for _ in range(rng.randrange(100, 900)):
            chain.step(50)
            assert [] == lines.believed(), told
        lines.no_storm()
        waits = [when for when, conn in chain.opens[lines.first_opens:] if conn == 0]
        assert waits, told
        _heal(lines)
        assert chain.run(120_000, 50, until=chain.is_settled), f"{told}: {chain.counters()}"
        lines.no_storm()
    gate_record("MD02", "trials", TRIALS // 2, seed)


def test_MD02_waits_grow_and_differ() -> None:
    """Reconnects of a shard that is never let in wait longer, up to the cap, no two shards alike."""
    lines = Lines(7, 1)
    _cut_off(lines)
    lines.chain.run(400_000, 50)
    waits = {}
    for shard in range(SHARDS):
        times = [when for when, conn in lines.chain.opens[lines.first_opens:] if conn == shard]
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert gaps[-1] > 2 * gaps[0]
        assert max(gaps) <= (12 + 30 + SHARDS) * NS_PER_S + 50 * NS_PER_MS
        waits[shard] = gaps[-2]
    assert len(set(waits.values())) == SHARDS


def _refusing() -> tuple[socket.socket, str]:
    """A port where nobody listens."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    return bound, f"ws://127.0.0.1:{bound.getsockname()[1]}/"


def _mute() -> tuple[socket.socket, str]:
    """A port that accepts and never answers the handshake."""
    listening = socket.create_server(("127.0.0.1", 0))
    return listening, f"ws://127.0.0.1:{listening.getsockname()[1]}/"


def _nameless() -> tuple[socket.socket, str]:
    """A name that no resolver knows (RFC 6761)."""
    return socket.socket(), "ws://market.invalid/"


@pytest.mark.parametrize("target", [_refusing, _mute, _nameless])
def test_MD02_the_driver_ends_what_never_comes_to_stand(
    target: Callable[[], tuple[socket.socket, str]],
) -> None:
    """Real sockets: each try ends and is told, the next one waits; a handshake is given up by the machine."""
    held, url = target()
    with held:
        asyncio.run(_try(held, url))


async def _try(held: socket.socket, url: str) -> None:
    rig = Rig(url, True, 4_096, Heard(), opening_ns_max=200 * NS_PER_MS, reopen_ns=100 * NS_PER_MS,
              backoff_ns_min=50 * NS_PER_MS)
    rig.machine.on_instrument(rig.clock(), ROW, SHARD, (YES, NO), MARKET)
    begun_s = time.monotonic()
    while rig.view.counters().get("disconnects", 0) < 3:
        assert time.monotonic() - begun_s < 20, rig.view.counters()
        rig.machine.on_timer(rig.clock())
        rig.driver.pump()
        await asyncio.sleep(0.002)
    assert time.monotonic() - begun_s >= 0.2, "two waits of 100 ms"
    assert 0 == rig.view.counters().get("gaps", 0), Cause.NO_CONNECTION
    await rig.driver.close()
    if target_accepts(held):
        await _all_ended(held)


def target_accepts(held: socket.socket) -> bool:
    """Whether somebody listens there."""
    return bool(held.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


async def _all_ended(listening: socket.socket) -> None:
    """Wait until every connection that came has ended: a try that was given up keeps no socket."""
    listening.setblocking(False)
    ended, end_s = 0, time.monotonic() + 10
    loop = asyncio.get_running_loop()
    while ended < 3:
        assert time.monotonic() < end_s, f"{ended} of 3 connections ended"
        come, _ = await asyncio.wait_for(loop.sock_accept(listening), 10)
        with come:
            come.setblocking(False)
            while await asyncio.wait_for(loop.sock_recv(come, 4_096), 10):
                pass
        ended += 1
