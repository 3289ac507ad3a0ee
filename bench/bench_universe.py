"""5,000 markets on one machine: `pm run` on the local exchange, from process start until every book is valid.

The exchange is a process beside it on the same CPUs, with generated markets whose flow is thin (speed 0.01:
some 3,000 commits a second over all). A book is valid when it has its snapshot, is not stale and was proven
by the venue's hash. Memory is the kernel's: segments in /dev/shm by their blocks, anonymous pages of each
process (`RssAnon`: heap and Python objects, neither shared memory nor files).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from bench import harness
from pipeline.codec import CODECS
from pipeline.errors import PipelineError
from pipeline.kinds import Flag, Kind, Rule
from pipeline.native.ladder import Rows
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.run.exchange import ExchangeProcess, pipeline_keys
from pipeline.run.state_dir import instance_name
from pipeline.shm import memory

CONFIG = Path(__file__).resolve().parent.parent / "config" / "demo.toml"
VALID_S_MAX = 240.0
LOOK_S = 0.1
SETTLE_S = 5.0  # between the last confirmed market and the look at the memory
SPARE_BOOKS = 200  # places above the generated markets, for the planted ones
_TOP = CODECS[Kind.TOP]
_SHM = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives on Linux


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure one start with 5,000 markets and, to compare, one with 60; smoke does the small one only."""
    figures = {"small": _measure(60, 1.0 if is_smoke else SETTLE_S)}
    if not is_smoke:
        figures["large"] = _measure(5_000, SETTLE_S)
        apart = figures["large"]["anonymous_bytes"]["core"] - figures["small"]["anonymous_bytes"]["core"]
        more = figures["large"]["books"] - figures["small"]["books"]
        figures["core_bytes_per_book"] = round(apart / more)
    return harness.record("universe", "python -m bench universe", figures, is_smoke)


def _measure(markets: int, settle_s: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="pm-bench-") as name:
        directory = Path(name)
        exchange = ExchangeProcess(directory / "exchange", {
            "seed": 1, "markets": markets, "planted_events": 10, "speed": 0.01, "seconds": 900.0})
        try:
            exchange.start(lambda what, done, total: None)
            return _pipeline(exchange, directory, markets, settle_s)
        finally:
            exchange.stop()


def _pipeline(exchange: ExchangeProcess, directory: Path, markets: int, settle_s: float) -> dict[str, Any]:
    config, state = directory / "pipeline.toml", directory / "state"
    lines = []
    for table, keys in pipeline_keys(exchange.directory, exchange.urls).items():
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    config.write_text("\n".join(lines) + "\n")
    places = markets + SPARE_BOOKS
    settings = [f"state_dir={state}", "name=universe", f"universe.instruments_max={places}",
                f"shm.ladders_128={places}", f"shm.ladders_1024={places}"]
    command = [sys.executable, "-m", "pipeline.cli", "run", "--config", str(CONFIG), "--config", str(config),
               "--mode", "local", "--json", *(word for one in settings for word in ("--set", one))]
    began_ns = time.time_ns()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        instance = instance_name("universe", state)
        found = _wait_for_books(process, instance, began_ns, markets)
        while (stream := _stream(state, began_ns))["tradable"] < found["books"]:
            if time.time_ns() - began_ns > VALID_S_MAX * 1e9:
                raise SystemExit(f"bench universe: {stream['tradable']} of {found['books']} are tradable")
            time.sleep(1.0)
        time.sleep(settle_s)
        found |= _memory(instance, process.pid) | stream
        status = exchange.control("GET", "/control/report")
        sockets = [row for row in status["sockets"] if row["channel"] == "market"]
        found |= {"sockets": sum(not row["closed_ns"] for row in sockets), "sockets_opened": len(sockets)}
        found["exchange_cpu_s"] = round(sum(psutil.Process(exchange.pid).cpu_times()[:2]), 1)
        return found
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def _wait_for_books(
    process: subprocess.Popen[str], instance: str, began_ns: int, markets: int,
) -> dict[str, Any]:
    """Look at the books until all that are listed are valid; return how many, and when."""
    deadline, first_s, seen_s, was_listed = time.monotonic() + VALID_S_MAX, 0.0, 0.0, 0
    states: Counter[str] = Counter()
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"bench universe: pm run ended with {process.returncode}")
        states = _book_states(instance)
        elapsed_s = (time.time_ns() - began_ns) / 1e9
        if states["valid"] and not first_s:
            first_s = elapsed_s
        listed = sum(states.values())
        if listed > markets and states["valid"] == listed:
            if was_listed == listed:  # twice the same: nothing is still being listed
                return {
                    "books": listed, "first_valid_s": round(first_s, 2), "all_valid_s": round(seen_s, 2)}
            was_listed, seen_s = listed, elapsed_s
        time.sleep(LOOK_S)
    raise SystemExit(f"bench universe: {dict(states)} after {VALID_S_MAX} s, expected all valid")


def _book_states(instance: str) -> Counter[str]:
    """Count the books by what they are: valid, stale (or without a snapshot), unproven."""
    found: Counter[str] = Counter(valid=0)
    names = [name for _, name in memory.listing(instance) if name.endswith("-rows")]
    if not names:
        return found
    try:
        segment = memory.attach(names[-1], read_only=True)
    except (OSError, ValueError, PipelineError):  # a segment that is not whole yet
        return found
    try:
        rows = Rows(segment.data)
        for number in range(1, rows.rows_max):
            slot = rows.read(number)
            if slot is not None:
                top = _TOP.unpack(slot)
                found["stale" if top.flags & Flag.STALE else "valid" if top.proof_ns else "unproven"] += 1
        rows.close()
    except PipelineError:
        pass  # the chain has not formatted them yet
    finally:
        segment.close()
    return found


def _memory(instance: str, supervisor: int) -> dict[str, Any]:
    """Return what the run occupies: shared by segment, anonymous by process."""
    shared: Counter[str] = Counter()
    for _, name in memory.listing(instance):
        what = name.split("-", 3)[3].partition(".")[0]
        shared[what] += (_SHM / name).stat().st_blocks * 512
    processes = {"supervisor": supervisor}
    for child in psutil.Process(supervisor).children():
        words = child.cmdline()
        if "pipeline.run.lane" in words:
            processes[words[words.index("pipeline.run.lane") + 2].strip("-")] = child.pid
    anonymous = {name: _anonymous_bytes(pid) for name, pid in processes.items()}
    books = shared["arena"] + shared["rows"]
    return {
        "shared_bytes": {**dict(sorted(shared.items())), "all": sum(shared.values())}, "book_bytes": books,
        "anonymous_bytes": {**anonymous, "all": sum(anonymous.values())},
        "books_and_core_bytes": books + anonymous["core"],
        "cpu_s": {
            name: round(sum(psutil.Process(pid).cpu_times()[:2]), 1) for name, pid in processes.items()},
    }


def _anonymous_bytes(pid: int) -> int:
    for line in Path("/proc", str(pid), "status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit(f"bench universe: process {pid} has no RssAnon")


def _stream(state: Path, began_ns: int) -> dict[str, Any]:
    """Return when the last market became tradable, and how full the shards are, by the log."""
    reader = LogReader(state / "logs" / "stream", "stream", None)
    wanted, last_ns = Filter(reader, (Kind.INSTRUMENT,)), 0
    shards, tradable = dict[int, int](), dict[int, int]()
    while data := wanted.read(4_096, 1 << 40):
        for at in range(0, len(data), SLOT_BYTES):
            record = CODECS[Kind.INSTRUMENT].unpack(data, at)
            shards[record.instrument] = record.shard
            if record.rules & Rule.TRADABLE and record.instrument not in tradable:
                tradable[record.instrument] = last_ns = record.now_ns
    reader.close()
    return {
        "tradable": len(tradable), "all_tradable_s": round((last_ns - began_ns) / 1e9, 2),
        "shards": len(set(shards.values())),
        "assets_per_socket_max": 2 * max(Counter(shards.values()).values()),
        "log_bytes": sum(path.stat().st_size for path in (state / "logs").rglob("*") if path.is_file()),
        "cpus": len(os.sched_getaffinity(0)),
    }
