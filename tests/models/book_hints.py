"""The part of the slow book model that never changes a level: prints, best prices, REST samples."""

from __future__ import annotations

from typing import Any

from tests.models.book_state import FULL, Book, is_wide, mirror, mix_of

AHEAD_NS_MAX = 5 * 10**9


class BookHints:
    """Mixed into the model of the whole fold."""

    newest_ns = ahead_count = 0

    def is_beyond(self, head: Any) -> bool:
        return bool(head.recv_ns) and head.venue_ns > max(head.recv_ns, self.newest_ns) + AHEAD_NS_MAX

    def is_ahead(self, head: Any) -> bool:
        """Whether a frame is of a time that has not come; the ninth in a row is the venue's clock."""
        self.ahead_count = self.ahead_count + 1 if self.is_beyond(head) else 0
        if 0 < self.ahead_count <= 8:
            return True
        self.ahead_count = min(self.ahead_count, 8)
        self.newest_ns = max(self.newest_ns, head.venue_ns)
        return False

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
        if head.venue_ns < book.target_ns or self.is_beyond(head):
            return
        if head.levels_mix == mix_of(book.sides):
            book.sample_since = 0
        elif book.owed(head.venue_ns, head.hash, head.levels_mix) and (
                not book.sample_since or not book.owed(*book.sample)):
            book.sample_since = head.now_ns
            book.sample = head.venue_ns, head.hash, head.levels_mix
