from collections.abc import Buffer

from pipeline.native.ladder import LadderBook

def book_digest(
    book: LadderBook,
    instrument: Buffer,
    outcome: int,
    venue_ns: int,
    tick_step: int,
    trade_ticks: int,
    trade_digits: int,
) -> bytes: ...
