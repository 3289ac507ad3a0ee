"""FL06: fills of orders that nobody here knows, or not yet: kept, their market left alone, then explained."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind, OrderState, Origin, TradeStatus
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import T0_NS, event, fill, hash_of, pack, report, started, tick, top
from tests.models.fill_ledger import FillLedger
from tests.models.fill_stream import ROWS, Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

S, T = OrderState, TradeStatus
WALKS = ((T.MATCHED,), (T.MATCHED, T.CONFIRMED), (T.CONFIRMED,), (T.MATCHED, T.FAILED))
STRANGER = b"\x5a" * 32


def test_FL06_no_race_between_order_and_fill_loses_one(gate_record: Callable[..., None]) -> None:
    """SENT, LIVE and fills in any order, known by hash alone, through restarts: each fill is booked once."""
    first, count, done, held = fresh_seed(), figure("FL06", "races"), 0, 0
    print(f"seed {first}")
    while done < count:
        seed = first + done
        rng, world, ledger = random.Random(seed), Facts(), FillLedger()
        said: list[bytes] = []
        for number in range(1, 1 + rng.randint(2, 6)):
            order = world.order(rng.choice(ROWS), 4_000, 9 * MICRO, sent=False)
            said.append(report(number, S.SENT, Origin.GATEWAY))
            live = report(0, S.LIVE, Origin.USER_CHANNEL, order_hash=hash_of(number))
            said += [live] * rng.randint(0, 1)
            for trade in range(rng.randint(1, 3)):
                one = ledger.add(order.instrument, 0, True, 3 * MICRO, 1_200_000, 0)
                walk = rng.choice(WALKS)
                one.fate = {T.CONFIRMED: "settled", T.FAILED: "failed"}.get(walk[-1], "open")
                said += [fill(order, 3 * MICRO, 10 * number + trade, status=status, order_no=0)
                         for status in walk]
            done += 1
        walks = said[:]
        rng.shuffle(said)
        for slot in in_walk_order(said, walks):
            world.now_ns += NS_PER_MS
            if rng.random() < 0.2:
                world.reconcile()  # a whole pass proves nothing while an order of ours has no hash
            world.tell(slot)
            held += bool(world.facts.quarantine.count)
            world.perhaps_die(rng, 0.05)
        facts = world.facts
        assert ledger.cash == facts.positions.cash_usd_micro, seed
        for row in ROWS:
            assert ledger.held(row, 0) == facts.positions.held(row, 0), (seed, row)
        assert (0, {}, 0) == (facts.quarantine.count, facts.quarantine.rows, facts.external.order_count), seed
        assert 0 == facts.alarms.count("fill_of_stranger"), seed
    assert held > count // 4
    gate_record("FL06", "races", done, first)


def in_walk_order(said: list[bytes], walks: list[bytes]) -> list[bytes]:
    """Return the shuffled records with each trade's own statuses in the order in which they were made."""
    def trade_of(slot: bytes) -> bytes:
        return slot[56:104] if slot[32] == Kind.FILL else b""

    waiting: dict[bytes, list[bytes]] = {}
    for slot in walks:
        waiting.setdefault(trade_of(slot), []).append(slot)
    return [waiting[trade_of(slot)].pop(0) if trade_of(slot) else slot for slot in said]


def test_FL06_true_strangers_ring_and_count_as_exposure(gate_record: Callable[..., None]) -> None:
    """Kept until a whole pass behind it while no order of ours lacks a hash; then another's, with alarm."""
    first, count = fresh_seed(), figure("FL06", "strangers")
    print(f"seed {first}")
    for seed in range(first, first + count):
        rng, world = random.Random(seed), Facts()
        row, size = rng.choice(ROWS), rng.randint(1, 9) * MICRO
        mine = world.order(row, 4_000, MICRO, sent=rng.random() < 0.5)
        cost = size * 4 // 10
        slots = [stranger(mine, size, status) for status in (T.MATCHED, T.MINED, T.FAILED)]
        world.tell(slots[0])
        if rng.random() < 0.5:
            world.tell(slots[1])
        world.perhaps_die(rng, 0.3)
        assert row in world.facts.quarantine.rows, seed
        world.tell(pack(Kind.RECONCILED, request_no=1, ok=1))  # asked for by nobody
        world.now_ns += NS_PER_S
        world.reconcile(ok=0)  # a pass that did not see everything
        assert row in world.facts.quarantine.rows, seed
        world.reconcile()
        if not any(world.facts.orders.by_no[1].order_hash):  # it might be the one
            assert row in world.facts.quarantine.rows and not world.facts.alarms.told, seed
            world.tell(report(1, S.SENT, Origin.GATEWAY))
            world.now_ns += NS_PER_S
            world.reconcile()
        facts = world.facts
        assert ({}, 0) == (facts.quarantine.rows, facts.positions.cash_usd_micro), seed
        assert facts.alarms.count("fill_of_stranger") >= 1 and facts.alarms.told["fill_of_stranger"][1] == row
        assert {row: cost} == facts.external.by_row, seed
        world.crash()
        world.tell(slots[0])  # told again: no news
        assert {row: cost} == world.facts.external.by_row, seed
        world.tell(slots[2])
        assert {} == world.facts.external.by_row, seed
    gate_record("FL06", "strangers", count, first)


def stranger(like: Any, size_micro: int, status: TradeStatus) -> bytes:
    return fill(like, size_micro, 9, order_no=0, order_hash=STRANGER, status=status)


def test_FL06_a_market_with_an_unexplained_fill_takes_no_risk_until_it_is_explained() -> None:
    """H1 for that market: ideas are refused; trade asks for a pass by itself; behind it it trades again."""
    rig = started(*event(ROWS))
    intent = unpack(pack(Kind.INTENT, order_no=77, instrument=2, price_ticks=3_000))
    rig.feed(tick(T0_NS), fill(intent, MICRO, 1, order_no=0, order_hash=STRANGER))
    now_ns = T0_NS + 100 * NS_PER_MS

    def decided(now_ns: int) -> list[tuple[int, int]]:
        found = rig.feed(*(top(row, [(2_900, 50)], [(3_000, 50)], now_ns) for row in ROWS))
        return [(one.kind, getattr(one, "cause", 0)) for one in found]

    assert [(Kind.VERDICT, Cause.UNKNOWN_ORDER_OPEN)] == decided(now_ns)
    now_ns = T0_NS + 2 * NS_PER_S
    [asked] = [one for one in rig.feed(tick(now_ns)) if one.kind == Kind.RECONCILE]
    rig.feed(pack(Kind.RECONCILED, now_ns=now_ns, request_no=asked.request_no, ok=1))
    assert {2: 300_000} == rig.trader.facts.external.by_row
    assert Kind.PACKAGE in [kind for kind, _ in decided(now_ns + NS_PER_S)]
