"""Live progress on a terminal: one line that rewrites itself, or a line a few seconds when it is a file."""

from __future__ import annotations

import time
from typing import Any, TextIO

from pipeline.units import usd_text

FILE_EVERY_S = 5.0


class Progress:
    """Writes to one stream; `end` leaves the cursor on a fresh line."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._is_terminal = out.isatty()
        self._last_s = 0.0
        self._frames = (0.0, 0)
        self._is_open = False

    def say(self, text: str) -> None:
        """Write one lasting line."""
        self.end()
        self._out.write(text + "\n")
        self._out.flush()

    def step(self, what: str, done: int, total: int) -> None:
        """Show a preparation's progress."""
        self._show(f"{what}: {done} of {total}", is_last=done == total)

    def live(self, numbers: dict[str, Any], status: dict[str, Any], seconds_left: float) -> None:
        """Show one line of the running trade."""
        now_s, frames = time.monotonic(), numbers["counters"].get("frames", 0)
        before_s, before = self._frames
        rate = (frames - before) / max(now_s - before_s, 1e-9) if before_s else 0.0
        self._frames = (now_s, frames)
        summary, latency = numbers["summary"], numbers["latency"]
        edge = usd_text(summary.get("packaged_edge_usd_micro", 0))[:-4]  # cents are enough here
        p99_us = latency.percentiles([0.99])[0] // 1_000 if latency is not None and latency.count else 0
        self._show(
            f"{max(0, int(seconds_left)):>4} s left  {rate:>7.0f} frames/s  "
            f"books {summary.get('instruments', 0)}  "
            f"ideas {numbers['counters'].get('ideas', 0)}  orders {summary.get('orders', 0)}  "
            f"fills {summary.get('fills', 0)}  edge {edge} USD  "
            f"p99 {p99_us} us  plants {status['plants']}", is_last=False)

    def end(self) -> None:
        """Close the line that rewrites itself."""
        if self._is_open:
            self._out.write("\n")
            self._out.flush()
            self._is_open = False

    def _show(self, text: str, is_last: bool) -> None:
        if self._is_terminal:
            self._out.write("\r\x1b[K" + text)
            self._is_open = True
            if is_last:
                self.end()
        elif is_last or time.monotonic() - self._last_s >= FILE_EVERY_S:
            self._last_s = time.monotonic()
            self._out.write(text + "\n")
        self._out.flush()
