"""Cancels that wait for their turn: for the venue to take any, for the bucket, or for another try.

Part of gateway.<id>, which sends what `take` gives. A cancel is idempotent, so it is put back until the venue
gave a word on its order; after some asks in vain its whole market is cancelled (OR13).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.answers import Sent

KEPT_MAX = 65_536
ASKS_MAX = 3  # of one order by `trade`, each of them unanswered; the next one cancels its market


class Cancels:
    """By order hash, oldest first."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[bytes, Sent] = OrderedDict()
        self._asks: OrderedDict[bytes, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting)

    def want(self, target: Sent) -> bool:
        """Take one that `trade` asks for; False: the venue was asked so often that its market must go."""
        name = target.order_hash
        asks = self._asks[name] = self._asks.pop(name, 0) + 1
        if len(self._asks) > KEPT_MAX:
            self._asks.popitem(last=False)
        if asks > ASKS_MAX:
            self._asks[name] = 0
            return False
        self._waiting.setdefault(name, target)
        return True

    def put_back(self, targets: Iterable[Sent]) -> None:
        """Let them wait again: what became of them says nothing about their orders."""
        for target in targets:
            self._waiting.setdefault(target.order_hash, target)

    def take(self, count_max: int) -> tuple[Sent, ...]:
        """Return the oldest that wait, at most as many as one request holds."""
        count = min(len(self._waiting), count_max, wire.BATCH_CANCELS_MAX)
        return tuple(self._waiting.popitem(last=False)[1] for _ in range(count))

    def answered(self, order_hash: bytes) -> None:
        """Forget how often it was asked for: the venue gave its word."""
        self._asks.pop(order_hash, None)
        self._waiting.pop(order_hash, None)
