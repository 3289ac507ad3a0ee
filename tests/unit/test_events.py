"""pipeline.store.events: lines that are whole, rotation, levels, secrets, and a disk that is full."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import orjson
import pytest

from pipeline.store.events import REPEAT_NS, EventLog, event_path, silent
from pipeline.venues.polymarket.auth import Secret
from tests.shared import ROOT

KEY = b"the-key-that-nobody-prints-0123456789"


class Ticking:
    """A clock that goes on by one second at each look, so that nothing counts as a repeat."""

    def __init__(self, step_ns: int = 2 * REPEAT_NS) -> None:
        self.now_ns = 1_764_000_000 * 10**9
        self.step_ns = step_ns

    def __call__(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns


def _lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def _files(directory: Path, lane: str = "core") -> list[Path]:
    """Return the lane's files, oldest first."""
    names = [path for path in directory.iterdir() if path.name.startswith(f"{lane}.jsonl.")]
    return [*sorted(names, key=lambda path: -int(path.name.rpartition(".")[2])), event_path(directory, lane)]


def test_a_line_has_head_stage_and_fields_in_this_order(tmp_path: Path) -> None:
    """Whoever greps or parses the log finds the same keys at the same place."""
    log = EventLog(tmp_path / "log", "core", clock=Ticking())
    log.warning("stale_book", quote_age_ms=1_200, stage="book", path=Path("/tmp/x"))
    log.close()
    found = _lines(tmp_path / "log" / "core.jsonl")
    keys = ["ts_ns", "level", "lane", "event", "stage", "quote_age_ms", "path"]
    assert [keys] == [list(line) for line in found]
    assert ("warning", "core", "stale_book", "book", 1_200, "/tmp/x") == tuple(found[0].values())[1:]
    assert 0 == log.dropped_count


def test_a_field_never_takes_the_place_of_the_head(tmp_path: Path) -> None:
    """The supervisor speaks of lanes; the line still says that the supervisor wrote it."""
    log = EventLog(tmp_path, "supervisor", clock=Ticking())
    log.error("lane_died", lane="core", event="x", level="y", ts_ns=1)
    log.close()
    line = _lines(event_path(tmp_path, "supervisor"))[0]
    assert ("error", "supervisor", "lane_died") == (line["level"], line["lane"], line["event"])
    assert ("core", "x", "y", 1) == tuple(
        line[f"about_{name}"] for name in ("lane", "event", "level", "ts_ns"))


@pytest.mark.parametrize(("level", "expected"), [
    ("debug", ["debug", "info", "warning", "error"]), ("info", ["info", "warning", "error"]),
    ("warning", ["warning", "error"]), ("error", ["error"]), ("loud", ["info", "warning", "error"])])
def test_levels(tmp_path: Path, level: str, expected: list[str]) -> None:
    """The mildest level that is written is the configuration's; a wrong one costs no line of info."""
    log = EventLog(tmp_path, "core", level, clock=Ticking())
    for put in (log.debug, log.info, log.warning, log.error):
        put("state_changed")
    log.close()
    assert expected == [line["level"] for line in _lines(event_path(tmp_path, "core"))]


def test_what_json_cannot_hold_does_not_raise_and_secrets_never_print(tmp_path: Path) -> None:
    """No value makes a lane fall, and none that may be a key is written."""
    log = EventLog(tmp_path, "signer", clock=Ticking())
    secret = Secret(KEY)
    log.info(
        "odd", salt=1 << 80, text="broken \ud800", raw=KEY, secret=secret, thing=object(), names={"b", "a"},
        inner={"deep": [secret, KEY]}, keyed={secret.reveal(): 1}, error=ValueError(KEY))
    log.info("wrong \ud800")
    log.close()
    raw = event_path(tmp_path, "signer").read_bytes()
    first, second = _lines(event_path(tmp_path, "signer"))
    assert KEY not in raw and KEY.hex().encode() not in raw
    assert {
        "salt": str(1 << 80), "text": "broken \\ud800", "raw": "<bytes>", "secret": "***",
        "thing": "<object>", "names": ["a", "b"], "inner": {"deep": ["***", "<bytes>"]}, "keyed": "<dict>",
        "error": "<ValueError>"} == {name: first[name] for name in list(first)[4:]}
    assert "wrong \\ud800" == second["event"]
    assert 0 == log.dropped_count


def test_files_and_folder_are_for_their_owner_alone(tmp_path: Path) -> None:
    """A log may name markets and sums: nobody else reads it, whatever the umask says."""
    before = os.umask(0)
    try:
        log = EventLog(tmp_path / "state" / "log", "core", bytes_max=300, clock=Ticking())
        for number in range(10):
            log.info("turned", number_count=number)
        log.close()
    finally:
        os.umask(before)
    assert 0o700 == stat.S_IMODE((tmp_path / "state" / "log").stat().st_mode)
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in _files(tmp_path / "state" / "log")}


@pytest.mark.parametrize(("bytes_max", "files_kept"), [
    (256, 1), (256, 3), (1_000, 2), (4_096, 4), (100_000, 2), (10, 2)])
def test_rotation_keeps_the_newest_lines_whole(tmp_path: Path, bytes_max: int, files_kept: int) -> None:
    """No file passes its size (unless one line does), no more files stay than asked for, no line is cut."""
    count = 300
    log = EventLog(tmp_path, "core", bytes_max=bytes_max, files_kept=files_kept, clock=Ticking())
    for number in range(count):
        log.info("state_changed", number=number, note="é" * (number % 17))
    log.close()
    files = _files(tmp_path)
    one_line = max(len(line) for path in files for line in path.read_bytes().splitlines(keepends=True))
    assert 0 == log.dropped_count
    assert len(files) <= files_kept + 1
    assert max(path.stat().st_size for path in files) <= max(bytes_max, one_line)
    found = [line["number"] for path in files for line in _lines(path)]
    assert list(range(count - len(found), count)) == found
    if bytes_max < 50_000:
        assert files_kept + 1 == len(files)
        assert sum(path.stat().st_size for path in files) > (files_kept + 0.5) * min(bytes_max, one_line)
    else:
        assert count == len(found)


def test_a_later_lane_goes_on_where_the_last_one_ended(tmp_path: Path) -> None:
    """A restart appends, and a line that was cut by a crash does not spoil the first new one."""
    log = EventLog(tmp_path, "core", clock=Ticking())
    log.info("first")
    log.close()
    with open(event_path(tmp_path, "core"), "ab") as file:
        file.write(b'{"ts_ns":1,"level":"in')
    log = EventLog(tmp_path, "core", clock=Ticking())
    log.info("second")
    log.close()
    whole = event_path(tmp_path, "core").read_bytes().splitlines()
    assert ["first", "second"] == [orjson.loads(whole[at])["event"] for at in (0, 2)]
    assert 3 == len(whole)


def test_the_same_again_is_counted(tmp_path: Path) -> None:
    """A loop that fails at each turn costs one line and a count, not a disk."""
    log = EventLog(tmp_path, "core", clock=Ticking(step_ns=1_000))
    for _ in range(500):
        log.warning("refused", cause="rate")
    log.warning("refused", cause="halt")
    for _ in range(3):
        log.warning("refused", cause="rate")
    log.close()
    lines = _lines(event_path(tmp_path, "core"))
    assert [("rate", None), ("rate", 499), ("halt", None), ("rate", None), ("rate", 2)] == [
        (line["cause"], line.get("repeats_count")) for line in lines]


def test_without_its_folder_lines_are_counted_and_later_ones_written(tmp_path: Path) -> None:
    """A folder that is gone, or was never allowed, stops no lane; when it is back the log goes on."""
    (tmp_path / "file").write_text("")
    nowhere = EventLog(tmp_path / "file" / "log", "core", clock=Ticking())
    nowhere.info("lost")
    nowhere.close()
    assert 1 == nowhere.dropped_count

    log = EventLog(tmp_path / "log", "core", clock=Ticking())
    log.info("kept")
    event_path(tmp_path / "log", "core").unlink()
    (tmp_path / "log").rmdir()
    log.info("lost")
    assert 1 == log.dropped_count
    (tmp_path / "log").mkdir()
    log.info("back")
    log.close()
    log.info("too_late")
    assert ["back"] == [line["event"] for line in _lines(event_path(tmp_path / "log", "core"))]
    assert 2 == log.dropped_count


_FULL = """
import resource, sys
from pathlib import Path
from pipeline.store.events import EventLog
limit, directory = int(sys.argv[1]), Path(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
log = EventLog(directory, "core", clock=iter(range(10**18, 2 * 10**18, 2 * 10**9)).__next__)
for number in range(40):
    log.info("state_changed", number=number)
lost = log.dropped_count
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
for number in range(40, 45):
    log.info("state_changed", number=number)
log.close()
print(lost, log.dropped_count)
"""


@pytest.mark.parametrize("limit", [0, 50, 1_000, 1_037])
def test_a_full_disk_drops_counts_and_heals(tmp_path: Path, limit: int) -> None:
    """The kernel refuses bytes in the middle of a line: no exception, and the next line stands alone."""
    ran = subprocess.run(
        [sys.executable, "-c", _FULL, str(limit), str(tmp_path)], cwd=ROOT, capture_output=True, text=True,
        check=False, timeout=60)
    assert (0, "") == (ran.returncode, ran.stderr)
    lost, all_lost = map(int, ran.stdout.split())
    whole, cut = [], 0
    for line in event_path(tmp_path, "core").read_bytes().splitlines():
        try:
            whole.append(orjson.loads(line)["number"])
        except orjson.JSONDecodeError:
            cut += 1
    assert 0 < lost == all_lost
    assert [*range(40 - lost), *range(40, 45)] == whole
    assert cut <= 1


def test_a_full_tmpfs_drops_counts_and_rotation_frees(tmp_path: Path) -> None:
    """On a real full file system too; only root may mount one, so others show it with RLIMIT_FSIZE alone."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(mount)], capture_output=True, check=False)
    if made.returncode:  # not root, or a container without the right: the limit above says the same
        assert os.geteuid() != 0 or b"permission denied" in made.stderr
        return
    try:
        with open(mount / "ballast", "wb", buffering=0) as ballast:
            log = EventLog(mount / "log", "core", bytes_max=1 << 20, clock=Ticking())
            log.info("first")
            for _ in range(16):
                with suppress(OSError):
                    ballast.write(bytes(4_096))
            for number in range(200):
                log.info("state_changed", number=number)
            lost = log.dropped_count
            assert 0 < lost < 200
            ballast.truncate(0)
        log.info("back")
        log.close()
        assert lost == log.dropped_count
        assert b'"event":"back"' in event_path(mount / "log", "core").read_bytes().splitlines()[-1]
    finally:
        subprocess.run(["umount", str(mount)], check=True)


def test_a_silent_log_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated runs have no state directory to write to."""
    monkeypatch.chdir(tmp_path)
    log = silent()
    log.error("nobody_hears")
    log.close()
    assert ([], 0) == (list(tmp_path.iterdir()), log.dropped_count)


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    """The metrics thread and the lane write one file."""
    log = EventLog(tmp_path, "back", bytes_max=20_000, files_kept=100)

    def write(name: str) -> None:
        for number in range(200):
            log.info("state_changed", writer=name, number=number)

    threads = [threading.Thread(target=write, args=(str(index),)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = [line for path in _files(tmp_path, "back") for line in _lines(path)]
    for index in range(4):
        assert list(range(200)) == [line["number"] for line in found if line["writer"] == str(index)]
    assert 0 == log.dropped_count
