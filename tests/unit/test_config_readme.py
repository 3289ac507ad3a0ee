"""config/README.md says every key: it is rendered from the sections; each key has a meaning and a default."""

from __future__ import annotations

import tomllib
from typing import Any

from pipeline.config import leaves, load, load_topology
from pipeline.config.readme import TARGET, render
from tests.shared import ROOT


def test_file_is_what_the_sections_say() -> None:
    """A key added without `python -m pipeline.config.readme` fails here."""
    assert render() == TARGET.read_text()


def test_every_key_has_a_row_with_a_meaning() -> None:
    """Each key that a file can hold stands in the table of its section with unit, default and meaning."""
    text, place, rows = TARGET.read_text(), "", {}
    for line in text.splitlines():
        if line.startswith("## "):
            place = line.removeprefix("## ").strip("`[]")
        elif line.startswith("| `") and place:
            key, unit, default, meaning = (cell.strip() for cell in line.strip("|").split(" | "))
            rows[(place, key.strip("`"))] = (unit, default, meaning)
    keys = [key for key, _ in leaves(load([ROOT / "config" / "demo.toml"], {"lane.core.cpu": 0}))]
    for key in keys:
        table, _, name = key.rpartition(".")
        table = {"lane.core": "lane.<name>", "accounts.main": "accounts.<name>", "": "Top level"}.get(
            table, table
        )
        unit, default, meaning = rows.pop((table, name))
        assert unit, key
        assert default, key
        assert meaning.endswith("."), key
    assert {} == rows


def test_files_of_the_table_exist() -> None:
    """The README names no file that is not there, and every config file is named."""
    folder = ROOT / "config"
    assert {"demo.toml", "paper.toml", "live.toml"} == {path.name for path in folder.glob("*.toml")}
    layouts = {"1core", "2core", "4core", "8core", "16core"}
    assert layouts == {path.stem for path in folder.glob("topology/*.toml")}
    for name in layouts:
        assert load_topology(name).lanes
    assert (folder / "secrets.example" / "README.md").is_file()


def test_shipped_files_hold_no_secret_and_no_unquoted_money() -> None:
    """Money keys are strings and secrets are paths, in every file we ship."""

    def walk(table: dict[str, Any]) -> None:
        for key, value in table.items():
            if isinstance(value, dict):
                walk(value)
            elif "_usd_" in key:
                assert isinstance(value, str), key
            elif key.endswith("_file"):
                assert value.endswith((".key", ".json")), key

    for path in (ROOT / "config").glob("*.toml"):
        walk(tomllib.loads(path.read_text()))
