"""All stages in one process, in simulated time, against the exchange's own logic: 200 seeds.

Each seed draws its markets, plants, latencies, limits, faults and the way in which stages are scheduled.
What is judged comes from the two logs and from the exchange. A failure names its seed; one seed is one run.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.core.accounting import Accounting
from pipeline.core.fills import Change, FillIndex
from pipeline.core.orders import Orders
from pipeline.core.reservations import Reservations
from pipeline.core.strategies.basket import BasketStrategy, Watch
from pipeline.core.strategies.interface import Idea
from pipeline.kinds import OrderState
from tests.shared import scaled
from tests.world.judge import FRAMES_MIN, ORDERS_MIN, judge
from tests.world.network import Weather
from tests.world.plan import draw_plan
from tests.world.world import World

SEEDS = range(1, 1 + scaled(50, 1_000))


@pytest.mark.parametrize("seed", SEEDS)
def test_world(seed: int, tmp_path: Path) -> None:
    """Money, orders, frames, invariants and recovery hold; each proven Top is the exchange's own book."""
    plan = draw_plan(seed)

    assert [] == judge(plan, tmp_path, with_tops=seed % 10 == 0), f"seed {seed}: {plan}"


@pytest.mark.parametrize("seed", [5, 26])
def test_a_seed_is_one_run(seed: int, tmp_path: Path) -> None:
    """The same seed gives the same stream and decisions, byte for byte: a failure can be repeated."""
    found = []
    for _ in range(2):
        directory = _fresh(tmp_path / "world")  # the same one: its path is part of the config hash
        world = World(draw_plan(seed), directory)
        try:
            world.trade(ORDERS_MIN, FRAMES_MIN)
            world.settle()
            found.append((world.log("stream"), world.log("decisions")))
        finally:
            world.close()
        shutil.rmtree(directory)

    assert found[0] == found[1], f"seed {seed}"


# What the judgement must notice: each fault is planted into a stage, and the runs of a few seeds complain.


def _double_fills(patch: pytest.MonkeyPatch) -> None:
    """Every report of a trade is booked, not only the first."""
    patch.setattr(
        FillIndex, "apply", lambda self, order, trade_id, status, booking, now_ns=0: (Change.BOOK, booking))


def _trusts_open(patch: pytest.MonkeyPatch) -> None:
    """The strategy prices baskets from books that are not proven."""
    consider = BasketStrategy._consider

    def trusting(self: BasketStrategy, watch: Watch, now_ns: int) -> Idea | None:
        for book in watch.books:
            book.flags = 0
        return consider(self, watch, now_ns)

    patch.setattr(BasketStrategy, "_consider", trusting)


def _forgets_unknown(patch: pytest.MonkeyPatch) -> None:
    """An order without an answer is taken for dead at once."""

    def doubt(self: Orders, order: Any, now_ns: int, cause: int) -> None:
        self._set(order, OrderState.UNSENT, now_ns, cause)
        self.settle(order)

    patch.setattr(Orders, "doubt", doubt)


def _reserves_nothing(patch: pytest.MonkeyPatch) -> None:
    """The gate counts neither open orders nor positions."""
    patch.setattr(Reservations, "row", lambda self, row: 0)
    patch.setattr("pipeline.core.positions.Positions.worst_loss_row", lambda self, row: 0)
    patch.setattr("pipeline.core.positions.Positions.worst_loss_event", lambda self, instruments, event: 0)


def _half_fees(patch: pytest.MonkeyPatch) -> None:
    """Fees are booked 10 micro-dollars too low."""
    from pipeline.venues.polymarket import user_decode

    charged = user_decode.taker_fee_usd_micro
    patch.setattr(user_decode, "taker_fee_usd_micro", lambda *terms: max(0, charged(*terms) - 10))


def _loses_reports(patch: pytest.MonkeyPatch) -> None:
    """The archive's fold and the live one differ: trade forgets fills of the state it is in."""
    booked = Accounting.book
    state = {"count": 0}

    def book(self: Accounting, order: Any, record: Any) -> None:
        state["count"] += 1
        if state["count"] % 17:
            booked(self, order, record)

    patch.setattr(Accounting, "book", book)


CUT = Weather(cut=0.15, late=0.1)
PLANTED: list[tuple[Callable[[pytest.MonkeyPatch], None], str, Weather, dict[str, object]]] = [
    (_double_fills, "live cash", Weather(), {}),
    (_trusts_open, "was priced from row", Weather(raced=0.3, cut_ms=300), {}),
    (_forgets_unknown, "was closed at", CUT, {}),
    (
        _reserves_nothing,
        "may lose",
        Weather(),
        {
            "risk.market_usd_max": "60",
            "risk.event_usd_max": "120",
            "strategies.basket.package_usd_max": "100",
            "risk.order_usd_max": "60",
            "risk.residue_usd_max": "100000",
        },
    ),
    (_half_fees, "fees: the exchange has", Weather(), {}),
    (_loses_reports, "do not give the live state", Weather(), {}),
]


@pytest.mark.parametrize(
    ("plant", "words", "weather", "limits"), PLANTED, ids=[item[0].__name__ for item in PLANTED]
)
def test_the_judgement_bites(
    plant: Callable[[pytest.MonkeyPatch], None],
    words: str,
    weather: Weather,
    limits: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A planted fault is noticed, and by the check that is meant for it."""
    plant(monkeypatch)
    complaints: list[str] = []
    for seed in range(5):
        drawn = draw_plan(seed)
        plan = dataclasses.replace(drawn, weather=weather, overrides=drawn.overrides | limits)
        complaints += judge(plan, _fresh(tmp_path / str(seed)))
        if any(words in complaint for complaint in complaints):
            return

    pytest.fail(f"{plant.__name__} went unnoticed; all complaints: {complaints[:5]}")


def _fresh(directory: Path) -> Path:
    directory.mkdir()
    return directory
