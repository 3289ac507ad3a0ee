"""SH05: no segment stays behind a killed run, and none goes because somebody who looked at it exits."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from eth_account import Account

from pipeline.shm import memory
from tests.cli_runs import command, segments_of, until, write_config
from tests.faults.rings import FIXED_SEED
from tests.shared import ROOT, fresh_seed, wait_until
from tests.tools.faultrows import figure

NAME = "leftovers"
INSTANCE = f"attach{os.getpid()}"
#: Ways to leave without letting a segment go; each one's exit code.
WAYS = {
    "pass": 0,
    "raise SystemExit(3)": 3,
    "raise ValueError": 1,
    "import os, signal; os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)": -signal.SIGTERM,
}
BYTES = 100_000


@pytest.fixture
def port() -> Iterator[int]:
    """Give a port that takes connections and says nothing on them."""
    with socket.create_server(("localhost", 0), backlog=1_024) as server:
        yield server.getsockname()[1]


def config_of(directory: Path, state: Path, port: int) -> Path:
    """Return a configuration whose venue never answers: its lanes come up and try again and again."""
    wallet = Account.create()
    keys = {"api_key": "k", "secret": "c2VjcmV0", "passphrase": "p"}
    for name, text in (("key.hex", wallet.key.hex()), ("api.json", json.dumps(keys))):
        with open(os.open(directory / name, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="ascii") as file:
            file.write(text)
    urls = {"clob_url": "https", "gamma_url": "https", "market_ws_url": "wss", "user_ws_url": "wss"}
    return write_config(
        directory / "run.toml", NAME, state,
        {key: f"{scheme}://localhost:{port}" for key, scheme in urls.items()},
        {
            "address": wallet.address, "maker": wallet.address, "signature_type": 0,
            "key_file": str(directory / "key.hex"), "api_file": str(directory / "api.json"),
        },
    )


def start(config: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command("run", "--config", config, "--json"), cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})


def kill_all(process: subprocess.Popen[str]) -> int:
    """SIGKILL the supervisor and all below it, as the end of its control group would; return how many."""
    top = psutil.Process(process.pid)
    top.suspend()  # it starts no more lanes while we count them
    group = [*top.children(recursive=True), top]
    for one in group:
        one.kill()
    psutil.wait_procs(group, 30)
    process.communicate()
    return len(group)


def generations(state: Path) -> set[str]:
    """Return the generations of the segments that are there."""
    return {name.split("-")[2] for name in segments_of(NAME, state)}


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", [FIXED_SEED])
def test_SH05_the_next_start_and_the_stop_leave_nothing(
    seed: int, port: int, tmp_path: Path, gate_record: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Killed as a group in any phase of its start: the next start sweeps all of it, a stop its own."""
    state, draw = tmp_path / "state", random.Random(seed)
    config, kills = config_of(tmp_path, state, port), figure("SH05", "group_kills")
    whole, left, killed = 0, 0, 0
    for _ in range(kills):
        before = generations(state)
        process = start(config)
        wanted = draw.randint(1, 12)  # segments of its own; a run has more than twice as many
        is_up = draw.random() < 0.4
        wait_until(
            lambda before=before, process=process, wanted=wanted: process.poll() is not None or len(
                [name for name in segments_of(NAME, state) if name.split("-")[2] not in before]) >= wanted,
            60, "the segments of a start")
        assert process.poll() is None, process.communicate()
        assert not before & generations(state)  # swept before the first one was made
        if is_up:
            assert process.stdout is not None
            assert "up" in process.stdout.readline() or process.poll() is None
            whole += 1
        killed += kill_all(process)
        left += bool(segments_of(NAME, state))
    assert kills == left  # each kill did leave something: nobody else cleans up behind it
    last = start(config)
    assert last.stdout is not None
    assert last.stdout.readline()
    assert 1 == len(generations(state))
    last.send_signal(signal.SIGTERM)
    _, errors = last.communicate(timeout=60)
    assert 0 == last.returncode, errors
    until(lambda: not segments_of(NAME, state), "a stop without leftovers")
    with capsys.disabled():
        print(f"\nSH05 {seed}: {kills} group kills ({whole} of whole runs, {killed} processes), 0 left")
    gate_record("SH05", "group_kills", kills, seed)


def pythons() -> list[str]:
    """Return the interpreters here that this build was made for; others cannot attach at all."""
    named = [sys.executable, *(shutil.which(f"python3.{minor}") or "" for minor in range(11, 16))]
    found: dict[str, str] = {}
    for path in filter(None, named):
        tried = subprocess.run(
            [path, "-c", "import pipeline.shm.memory"], capture_output=True, check=False, timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)})
        if tried.returncode == 0:
            found.setdefault(os.path.realpath(path), path)
    return list(found.values())


@pytest.mark.timeout(600)
def test_SH05_whoever_attaches_takes_nothing_along(gate_record: Callable[..., None]) -> None:
    """However an attacher ends, with its tracker and all, the segment and every byte of it stay."""
    name, draw = memory.segment_name(INSTANCE, 1, "x"), random.Random(fresh_seed())
    content, count, present = draw.randbytes(BYTES), figure("SH05", "attachers"), pythons()
    try:
        with memory.create(name, BYTES, generation=1) as made:
            made.data[:] = content
            for number in range(count):
                python = present[number % len(present)]
                way, code = list(WAYS.items())[number % len(WAYS)]
                read_only = bool(number & 1)
                attach = "from pipeline.shm import memory\n"
                attach += f"held = memory.attach({name!r}, read_only={read_only})\n"
                ended = subprocess.run(
                    [python, "-c", attach + way], capture_output=True, check=False, timeout=60,
                    env=os.environ | {"PYTHONPATH": str(ROOT)})
                assert code == ended.returncode, ended.stderr
                assert Path("/dev/shm", name).exists(), way
                with memory.attach(name) as found:
                    assert content == bytes(found.data)
    finally:
        memory.sweep(INSTANCE)
    gate_record("SH05", "attachers", count)
