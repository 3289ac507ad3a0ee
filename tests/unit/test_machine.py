"""pm doctor machine: each line follows from what this machine has, and says the way out where it lacks."""

from __future__ import annotations

import os
import resource
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config.load import Config, load
from pipeline.run import machine
from pipeline.run.conditions import Line, Verdict

MIB = 1 << 20


def config_of(folder: Path, **overrides: object) -> Config:
    return load([], {"state_dir": str(folder), "topology": "1core", **overrides})


def line(name: str, config: Config | None, *, is_virtual: bool = True) -> Line:
    return next(one for one in machine.look_at_machine(config, is_virtual=is_virtual) if one.name == name)


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Give a function that sets how much room every disk has, in MiB."""
    def give(mib: int) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=mib * MIB))

    return give


def test_each_line_is_told_once_and_not_ok_has_a_way_out(tmp_path: Path) -> None:
    """Seven lines without a port to look at, eight with one; why is always said."""
    for port, count in ((0, 7), (1, 8)):
        lines = machine.look_at_machine(config_of(tmp_path, **{"metrics.port": port}), is_virtual=True)
        assert count == len({one.name for one in lines}) == len(lines)
        for one in lines:
            assert one.why
            assert bool(one.fix) == (one.verdict is not Verdict.OK), one


@pytest.mark.parametrize(("mib", "disk", "memory"), [
    (100_000, Verdict.OK, Verdict.OK), (2_047, Verdict.FAIL, Verdict.OK), (255, Verdict.FAIL, Verdict.FAIL)])
def test_room(mib: int, disk: Verdict, memory: Verdict, free: Callable[[int], None], tmp_path: Path) -> None:
    """The logs' limit must fit on the disk, and shared memory hold the rings; both are exit 4."""
    free(mib)
    config = config_of(tmp_path / "not" / "made" / "yet")
    assert (disk, memory) == (line("disk", config).verdict, line("shared memory", config).verdict)
    for name in ("disk", "shared memory"):
        assert line(name, config).exit_code == (4 if line(name, config).verdict is Verdict.FAIL else 0)


def test_a_topology_that_does_not_fit_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One CPU and a layout for eight: a failure with the plan's own words, unless it is folded."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    config = config_of(tmp_path, topology="8core")
    found = line("cpus", config, is_virtual=False)
    assert Verdict.FAIL is found.verdict
    assert "--cpus virtual" in found.fix
    assert Verdict.OK is line("cpus", config).verdict


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    """It may be our own running pipeline, so it is a warning."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        found = line("metrics port", config_of(tmp_path, **{"metrics.port": port}))
        assert (Verdict.WARN, True) == (found.verdict, f"127.0.0.1:{port} is taken" in found.found)
    assert Verdict.OK is line("metrics port", config_of(tmp_path, **{"metrics.port": port})).verdict


def test_a_folder_that_is_not_ours_or_open_to_others(tmp_path: Path) -> None:
    """A state_dir below a file cannot be made; one that others may write in is a warning."""
    (tmp_path / "file").touch()
    assert Verdict.FAIL is line("state", config_of(tmp_path / "file" / "inside")).verdict
    open_one = tmp_path / "open"
    open_one.mkdir()
    open_one.chmod(0o777)
    assert f"chmod go-w {open_one}" == line("state", config_of(open_one)).fix
    open_one.chmod(0o700)
    assert Verdict.OK is line("state", config_of(open_one)).verdict


@pytest.mark.parametrize(("limits", "verdict", "words"), [
    ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Verdict.OK, "may be locked"),
    ((256, resource.RLIM_INFINITY), Verdict.FAIL, "256 open files"),
    ((4_096, 64 * MIB), Verdict.WARN, "only 64 MiB")])
def test_limits(
    limits: tuple[int, int], verdict: Verdict, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too few file handles fail; memory that may be paged out is a warning, as `pm run` says, too."""
    by_kind: dict[int, Any] = {resource.RLIMIT_NOFILE: limits[0], resource.RLIMIT_MEMLOCK: limits[1]}
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (by_kind[kind], by_kind[kind]))
    found = line("limits", None)
    assert verdict is found.verdict
    assert words in found.found
