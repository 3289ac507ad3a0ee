"""Every benchmark still runs: counts and checksums at smoke size, never a time."""

from __future__ import annotations

import importlib
from typing import Any

import pytest

from bench import harness
from bench.__main__ import NAMES
from bench.frames import RECORDINGS


def smoke(name: str) -> dict[str, Any]:
    """Return the figures of one smoke run, and see that it left the kept results alone."""
    before = {path: path.read_bytes() for path in harness.RESULTS.glob("*.json")}
    result = importlib.import_module(f"bench.bench_{name}").run(is_smoke=True)
    assert before == {path: path.read_bytes() for path in harness.RESULTS.glob("*.json")}
    assert name == result["name"]
    return result["figures"]


def twice(name: str, *keys: str) -> dict[str, Any]:
    """Return the figures of a run; a second one must agree in every key (dotted)."""
    first, second = smoke(name), smoke(name)
    for key in keys:
        ours, theirs = first, second
        for step in key.split("."):
            ours, theirs = ours[step], theirs[step]
        assert ours == theirs, f"{name}: {key}"
    return first


def check_input(facts: dict[str, Any], distinct: int) -> None:
    """The generated frames are distinct, and the recorded ones are among them when they are there."""
    assert facts["generated_distinct"] >= distinct
    assert (126 if RECORDINGS.is_dir() else 0) == facts["recorded"]


def test_ring():
    """Every message arrives once, in order and whole, at each batch size."""
    found = twice("ring", "batch_1.digest", "batch_8.digest", "batch_64.digest")

    assert 20_000 * 19_999 * 2 == found["batch_8"]["digest"]
    assert (20_000, 0) == (found["proven"]["messages"], found["proven"]["wrong"])
    assert 2_000 == found["one_way_ns"]["count"]


def test_log():
    """What was appended is read back, also with checksums proven; prepared runs never roll in line."""
    found = twice("log", "disk.digest")

    assert 3_000 * 2_999 * 2 == found["disk"]["digest"]
    assert 3_000 == found["disk"]["append_latency_ns"]["count"]
    assert 2 == found["disk"]["unprepared_rolls"]


def test_framescan():
    """Scanner and decoder agree on every frame, none falls back; books behind the scanner give the same Tops
    whatever the batch."""
    found = twice("framescan", "checksum", "scan_books.digest", "scan_books_hash.hash_checks")

    check_input(found["input"], 2_000)
    assert (found["input"]["frames"], 0, 0) == (found["frames_ok"], found["fallbacks"], found["unknown"])
    assert 1 == len({found[name]["digest"] for name in ("scan_books", "scan_books_by_32", "scan_books_hash")})
    assert 0 == found["scan_books"]["hash_checks"] < found["scan_books_hash"]["hash_checks"]
    assert {} == found["scan_books"]["stales"] == found["scan_books_hash"]["stales"]


def test_book():
    """Each number of books folds all records; hashing proves books and changes no price."""
    found = twice("book", "books_1.plain.digest", "books_20.plain.digest", "books_20.hash.digest")

    check_input(found["books_20"]["input"], 2_000)
    for books in ("books_1", "books_5", "books_20"):
        one = found[books]
        assert one["plain"]["digest"] == one["hash"]["digest"]
        assert one["plain"]["latency_ns"]["count"] == one["hash"]["latency_ns"]["count"] > 0
        assert one["hash"]["proofs"] > 0 == one["plain"]["hash_checks"]


def test_sign():
    """Orders are signed alike in every run, and the first as eth-account signs it (checked inside)."""
    found = twice("sign", "checksum", "package_bytes")

    assert (100, 100, 25) == (
        found["orders_in_checksum"], found["order_ns"]["count"], found["package_of_3_ns"]["count"])


def test_chain():
    """A plant makes one package, none below fees (checked inside); both logs are the same in every run."""
    found = twice(
        "chain", "package.stream_crc", "package.decisions_crc", "quiet_by_1.stream_crc",
        "quiet_by_32.stream_crc")

    check_input(found["input"], 600)
    package = found["package"]
    assert 12 == package["latency_ns"]["count"] + package["untaken"] == package["plants"]
    assert package["latency_ns"]["count"] + package["late"] == package["counters"]["packages"] > 0
    assert package["counters"]["signed"] == package["counters"]["orders_sent"]
    assert 0 == package["counters"]["fallbacks"] == package["counters"]["frames_lost"]
    assert 0 == found["quiet_by_1"]["lost"] == found["quiet_by_32"]["lost"]


def test_loopback():
    """What the exchange's kernel accepted arrived, and all of it became records."""
    found = smoke("loopback")["max"]

    assert found["frames_accepted"] == found["frames_delivered"] == found["frames"] > 1_000
    assert (0, 0, {}) == (found["dropped"], found["fallbacks"], found["stales"])


def test_listener():
    """Both listeners leave the same records, from memory and from a socket; every frame comes."""
    found = twice("listener", "checksum", "socket_checksum")

    check_input(found["input"], 2_000)
    assert ["native", "python", "reads_last"] == sorted(found["socket"])


def test_idle():
    """Every lane of a silent pipeline is found, and none stands still."""
    found = smoke("idle")["cpu_percent"]

    assert {"supervisor", "core", "signer", "gateway", "account", "back"} == set(found) - {"spare"}
    assert all(share > 0 for name, share in found.items() if name != "spare")


def test_universe():
    """Every listed market is valid and tradable, on sockets of at most 200 assets, and the books are told."""
    found = smoke("universe")["small"]

    assert found["books"] == found["tradable"] > 60
    assert 200 >= found["assets_per_socket_max"]
    assert found["shards"] == found["sockets"] == found["sockets_opened"]
    assert found["shared_bytes"]["arena"] + found["shared_bytes"]["rows"] == found["book_bytes"] > 0


def test_every_benchmark_is_smoked():
    """No benchmark is without a test here."""
    assert sorted(NAMES) == sorted(name.removeprefix("test_") for name in globals() if name in {
        f"test_{bench}" for bench in NAMES})


@pytest.mark.parametrize("count", [0, 1, 7, 1_000])
def test_percentiles_are_of_the_samples(count):
    """Nearest rank: half of the samples are at most p50, and p99.9 and the maximum are samples themselves."""
    found = harness.percentiles(range(count))

    assert count == found["count"]
    if count:
        assert (count // 2, count - 1) == (found["p50"], found["max"])
        assert count * 999 // 1_000 == found["p999"]
