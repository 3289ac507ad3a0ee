"""`[archive]`: checkpoints, durability and retention of the two logs."""

from __future__ import annotations

from pipeline.config.section import Section, setting


class Archive(Section):
    """What becomes of full log segments; no decision about an order depends on it."""

    segments_kept_min: int = setting(
        "files", "Live segments of each log that stay, however many copies there are.", 4, ge=2, le=65_536
    )
    copies_bytes_max: int = setting(
        "bytes", "Copies of full segments beyond this are deleted, oldest first; a start needs none of them.",
        20 << 30, ge=1 << 20, le=1 << 50,
    )
    sync_ms: int = setting(
        "ms", "Time between two rounds that bring the logs to the disk, copy and delete segments.", 500,
        ge=10, le=60_000,
    )
    checkpoint_records: int = setting(
        "records", "A checkpoint is written each time so many were folded.", 32_768, ge=1, le=1 << 24
    )
