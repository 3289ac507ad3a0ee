"""Checkpoints of trade's whole state: canonical JSON with a digest.

Pure: bytes out, bytes in; `store` writes, fsyncs and renames the file. A restored trader continues exactly as
the one that was serialised. `facts_digest` names the part that is a fold over the two logs alone.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pipeline.core.trader import Trader
from pipeline.errors import LayoutError, LogCorrupt
from pipeline.records import LAYOUT_HASH

CHECKPOINT_VERSION = 5
_DIGEST_BYTES = 64  # SHA-256, hexadecimal, first line


def _canonical(value: Any) -> bytes:
    """Return JSON without blanks; lists keep the order that decisions iterate in, keys are sorted."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def serialise(trader: Trader, stream_seq: int = 0, decisions_seq: int = 0) -> bytes:
    """Return the checkpoint: digest line, then the state with both log positions."""
    body = _canonical({
        "version": CHECKPOINT_VERSION, "layout": LAYOUT_HASH, "stream_seq": stream_seq,
        "decisions_seq": decisions_seq, "facts": trader.facts.state(), "volatile": trader.volatile})
    return hashlib.sha256(body).hexdigest().encode("ascii") + b"\n" + body


def restore(data: bytes) -> tuple[Trader, int, int]:
    """Return the trader, and the positions in stream and decisions that it was made at.

    Raises LogCorrupt when the digest fails, LayoutError for another version or record layout.
    """
    digest, body = data[:_DIGEST_BYTES], data[_DIGEST_BYTES + 1:]
    found = hashlib.sha256(body).hexdigest().encode("ascii")
    if found != digest or data[_DIGEST_BYTES:_DIGEST_BYTES + 1] != b"\n":
        raise LogCorrupt(
            f"core.checkpoint: expected digest {digest[:16]!r}, found {found[:16]!r} over {len(body)} bytes; "
            "use the checkpoint before it")
    state = json.loads(body)
    if (state["version"], state["layout"]) != (CHECKPOINT_VERSION, LAYOUT_HASH):
        raise LayoutError(
            f"core.checkpoint: expected version {CHECKPOINT_VERSION} and layout {LAYOUT_HASH:#x}, was "
            f"{state['version']} and {state['layout']:#x}; replay the logs with this build instead")
    trader = Trader()
    trader.facts.load(state["facts"])
    trader.load_volatile(state["volatile"])
    return trader, state["stream_seq"], state["decisions_seq"]


def facts_digest(trader: Trader) -> str:
    """Return the SHA-256 of what the two logs alone determine: equal in the live run and in their replay."""
    return hashlib.sha256(_canonical(trader.facts.state())).hexdigest()
