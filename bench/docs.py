"""Numbers in the documents are read from `bench/results/*.json`: check them, or write them anew.

A number that a document quotes stands in a marker, `<!-- bench:KEY -->TEXT<!-- /bench -->`. KEY is
`<bench>.<path>`: a path into the result's `figures`, or `date`, `command`, `machine.…`, `conditions.…`.
TEXT of a number is digits with thousands commas and as many decimals as one wants to show, then a unit that
scales it: `k`, `M`, `G` for rates and counts, `ns`, `µs`, `ms`, `s` for what is stored in ns, `KiB`, `MiB`
for bytes, `%` for shares; a unit may go on with `/s`. The stored value, rounded to the shown decimals, must
give TEXT. TEXT of a date, command, name or checksum must be equal. `python -m bench.docs --write` puts the
newest results into the documents and keeps units and decimals; without it, it says what differs, exit 1.
"""

from __future__ import annotations

import json
import re
import sys
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = ("README.md", "bench/README.md", "pipeline/README.md")
MARKER = re.compile(r"<!-- bench:([a-z0-9_.]+) -->(.*?)<!-- /bench -->", re.DOTALL)
OPENING = "<!-- bench:"
NUMBER = re.compile(r"(-?[0-9][0-9,]*)(?:\.([0-9]+))?( ?)([a-zA-Zµ%]*)(/s)?")
SCALES = {
    "": Decimal(1), "k": Decimal(10**3), "M": Decimal(10**6), "G": Decimal(10**9), "ns": Decimal(1),
    "µs": Decimal(10**3), "ms": Decimal(10**6), "s": Decimal(10**9),
    "KiB": Decimal(1 << 10), "MiB": Decimal(1 << 20), "%": Decimal("0.01"),
}
TOP_KEYS = ("date", "command", "machine", "conditions")


def load_results(directory: Path = ROOT / "bench" / "results") -> dict[str, Any]:
    """Return every result by its benchmark's name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))}


def value_of(key: str, results: dict[str, Any]) -> Any:
    """Return what a key stands for; raises KeyError with words for an unknown one."""
    name, *path = key.split(".")
    if name not in results:
        raise KeyError(f"no result bench/results/{name}.json; run python -m bench {name}")
    found = results[name] if path and path[0] in TOP_KEYS else results[name]["figures"]
    for step in path:
        if not isinstance(found, dict) or step not in found:
            raise KeyError(f"bench/results/{name}.json has no {step!r} of {'.'.join(path)!r}")
        found = found[step]
    if isinstance(found, dict | list) or not path:
        raise KeyError(f"{key} names a group; name one of its values")
    return found


def rendered(value: Any, text: str) -> str:
    """Return `value` in the form of `text`: same unit, same decimals. ValueError for an unknown form."""
    if isinstance(value, str):
        return value
    form = NUMBER.fullmatch(text)
    if form is None or form[4] not in SCALES:
        raise ValueError(f"a number with a unit of {sorted(SCALES)} expected, was {text!r}")
    decimals = len(form[2] or "")
    shown = (Decimal(str(value)) / SCALES[form[4]]).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    return f"{shown:,f}{form[3]}{form[4]}{form[5] or ''}"


def problems(text: str, results: dict[str, Any]) -> list[str]:
    """Return what is wrong with the markers of a document, one line each."""
    found = []
    for key, shown in MARKER.findall(text):
        try:
            expected = rendered(value_of(key, results), shown)
        except (KeyError, ValueError) as error:
            found.append(f"{key}: {error.args[0]}")
            continue
        if expected != shown:
            found.append(f"{key}: {expected!r} expected, was {shown!r}; run python -m bench.docs --write")
    if text.count(OPENING) != len(MARKER.findall(text)):
        whole = len(MARKER.findall(text))
        found.append(f"{text.count(OPENING)} markers begin, {whole} are whole; close each")
    return found


def rewritten(text: str, results: dict[str, Any]) -> str:
    """Return the document with every number as the results say; what has no result stays as it is."""

    def one(found: re.Match[str]) -> str:
        try:
            shown = rendered(value_of(found[1], results), found[2])
        except (KeyError, ValueError):
            return found[0]  # `problems` says why
        return f"<!-- bench:{found[1]} -->{shown}<!-- /bench -->"

    return MARKER.sub(one, text)


def main() -> int:
    """Check all documents, or write them."""
    results, bad = load_results(), 0
    for name in DOCUMENTS:
        path = ROOT / name
        if not path.exists():
            continue
        if "--write" in sys.argv[1:]:
            path.write_text(rewritten(path.read_text(), results))
        for problem in problems(path.read_text(), results):
            print(f"{name}: {problem}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
