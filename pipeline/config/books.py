"""`[books]`: when a book is believed, and how far the feed may run ahead."""

from __future__ import annotations

from pipeline.config.section import Section, setting


class Books(Section):
    """Times are stream time."""

    batch_ms_max: int = setting(
        "ms", "Time after which an unhashed batch counts as complete.", 100, ge=1, le=10_000
    )
    desync_ms_max: int = setting(
        "ms", "Time that a book may stay wrong or crossed before a resync.", 250, ge=1, le=60_000
    )
    hash_rows_max: int = setting("books", "Unwatched books hashed on each tick.", 4, ge=0, le=1_024)
    samples_per_s: int = setting(
        "books", "Books asked for over REST each second, to compare with the stream's; 0 asks for none.", 10,
        ge=0, le=500
    )
    stream_lag_records_max: int = setting(
        "records", "Feed records that may wait before the book stage.", 16_384, ge=64, le=1 << 24
    )
    feed_pause_ms_max: int = setting(
        "ms", "Longest pause of a socket whose ring is full; then a gap.", 500, ge=1, le=60_000
    )
