"""FL01: fills that are told again, by the stream, by REST, behind a restart: each counts once."""

from __future__ import annotations

import random
from collections.abc import Callable

from pipeline.kinds import OrderState, Origin, TradeStatus
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import fill, report
from tests.models.fill_ledger import FAILED, SETTLED, FillLedger
from tests.models.fill_stream import ROWS, Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

T = TradeStatus
WALKS = (
    (T.MATCHED, T.MINED, T.CONFIRMED), (T.MATCHED, T.CONFIRMED), (T.CONFIRMED,),
    (T.MINED, T.RETRYING, T.CONFIRMED), (T.MATCHED, T.FAILED), (T.MATCHED, T.RETRYING, T.FAILED), (T.FAILED,))


def test_FL01_each_trade_counts_once_however_often_it_is_told(gate_record: Callable[..., None]) -> None:
    """Each report 1 to 5 times, old ones again after newer ones, by number or by hash, across restarts."""
    first, count = fresh_seed(), figure("FL01", "seeds")
    print(f"seed {first}")
    for seed in range(first, first + count):
        check(seed)
    gate_record("FL01", "seeds", count, first)


def check(seed: int) -> None:
    rng, world, ledger = random.Random(seed), Facts(), FillLedger()
    told: list[bytes] = []  # everything that was ever said: it may come again at any time
    for number in range(1, rng.randint(2, 4)):
        order = world.order(rng.choice(ROWS), rng.randrange(100, 9_900, 100), 20 * MICRO)
        for trade in range(rng.randint(1, 3)):
            size, fee = rng.randint(1, 6 * MICRO), rng.randint(0, 9) * 10
            walk = rng.choice(WALKS)
            usd = order.price_ticks * size // 10_000
            one = ledger.add(order.instrument, 0, True, size, usd, fee)
            for status in walk:
                slot = fill(
                    order, size, number * 10 + trade, status=status, fee_usd_micro=fee,
                    order_no=rng.choice((0, order.order_no)))
                told.append(slot)
                for _ in range(rng.randint(1, 5)):
                    world.now_ns += rng.choice((0, NS_PER_MS, NS_PER_S))
                    world.tell(slot)
                    world.perhaps_die(rng, 0.04)
                    if rng.random() < 0.3:
                        again = rng.choice(told)
                        before = world.facts.positions.state()
                        world.tell(again)
                        assert before == world.facts.positions.state(), seed
            one.fate = FAILED if walk[-1] == T.FAILED else SETTLED
        world.tell(report(order.order_no, OrderState.CANCELED, Origin.USER_CHANNEL, matched_micro=0))
    world.crash()
    for slot in rng.sample(told, len(told)):
        world.tell(slot)
    facts = world.facts
    assert ledger.cash == facts.positions.cash_usd_micro, seed
    assert ledger.fees == facts.positions.fees_usd_micro, seed
    for row in ROWS:
        assert ledger.held(row, 0) == facts.positions.held(row, 0), (seed, row)
        assert ledger.worst_row(row) == facts.positions.worst_loss_row(row), (seed, row)
    assert (len(ledger.standing), 0) == (facts.fills.applied_count, facts.fills.unsettled_count), seed
    assert (0, 0) == (facts.quarantine.count, facts.fills.conflict_count), seed
