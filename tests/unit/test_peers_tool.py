"""The clients' environment: its lock names hashes and no addresses; without a registry one line says so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.shared import ROOT
from tests.tools.peers import LOCK, clean_environment, environment_folder, peers_python

PIN = re.compile(r"[a-z0-9-]+==[0-9][0-9a-z.]*( ; [^\\]+)? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def test_lock_is_versions_and_hashes_alone() -> None:
    """Every line pins a package or names a hash; the clients are those that the documents name."""
    lines = [line for line in LOCK.read_text().splitlines() if not line.startswith("#")]
    assert [] == [line for line in lines if not PIN.fullmatch(line) and not HASH.fullmatch(line)]
    wanted = [line for line in (LOCK.parent / "requirements.in").read_text().splitlines() if "==" in line]
    assert 2 == len(wanted)
    for pin in wanted:
        assert f"{pin} \\" in lines
        name, _, version = pin.partition("==")
        for document in ("README.md", "pipeline/sim/README.md", "CHANGELOG.md"):
            assert f"`{name}` {version}" in (ROOT / document).read_text(), document


def test_unreachable_registry_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The skip names its category and the last words of the installer; nothing counts as installed."""
    for name, value in {
        "XDG_CACHE_HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null", "PIP_RETRIES": "0",
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_EXTRA_INDEX_URL": "", "PIP_FIND_LINKS": "",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(pytest.skip.Exception) as told:
        peers_python()
    why = str(told.value)
    assert why.startswith(f"servers: the official clients cannot be installed from {LOCK.name}: ")
    assert 1 == len(why.splitlines())
    assert [] == list(tmp_path.glob("pm-pipeline/*/stamp"))


def test_another_lock_is_another_environment(tmp_path: Path) -> None:
    """A changed hash never meets what an older lock installed."""
    folders = {environment_folder(tmp_path, lock) for lock in (b"one", b"two")}
    assert 2 == len(folders)
    assert {tmp_path} == {folder.parent for folder in folders}


def test_client_sees_nothing_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    """No path of ours, no proxy and no certificate of this machine reaches a client's process."""
    for name in ("PYTHONPATH", "https_proxy", "NO_PROXY", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("KEPT", "x")
    found = clean_environment(HTTPS_PROXY="ours")
    assert "ours" == found["HTTPS_PROXY"]
    assert "x" == found["KEPT"]
    assert found.keys().isdisjoint({"PYTHONPATH", "https_proxy", "NO_PROXY", "SSL_CERT_DIR"})
