"""IN01: frames without measure. Each breaks a cap and ends its socket in a Gap; the next heals."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from pipeline.venues.polymarket import market_decode
from tests.faults.hostile_socket import ATTACKS
from tests.faults.test_MD03_books import markets
from tests.models.chain import Chain
from tests.models.text_venue import text_of
from tests.shared import ROOT
from tests.tools.faultrows import figure

GROWN_KIB_MAX = 32 * 1_024
MIB = 1 << 20
BREACHES = {
    "object beyond 1 MiB": b'{"event_type":"' + b"x" * MIB + b'"}',
    "array beyond 8 MiB": b"[" + b" " * (8 * MIB) + b"]",
    "deep array": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "endless values": b"[" + b"1," * 300_000 + b"1]",
    "endless keys": b"{" + b",".join(b'"%d":1' % n for n in range(60_000)) + b"}",
    "endless objects": b"[" + b",".join([b'{"event_type":"x"}'] * 5_000) + b"]",
    "garbage": b"x" * (2 * MIB),
}


def opened() -> Chain:
    chain = Chain(markets(random.Random(1), 2))
    assert chain.run(20_000, until=chain.is_settled)
    return chain


def breached(chain: Chain, frame: bytes) -> None:
    """Hand the frame in; it must cost the socket and nothing else."""
    before = chain.ladders
    chain.feed(frame)
    found = chain.counters()
    assert (1, 1) == (found["frames_breaching"], found["disconnects"])
    assert before == chain.ladders
    assert not any(map(chain.is_believed, chain.venue.markets))
    assert chain.run(30_000, until=chain.is_settled)
    assert 2 == chain.venue.opened_count


@pytest.mark.parametrize("name", BREACHES)
def test_IN01_a_breach_ends_its_socket(name: str) -> None:
    """A frame beyond a cap is a counted breach; the books are stale until the next socket's snapshots."""
    breached(opened(), BREACHES[name])


@pytest.mark.parametrize("key", ["bids", "asks", "price_changes"])
def test_IN01_a_list_beyond_its_count_is_a_breach(key: str) -> None:
    """No side has more levels than there are prices, no frame more changes than are read."""
    chain = opened()
    market = next(iter(chain.venue.markets.values()))
    run = market.snapshot(0) if key != "price_changes" else market.commit()[0]
    frame = json.loads(text_of(run, market))
    frame[key] = [{"price": "0.5", "size": "1"}] * 10_000 if key != "price_changes" else [{}] * 10_001
    breached(chain, json.dumps(frame, separators=(",", ":")).encode())


def test_IN01_work_on_one_object_is_bounded() -> None:
    """An object that costs more than 5 ms of processor time is given up amid its levels; others pass."""
    chain = opened()
    market = next(iter(chain.venue.markets.values()))
    frame = json.loads(text_of(market.snapshot(0), market)) | {"why": {"a": "\u00e9"}}  # for the decoder
    small = json.dumps(frame).encode()
    chain.work_ns = market_decode.SPENT_NS_MAX // 3  # by each look
    chain.feed(small)
    assert 0 == chain.counters().get("frames_breaching", 0)
    frame["bids"] = [{"price": f"0.{n:04d}", "size": "1"} for n in range(1, 2_000)]
    breached(chain, json.dumps(frame).encode())


assert len(ATTACKS) == figure("IN01", "sockets")


@pytest.mark.parametrize("attack", ATTACKS)
def test_IN01_a_hostile_socket_costs_little(attack: str, gate_record: Callable[..., None]) -> None:
    """Real bytes on a real socket, driver and native listener: closed, told as a Gap, +<= 32 MiB, healed."""
    done = subprocess.run([sys.executable, "-m", "tests.faults.hostile_socket", attack], cwd=ROOT,
                          capture_output=True, text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr[-2_000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["grown_kib"] <= GROWN_KIB_MAX, found
    if attack in ("many good books", "array at its cap"):
        assert (1, 0) == (found["lines"], found.get("disconnects", 0)), found
        gate_record("IN01", "sockets", 1)
        return
    assert (2, 1) == (found["lines"], found["disconnects"]), found
    assert 20 == found["kinds"]["DELTA"]
    assert found["kinds"]["GAP"] >= 1
    gate_record("IN01", "sockets", 1)


def test_IN01_a_compressed_answer_is_bounded() -> None:
    """A gzip bomb as the body of a REST answer ends as a failure, within the same memory."""
    done = subprocess.run([sys.executable, "-m", "tests.faults.hostile_rest"], cwd=ROOT, capture_output=True,
                          text=True, timeout=120, check=False)
    assert 0 == done.returncode, done.stderr[-2_000:]
    found = json.loads(done.stdout)
    assert len(gzip.compress(b" " * MIB)) < MIB // 100
    assert "failed" == found["bomb"], found
    assert "answered" == found["good"], found
    assert found["grown_kib"] <= GROWN_KIB_MAX, found
