"""Ladders against a dict, the arena's accounts, and rows that are never torn."""

from __future__ import annotations

import mmap
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import InvariantError, LayoutError
from pipeline.kinds import Kind
from pipeline.native.ladder import Arena, LadderBook, Rows, arena_bytes, rows_bytes
from pipeline.records import DTYPES
from tests.models.ladder_model import LadderModel
from tests.shared import ROOT, scaled, seeds

STEPS = {1000: 128, 100: 128, 50: 1024, 25: 1024, 10: 1024, 5: 16384, 1: 16384}


def arena_of(*blocks: int) -> Arena:
    return Arena(bytearray(arena_bytes(blocks)), blocks)


@pytest.mark.parametrize("seed", seeds(scaled(200, 2_000)))
def test_ladder_equals_a_dict(seed: int) -> None:
    """Best, top eight and all levels equal the model's after each change, through clears and finer ticks."""
    rng = random.Random(seed)
    step = rng.choice(list(STEPS))
    ladder, model = LadderBook(arena_of(2, 2, 2), step), LadderModel(step)
    for _ in range(150):
        if rng.random() < 0.01:
            ladder.clear()
            model.sides = [{}, {}]
        if rng.random() < 0.02:
            finer = rng.choice([s for s in STEPS if model.grid % s == 0])
            assert ladder.refine(finer)
            model.grid = finer
        side, price = rng.randrange(2), model.grid * rng.randrange(1, 10_000 // model.grid)
        size = (
            rng.choice((0, 0, 1, 10**15, rng.randrange(1, 10**9)))
            if price in model.sides[side]
            else 1 + rng.randrange(10**9)
        )
        ladder.set(side, price, size)
        model.set(side, price, size)
        assert size == ladder.size(side, price)
        assert model.grid == ladder.grid
        assert (model.top(0), model.top(1)) == (ladder.top(0), ladder.top(1))
        assert (model.best(0), model.best(1)) == (ladder.best(0), ladder.best(1))
    assert (model.levels(0), model.levels(1)) == (ladder.levels(0), ladder.levels(1))


@pytest.mark.parametrize(("step", "capacity"), STEPS.items())
def test_full_ladder_and_its_edges(step: int, capacity: int) -> None:
    """Every legal price of both sides fits; the first and the last are found."""
    ladder, model = LadderBook(arena_of(1, 1, 1), step), LadderModel(step)
    for side in (0, 1):
        for price in range(step, 10_000, step):
            ladder.set(side, price, price)
            model.set(side, price, price)
        assert model.levels(side) == ladder.levels(side)
    assert (10_000 - step, step) == (ladder.best(0), ladder.best(1))
    assert capacity == ladder.capacity
    for price in range(2 * step, 10_000, step):
        ladder.set(0, price, 0)
        ladder.set(1, price - step, 0)
    assert ([(step, step)], [(10_000 - step, 10_000 - step)]) == (ladder.levels(0), ladder.levels(1))


@pytest.mark.parametrize(
    ("side", "price", "size"), [(0, 0, 1), (0, 10_000, 1), (1, 150, 1), (2, 100, 1), (0, 100, -1)]
)
def test_a_level_off_the_grid_is_refused(side: int, price: int, size: int) -> None:
    """Nothing outside (0, 1), between two ticks or below zero can be set."""
    with pytest.raises(ValueError, match="expected a price on the grid 100"):
        LadderBook(arena_of(1, 0, 0), 100).set(side, price, size)


def test_the_arena_counts_its_blocks_and_reuses_them_empty() -> None:
    """Taken, most ever taken and given back are exact; a block comes back empty; full is a plain refusal."""
    arena = arena_of(2, 1, 0)
    first, second = LadderBook(arena, 100), LadderBook(arena, 100)
    first.set(0, 500, 7)
    with pytest.raises(InvariantError, match="no free block for a tick step of 100"):
        LadderBook(arena, 100)
    assert {128: (2, 2, 2), 1024: (0, 0, 1), 16384: (0, 0, 0)} == arena.usage()
    assert first.refine(10)
    assert [(500, 7)] == first.levels(0)
    assert not second.refine(10)
    assert 100 == second.grid
    assert not first.refine(1)
    first.release()
    assert {128: (1, 2, 2), 1024: (0, 1, 1), 16384: (0, 0, 0)} == arena.usage()
    again = LadderBook(arena, 25)
    assert [] == again.levels(0) + again.levels(1)
    with pytest.raises(LayoutError, match="expected an aligned buffer"):
        Arena(bytearray(100), (1, 0, 0))


def test_rows_are_numpy_visible() -> None:
    """An observer reads the newest version; numpy sees the same slot; a foreign buffer is refused."""
    buffer = bytearray(rows_bytes(3))
    writer, observer = Rows(buffer, 3), Rows(memoryview(buffer).toreadonly())
    assert observer.read(1) is None
    tops = np.zeros(9, DTYPES[Kind.TOP])
    for number in range(9):
        tops[number]["seq"] = 1000 + number
        writer.publish(1, tops[number].tobytes())
        assert tops[number].tobytes() == observer.read(1)
    assert observer.read(2) is None
    with pytest.raises(IndexError, match="below 3, found 3"):
        observer.read(3)
    with pytest.raises(LayoutError, match="no rows of this layout"):
        Rows(bytearray(rows_bytes(3)))
    slots = np.frombuffer(buffer, np.uint8)[64 + 2176 + 128 : 64 + 2 * 2176].view(DTYPES[Kind.TOP])
    assert sorted(1001 + n for n in range(8)) == sorted(int(s) for s in slots["seq"])


WRITER = """
import mmap, sys
from pipeline.native.ladder import Rows, rows_bytes
with open(sys.argv[1], "r+b") as file:
    memory = mmap.mmap(file.fileno(), 0)
rows, place = Rows(memory, 2), 0
slots = [number.to_bytes(8, "little") * 32 for number in range(1, 50_001)]
rows.publish(1, slots[0])
print("ready", flush=True)
while not memory[-1]:
    for place in range(50_000):
        rows.publish(1, slots[place])
"""


def test_a_row_is_never_torn(tmp_path: Path) -> None:
    """A process publishes without pause; every copy that another takes is one whole slot (500 k here, 10 M
    in the gate)."""
    path, reads = tmp_path / "rows", scaled(500_000, 10_000_000)
    path.write_bytes(bytes(rows_bytes(2) + 8))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, cwd=ROOT)
        assert writer.stdout is not None
        assert b"ready\n" == writer.stdout.readline()
        observer, count, missed, changes, last = Rows(memory), 0, 0, 0, b""
        deadline_s = time.monotonic() + 60
        # both must really run at once: go on until enough versions were met, however busy the machine
        while (count < reads or changes < 1_000) and time.monotonic() < deadline_s:
            count += 1
            copy = observer.read(1)
            if copy is None:
                missed += 1
                continue
            assert copy == copy[:8] * 32
            changes += copy != last
            last = copy
        memory[-1] = 1
        assert 0 == writer.wait(30)
        writer.stdout.close()
        observer.close()
    print(f"rows: {count} reads, {changes} versions seen, {missed} gave up")
    assert count >= reads
    assert changes >= 1_000
    assert missed < count // 100
