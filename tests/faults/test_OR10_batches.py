"""OR10: batches of which a part fails, all of it, or nobody knows which. In simulated time."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pipeline.kinds import Cause, OrderState
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.wire import SignerRates
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, Wire, hash_of, reply
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

BATCHES = figure("OR10", "batches")
S = OrderState
#: What the venue makes of one leg -> what its row says, and what we may conclude.
LEGS: dict[str, tuple[dict[str, Any], OrderState]] = {
    "taken": ({"success": True, "errorMsg": "", "status": "live"}, S.LIVE),
    "refused": ({"success": True, "errorMsg": "not enough balance / allowance", "orderID": ""}, S.REJECTED),
    "empty": ({"success": True, "errorMsg": "", "orderID": "", "status": "live"}, S.UNKNOWN),
    "limited": ({"success": True, "errorMsg": "Rate limit exceeded for tokenId 7", "orderID": "",
                 "status": "delayed"}, S.REJECTED),
    "silent": ({}, S.UNKNOWN),
    "odd": ({"success": True, "errorMsg": "", "status": "unheard of"}, S.UNKNOWN),
    "both": ({"success": False, "errorMsg": "something went wrong"}, S.UNKNOWN),
}
#: What becomes of the whole answer -> what we may conclude of every leg.
WHOLES: dict[str, Callable[[list[Any]], Reply]] = {
    "short": lambda rows: reply(200, rows[:-1]),
    "long": lambda rows: reply(200, [*rows, rows[0]]),
    "object": lambda rows: reply(200, {"rows": rows}),
    "cut": lambda rows: (200, {}, json.dumps(rows).encode()[:-9]),
    "one of them": lambda _rows: reply(400, {"error": "order 0x12 is invalid. Duplicated."}),
    "page": lambda _rows: (502, {}, b"<html>Bad Gateway</html>"),
    "nothing": lambda _rows: (0, {}, b""),
}


def row_of(number: int, kind: str) -> Any:
    row = {"orderID": "0x" + hash_of(number).hex(), "makingAmount": "", "takingAmount": ""}
    said = LEGS[kind][0]
    return {**row, **said} if said else None


def send(wire: Wire, kinds: Sequence[str], whole: str = "") -> list[int]:
    """Send one batch, answered leg by leg, or as a whole; return each leg's last state."""
    answered: list[Arrival] = []

    def mood(_now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind not in ("order", "orders"):
            return None
        answered.append(arrival)
        rows = [row_of(number, kind) for number, kind in zip(arrival.numbers, kinds, strict=True)]
        return WHOLES[whole](rows) if whole else reply(200, rows if len(rows) > 1 else rows[0])

    wire.venue.mood = mood
    numbers = wire.order(len(kinds), ttl_ns=20 * NS_PER_S)
    wire.run(4 * NS_PER_S if whole == "nothing" else NS_PER_S // 10)
    assert 1 == len(answered) and numbers == answered[0].numbers
    assert all(wire.states(number)[0] == (S.SENT, Cause.NONE) for number in numbers)
    return [wire.states(number)[-1][0] for number in numbers]


def test_OR10_each_leg_is_judged_alone(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """All outcomes of one to four legs, and random batches of up to fifteen: what the venue did."""
    seed = fresh_seed()
    print(f"seed {seed}")
    rng, wire = random.Random(seed), Wire(tmp_path, MoodyVenue(), seed, latency_ms=(1, 5))
    for count in range(1, 5):
        for kinds in itertools.product(("taken", "refused"), repeat=count):
            assert [LEGS[kind][1] for kind in kinds] == send(wire, kinds), kinds
    for _ in range(BATCHES):
        kinds = rng.choices(list(LEGS), k=rng.randint(1, 15))
        assert [LEGS[kind][1] for kind in kinds] == send(wire, kinds), (seed, kinds)
    gate_record("OR10", "batches", BATCHES, seed)


def test_OR10_an_answer_that_fits_no_leg_proves_nothing(tmp_path: Path) -> None:
    """Too short, too long, cut, about one of them, or none at all: every leg is UNKNOWN, none sent again."""
    for whole in WHOLES:
        wire = Wire(tmp_path, MoodyVenue(), 1, latency_ms=(1, 5))
        assert [S.UNKNOWN] * 3 == send(wire, ("taken", "refused", "taken"), whole), whole


def test_OR10_a_batch_that_the_bucket_does_not_hold_is_not_sent(tmp_path: Path) -> None:
    """All of it or nothing: no leg of it leaves, and the bucket keeps what it has for a smaller one."""
    wire = Wire(tmp_path, MoodyVenue(), 1, SignerRates(1, 6, 500, 500))
    first, second, third = wire.order(4), wire.order(3), wire.order(2)
    wire.run(NS_PER_S // 10)
    assert {(S.UNSENT, Cause.RATE_LIMIT)} == {wire.states(number)[-1] for number in second}
    assert {*first, *third} == set(wire.venue.open)
