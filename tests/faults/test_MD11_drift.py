"""MD11: the schema of market frames drifts: fields renamed, added, removed, of another type.

What a field would have said is never made up: a frame says all that it must, or it ends its books.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from pipeline import records as r
from tests.faults.test_MD01_twins import CONNS, Ears
from tests.faults.test_MD03_books import markets
from tests.models.text_venue import text_of
from tests.models.venue_model import Market, runs_of
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

MUTANTS = figure("MD11", "mutants")
#: Fields that the venue itself leaves out at times (venue sheet 6), and what their absence is told as.
OPTIONAL = {"best_bid", "best_ask", "hash", "tick_size", "last_trade_price", "old_tick_size"}
WRONG = (None, True, 17, -3, 1.5, [], {}, [["a"]], {"value": "0.5"}, "", "NaN", "0x10", "many", "1e3")


def frames(rng: random.Random, rows: list[Market]) -> list[bytes]:
    """Return frames of each kind."""
    found: list[bytes] = []
    for market in rows:
        for _ in range(4):
            market.venue_ns += 10**6
            runs = [*market.commit(), market.snapshot(rng.randrange(2))]
            found += [text_of(run, market) for joined in runs for run in runs_of(joined)]
    return found


def places(said: Any) -> list[tuple[Any, str]]:
    """Return each (object, key) of a frame."""
    if isinstance(said, list):
        return [place for one in said for place in places(one)]
    if not isinstance(said, dict):
        return []
    return [(said, key) for key in said] + [place for key in said for place in places(said[key])]


def drift(rng: random.Random, frame: bytes) -> tuple[bytes, str, str]:
    """Return a mutant of a frame, what was done and to which field."""
    said = json.loads(frame)
    holder, key = rng.choice(places(said))
    how = rng.choice(("renamed", "added", "removed", "retyped"))
    if how == "renamed":
        holder[key + "_v2"] = holder.pop(key)
    elif how == "added":
        holder["since_2027"] = rng.choice(WRONG)
    elif how == "removed":
        del holder[key]
    else:
        # an empty list of levels is no other type: its hash refutes it (MD09)
        holder[key] = rng.choice([one for one in WRONG if type(one) is not type(holder[key])])
    return json.dumps(said).encode(), how, key


def heard(rows: list[Market], frame: bytes) -> tuple[list[tuple[Any, ...]], dict[str, int]]:
    """Return what a feed makes of one frame, and its counters."""
    ears = Ears(rows)
    ears.machine.on_close(0, CONNS[1], r.Cause.DISCONNECT)
    ears.told()
    ears.hear(CONNS[0], frame)
    ears.machine.on_timer(1)
    return ears.told(), ears.view.counters()


@pytest.mark.parametrize("seed", [11, fresh_seed()])
def test_MD11_nothing_is_made_up_when_the_schema_drifts(seed: int, gate_record: Callable[..., None]) -> None:
    """200 schema mutants: no crash; the same records, a refusal that ends the books, or the field untold."""
    rng = random.Random(seed)
    rows = markets(rng, 2)
    found = frames(rng, rows)
    outcomes = dict.fromkeys(("same", "refused", "untold", "ignored"), 0)
    for number in range(MUTANTS // 2):
        frame = rng.choice(found)
        mutant, how, key = drift(rng, frame)
        told = f"seed {seed}, mutant {number}: {key} {how}: {mutant!r}"
        before, _ = heard(rows, frame)
        after, counts = heard(rows, mutant)
        if how == "added":
            assert before == after, told
            outcomes["same"] += 1
        elif any(run[0] == r.Kind.GAP for run in after):
            assert all(run[0] == r.Kind.GAP for run in after), told
            assert counts["frames_rejected"] == 1, told
            outcomes["refused"] += 1
        elif not after:
            assert counts.get("frames_ignored", 0) + counts.get("frames_unknown_token", 0) == 1, told
            assert key in ("event_type", "asset_id", "market", "price_changes"), told
            outcomes["ignored"] += 1
        else:
            assert key in OPTIONAL, f"{told}: told without it: {after}"
            assert gist(before) == gist(after), f"{told}: {before} became {after}"
            outcomes["untold"] += 1
    assert min(outcomes["same"], outcomes["refused"]) > MUTANTS // 20, outcomes
    gate_record("MD11", "mutants", MUTANTS // 2, seed)


def gist(told: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return what is left of records without hashes, best prices, ticks and trades: what a book is made of.

    A frame whose parts announce different things is told in several records.
    """
    changes = sorted((run[1], run[2], change) for run in told if run[0] == r.Kind.DELTA for change in run[-1])
    books = [(run[1], [slot[-2:] for slot in run[2:]]) for run in told if run[0] == r.Kind.SNAPSHOT]
    others = [run for run in told if run[0] not in (r.Kind.DELTA, r.Kind.SNAPSHOT)]
    return [*changes, *books, *others]
