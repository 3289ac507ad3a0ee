"""Tick to order: joins the stages' stamps into one latency line a package, when its last byte was written.

Reads the stamp tables; writes histograms on the gateway lane's status page. Slices are consecutive, so
they add up: decode (first byte read → record pushed) … submit (signed → last byte written). They are of
packages only, so that their medians can be compared with the median of the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.shm.status import LATENCIES
from pipeline.stages.gateway import GatewayMachine

if TYPE_CHECKING:
    from pipeline.run.lane import Lane

SLICES = LATENCIES[:-1]  # the last is the whole


class PackageLatency:
    """Called behind each order request's write."""

    def __init__(self, lane: Lane, machine: GatewayMachine) -> None:
        self._machine = machine
        self._feed = lane.channels.stamps("feed")
        self._sequencer = lane.channels.stamps("sequencer")
        self._book = lane.channels.stamps("book")
        self._detect = lane.channels.stamps("detect")
        self._trade = lane.channels.stamps("trade")
        self._signer = lane.channels.stamps("signer")
        page = lane.page
        self._slices = [page.histogram(name) for name in SLICES]
        self._whole = page.histogram("tick_to_order")
        self._by_legs = {legs: page.histogram(f"tick_to_order_{legs}") for legs in (1, 2, 3)}
        self._few = page.histogram("tick_to_order_2-3")
        self._many = page.histogram("tick_to_order_many")
        self._unstamped = page.counter("packages_unstamped")

    def on_written(self, tag: int, now_ns: int) -> None:
        """Observe one package's line; requests that carry no orders have none."""
        request = self._machine.in_flight.get(tag)
        if request is None or not request.orders:
            return
        cause_seq, recv_ns = request.cause_seq, request.recv_ns
        times = [
            recv_ns, self._feed.get(recv_ns), self._sequencer.get(cause_seq), self._book.get(cause_seq),
            self._detect.get(cause_seq), self._trade.get(cause_seq), self._signer.get(request.group_no),
            now_ns,
        ]
        if not all(times):
            self._unstamped.add(1)
            return
        for histogram, begun_ns, ended_ns in zip(self._slices, times, times[1:], strict=False):
            histogram.observe(ended_ns - begun_ns)
        self._whole.observe(now_ns - recv_ns)
        self._by_legs.get(len(request.orders), self._many).observe(now_ns - recv_ns)
        if 2 <= len(request.orders) <= 3:
            self._few.observe(now_ns - recv_ns)
