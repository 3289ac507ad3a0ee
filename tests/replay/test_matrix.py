"""Same stream, same decisions: in every topology, with every wait and batch size, in real processes.

The lanes are those of `pm run`, over shared-memory rings, each cell with another PYTHONHASHSEED; only the
stream is given. Two cells run at a time; a topology that is bigger than this machine is folded onto its CPUs.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from pipeline.records import SLOT_BYTES
from tests.replay.lanes import Cell, decide, first_difference, segment_count
from tests.replay.rich_log import RichLog, ingredients, rich_plan
from tests.replay.tiles import tiled_overrides, write_tiles
from tests.shared import fresh_seed, scaled, tier

SEED = 3
RECORDS_MIN = 20_000
BUDGETS = (7, 256)
CELLS = [
    Cell(topology, wait, budget, hash_seed=number)
    for number, (topology, wait, budget) in enumerate(
        (topology, wait, budget)
        for topology in ("1core", "2core", "4core", "8core", "16core")
        for wait in (("spin", "yield", "block") if topology in ("1core", "2core") else ("yield", "block"))
        for budget in BUDGETS)
]
if tier() == "commit":  # each topology, each wait and both batch sizes; all of them with each other at gate
    CELLS = [CELLS[place] for place in (0, 9, 10, 15, 16, 23)]
FRESH_CELLS = [Cell("2core", "block", 7, 101), Cell("8core", "block", 256, 102)]
AT_ONCE = 2
#: What the log must hold at least, besides its records.
INGREDIENTS = {
    "records": RECORDS_MIN, "sample": 20, "decisions": 500, "intent": 500, "verdict": 50, "fill": 500,
    "partial": 5, "unknown": 5, "gap": 1, "halts_above_h0": 2, "tick_step": 2, "config": 2, "cancel": 5}


LUCK = ("gap", "unknown", "partial", "cancel", "sample")  # what a fresh seed may have fewer of


class Matrix:
    """A log, and its cells under way."""

    def __init__(self, seed: int, cells: list[Cell], directory: Path) -> None:
        self.seed = seed
        self.log = RichLog(rich_plan(seed), directory / "world", RECORDS_MIN)
        self._pool = ThreadPoolExecutor(AT_ONCE)
        stream = self.log.logs / "stream"
        self.found: dict[Cell, Future[bytes]] = {
            cell: self._pool.submit(decide, cell, stream, directory / str(number), self.log.plan.overrides)
            for number, cell in enumerate(cells)}

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(SEED, CELLS, tmp_path_factory.mktemp("matrix"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Matrix]:
    made = Matrix(fresh_seed(), FRESH_CELLS, tmp_path_factory.mktemp("fresh"))
    yield made
    made.close()


def test_the_log_holds_everything(matrix: Matrix) -> None:
    """Each thing that a decision may hang on occurs in the log, and the log spans several files."""
    found = ingredients(matrix.log.stream, matrix.log.decisions)

    print(f"matrix: {len(CELLS)} cells, {dict(found)}")
    assert {} == {name: found[name] for name, least in INGREDIENTS.items() if found[name] < least}, found
    assert segment_count(matrix.log.logs / "stream", "stream") > 1


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.topology}-{cell.wait}-{cell.budget}")
def test_every_way_decides_the_same(matrix: Matrix, cell: Cell) -> None:
    """Topology, wait, batch size and hash seed change no byte of the decision log."""
    found = matrix.found[cell].result()

    assert len(found) == len(matrix.log.decisions) > 0
    assert "" == first_difference(matrix.log.decisions, found)


@pytest.mark.parametrize("cell", FRESH_CELLS, ids=lambda cell: f"{cell.topology}-{cell.wait}-{cell.budget}")
def test_a_fresh_seed_decides_the_same(fresh: Matrix, cell: Cell) -> None:
    """The same holds for a log that nobody has seen before."""
    found = fresh.found[cell].result()

    assert "" == first_difference(fresh.log.decisions, found), f"seed {fresh.seed}"


def test_a_fresh_log_holds_what_does_not_hang_on_luck(fresh: Matrix) -> None:
    """Whatever the seed draws, these are in it; the weather's gaps and lost answers are the fixed log's."""
    found, luck = ingredients(fresh.log.stream, fresh.log.decisions), LUCK

    assert {} == {
        name: found[name] for name, least in INGREDIENTS.items()
        if name not in luck and found[name] < min(least, RECORDS_MIN if name == "records" else 100)
    }, f"seed {fresh.seed}: {found}"


@pytest.mark.parametrize("mutant", ["clock", "set", "batch"])
def test_the_matrix_bites(matrix: Matrix, mutant: str, tmp_path: Path) -> None:
    """A detect that reads a clock, iterates a set or acts per batch decides otherwise in its lane."""
    cell = Cell("1core", "block", 256, hash_seed=7, mutant=mutant)

    found = decide(cell, matrix.log.logs / "stream", tmp_path / mutant, matrix.log.plan.overrides)

    assert "" != first_difference(matrix.log.decisions, found), mutant


def test_the_planting_alone_changes_nothing(matrix: Matrix, tmp_path: Path) -> None:
    """The lane that mutants run in is, without a fault, one more way to the same bytes."""
    cell = Cell("1core", "block", 256, hash_seed=8, mutant="none")

    found = decide(cell, matrix.log.logs / "stream", tmp_path / "none", matrix.log.plan.overrides)

    assert "" == first_difference(matrix.log.decisions, found)


@pytest.mark.timeout(scaled(300, 1_800))
def test_fused_and_split_decide_the_same(matrix: Matrix, tmp_path: Path) -> None:
    """book, detect and trade in one process or in three: the same bytes over a long stream."""
    tiles, log = scaled(3, 40), matrix.log
    if tiles > 3:  # open orders would add up over the tiles until nothing more may be intended
        log = RichLog(rich_plan(SEED), tmp_path / "world", RECORDS_MIN, is_ended=True)
    overrides = tiled_overrides(log, tiles)
    stream = tmp_path / "tiled"
    count = write_tiles(log, tiles, stream, int(str(overrides["shm.log_segment_slots"])))
    fused, split = Cell("1core", "block", 256, hash_seed=21), Cell("4core", "block", 64, hash_seed=22)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        ways = [
            pool.submit(decide, cell, stream, tmp_path / cell.topology, overrides, scaled(120, 1_500))
            for cell in (fused, split)]
        found = [way.result() for way in ways]

    print(f"fused and split: {count:,} records, {len(found[0]) // SLOT_BYTES:,} decision records")
    assert count >= scaled(50_000, 1_000_000)
    assert ingredients(b"", found[0])["intent"] >= tiles * 250
    assert "" == first_difference(*found)
