"""FL09, FL08: shares that no fill explains are found and halt; an index that lags or lacks rows does not.

Truth is a wallet of the model (`tests/models/wallet`), then the exchange's own ledger under the whole
pipeline in simulated time.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.codec import CODECS
from pipeline.core.checkpoint import facts_digest, restore, serialise
from pipeline.core.holdings import holdings
from pipeline.kinds import Cause, HaltLevel, Kind
from pipeline.sim.fault_plan import FaultPlan
from pipeline.sim.faults import FaultsFile
from pipeline.units import MICRO, NS_PER_S
from tests.models.core_rig import T0_NS, event, pack, started, tick
from tests.models.wallet import ROWS, Wallet
from tests.shared import fresh_seed
from tests.tools.faultrows import figure
from tests.world.network import Weather
from tests.world.plan import draw_plan
from tests.world.world import World

FOUND_S_MAX = 90
CALM_S = 20  # matches are told and settled by then


def test_FL09_drift_is_found_within_ninety_seconds(gate_record: Callable[..., None]) -> None:
    """Shares of any token come or go while others are traded: H1, one alarm, the exact difference.

    The index lags up to 30 s, is cut short or empty, answers are lost. Only where we hold nothing it is all
    that there is: there it lags 5 s and is whole.
    """
    first, count = fresh_seed(), figure("FL09", "drifts")
    print(f"seed {first}")
    for seed in range(first, first + count):
        rng = random.Random(f"drift:{seed}")
        wallet = Wallet(rng)
        wallet.run(rng.randint(130, 200))  # two lists: every market was looked at
        row, outcome = rng.choice(ROWS), rng.randrange(2)
        wallet.trading.discard(row)
        wallet.run(CALM_S)
        assert not wallet.alarms and not wallet.facts.own_halt, (seed, wallet.alarms)
        held = wallet.held[row, outcome]
        if not (held or wallet.held[row, 1 - outcome]):
            wallet.is_rough, wallet.lag_ns = False, 5 * NS_PER_S
        moved = -rng.randint(1, held) if held and rng.random() < 0.7 else rng.randint(1, 40 * MICRO)
        wallet.move(row, outcome, moved)
        facts = wallet.facts
        assert wallet.run(FOUND_S_MAX, lambda facts=facts: facts.own_halt), (seed, row, outcome, moved)
        assert (HaltLevel.H1, Cause.SHARES_DIFFER) == (facts.own_halt, facts.own_cause), seed
        assert {row: (0, moved) if outcome else (moved, 0)} == facts.drift.differing, seed
        assert (1, row) == wallet.alarms["shares_differ"][:2], seed
        assert facts.gate.halt_level == HaltLevel.H1

        wallet.trading.clear()
        wallet.run(CALM_S)
        before = wallet.facts.positions.state()
        wallet.resume()
        assert wallet.truth() == wallet.believed(), seed
        wallet.run(130)
        assert not facts.own_halt and before == facts.positions.state(), seed  # nothing of it is PnL
        assert {"shares_differ": 1} == {name: told[0] for name, told in wallet.alarms.items()}, seed
    gate_record("FL09", "drifts", count, first)


def test_FL08_an_index_that_lags_or_lacks_rows_proves_nothing(gate_record: Callable[..., None]) -> None:
    """Empty, cut or old lists for minutes while all markets are traded: no halt, nothing forgotten."""
    first, count = fresh_seed(), figure("FL08", "lagging")
    print(f"seed {first}")
    lags = 0
    for seed in range(first, first + count):
        wallet = Wallet(random.Random(f"lag:{seed}"))
        wallet.run(300)
        wallet.trading.clear()
        wallet.run(CALM_S)
        assert not wallet.alarms and not wallet.facts.own_halt, (seed, wallet.alarms)
        assert wallet.truth() == wallet.believed(), seed
        lags += wallet.facts.drift.lag_count
    assert lags >= count // 2, lags  # the index was wrong, and the balances said so
    gate_record("FL08", "lagging", count, first)


def test_FL09_shares_from_before_are_anothers_and_halt_nothing() -> None:
    """A market that we see for the first time may hold shares already: labelled, counted, no halt, no PnL."""
    wallet = Wallet(random.Random(1), is_rough=False)
    wallet.trading.clear()
    wallet.move(2, 1, 7 * MICRO)
    wallet.run(100)
    assert {(2, 1): 7 * MICRO} == wallet.believed()
    assert ["shares_of_stranger"] == list(wallet.alarms) and not wallet.facts.own_halt
    wallet.move(3, 0, MICRO)  # later that is a drift, also where we never traded
    wallet.run(200)
    assert Cause.SHARES_DIFFER == wallet.facts.own_cause


def test_FL09_a_drift_that_ends_by_itself_lifts_its_halt() -> None:
    """The fill that was missing is told at last, or the shares come back: the balance agrees, H1 goes."""
    wallet = Wallet(random.Random(2), is_rough=False)
    wallet.run(60)
    wallet.trading.clear()
    wallet.run(CALM_S)
    wallet.move(1, 0, MICRO)
    assert wallet.run(FOUND_S_MAX, lambda: wallet.facts.own_halt)
    wallet.move(1, 0, -MICRO)
    assert wallet.run(FOUND_S_MAX, lambda: not wallet.facts.own_halt)
    assert not wallet.facts.drift.differing and Cause.NONE == wallet.facts.own_cause


def test_FL09_missing_shares_are_not_used_and_count_as_exposure() -> None:
    """After the operator took the difference over: what is not there cannot be merged, and may be owed."""
    wallet = Wallet(random.Random(3), is_rough=False)
    wallet.trading = {1}
    wallet.run(60)
    wallet.trading.clear()
    wallet.run(CALM_S)
    row, outcome = next((row, outcome) for (row, outcome), micro in wallet.held.items() if micro > MICRO)
    free = holdings(wallet.facts)[0].free_micro(outcome)
    wallet.move(row, outcome, -MICRO)
    wallet.run(FOUND_S_MAX)
    wallet.resume()
    assert free - MICRO == holdings(wallet.facts)[0].free_micro(outcome)
    assert MICRO == wallet.facts.external.by_row[row]


def test_FL09_nothing_is_judged_while_fills_may_be_missing() -> None:
    """Behind a restart, or while nobody hears the user channel, a balance proves nothing."""
    rig = started(*event(ROWS))
    rig.feed(pack(Kind.RESUME, now_ns=T0_NS))
    for second in range(1, 100, 10):
        now_ns = T0_NS + second * NS_PER_S
        rig.feed(
            pack(Kind.HOLDING, now_ns=now_ns, instrument=1, begun_ns=now_ns, yes_micro=MICRO, is_balance=1),
            pack(Kind.HOLDING, now_ns=now_ns, yes_micro=-1, no_micro=-1, ok=1), tick(now_ns))
    assert not rig.trader.facts.drift.suspects and not rig.trader.facts.alarms.told


def test_FL09_a_restart_in_the_middle_knows_the_same() -> None:
    """Suspects, readings and differences are part of the checkpoint."""
    wallet = Wallet(random.Random(5), is_rough=False)
    wallet.run(100)
    wallet.trading.clear()
    wallet.run(CALM_S)
    wallet.move(1, 0, MICRO)
    for _ in range(12):
        wallet.run(8)
        trader = wallet.rig.trader
        again, _, _ = restore(serialise(trader))
        assert facts_digest(trader) == facts_digest(again)
        wallet.rig.trader = again
    assert Cause.SHARES_DIFFER == wallet.facts.own_cause


@pytest.mark.parametrize("way", ["out", "in"])
def test_FL09_drift_under_the_whole_pipeline(
    tmp_path: Path, way: str, gate_record: Callable[..., None],
) -> None:
    """The exchange moves shares behind our back while questions fail: found, and taken over by resume."""
    first, count, seed = fresh_seed(), figure("FL09", "worlds"), fresh_seed()
    print(f"seed {first}")
    while count:
        seed += 1
        plan = dataclasses.replace(
            draw_plan(seed), weather=Weather(ask_fault=0.05), is_lazy=False, changes_tick=False)
        directory = tmp_path / f"{way}{seed}"
        directory.mkdir()
        world = World(plan, directory)
        try:
            world.trade(20, 0, 20.0)
            world.scenario.stop_flow(world.now_ns)
            world.run(world.now_ns + random.Random(seed).randint(10, 60) * NS_PER_S)
            facts = world.trader.facts
            assert "shares_differ" not in facts.alarms.told, seed
            if not facts.positions.open_rows:
                continue  # its limits or books let nothing be bought
            count -= 1
            faults = FaultPlan(FaultsFile(), world.scenario.exchange)
            run = faults.inject(world.now_ns, {"name": "t", "kind": "transfer", "shares": "1.5", "way": way})
            assert run.count == 1, seed
            until_ns = world.now_ns + FOUND_S_MAX * NS_PER_S
            assert world.run(until_ns, lambda facts=facts: bool(facts.own_halt)), seed
            assert Cause.SHARES_DIFFER == facts.own_cause, seed
            moved = 1_500_000 if way == "in" else -1_500_000
            assert [moved] == [sum(by) for by in facts.drift.differing.values()], seed
            clear = CODECS[Kind.CLEAR].pack(source=1, source_seq=9, recv_ns=world.now_ns, resume_no=1)
            assert world.control.push(clear)
            world.run(world.now_ns + 130 * NS_PER_S)
            assert not facts.own_halt and facts.alarms.told["shares_differ"][0] == 1, seed
        finally:
            world.close()
    gate_record("FL09", "worlds", figure("FL09", "worlds"), first)
