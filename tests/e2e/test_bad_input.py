"""Bad input to the real command line: one line with the fix, the right exit code, nothing half started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from pipeline.run.state_dir import instance_name
from pipeline.shm import halt, memory
from tests.cli_runs import one_line, pm, processes_of, segments_of, write_config
from tests.shared import ROOT

NAME = "clibad"
KEY = "0x" + "ab" * 32
API = {
    "apiKey": "00000000-0000-0000-0000-000000000000",
    "secret": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0",
    "passphrase": "p",
}


@pytest.fixture
def venue() -> Iterator[int]:
    """Give the port of something that takes connections and says nothing: enough for a start's checks."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def config(tmp_path: Path, state: Path, venue: int) -> Path:
    """Give a right configuration with right secret files."""
    for name, text in (("wallet.key", KEY), ("api.json", json.dumps(API))):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)
    address = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    return write_config(
        tmp_path / "run.toml",
        NAME,
        state,
        {
            "clob_url": f"http://127.0.0.1:{venue}",
            "gamma_url": f"http://127.0.0.1:{venue}",
            "market_ws_url": f"ws://127.0.0.1:{venue}/ws/market",
            "user_ws_url": f"ws://127.0.0.1:{venue}/ws/user",
            "data_url": "http://127.0.0.1:9",
            "geoblock_url": "http://127.0.0.1:9/api/geoblock",
        },
        {
            "address": address,
            "maker": address,
            "signature_type": 0,
            "key_file": str(tmp_path / "wallet.key"),
            "api_file": str(tmp_path / "api.json"),
        },
    )


def refused(expected_code: int, config: Path, *arguments: object) -> str:
    """Run `pm run`, which must refuse; return its line. No process and no segment may be left."""
    state = config.parent / "state"
    before = segments_of(NAME, state)
    done = pm("run", "--config", config, *arguments)
    line = one_line(done)
    assert (expected_code, "") == (done.returncode, done.stdout), line
    assert before == segments_of(NAME, state)
    assert [] == processes_of(state)
    return line


def set_(key: str, value: object) -> tuple[str, str]:
    return "--set", f"{key}={value}"


#: Arguments of `pm run`, exit code, and words that the line must hold: what is wrong, and the way out.
REFUSALS = {
    "unknown key": (set_("risk.order_usd_mx", 5), 3, ("risk.order_usd_mx", "did you mean order_usd_max?")),
    "unknown section": (set_("rsik.order_usd_max", 5), 3, ("rsik", "did you mean risk?")),
    "not a number": (set_("risk.open_orders_max", "many"), 3, ("risk.open_orders_max", "many")),
    "no such mode": (("--mode", "paper"), 3, ("mode", "paper", "'dry', 'local' or 'live'")),
    "no such topology": (("--topology", "3core"), 3, ("3core", "1core, 2core, 4core, 8core")),
    # Port 9 is nobody's: every question has its answer at once.
    "live": (
        ("--mode", "live", *set_("venues.polymarket.clob_url", "http://127.0.0.1:9"),
         *set_("venues.polymarket.gamma_url", "http://127.0.0.1:9"),
         *set_("venues.polymarket.market_ws_url", "ws://127.0.0.1:9/ws/market"),
         *set_("venues.polymarket.user_ws_url", "ws://127.0.0.1:9/ws/user")),
        6,
        ("mode live refused: wallet main", "more: pm doctor wallet venue", "--mode dry"),
    ),
    "impossible cpu": (
        set_("lane.core.cpu", 4095),
        4,
        ("lane core", "cpu 4095 does not exist", "lane.core] cpu"),
    ),
    "unknown lane": (set_("lane.cor.cpu", 0), 3, ("lane.cor", "did you mean lane.core?")),
    "spin shares a cpu": (set_("lane.core.wait", "spin"), 3, ("lane core spins on cpu 0", "move one")),
    "key is a secret": (set_("accounts.main.key_file", "ab" * 32), 3, ("the secret itself (not shown)",)),
    "mistyped address": (
        set_(
            "accounts.main.maker",
            "0xf39Fd6e51aad88F6F4ce6aB8827279cfF9b92266",
        )
        + set_("accounts.main.address", "0xf39Fd6e51aad88F6F4ce6aB8827279cfF9b92266"),
        3,
        ("accounts.main", "0xf39Fd6e51aad88F6F4ce6aB8827279cfF9b92266"),
    ),
    "wrong --cpus": (("--cpus", "many"), 2, ("--cpus is auto or virtual",)),
    "wrong --set": (("--set", "risk"), 3, ("expected key=value",)),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_configuration_is_refused(name: str, config: Path) -> None:
    """Each wrong key, value or wish is one line that names it and what would be right."""
    arguments, code, words = REFUSALS[name]
    line = refused(code, config, *arguments)
    for word in words:
        assert word in line
    assert "ab" * 32 not in line


def test_foreign_host_is_refused_in_mode_local(config: Path) -> None:
    """Mode local sends to loopback only (exit 6); 192.0.2.0/24 is for documentation, never asked."""
    line = refused(6, config, "--mode", "local", *set_("venues.polymarket.clob_url", "https://192.0.2.7"))
    assert "192.0.2.7" in line
    assert "--mode dry" in line


@pytest.mark.parametrize("broken", ["missing", "open", "garbage"])
def test_key_file_is_refused(broken: str, config: Path) -> None:
    """A key file missing or open to others is exit 4; one that holds no key is exit 3, not shown."""
    key = config.parent / "wallet.key"
    if broken == "missing":
        key.unlink()
    elif broken == "open":
        key.chmod(0o644)
    else:
        key.write_text("correct horse battery staple")
    line = refused(3 if broken == "garbage" else 4, config)
    words = {
        "missing": "config/secrets.example/README.md",
        "open": f"chmod 600 {key}",
        "garbage": "64 hex digits",
    }
    assert str(key) in line
    assert words[broken] in line
    assert "staple" not in line


def test_exchange_down_is_refused(config: Path, venue: int) -> None:
    """Nothing listens at the venue's port: exit 5, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    line = refused(5, config, *set_("venues.polymarket.clob_url", f"http://127.0.0.1:{port}"))
    assert f"nothing answers at http://127.0.0.1:{port}" in line
    assert not (config.parent / "state").exists()


def test_unwritable_state_directory_is_refused(config: Path, state: Path) -> None:
    """A state_dir that cannot be made (here: below a file) is exit 4 and says so."""
    state.write_text("a file")
    line = refused(4, config, *set_("state_dir", f'"{state}/inside"'))
    assert "state_dir" in line
    assert "set state_dir to a folder of yours" in line


def test_foreign_segment_is_refused_and_kept(config: Path, state: Path) -> None:
    """What another program made under our name is exit 4 and is not deleted."""
    path = Path("/dev/shm") / memory.segment_name(instance_name(NAME, state), 1, "arena")
    path.write_bytes(b"somebody else's data" * 300)
    try:
        line = refused(4, config)
        assert str(path) in line
        assert "remove it" in line
        assert path.read_bytes().startswith(b"somebody else's")
    finally:
        path.unlink()


def test_segment_of_another_layout_is_refused_by_status(config: Path, state: Path) -> None:
    """pm status over memory of another build is exit 7 with the way out, not a wrong number."""
    instance = instance_name(NAME, state)
    run_dir = state / "run" / "1"
    run_dir.mkdir(parents=True)
    (state / "generation").write_text("1")
    (state / "run" / "latest").symlink_to("1")
    (run_dir / "spec.json").write_text(
        json.dumps(
            {
                "instance": instance,
                "generation": 1,
                "mode": "dry",
                "state_dir": str(state),
                "run_dir": str(run_dir),
                "anchor_wall_ns": 1,
                "anchor_mono_ns": 1,
                "salt_epoch": 1,
                "start": {},
                "config_files": [],
                "overrides": {},
                "lanes": [{"name": "core", "stages": ["book"], "cpu": 0, "wait": "block", "nice": 0}],
                "doorbells": {},
            }
        )
    )
    name = memory.segment_name(instance, 1, "status.core")
    memory.create(name, 4096, generation=1).close()
    path = Path("/dev/shm") / name
    raw = bytearray(path.read_bytes())
    raw[8] ^= 1  # the layout hash
    path.write_bytes(raw)
    try:
        done = pm("status", "--state", state)
        assert 7 == done.returncode
        assert "stop the pipeline" in one_line(done)
    finally:
        memory.unlink(name)


def test_damaged_files_of_the_state_directory_are_refused(config: Path, state: Path) -> None:
    """A damaged halt page is exit 7 (a brake that cannot be read is pulled), a damaged generation exit 4."""
    state.mkdir()
    (state / halt.FILE_NAME).write_bytes(b"x" * halt.PAGE_BYTES)
    assert str(state / halt.FILE_NAME) in refused(7, config)
    (state / halt.FILE_NAME).unlink()
    (state / "generation").write_text("seven")
    assert "must hold a number" in refused(4, config)


def test_missing_and_broken_configuration_files(tmp_path: Path) -> None:
    """No file, no TOML, not text: exit 3 with the file's name, from run and from config check alike."""
    (tmp_path / "bad.toml").write_text("mode = dry")
    (tmp_path / "raw.toml").write_bytes(b"\xff\xfe")
    for name in ("none.toml", "bad.toml", "raw.toml"):
        for arguments in (("run", "--config", tmp_path / name), ("config", "check", tmp_path / name)):
            done = pm(*arguments)
            assert 3 == done.returncode
            assert str(tmp_path / name) in one_line(done)


def test_port_in_use_is_refused(tmp_path: Path, venue: int) -> None:
    """An exchange told to listen where somebody listens: exit 4, one line with the way out."""
    path = tmp_path / "exchange.json"
    path.write_text(
        json.dumps(
            {
                "run_dir": str(tmp_path / "exchange"),
                "markets": 1,
                "planted_events": 0,
                "ports": {"clob": venue},
            }
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.sim.process", "--config", str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 4 == done.returncode
    assert 1 == len(done.stderr.splitlines())
    assert f"cannot listen on 127.0.0.1:{venue}" in done.stderr
    assert "choose another port" in done.stderr


@pytest.mark.parametrize("broken", ["cut", "not zstandard", "not a recording"])
def test_damaged_recording_is_refused(broken: str, tmp_path: Path) -> None:
    """pm demo --feed of a damaged file is exit 7 with the file's name; the demo leaves nothing behind."""
    path = tmp_path / "feed.jsonl.zst"
    lines = [
        json.dumps({"t_ns": n * 10**6, "venue": "kalshi", "channel": "c", "raw": os.urandom(200).hex()})
        for n in range(200)
    ]
    whole = zstandard.ZstdCompressor().compress("\n".join(lines).encode())
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "not zstandard": b"plain text",
            "not a recording": zstandard.ZstdCompressor().compress(b'{"hello": 1}\n'),
        }[broken]
    )
    keep = tmp_path / "kept"
    done = pm("demo", "--seconds", 2, "--topology", "1core", "--feed", path, "--keep", keep)
    assert 7 == done.returncode
    line = one_line(done)
    assert str(path) in line
    assert [] == processes_of(tmp_path)
    assert [] == segments_of("demo", keep / "state")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--feed", "/nonexistent.jsonl.zst"), "does not exist"),
        (("--speed", "fast"), "--speed"),
        (("--cpus", "all"), "--cpus"),
        (("--json", "/nonexistent/x.json"), "--json"),
        (("--seconds", "0"), "--seconds"),
    ],
)
def test_wrong_options_of_the_demo(arguments: tuple[str, str], word: str) -> None:
    """A wrong option is exit 2 at once."""
    done = pm("demo", *arguments)
    assert 2 == done.returncode
    assert word in one_line(done)


def test_commands_without_a_run(tmp_path: Path) -> None:
    """status, explain and resume of a directory without a run are exit 4 and say which option to give."""
    for arguments in (("status",), ("explain", "g1"), ("resume", "--reason", "x")):
        for directory in (tmp_path, tmp_path / "none"):
            done = pm(*arguments, "--state", directory)
            assert 4 == done.returncode
            assert "--state DIR" in one_line(done)
