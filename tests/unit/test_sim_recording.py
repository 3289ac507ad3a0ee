"""Recordings are read in order and unaltered; broken files are refused in one line."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
import zstandard

from pipeline.errors import EnvironmentProblem, IntegrityError
from pipeline.sim import recording
from tests.shared import SHARED, needs_shared
from tests.shared import recording as truth


def write(path: Path, lines: list[bytes]) -> Path:
    path.write_bytes(zstandard.ZstdCompressor().compress(b"\n".join(lines) + b"\n"))
    return path


def line(t_ns: int | None, raw: str) -> bytes:
    return orjson.dumps({"t_ns": t_ns, "venue": "polymarket", "channel": "market", "raw": raw})


@needs_shared
def test_reads_every_polymarket_recording_unaltered() -> None:
    """Every line of every Polymarket recording comes back with its text, in order."""
    total = 0
    for path in sorted((SHARED / "feeds" / "polymarket").glob("pm_*.jsonl.zst")):
        expected = [(item["t_ns"], item["raw"]) for item in truth(path)]
        assert expected == [(frame.t_ns, frame.raw) for frame in recording.read(path)]
        total += len(expected)
    assert 3_447 == total


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    """A file cut anywhere names itself and ends in IntegrityError, never in silence."""
    whole = write(tmp_path / "a.jsonl.zst", [line(n, f"frame {n} " + "x" * 200) for n in range(500)])
    data = whole.read_bytes()
    for cut in (10, len(data) // 2, len(data) - 1):
        part = tmp_path / f"cut{cut}.jsonl.zst"
        part.write_bytes(data[:cut])
        with pytest.raises(IntegrityError, match=part.name):
            list(recording.read(part))


def test_bad_lines_and_missing_files(tmp_path: Path) -> None:
    """A line without the keys names its number; a missing file is the environment's problem."""
    path = write(tmp_path / "b.jsonl.zst", [line(1, "{}"), b'{"t_ns":1}'])
    with pytest.raises(IntegrityError, match="line 2"):
        list(recording.read(path))
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        list(recording.read(tmp_path / "none.jsonl.zst"))
    (tmp_path / "c.jsonl.zst").write_bytes(b"not zstandard at all")
    with pytest.raises(IntegrityError, match="zstandard"):
        list(recording.read(tmp_path / "c.jsonl.zst"))


def test_times_follow_receive_time_else_venue_time(tmp_path: Path) -> None:
    """Receive times give the pace; without them venue timestamps do, gaps cut to 200 ms, never back."""
    stamped = [line(t, "{}") for t in (1_000, 5_000, 4_000, 6_000)]
    frames = list(recording.read(write(tmp_path / "d.jsonl.zst", stamped)))
    assert [0, 4_000, 4_000, 6_000] == recording.offsets_ns(frames)
    venue = [line(None, orjson.dumps({"timestamp": str(ms)}).decode()) for ms in (1_000, 1_050, 9_000, 8_999)]
    frames = list(recording.read(write(tmp_path / "e.jsonl.zst", venue)))
    assert [0, 50_000_000, 250_000_000, 250_000_000] == recording.offsets_ns(frames)
