"""SH02: between two processes, and under the race detector, each record comes once and in order."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.faults import channels
from tests.faults.rings import FIXED_SEED, ring_segments
from tests.models.ring_space import Orders, Space, first_error
from tests.shared import ROOT, fresh_seed, scaled
from tests.tools.faultrows import figure
from tests.tools.mutants import BUILD

MESSAGES = figure("SH02", "messages")
CHECKED = figure("SH02", "messages_race_checked")
LOG_MESSAGES = scaled(10_000_000, 1_000_000_000)
LOG_SLOTS = 8_192
# Each end must have waited for the other; how often is the scheduler's. A reader's pause fills a ring
# of 128 slots: 1,275 to 11,800 times in ten runs; one of 1,024 was full 137 to 1,945 times.
OFTEN = 100
SEEDS = [FIXED_SEED, fresh_seed()]
SANITIZED = ("pipeline.native.flow", "pipeline.native.ring", "pipeline.native.torture")
RACE_CHECK = """
import sys, threading
from pipeline.native import ring, torture
from pipeline.native.ring import Reader, Ring, Writer
assert ring.__file__.startswith(sys.argv[1]), ring.__file__
count, seed = int(sys.argv[2]), int(sys.argv[3])
buffer = bytearray(Ring.bytes_for(256))
Ring.format(buffer, 256)
writer, reader, sent = Writer(buffer), Reader(buffer), []
def work():
    sent.append(torture.produce(writer, 0, count, seed, run_max=7, batch=3, pause_every=4_096))
thread = threading.Thread(target=work)
thread.start()
got = torture.consume(reader, 0, count, seed, pause_every=4_096)
thread.join()
print(sent[0].sent, got.received, got.wrong_order, got.wrong_bytes, got.broken_runs)
"""


def exchange(common: dict, more_sent: dict, deadline_s: float) -> tuple[dict[str, int], dict[str, int]]:
    """Run both ends as pinned processes; returns what the consumer and the producer say."""
    consumer_cpu, producer_cpu = channels.cpus()
    more = {"pause_every": 2_048}
    consumer = channels.start(common | {"end": "consume", "cpu": consumer_cpu, "more": more})
    producer = channels.start(common | {"end": "produce", "cpu": producer_cpu, "more": more | more_sent})
    got, sent = channels.answers([consumer, producer], deadline_s)
    return got, sent


@pytest.mark.timeout(3_700)  # the gate figure takes long; the ends have a deadline of their own
@pytest.mark.parametrize("seed", SEEDS)
def test_SH02_a_ring_between_pinned_processes(seed, capsys, gate_record):
    """Runs of 1..7 slots, three a release store, every byte compared: 0 lost, doubled, reordered."""
    with ring_segments() as segment:
        common = {"name": segment(128).name, "first": 0, "count": MESSAGES // 2, "seed": seed}
        got, sent = exchange(common, {"run_max": 7, "batch": 3}, scaled(240, 1_800))
    with capsys.disabled():
        print(f"\nSH02 ring {seed}: {sent['sent']} sent, full {sent['full_count']}, "
              f"empty {got['empty_count']}, {got['received'] * 1e3 / got['elapsed_ns']:.1f} M/s with pauses")
    assert (MESSAGES // 2, MESSAGES // 2) == (sent["sent"], got["received"])
    assert (0, 0, 0) == (got["wrong_order"], got["wrong_bytes"], got["broken_runs"])
    assert sent["full_count"] >= OFTEN
    assert got["empty_count"] >= OFTEN
    gate_record("SH02", "messages", got["received"], seed)


@pytest.mark.timeout(3_700)
def test_SH02_a_log_between_pinned_processes(capsys):
    """10 M messages (gate: 1 G), >= 1,000 segments, every byte compared: 0 lost, doubled, reordered."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=base) as place:
        common = {"directory": place, "first": 0, "count": LOG_MESSAGES, "seed": fresh_seed(),
                  "segment_slots": LOG_SLOTS, "bounded": True}
        got, sent = exchange(common, {"run_max": 7}, scaled(280, 3_600))
    segment_count = sent["position"] // LOG_SLOTS
    with capsys.disabled():
        print(f"\nSH02 log {fresh_seed()}: {sent['sent']} sent through {segment_count} segments, "
              f"{sent['inline_rolls']} made late, empty {got['empty_count']}, "
              f"{got['received'] * 1e3 / got['elapsed_ns']:.1f} M/s with pauses")
    assert (LOG_MESSAGES, LOG_MESSAGES) == (sent["sent"], got["received"])
    assert (0, 0, 0) == (got["wrong_order"], got["wrong_bytes"], got["broken_runs"])
    assert sent["position"] == got["position"]
    assert got["empty_count"] >= OFTEN
    assert segment_count >= 1_000


@pytest.mark.parametrize(("slots", "messages"), [(2, 5), (2, 6), (3, 7)])
@pytest.mark.parametrize("is_observer", [False, True], ids=["reader", "observer"])
def test_SH02_the_whole_state_space_of_the_model_is_right(slots, messages, is_observer, capsys):
    """Every order in which stores may become visible: 0 wrong records, no end but the right one."""
    states, ends = Space(Orders(), slots, messages, is_observer=is_observer).explore()
    with capsys.disabled():
        print(f"\nSH02 model: {slots} slots, {messages} messages, {states} states, {len(ends)} ends")
    assert {messages} == {end.reading.position for end in ends}
    if not is_observer:
        assert {messages} == {end.reading.kept_count for end in ends}
    assert states > 400


@pytest.mark.parametrize(("weakened", "ends"), [
    ("tail_release", (True, True)), ("tail_acquire", (True, True)), ("head_release", (True, False)),
    ("overwrite_release", (False, True)), ("overwrite_acquire", (False, True)),
    ("has_second_look", (False, True)),
])
def test_SH02_each_order_is_needed_by_the_model(weakened, ends):
    """Without any one of them the state space holds a wrong record: the proof can fail, and none is idle."""
    orders = Orders(**{weakened: False})
    assert ends == tuple(bool(first_error(orders, 2, 5, is_observer=is_observer))
                         for is_observer in (False, True))


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    """Build ring and torture with the race detector in a copy of the sources; gives the copy's folder."""
    tree = tmp_path_factory.mktemp("tsan") / "tree"
    shutil.copytree(ROOT / "pipeline", tree / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "*.c"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for module in SANITIZED:
        for built in tree.glob(module.replace(".", "/") + ".*.so"):
            built.unlink()
    environment = os.environ | {"CFLAGS": "-g0 -O1 -fsanitize=thread", "LDFLAGS": "-fsanitize=thread"}
    made = subprocess.run([sys.executable, "-c", BUILD, *SANITIZED], cwd=tree, env=environment,
                          capture_output=True, text=True, check=False)
    assert 0 == made.returncode, made.stderr[-2_000:]
    return tree


def race_check(tree: Path, count: int, seed: int) -> subprocess.CompletedProcess[str]:
    """Run the two ends as threads of one process under the race detector."""
    library = subprocess.run([os.environ.get("CC", "cc"), "-print-file-name=libtsan.so"], capture_output=True,
                             text=True, check=True).stdout.strip()
    environment = os.environ | {"PYTHONPATH": str(tree), "LD_PRELOAD": library,
                                "TSAN_OPTIONS": "exitcode=66 halt_on_error=1"}
    # a fixed layout: the detector's shadow has no place for some random ones
    command = ["setarch", "-R", sys.executable, "-c", RACE_CHECK, str(tree), str(count), str(seed)]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False,
                          timeout=1_700)


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", SEEDS)
def test_SH02_the_race_detector_finds_every_access_ordered(sanitized, seed, gate_record):
    """ThreadSanitizer: release and acquire hand every payload byte over; not x86's habits, but any CPU's."""
    count = CHECKED // 2
    done = race_check(sanitized, count, seed)
    assert "" == done.stderr.partition("WARNING: ThreadSanitizer")[1], f"seed {seed}\n{done.stderr[:4_000]}"
    assert (0, f"{count} {count} 0 0 0") == (done.returncode, done.stdout.strip()), done.stderr[-2_000:]
    gate_record("SH02", "messages_race_checked", count, seed)
