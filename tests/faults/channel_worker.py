"""One end of a ring or a log in a process of its own: `channel_worker.py '<json>'`; prints JSON.

Used by the tests of SH01, SH02 and SH04. It pins itself, so two ends really run on two CPUs.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path

from pipeline.native import torture
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.ring import Observer, Reader, Writer
from pipeline.native.segments import segment_firsts
from pipeline.shm import memory

AHEAD_SEGMENTS_MAX = 64  # a log has no "full": the test bounds its disk space itself


def pin(cpu: int | None) -> None:
    """Run on `cpu` alone and prove it."""
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})
        if {cpu} != os.sched_getaffinity(0):
            raise SystemExit(f"cpu {cpu} expected, was {os.sched_getaffinity(0)}")


def add(results: list[object]) -> dict[str, int]:
    """Return the sums of the results' fields."""
    total: dict[str, int] = {}
    for result in results:
        for key, value in dataclasses.asdict(result).items():  # type: ignore[call-overload]
            total[key] = total.get(key, 0) + value
    return total


def ring_end(task: dict) -> dict[str, int]:
    """Run the named end of a ring in a shared segment."""
    segment = memory.attach(task["name"], read_only=task["end"] == "observe")
    try:
        if task["end"] == "produce":
            end = Writer(segment.data)
            result = torture.produce(end, task["first"], task["count"], task["seed"], **task.get("more", {}))
        elif task["end"] == "consume":
            end = Reader(segment.data)
            result = torture.consume(end, task["first"], task["count"], task["seed"], **task.get("more", {}))
            end.check()
        elif task["end"] == "churn":
            end, taker = Writer(segment.data), Reader(segment.data)
            more = task.get("more", {})
            result = torture.churn(end, taker, task["first"], task["count"], task["seed"], **more)
            taker.close()
        else:
            end = Observer(segment.data)
            print("ready", flush=True)
            result = torture.observe(end, task["count"], task["seed"], **task.get("more", {}))
        end.close()
    finally:
        segment.close()
    return dataclasses.asdict(result)


def log_produce(task: dict) -> dict[str, int]:
    """Append messages to a log, the next segment prepared between pieces, as an idle lane does."""
    directory, results, sent, more = Path(task["directory"]), [], 0, task.get("more", {})
    writer = LogWriter(directory, "torture", task["segment_slots"])
    while sent < task["count"]:
        while len(segment_firsts(directory)) > AHEAD_SEGMENTS_MAX and task.get("bounded"):
            os.sched_yield()
        piece = min(task["segment_slots"] // 2, task["count"] - sent)
        results.append(torture.produce(writer, task["first"] + sent, piece, task["seed"], **more))
        sent += piece
        writer.check()
        while not writer.prepare_next():
            pass
    total = add(results) | {"inline_rolls": writer.inline_rolls, "position": writer.position}
    writer.close()
    return total


def log_consume(task: dict) -> dict[str, int]:
    """Read a log from the start while it grows and remove what was read."""
    directory, results, received, removed = Path(task["directory"]), [], 0, 0
    more = task.get("more", {})
    reader = LogReader(directory, "torture", verify=task.get("verify", False))
    while received < task["count"]:
        piece = min(task["segment_slots"], task["count"] - received)
        result = torture.consume(reader, task["first"] + received, piece, task["seed"], **more)
        reader.check()
        results.append(result)
        received += result.received
        if result.received < piece:
            break
        if task.get("bounded"):
            for first in segment_firsts(directory):
                if first + task["segment_slots"] < reader.position:
                    (directory / f"{first:020d}.log").unlink()
                    removed += 1
    total = add(results) | {"removed": removed, "position": reader.position}
    reader.close()
    return total


if __name__ == "__main__":
    work = json.loads(sys.argv[1])
    pin(work.get("cpu"))
    if "name" in work:
        answer = ring_end(work)
    else:
        answer = log_produce(work) if work["end"] == "produce" else log_consume(work)
    print(json.dumps(answer))
