"""What a run was made of, one file a start: `<state_dir>/logs/manifests/<generation>.json`, whole or absent.

Written by the supervisor before its lanes start, beside the logs that they write; read by `pm replay` and by
people. It holds no secret and nothing that a decision depends on: all of that is in the stream.
"""

from __future__ import annotations

import functools
import hashlib
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from pipeline import __version__
from pipeline.config.load import Config, config_hash
from pipeline.errors import EnvironmentProblem
from pipeline.records import LAYOUT_HASH, LAYOUT_VERSION
from pipeline.run.channels import ladder_blocks
from pipeline.run.spec import RunSpec
from pipeline.store.durable import write_durably

DIRECTORY = "manifests"
MANIFEST_VERSION = 1
PACKAGE = Path(__file__).resolve().parent.parent
LOCK_FILE = PACKAGE.parent / "requirements.lock"
BUILD_SUFFIXES = (".py", ".so")  # what runs: Python and the built natives
ID_DIGITS = 16

Manifest = dict[str, Any]


@functools.cache
def build_id(package: Path = PACKAGE) -> str:
    """Return 16 hex digits that name the code: every Python file and every built native of the package."""
    digest = hashlib.sha256()
    for path in sorted(path for path in package.rglob("*") if path.suffix in BUILD_SUFFIXES):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:ID_DIGITS]


def lock_hash(path: Path = LOCK_FILE) -> str:
    """Return 16 hex digits of the locked requirements; "" where the package is installed without them."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:ID_DIGITS]
    except FileNotFoundError:
        return ""


def machine_facts() -> dict[str, Any]:
    """Return what the run's figures depend on: CPUs, memory, kernel, whether cores have two threads."""
    model, threads = "", ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        threads = Path("/sys/devices/system/cpu/smt/active").read_text().strip()
    except OSError:
        pass  # facts for people: what this kernel does not tell stays empty
    return {
        "node": platform.node(), "architecture": platform.machine(), "cpu": model,
        "cpus": sorted(os.sched_getaffinity(0)), "threads_per_core": 2 if threads == "1" else 1,
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def describe(config: Config, spec: RunSpec) -> Manifest:
    """Return the manifest of a start as plain values."""
    return {
        "manifest": MANIFEST_VERSION, "name": config.name, "generation": spec.generation, "mode": spec.mode,
        "started_ns": spec.anchor_wall_ns, "version": __version__, "build": build_id(),
        "layout_version": LAYOUT_VERSION, "layout_hash": f"{LAYOUT_HASH:016x}",
        "config_hash": config_hash(config).hex(), "lock_hash": lock_hash(), "topology": config.topology,
        "lanes": [asdict(lane) for lane in spec.lanes],
        "books": {"rows_max": config.rows_end, "ladders": ladder_blocks(config.shm)},
        "python": platform.python_version(), "kernel": platform.release(), "machine": machine_facts(),
        "stream_seq": spec.start.stream, "decisions_seq": spec.start.decisions,
    }


def write(config: Config, spec: RunSpec) -> Path:
    """Write the manifest of this start beside its logs and return its path; raises OSError."""
    directory = Path(spec.state_dir) / "logs" / DIRECTORY
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{spec.generation}.json"
    write_durably(path, orjson.dumps(describe(config, spec), option=orjson.OPT_INDENT_2) + b"\n")
    return path


def read_all(logs: Path) -> list[Manifest]:
    """Return the manifests beside the logs in this folder, oldest start first; none where there is none.

    Raises EnvironmentProblem for a file that is no manifest.
    """
    found = []
    for path in sorted((logs / DIRECTORY).glob("*.json"), key=lambda path: (len(path.stem), path.stem)):
        try:
            manifest = orjson.loads(path.read_bytes())
            if not isinstance(manifest, dict) or manifest.get("manifest") != MANIFEST_VERSION:
                raise ValueError(f"a manifest of version {MANIFEST_VERSION} was expected")
        except (OSError, ValueError) as problem:
            raise EnvironmentProblem(
                f"run.manifest: {path} cannot be read as a manifest: {problem}; move it away") from problem
        found.append(manifest)
    return found
