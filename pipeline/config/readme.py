"""Renders `config/README.md` from the sections themselves: `python -m pipeline.config.readme` writes it.

tests/unit/test_config_readme.py fails when the file and the sections differ, so every key is described.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from pipeline.config.load import Config
from pipeline.config.section import Section

TARGET = Path(__file__).resolve().parent.parent.parent / "config" / "README.md"

HEAD = """\
# Configuration

Made by `python -m pipeline.config.readme` from `pipeline/config/`; do not edit.

One TOML file, or several: later ones override earlier ones key by key, and `--set key=value` overrides all.
Everything is checked before a process starts. An unknown key is an error that names the nearest known one.
Money is a decimal string in USD (`"25.00"`). Nothing is unlimited. Defaults are safe: dry run, small sums.

| file | for |
|---|---|
| `demo.toml` | `pm demo`: the local exchange, loopback only; the demo fills in ports and keys |
| `paper.toml` | the real venue's data, dry run: orders are decided and signed, never sent |
| `live.toml` | an example; `mode = "live"` is refused until arming exists |
| `topology/*.toml` | which stages share a process and which CPU it is pinned to |
| `secrets.example/` | how key files are made; secrets never stand in a config file |

`pm config check FILE` says whether a file is right and where each limit came from. Topology, `[lane.*]`,
`[logging]`, `[metrics]` and `[supervision]` never change a decision, so they are left out of the config hash.

```sh
./pm config check config/paper.toml --cpus virtual
./pm config check config/paper.toml --cpus virtual --set risk.order_usd_max=5 --json
```
"""


def render() -> str:
    """Return the text that config/README.md must have."""
    return HEAD + "".join(_section("", Config))


def _section(path: str, section: type[Section]) -> list[str]:
    tables: list[str] = []
    rows: list[str] = []
    for name, field in section.model_fields.items():
        key = str(field.validation_alias or name)
        inner, is_map = _inner(field)
        if inner is None:
            rows.append(f"| `{key}` | {_unit(field) or '-'} | {_default(field)} | {field.description} |\n")
        else:
            place = f"{path}.{key}" if path else key
            tables += _section(f"{place}.<name>" if is_map else place, inner)
    if not rows:
        return tables
    title = f"`[{path}]`" if path else "Top level"
    about = (section.__doc__ or "").strip().splitlines()[0]
    return [
        f"\n## {title}\n\n{about}\n\n| key | unit | default | meaning |\n|---|---|---|---|\n",
        *rows,
        *tables,
    ]


def _inner(field: FieldInfo) -> tuple[type[Section] | None, bool]:
    """Return the section that a field holds (None: a plain value), and whether it is a map of them."""
    kind: Any = field.annotation
    is_map = getattr(kind, "__origin__", None) is dict
    if is_map:
        kind = kind.__args__[1]
    return (kind, is_map) if isinstance(kind, type) and issubclass(kind, Section) else (None, False)


def _unit(field: FieldInfo) -> str:
    extra = field.json_schema_extra
    return str(extra["unit"]) if isinstance(extra, dict) else ""


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.default
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return "`[]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


if __name__ == "__main__":
    TARGET.write_text(render())
    print(f"wrote {TARGET}")
