"""Files that the configuration names: absent, open to others, not a file, all right."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import Config, check_files, load
from pipeline.errors import EnvironmentProblem


def configured(key: Path, api: Path, **more: object) -> Config:
    """Return a configuration with one wallet whose files these are."""
    return load(
        overrides={
            "accounts.main.address": "0x" + "1" * 40,
            "accounts.main.maker": "0x" + "1" * 40,
            "accounts.main.key_file": str(key),
            "accounts.main.api_file": str(api),
            **more,
        }
    )


def secret(path: Path, mode: int = 0o600) -> Path:
    """Make a secret file."""
    path.write_text("x")
    path.chmod(mode)
    return path


def test_private_files_pass(tmp_path: Path) -> None:
    """Owner-only files are what a start asks for."""
    check_files(configured(secret(tmp_path / "k"), secret(tmp_path / "a", 0o400)))


@pytest.mark.parametrize(("mode", "shown"), [(0o644, "0644"), (0o640, "0640"), (0o601, "0601")])
def test_files_open_to_others_are_refused(tmp_path: Path, mode: int, shown: str) -> None:
    """A key that others can read is refused with the command that mends it."""
    with pytest.raises(EnvironmentProblem, match=f"key_file: .*was mode {shown}; run: chmod 600 "):
        check_files(configured(secret(tmp_path / "k", mode), secret(tmp_path / "a")))


def test_missing_files_are_named(tmp_path: Path) -> None:
    """A missing file is one line: the key, the path, where to read how it is made."""
    with pytest.raises(
        EnvironmentProblem, match=r"^accounts.main.api_file: .*/a: there is no such file; config/sec"
    ):
        check_files(configured(secret(tmp_path / "k"), tmp_path / "a"))
    with pytest.raises(EnvironmentProblem, match=r"tls_ca_file: .*/ca: there is no such file"):
        check_files(
            configured(
                secret(tmp_path / "k"),
                secret(tmp_path / "b"),
                **{"venues.polymarket.tls_ca_file": str(tmp_path / "ca")},
            )
        )


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    """A folder in a key's place is refused."""
    with pytest.raises(EnvironmentProblem, match="expected a file"):
        check_files(configured(tmp_path, tmp_path))
