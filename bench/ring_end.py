"""One end of the ring of `bench ring`, in a process of its own: `python -m bench.ring_end '<json>'`."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from typing import Any

from bench import harness
from pipeline.native import gauge, torture
from pipeline.native.ring import Reader, Writer
from pipeline.shm import memory

READY_BYTES = 64  # behind the ring: the reader's "I am here"
READY_S_MAX = 120.0  # the other end may take its time to start


def main() -> int:
    """Pin, run the end that the order names, print what it found."""
    order = json.loads(sys.argv[1])
    os.sched_setaffinity(0, {order["cpu"]})
    with memory.attach(order["name"]) as segment, harness.quiet_heap():
        act = _write if order["end"] == "write" else _read
        with segment.data[:-READY_BYTES] as ring, segment.data[-READY_BYTES:] as ready:
            print(json.dumps(act(order, ring, ready)))
    return 0


def _write(order: dict[str, Any], data: memoryview, ready: memoryview) -> dict[str, Any]:
    end = Writer(data)
    give_up_s = time.monotonic() + READY_S_MAX
    while not ready[0]:  # both ends run before the first message, so that none waits for a process to start
        if time.monotonic() > give_up_s:
            raise SystemExit("bench ring: the reading end did not start")
    if order["mode"] == "prove":
        result: Any = torture.produce(end, 0, order["count"], order["seed"], batch=order["batch"])
    else:
        pace_ns = order["pace_ns"] if order["mode"] == "pace" else 0
        result = gauge.send(end, order["count"], order["batch"], pace_ns)
    end.close()
    return dataclasses.asdict(result)


def _read(order: dict[str, Any], data: memoryview, ready: memoryview) -> dict[str, Any]:
    end, count = Reader(data), order["count"]
    times = harness.samples(count) if order["mode"] == "pace" else None
    ready[0] = 1
    if order["mode"] == "prove":
        result: Any = torture.consume(end, 0, count, order["seed"])
    else:
        result = gauge.receive(end, count, READY_S_MAX, times)
    end.close()
    found = dataclasses.asdict(result)
    return found if times is None else found | {"latency_ns": harness.percentiles(times)}


if __name__ == "__main__":
    raise SystemExit(main())
