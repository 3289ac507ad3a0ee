"""Brings a lane to the moment in which it is to die: inside sign, inside send, inside ack, or any moment.

An aim looks from outside and steps: it freezes the lane, lets it go on for some microseconds, freezes it
again, until the stage's words and the order's steps show the moment. It returns with the lane frozen there;
an aim that finds nothing in its time returns False, and the kill comes where it comes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.faults.watcher import Watcher

AIM_S_MAX = 8.0  # then the kill comes where it comes
WAIT_S = 0.25  # for an order, with the lane frozen: less than what counts as a stall
STEPS_MAX = 40
STEP_S_MAX = 120e-6
FAR_SHARE = 0.6

SIGN, SEND, ACK, CORE, ACCOUNT, BACK, RANDOM = "sign", "send", "ack", "core", "account", "back", "random"
#: Which stage's lane dies at each aim; a random one is drawn.
STAGE_OF = {
    SIGN: "signer", SEND: "gateway", ACK: "gateway", CORE: "trade", ACCOUNT: "account", BACK: "archive"}
#: Of eleven kills: so many of each, in an order that the seed draws.
SHARES = {SIGN: 3, SEND: 2, ACK: 2, CORE: 1, ACCOUNT: 1, BACK: 1, RANDOM: 1}


@dataclass(frozen=True, slots=True)
class Moment:
    """What the dead lane left behind: read while it stood frozen or right behind its death."""

    aim: str
    lane: str
    kind: str  # the stage that was aimed at
    at_ns: int
    in_flight: tuple[int, ...]  # orders between journal and end
    unsigned: tuple[int, ...]
    unsent: tuple[int, ...]
    unanswered: tuple[int, ...]
    stored_order_no: int
    is_inside: bool  # by the stage's words
    stream_position: int

    @property
    def inside(self) -> str:
        """Return sign, send, ack or "": what the killed lane was in the middle of."""
        if self.kind == "signer" and self.unsigned and self.is_inside:
            return SIGN
        if self.kind == "gateway" and self.unsent and self.is_inside:
            return SEND
        if self.kind == "gateway" and self.unanswered:
            return ACK
        return ""


def draw_aims(count: int, draw: random.Random) -> list[str]:
    """Return `count` aims in the shares of SHARES, shuffled."""
    block = [aim for aim, share in SHARES.items() for _ in range(share)]
    aims: list[str] = []
    while len(aims) < count:
        draw.shuffle(block)
        aims += block
    return aims[:count]


def strike(watcher: Watcher, aim: str, draw: random.Random) -> Moment:
    """Bring the lane there and kill it; return what it left behind."""
    kind = STAGE_OF.get(aim) or draw.choice(sorted(STAGE_OF.values()))
    lane = watcher.lane_of(kind).name
    deadline_s = time.monotonic() + AIM_S_MAX
    seek = {SIGN: _seek_sign, SEND: _seek_send, ACK: _seek_ack}.get(aim, _seek_order)
    if aim == RANDOM:
        _spin(draw.random() * 0.5)
    else:
        while time.monotonic() < deadline_s and not seek(watcher, lane, draw):
            watcher.thaw(lane)
            _spin(draw.random() * 0.02)
    watcher.freeze(lane)
    watcher.look()
    stored = watcher.stored_order_no()
    is_inside = watcher.is_inside(kind)
    unsigned, unsent = _numbers(watcher.unsigned()), _numbers(watcher.unsent())
    unanswered, in_flight = _numbers(watcher.unanswered()), _numbers(watcher.open.values())
    position = watcher.stream_position
    at_ns = watcher.kill(lane)
    if kind == "gateway":
        watcher.mourn(stored, at_ns)
    return Moment(
        aim, lane, kind, at_ns, in_flight, unsigned, unsent, unanswered, stored, is_inside, position)


def _numbers(orders: object) -> tuple[int, ...]:
    return tuple(seen.order_no for seen in orders)  # type: ignore[attr-defined]


def _spin(seconds: float) -> None:
    """Let time pass without giving the CPU away: a sleep would be longer than what is aimed at."""
    until_s = time.perf_counter() + seconds
    while time.perf_counter() < until_s:
        pass


def _until(watcher: Watcher, is_there: Callable[[], object], seconds: float) -> bool:
    until_s = time.monotonic() + seconds
    while time.monotonic() < until_s:
        watcher.look()
        if is_there():
            return True
    return False


def _step(watcher: Watcher, lane: str, draw: random.Random) -> None:
    """Let the frozen lane run for some microseconds."""
    watcher.thaw(lane)
    _spin(draw.random() * STEP_S_MAX)
    watcher.freeze(lane)
    watcher.look()


def _seek_sign(watcher: Watcher, lane: str, draw: random.Random) -> bool:
    """Frozen inside the signer's poll, with orders in the journal that are not signed."""
    watcher.freeze(lane)
    if not _until(watcher, watcher.unsigned, WAIT_S):
        return False
    for _ in range(STEPS_MAX):
        _step(watcher, lane, draw)
        if not watcher.unsigned():
            return False
        if watcher.is_inside("signer"):
            return True
    return False


def _seek_send(watcher: Watcher, lane: str, draw: random.Random) -> bool:
    """Frozen inside the gateway's poll, with signed orders that were not told as sent.

    Half of the time only behind the stored number: then the bytes may have left, and nobody told.
    """
    watcher.freeze(lane)
    if not _until(watcher, watcher.unsent, WAIT_S):
        return False
    is_far = draw.random() < FAR_SHARE
    for _ in range(STEPS_MAX):
        _step(watcher, lane, draw)
        unsent = watcher.unsent()
        if not unsent:
            return False
        is_stored = watcher.stored_order_no() >= min(seen.order_no for seen in unsent)
        if watcher.is_inside("gateway") and (is_stored or not is_far):
            return True
    return False


def _seek_ack(watcher: Watcher, lane: str, draw: random.Random) -> bool:
    """Frozen with a request on the wire whose answer was not reported."""
    if not _until(watcher, watcher.unanswered, 4 * WAIT_S):
        return False
    _spin(draw.random() * STEP_S_MAX)
    watcher.freeze(lane)
    watcher.look()
    return bool(watcher.unanswered())


def _seek_order(watcher: Watcher, lane: str, draw: random.Random) -> bool:
    """Frozen while an order is on its way, wherever."""
    if not _until(watcher, lambda: watcher.open, 4 * WAIT_S):
        return False
    watcher.freeze(lane)
    watcher.look()
    return bool(watcher.open)
