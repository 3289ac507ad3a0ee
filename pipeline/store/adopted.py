"""Trades of runs before these logs that are not confirmed: which market they are of, from their FILL records.

Reads `stream`; writes nothing. After `pm run --recover-from-venue` the venue tells trades of orders that no
log here knows; the index of trades holds their settlement but neither market nor size.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.codec import CODECS
from pipeline.core.fills import order_no_of
from pipeline.core.state import TraderState
from pipeline.errors import EnvironmentProblem
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES, Kind, Side
from pipeline.store.segments import reading

READ_SLOTS = 4_096


def unsettled_adopted(state_dir: Path, facts: TraderState) -> dict[tuple[int, int], int]:
    """Return (row, outcome) -> 1e-6 shares bought in such trades.

    Reads the whole stream, copies too, and only when there is such a trade. Raises EnvironmentProblem when no
    log holds it any more: then nobody here can say what is settled.
    """
    wanted = {entry for entry in facts.fills.unsettled() if not order_no_of(entry[0])}
    if not wanted:
        return {}
    shares: dict[tuple[int, int], int] = {}
    with reading(state_dir, "stream", None) as reader:
        fills = Filter(reader, (Kind.FILL,))
        while wanted and (data := fills.read(READ_SLOTS)):
            for at in range(0, len(data), SLOT_BYTES):
                record = CODECS[Kind.FILL].unpack(data, at)
                key = bytes(record.order_hash), bytes(record.trade_id)
                if key not in wanted:
                    continue
                wanted.discard(key)
                if record.side == Side.BUY:
                    token = record.instrument, record.outcome
                    shares[token] = shares.get(token, 0) + record.size_micro
    if wanted:
        trade = min(trade_id for _, trade_id in wanted).hex()
        raise EnvironmentProblem(
            f"store.adopted: {len(wanted)} trades of earlier runs are not confirmed, such as {trade}, and "
            f"what told their market is gone from the logs of {state_dir}; look at the venue what is settled")
    return shares
