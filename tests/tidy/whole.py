"""Rules that need more than one file: SYNC pairs, the lock against pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SYNC = re.compile(r"^(?P<code>.*?)(?:#|/\*|//)\s*SYNC\s+(?P<label>[a-z0-9][a-z0-9-]*)")
EITHER = re.compile(r"fence_full|fence_seq_cst|atomic_thread_fence\(memory_order_seq_cst\)")
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)(?:\s*;[^\\]*)?\s*\\?$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def sync_labels_pair(sources: dict[str, str]) -> list[str]:
    """Each `SYNC label` stands exactly twice: at a release and at an acquire; a full fence is both."""
    places: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, text in sources.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := SYNC.match(line):
                places[found["label"]].append((f"{path}:{number}", found["code"]))
    problems = []
    for label, ends in sorted(places.items()):
        where = ", ".join(place for place, _ in ends)
        if len(ends) != 2:
            problems.append(
                f"SYNC {label} stands {len(ends)} times ({where}); it names one release and one acquire"
            )
            continue
        releases = [bool(EITHER.search(code) or "release" in code) for _, code in ends]
        acquires = [bool(EITHER.search(code) or "acquire" in code) for _, code in ends]
        if not ((releases[0] and acquires[1]) or (releases[1] and acquires[0])):
            problems.append(f"SYNC {label} ({where}) is not one release and one acquire on its own two lines")
    return problems


def lock_agrees(pyproject: str, lock: str) -> list[str]:
    """Every requirement of pyproject.toml is pinned by a version it allows; the lock has hashed pins only."""
    problems, pins, hashes = [], {}, defaultdict(int)
    name = ""
    for number, line in enumerate(lock.splitlines(), 1):
        if found := PIN.match(line):
            name = canonicalize_name(found[1])
            if name in pins:
                problems.append(f"requirements.lock:{number}: {name} is pinned twice")
            pins[name] = found[2]
        elif HASH.match(line) and name:
            hashes[name] += 1
        elif line and not line.startswith("#"):
            problems.append(f"requirements.lock:{number}: neither a pin nor a hash: {line[:60]!r}")
    problems += [f"requirements.lock: {name} has no hash" for name in pins if not hashes[name]]
    table = tomllib.loads(pyproject)
    project = table["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["test"],
        *table["build-system"]["requires"],
    ]
    for text in wanted:
        requirement = Requirement(text)
        version = pins.get(canonicalize_name(requirement.name))
        if version is None:
            problems.append(
                f"requirements.lock: {requirement.name} is missing; run python tests/tools/lock.py"
            )
        elif not requirement.specifier.contains(version, prereleases=True):
            problems.append(
                f"requirements.lock: {requirement} is not met by {version}; run python tests/tools/lock.py"
            )
    for text in table["build-system"]["requires"]:
        if [specifier.operator for specifier in Requirement(text).specifier] != ["=="]:
            problems.append(f"pyproject.toml: build requirement {text} is not an exact version")
    return problems
