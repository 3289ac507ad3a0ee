"""What a gateway owes the stream: reports in order, never dropped, numbered and named as its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Origin
from pipeline.native.flow import Sink
from pipeline.stages.stage import push_owed
from pipeline.venues.polymarket.answers import Sent

_REPORT = CODECS[Kind.REPORT]
ROOM_SLOTS = 64  # room for every report that one turn may cause


class Reports:
    """Slots that wait for room in the report ring; `source_seq` goes on from where the ring's count is."""

    def __init__(self, sink: Sink, source: int, source_seq: int) -> None:
        self._sink = sink
        self._source = source.to_bytes(2, "little")
        self._source_seq = source_seq
        self._owed: deque[bytes] = deque()

    def has_room(self) -> bool:
        """Whether every report that one more turn may cause fits the ring; call behind `flush`."""
        return self._sink.has_room(ROOM_SLOTS)

    def flush(self) -> bool:
        """Publish what is owed; True when none is left."""
        return push_owed(self._sink, self._owed)

    def owe(self, slots: Iterable[bytes]) -> None:
        """Take rendered slots, in order."""
        for slot in slots:
            self._source_seq += 1
            stamped = bytearray(slot)
            stamped[24:32] = self._source_seq.to_bytes(8, "little")
            stamped[40:42] = self._source
            self._owed.append(bytes(stamped))

    def tell(self, sent: Sent, now_ns: int, state: OrderState, origin: Origin, cause: Cause) -> None:
        """Owe one report of which no answer says more than its state."""
        self.owe((_REPORT.pack(
            recv_ns=now_ns, instrument=sent.instrument, order_no=sent.order_no, group_no=sent.group_no,
            order_hash=sent.order_hash, making_micro=-1, taking_micro=-1, matched_micro=-1,
            state=int(state), origin=int(origin), cause=int(cause), account=sent.account),))
