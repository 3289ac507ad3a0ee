"""What a dead lane leaves behind, said in the stream before its successor starts.

A feed's books are stale: a `GAP` for each shard, in the feed's own ring behind what it still had to say. A
gateway's unanswered orders are UNKNOWN or never left: `LANE_UP` with the highest number that it stored.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.native.brake import BrakeCore
from pipeline.native.ring import Writer
from pipeline.run import wiring
from pipeline.stages.refdata import ASSETS_PER_CONDITION


def shards_of(
    stage: str, stages: list[str], rows_max: int, assets_per_socket_max: int = 200,
) -> list[int]:
    """Return the shards that a feed stage may carry: every n-th of all that the row limit allows."""
    feeds = [one for one in stages if wiring.split_name(one)[0] == "feed"]
    shards = (rows_max - 1) * ASSETS_PER_CONDITION // assets_per_socket_max + 1
    return list(range(feeds.index(stage), shards, len(feeds)))


def leave_gaps(ring: memoryview, source: int, shards: list[int]) -> bool:
    """Write a GAP of each shard into a dead feed's ring; False when it has no room yet.

    The feed must be dead: a ring has one writer. Its reader goes on meanwhile.
    """
    writer = Writer(ring)
    try:
        for first in range(0, len(shards), 64):
            if not writer.has_room(min(64, len(shards) - first)):
                return False
            for shard in shards[first:first + 64]:
                writer.push(CODECS[Kind.GAP].pack(
                    source=source, source_seq=writer.position + 1, shard=shard, cause=int(Cause.LANE_DIED)))
    finally:
        writer.close()
    return True


def sent_order_no(state_dir: Path, account: str) -> int:
    """Return the highest order number that the account's gateway stored before a first byte; 0 = none.

    Raises InvariantError when the file is not the gateway's.
    """
    try:
        stored = bytearray((state_dir / f"gateway-{account}.state").read_bytes())
    except FileNotFoundError:
        return 0
    return int(BrakeCore(stored, 1, 1, 1, False).order_no)
