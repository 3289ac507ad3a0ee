"""Find and read the recordings that tests compare with; absent recordings are a counted skip."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared recordings are not here")


def recording(path: str) -> Iterator[dict[str, Any]]:
    """Yield the lines of a `.jsonl.zst` below the shared folder as objects."""
    with (SHARED / path).open("rb") as source:
        text = zstandard.ZstdDecompressor().stream_reader(source).read().decode()
    for line in text.splitlines():
        yield json.loads(line)
