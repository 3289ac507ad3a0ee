"""`[logging]`: the event logs of the lanes."""

from __future__ import annotations

from typing import Literal

from pipeline.config.section import Section, setting

Level = Literal["debug", "info", "warning", "error"]


class Logging(Section):
    """One JSON line for each change of state, in `log/` of the state directory; `pm logs` shows them."""

    level: Level = setting("", "The mildest that is written: debug, info, warning or error.", "info")
    bytes_max: int = setting(
        "bytes", "Size at which a lane's file is set aside for a new one.", 4 << 20, ge=4_096, le=1 << 30
    )
    files_kept: int = setting(
        "files", "How many files that were set aside are kept of each lane.", 4, ge=1, le=100
    )
