"""The part of the slow book model that never changes a level: prints, best prices, REST samples."""

from __future__ import annotations

from typing import Any

from tests.models.book_state import FULL, Book, is_wide, mirror, mix_of

AHEAD_NS_MAX = 5 * 10**9


def is_ahead(head: Any) -> bool:
    """Whether a frame is of a time that has not come."""
    return bool(head.recv_ns) and head.venue_ns - head.recv_ns > AHEAD_NS_MAX


class BookHints:
    """Mixed into the model of the whole fold."""

    def known(self, head: Any) -> Book | None:
        raise NotImplementedError

    def settle(self, number: int, book: Book, now_ns: int) -> None:
        raise NotImplementedError

    def on_trade_print(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots, run
        book = self.known(head)
        if book is None:
            return
        if head.price_ticks < FULL:
            book.print_ticks = head.price_ticks
        if not book.stale:
            book.dirty = book.dirty or book.open
            self.settle(head.instrument, book, head.now_ns)

    def on_bbo(self, head: Any, slots: list[Any], run: bytes) -> None:
        del slots, run
        book = self.known(head)
        if book is None or book.stale:
            return
        if head.venue_ns > book.target_ns:
            book.best = (
                [mirror(head.ask_ticks), mirror(head.bid_ticks)]
                if head.outcome
                else [head.bid_ticks, head.ask_ticks]
            )
            if not book.bbo_ok:
                book.open = True
            elif book.open:
                book.dirty = True
        self.settle(head.instrument, book, head.now_ns)

    def on_sample(self, head: Any, slots: list[Any], run: bytes) -> None:
        """REST may doubt a book; it never makes one."""
        del slots, run
        book = self.known(head)
        if book is None or book.stale or (
                is_wide(head.bid_ticks, head.ask_ticks) and not is_wide(book.best_of(0), book.best_of(1))):
            return
        if head.venue_ns < book.target_ns or is_ahead(head):
            return
        if head.venue_ns == book.target_ns and head.levels_mix == mix_of(book.sides):
            book.sample_since = 0
        elif book.owed(head.venue_ns, head.hash, head.levels_mix):
            if not book.sample_since or not book.owed(*book.sample):
                book.sample_since = head.now_ns
            book.sample = head.venue_ns, head.hash, head.levels_mix
