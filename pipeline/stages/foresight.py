"""Signatures made before they are asked for: a signature takes longer than the decision that wants it.

`detect` hints each idea to the signer. If `trade` takes it as its next package, order numbers, salts, amounts
and times follow from the idea and from the newest intent, so the signer signs those orders while trade
decides. A signature is found again only by everything that it covers; whatever trade decided otherwise is
signed anew, and what nobody asks for is forgotten unseen. Nothing leaves the signer without its INTENT.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pipeline.codec import PARTS_OFFSET
from pipeline.core.limits import ORDER_NO_MAX, SALT_EPOCH_MAX, SALT_ORDER_BITS, salt_of
from pipeline.native.packages import read_idea
from pipeline.records import IDEA_LEGS, SLOT_BYTES
from pipeline.units import NS_PER_MS

WANTED_MAX = 64  # orders that may wait for a signature made ahead
_PART_OFFSET = PARTS_OFFSET - 1  # `part` stands before `parts`

#: type, side, price ticks, size micro, row, outcome, salt, time in ms
Foreseen = tuple[int, int, int, int, int, int, int, int]


class Foresight:
    """Which orders are likely next. `sign_ahead` makes and keeps the signature of one."""

    def __init__(self, sign_ahead: Callable[[Foreseen], None]) -> None:
        self._sign_ahead = sign_ahead
        self._wanted: deque[Foreseen] = deque()
        self._salt_epoch = 0  # unknown before the first intent
        self._next_order_no = 0
        self._first = self._foreseen_end = 0  # order numbers of the newest idea
        self._decided_seq = 0  # stream position of the newest decided package's cause

    def on_intent(self, order_no: int, salt: int, cause_seq: int) -> None:
        """Learn from a decided order where the next package begins; ideas up to its cause are over."""
        self._salt_epoch, self._next_order_no = salt >> SALT_ORDER_BITS, order_no + 1
        self._decided_seq = cause_seq
        self._wanted.clear()

    def on_hint(self, idea: bytes) -> None:
        """Take one or more IDEA slots; they begin at the next order number that is not foreseen yet."""
        for at in range(0, len(idea), SLOT_BYTES):
            fields, (seq, now_ns, _), _ = read_idea(idea, at, 1)  # a run may be cut: slot by slot
            part, orders = idea[at + _PART_OFFSET], fields[-1]
            if seq <= self._decided_seq or not 0 < self._salt_epoch <= SALT_EPOCH_MAX:
                continue
            if part == 0:
                self._first = self._foreseen_end if self._wanted else self._next_order_no
            first = self._first + part * IDEA_LEGS
            self._foreseen_end = first + len(orders)
            time_ms = now_ns // NS_PER_MS
            for order_no, (_, row, outcome, side, order_type, price, size) in enumerate(orders, first):
                if order_no <= ORDER_NO_MAX and len(self._wanted) < WANTED_MAX:
                    self._wanted.append((
                        order_type, side, price, size, row, outcome, salt_of(self._salt_epoch, order_no),
                        time_ms))

    def step(self) -> bool:
        """Sign one order ahead; False when none is wanted. One, because what is decided waits for it."""
        if not self._wanted:
            return False
        self._sign_ahead(self._wanted.popleft())
        return True
