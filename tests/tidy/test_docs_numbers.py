"""Every quoted measurement stands in a marker, and the newest result file says the same."""

from __future__ import annotations

import pytest

from bench import docs
from bench.__main__ import NAMES
from tests.shared import ROOT

MARKERS_MIN = {"README.md": 6, "bench/README.md": 40, "pipeline/README.md": 1}
RESULTS = {"ring": {
    "date": "2026-11-21", "command": "python -m bench ring", "machine": {"cpu": "Somebody's CPU"},
    "figures": {
        "rate": {"median": 17_052_913}, "p50": 1_481, "share": 0.075, "sum": "98c4e42c", "bytes": 3 << 20}}}


@pytest.mark.parametrize("name", docs.DOCUMENTS)
def test_documents_quote_the_results(name):
    """No number in a document differs from its result file, and none names a key that is not there."""
    path = ROOT / name
    text = path.read_text() if path.exists() else ""

    assert [] == docs.problems(text, docs.load_results())
    if docs.OPENING in text or name == "bench/README.md":
        assert len(docs.MARKER.findall(text)) >= MARKERS_MIN[name]


def test_every_benchmark_has_a_result_with_its_method():
    """A number comes with command, date, machine and the machine's load; none is missing."""
    results = docs.load_results()

    assert sorted(NAMES) == sorted(results)
    for name, result in results.items():
        assert f"python -m bench {name}" == result["command"]
        assert {"cpu", "cores", "kernel", "python", "arch"} <= result["machine"].keys()
        assert {"load_1m", "steal_ms"} <= result["conditions"].keys()
        assert 10 == len(result["date"])


@pytest.mark.parametrize("text", [
    "<!-- bench:ring.rate.median -->17.1 M<!-- /bench -->",
    "<!-- bench:ring.rate.median -->17,052,913<!-- /bench -->",
    "<!-- bench:ring.rate.median -->17 M/s<!-- /bench -->", "<!-- bench:ring.p50 -->1.5 µs<!-- /bench -->",
    "<!-- bench:ring.p50 -->1,481 ns<!-- /bench -->", "<!-- bench:ring.share -->7.5 %<!-- /bench -->",
    "<!-- bench:ring.sum -->98c4e42c<!-- /bench -->", "<!-- bench:ring.bytes -->3 MiB<!-- /bench -->",
    "<!-- bench:ring.date -->2026-11-21<!-- /bench -->",
    "<!-- bench:ring.machine.cpu -->Somebody's CPU<!-- /bench -->",
    "plain text 12 M",
])
def test_right_numbers_pass(text):
    """Units, decimals and thousands commas are the document's choice."""
    assert [] == docs.problems(text, RESULTS)


@pytest.mark.parametrize("text, wrong", [
    ("<!-- bench:ring.rate.median -->17.2 M<!-- /bench -->", "'17.1 M' expected"),
    ("<!-- bench:ring.rate.median -->17.05 k<!-- /bench -->", "'17,052.91 k' expected"),
    ("<!-- bench:ring.rate.median -->about 17 M<!-- /bench -->", "a number with a unit"),
    ("<!-- bench:ring.rate.median -->17 parsecs<!-- /bench -->", "a number with a unit"),
    ("<!-- bench:ring.rate -->17 M<!-- /bench -->", "names a group"),
    ("<!-- bench:ring.speed -->17 M<!-- /bench -->", "has no 'speed'"),
    ("<!-- bench:bell.rate -->17 M<!-- /bench -->", "no result bench/results/bell.json"),
    ("<!-- bench:ring.sum -->98c4e42d<!-- /bench -->", "'98c4e42c' expected"),
    ("<!-- bench:ring.p50 -->1.5 µs", "1 markers begin, 0 are whole"),
])
def test_wrong_numbers_are_found(text, wrong):
    """A number that drifted, a misspelt key and a torn marker each make one line that says so."""
    found = docs.problems(text, RESULTS)

    assert 1 == len(found)
    assert wrong in found[0]


def test_writing_keeps_the_form():
    """`python -m bench.docs --write` changes digits alone: unit, decimals and all other text stay."""
    old = ("a <!-- bench:ring.rate.median -->9.00 M/s<!-- /bench --> b "
           "<!-- bench:ring.p50 -->9 ns<!-- /bench -->")

    new = docs.rewritten(old, RESULTS)

    assert new == ("a <!-- bench:ring.rate.median -->17.05 M/s<!-- /bench --> b "
                   "<!-- bench:ring.p50 -->1,481 ns<!-- /bench -->")
    assert [] == docs.problems(new, RESULTS)
