"""What signer and gateway do on the order path while it is empty: the same work, for nobody.

Their code runs every few dozen milliseconds and has left the caches by then: a first order after such a pause
takes three times as long as a second one. A rehearsal runs the very code of the path on records of no market,
with a key that owns nothing, towards no socket; it changes nothing that the path reads.
"""

from __future__ import annotations

from pipeline.codec import CODECS
from pipeline.kinds import Kind, OrderType, Rule, Side
from pipeline.stages.stage import Clock
from pipeline.units import MICRO, NS_PER_MS

REHEARSE_NS = 2 * NS_PER_MS  # after such a pause the next order would be a cold one
_FOREVER_NS = (1 << 63) - 1
_TOKEN = b"\xab" * 32  # of no market, in the form of a v1 token
MARKET = CODECS[Kind.INSTRUMENT].pack(
    instrument=1, token_yes=_TOKEN, token_no=_TOKEN, rules=int(Rule.NEG_RISK), tick_step=100)
INTENT = CODECS[Kind.INTENT].pack(
    instrument=1, order_no=1, order_type=int(OrderType.FAK), side=int(Side.BUY), price_ticks=5_000,
    size_micro=2 * MICRO, maker_amount=MICRO, taker_amount=2 * MICRO, worst_usd_micro=MICRO, salt=1,
    timestamp_ms=1, deadline_ns=_FOREVER_NS, batch_count=1)
_BATCH = 2
SIGNED = tuple(CODECS[Kind.SIGNED].pack(
    instrument=1, order_no=1 + place, group_no=1, order_type=int(OrderType.FAK), side=int(Side.BUY),
    maker_amount=MICRO, taker_amount=2 * MICRO, salt=1, timestamp_ms=1, deadline_ns=_FOREVER_NS,
    order_hash=_TOKEN, struct_hash=_TOKEN, signature=b"\xab" * 65, batch_index=place, batch_count=_BATCH)
    for place in range(_BATCH))


class Pause:
    """Tells when the path has been empty for so long that a rehearsal is due."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._worked_ns = 0

    @property
    def is_over(self) -> bool:
        """Whether the next order would be a cold one."""
        return self._clock() - self._worked_ns >= REHEARSE_NS

    def work(self) -> int:
        """Note that the path was used, or rehearsed, just now; return the time."""
        self._worked_ns = self._clock()
        return self._worked_ns
