"""Checks that the files named in the configuration are there and private; reads no secret.

Run once before anything starts, so that a missing key file is one line and not a dead lane.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from pipeline.config.load import Config
from pipeline.errors import EnvironmentProblem


def check_files(config: Config) -> None:
    """Raise EnvironmentProblem for the first file that is absent, unreadable or open to others."""
    authority = config.venues.polymarket.tls_ca_file
    if authority is not None:
        _check("venues.polymarket.tls_ca_file", Path(authority), is_secret=False)
    for name, account in config.accounts.items():
        _check(f"accounts.{name}.key_file", Path(account.key_file), is_secret=True)
        _check(f"accounts.{name}.api_file", Path(account.api_file), is_secret=True)
        if account.proxy_file is not None:
            _check(f"accounts.{name}.proxy_file", Path(account.proxy_file), is_secret=True)


def _check(key: str, path: Path, *, is_secret: bool) -> None:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        said = (
            "there is no such file"
            if isinstance(error, FileNotFoundError)
            else (error.strerror or "").lower()
        )
        raise EnvironmentProblem(
            f"{key}: {path}: {said}; config/secrets.example/README.md shows how to make it"
        ) from None
    if not stat.S_ISREG(mode):
        raise EnvironmentProblem(f"{key}: {path}: expected a file")
    if is_secret and mode & 0o077:
        raise EnvironmentProblem(
            f"{key}: {path}: expected a file for its owner alone, was mode {stat.S_IMODE(mode):04o}; "
            f"run: chmod 600 {path}"
        )
    if not os.access(path, os.R_OK):
        raise EnvironmentProblem(
            f"{key}: {path}: not ours to read; run: chown {os.getuid()} {path}"
        )
