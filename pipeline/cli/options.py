"""Options that several commands share; loaded by `pm --help`, so nothing of the pipeline is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ConfigFiles = Annotated[
    list[Path],
    typer.Option(
        "--config", "-c", metavar="FILE", help="TOML file; give it again for more, a later one wins."
    ),
]
SetKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One key over the files, such as risk.order_usd_max=5; may be repeated.",
    ),
]
Cpus = Annotated[
    str, typer.Option(metavar="auto|virtual", help="virtual folds a bigger topology onto the CPUs present.")
]
StateDir = Annotated[
    Path,
    typer.Option(
        "--state",
        metavar="DIR",
        envvar="PM_STATE",
        help="The configuration's state_dir, or the folder right above it.",
    ),
]
DEFAULT_STATE = Path("state")
