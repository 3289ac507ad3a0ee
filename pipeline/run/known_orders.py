"""Which open orders of a venue are not ours: compared with what the state directory's logs know.

Reads checkpoints and logs; writes nothing. A pipeline may run meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.run import wiring
from pipeline.run.startpoint import log_end
from pipeline.store import checkpoints

_HASH = re.compile(r"0x[0-9a-fA-F]{64}")


def unknown_of(state_dir: Path, order_ids: Sequence[str]) -> tuple[str, ...]:
    """Return the ids that no order of this state directory has; all of them where there is no log.

    Raises LogCorrupt, LayoutError or EnvironmentProblem when the logs cannot tell.
    """
    logs = state_dir / "logs"
    if not order_ids or not all((logs / log).is_dir() for log in wiring.LOGS):
        return tuple(order_ids)
    # Decisions first: what is folded of them must have its cause in what is read of the stream.
    decisions_end = log_end(logs / wiring.DECISIONS, wiring.DECISIONS)
    stream_end = log_end(logs / wiring.STREAM, wiring.STREAM)
    trader = checkpoints.recovered(state_dir / "checkpoints", logs, stream_end, decisions_end)
    orders = trader.facts.orders
    return tuple(
        one for one in order_ids
        if not _HASH.fullmatch(one) or orders.find(0, bytes.fromhex(one[2:])) is None)
