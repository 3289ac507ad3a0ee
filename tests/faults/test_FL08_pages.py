"""FL08: lists that are cut short: a page set that is not whole is no evidence for anything.

The wire part: walks over orders and trades, and what trade makes of a pass that did not see everything.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from pipeline.kinds import Kind, OrderState, OrderType, Origin
from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket.account import Walk, open_orders_walk, trades_walk
from tests.models.core_rig import T0_NS, event, pack, report, started, tick
from tests.models.fill_stream import Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

S = OrderState
PAGE = 5
ROUND = b'{"data": [], "next_cursor": "ROUND"}'  # a cursor that leads to itself


def pages_of(rows: list[dict[str, Any]]) -> dict[str, bytes]:
    """Return the pages of a listing by cursor, as the venue serves them (venue sheet 13)."""
    cursors = ["", *(f"MTA{start}" for start in range(PAGE, len(rows), PAGE)), "LTE="]
    return {
        cursor: json.dumps({
            "limit": PAGE, "count": len(rows[at * PAGE:(at + 1) * PAGE]), "next_cursor": cursors[at + 1],
            "data": rows[at * PAGE:(at + 1) * PAGE]}).encode()
        for at, cursor in enumerate(cursors[:-1])}


def walked(walk: Walk, answer: Callable[[str], tuple[int, bytes]]) -> list[dict[str, Any]]:
    """Ask until the walk is over; return the rows that it read."""
    rows: list[dict[str, Any]] = []
    while walk.path is not None:
        cursor = walk.path.partition("next_cursor=")[2]
        walk.on_answer(*answer(cursor))
        rows += walk.take()
    return rows


def cut(rng: random.Random, body: bytes) -> tuple[int, bytes]:
    """Return an answer that lacks something of this page."""
    page = json.loads(body)
    way = rng.randrange(9)
    if way == 0:
        return 200, body[:rng.randrange(len(body))]
    if way == 1:
        return rng.choice((429, 500, 502, 504, 404)), body
    if way == 2:
        del page["next_cursor"]
    elif way == 3:
        page["next_cursor"] = rng.choice(("", 7, ["x"], "a b"))
    elif way == 4:
        del page["data"]
    elif way == 5:
        page["data"] = rng.choice((None, {}, "rows", [1], [None]))
    elif way == 6:
        return 200, json.dumps(page["data"]).encode()
    elif way == 7:
        return 0, b""  # no answer at all
    else:
        page["next_cursor"] = "ROUND"
    return 200, json.dumps(page).encode()


def test_FL08_a_page_set_that_is_cut_anywhere_is_not_whole(gate_record: Callable[..., None]) -> None:
    """Any page of any listing broken in any way: the walk ends, and never as complete; whole ones do."""
    first, count = fresh_seed(), figure("FL08", "cuts")
    print(f"seed {first}")
    for seed in range(first, first + count):
        rng = random.Random(seed)
        rows = [{"id": f"0x{number:064x}"} for number in range(rng.randint(1, 30))]
        pages, make = pages_of(rows), rng.choice((open_orders_walk, trades_walk))
        whole = make()
        assert rows == walked(whole, lambda cursor, pages=pages: (200, pages[cursor])), seed
        assert whole.is_complete and whole.row_count == len(rows)
        broken = rng.choice(list(pages))
        walk = make()
        walked(walk, lambda cursor, pages=pages, broken=broken, rng=rng: (
            cut(rng, pages[broken]) if cursor == broken else (200, pages.get(cursor, ROUND))))
        assert not walk.is_complete and walk.refusal is not None, (seed, broken)
    gate_record("FL08", "cuts", count, first)


def test_FL08_a_pass_that_is_not_whole_proves_nothing() -> None:
    """Nothing ends, nothing is doubted or labelled, no restart is over by a pass that is not whole."""
    world = Facts()
    order = world.order(1, 4_000, 5 * MICRO, order_type=OrderType.GTC)
    world.tell(report(1, S.LIVE, Origin.HTTP), report(
        0, S.LIVE, Origin.RECONCILE, order_hash=b"\x77" * 32, size_micro=MICRO, price_ticks=5_000,
        instrument=2))
    world.now_ns += 60 * NS_PER_S
    for fields in ({"ok": 0}, {"ok": 0, "heard": 1}):
        world.tell(pack(Kind.RESUME))
        world.reconcile(**fields)
        facts = world.facts
        assert (S.LIVE, 1, 1) == (
            facts.orders.by_no[order.order_no].state, facts.orders.open_count, facts.external.order_count)
        assert not facts.gate.is_reconciled and not facts.alarms.told
    world.reconcile()
    facts = world.facts
    assert (S.UNKNOWN, 0) == (facts.orders.by_no[1].state, facts.external.order_count)  # now it is evidence
    assert facts.gate.is_reconciled


def test_FL08_a_start_asks_until_one_pass_is_whole() -> None:
    """Nothing is decided behind a restart while every pass is cut short; trade asks again each second."""
    rig = started(*event((1, 2, 3)))
    rig.feed(pack(Kind.RESUME, now_ns=T0_NS))
    asked = []
    for second in range(1, 31):
        now_ns = T0_NS + second * NS_PER_S
        found = [one.request_no for one in rig.feed(tick(now_ns)) if one.kind == Kind.RECONCILE]
        asked += found
        rig.feed(*(pack(Kind.RECONCILED, now_ns=now_ns, request_no=number, ok=0) for number in found))
        assert not rig.trader.facts.gate.is_reconciled
    assert 30 == len(asked)
