"""What `pm doctor` says of this machine; asks no network, changes nothing.

Each line has what was found, why it matters and the exact way out. What a configuration asks for (CPUs,
memory, disk) is measured against it when one is given.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import sys
from pathlib import Path

from pipeline.config.load import Config
from pipeline.config.topology import plan
from pipeline.errors import PipelineError
from pipeline.run.conditions import CONFIG, ENVIRONMENT, Finding, Line, fail, ok, warn
from pipeline.units import NS_PER_MS

TOPIC = "machine"
PYTHON_MIN, PYTHON_MAX = (3, 11), (3, 13)
SHM = Path("/dev/shm")  # noqa: S108 - where POSIX shared memory lives on Linux
SHM_BYTES_MIN = 256 << 20
LOG_BYTES_MIN = 2 << 30  # without a configuration: its default
FILES_MIN = 1_024
MIB = 1 << 20
_TIMEX_BYTES = 208  # struct timex on 64-bit Linux is 208 bytes; `modes` stands first, `maxerror` at 24
_MAXERROR_AT, _STATUS_AT = 24, 40
_UNSYNCHRONISED = 0x0040  # STA_UNSYNC
_TIME_ERROR = 5


def look_at_machine(config: Config | None, *, is_virtual: bool) -> list[Line]:
    """Return the lines of topic machine; is_virtual: as `pm run --cpus virtual`."""
    folder = Path(config.state_dir if config is not None else ".").resolve()
    found: list[tuple[str, str, Finding]] = [
        ("python", "native modules are built for one version", _python()),
        ("cpus", "each lane is pinned to a CPU of its own choice", _cpus(config, is_virtual)),
        ("shared memory", "rings and books live there; a full one stops a run", _shm()),
        ("clock", "requests are signed with the time", _kernel_clock()),
        ("disk", "no order leaves before it stands in a log on it", _disk(config, folder)),
        ("state", "logs, halt page and ceilings are kept there", _permissions(folder)),
        ("limits", "memory that is paged out or a missing file handle stalls a lane", _limits()),
    ]
    if config is not None and config.metrics.port:
        found.append(("metrics port", "Prometheus asks there", _port(config.metrics.port)))
    return [
        Line(TOPIC, name, one.verdict, one.found, why, one.fix, one.exit_code) for name, why, one in found]


def _python() -> Finding:
    version = ".".join(str(part) for part in sys.version_info[:3])
    if not PYTHON_MIN <= sys.version_info[:2] <= PYTHON_MAX:
        return fail(
            f"{version}, expected 3.11 to 3.13", "./pm makes its environment with a fitting one", ENVIRONMENT)
    return ok(f"{version} at {sys.executable}")


def _cpus(config: Config | None, is_virtual: bool) -> Finding:
    present = sorted(os.sched_getaffinity(0))
    words = f"{len(present)} usable ({', '.join(str(cpu) for cpu in present[:16])})"
    if config is None:
        return ok(words)
    try:
        lanes = plan(config, virtual=is_virtual)
    except PipelineError as problem:
        return fail(f"{words}: {problem}", "choose another topology, or --cpus virtual", problem.exit_code)
    return ok(f"{words}; topology {config.topology} has {len(lanes)} lanes")


def _shm() -> Finding:
    try:
        free = shutil.disk_usage(SHM).free
    except OSError as error:
        return fail(f"{SHM}: {error.strerror}", f"mount -t tmpfs tmpfs {SHM}", ENVIRONMENT)
    if not os.access(SHM, os.W_OK):
        return fail(f"{SHM} is not ours to write", f"chmod 1777 {SHM}", ENVIRONMENT)
    if free < SHM_BYTES_MIN:
        return fail(
            f"{free // MIB} MiB free in {SHM}, expected {SHM_BYTES_MIN // MIB}",
            f"mount -o remount,size=512M {SHM}; in a container: --shm-size 512m", ENVIRONMENT)
    return ok(f"{free // MIB} MiB free in {SHM}")


def _kernel_clock() -> Finding:
    """Ask the kernel whether somebody keeps its clock. Source: man 2 adjtimex, read 2026-11-22."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    fix = "systemctl enable --now systemd-timesyncd, or chrony; pm doctor venue measures the offset"
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        return warn("the kernel does not say", fix)
    error_us = int.from_bytes(timex.raw[_MAXERROR_AT:_MAXERROR_AT + 8], "little", signed=True)
    status = int.from_bytes(timex.raw[_STATUS_AT:_STATUS_AT + 4], "little", signed=True)
    if state < 0 or state == _TIME_ERROR or status & _UNSYNCHRONISED:
        return warn("nobody keeps this machine's clock", fix)
    return ok(f"kept in step, off by at most {error_us * 1_000 // NS_PER_MS} ms")


def _disk(config: Config | None, folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    needed = config.shm.log_bytes_max if config is not None else LOG_BYTES_MIN
    if free < needed:
        return fail(
            f"{free // MIB} MiB free at {there}, the logs may take {needed // MIB}",
            "free space, set shm.log_bytes_max lower, or state_dir on another disk", ENVIRONMENT)
    return ok(f"{free // MIB} MiB free at {there}, the logs may take {needed // MIB}")


def _permissions(folder: Path) -> Finding:
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        return fail(f"{there} is not ours to write", "set state_dir to a folder of yours", CONFIG)
    if there == folder and folder.stat().st_mode & 0o022:
        return warn(f"others may write in {folder}", f"chmod go-w {folder}")
    return ok(f"{folder} can be written")


def _limits() -> Finding:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    locked = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if files != resource.RLIM_INFINITY and files < FILES_MIN:
        return fail(
            f"{files} open files allowed, expected {FILES_MIN}", f"ulimit -n {FILES_MIN}", ENVIRONMENT)
    if locked != resource.RLIM_INFINITY:
        return warn(
            f"only {locked // MIB} MiB may be locked in memory",
            "ulimit -l unlimited, or run it as the service of systemd/README.md")
    return ok("memory may be locked, enough files may be open")


def _port(port: int) -> Finding:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            return warn(
                f"127.0.0.1:{port} is taken ({(error.strerror or '').lower()})",
                "set metrics.port to 0 or another one; a running pipeline of yours may have it")
    return ok(f"127.0.0.1:{port} is free")
