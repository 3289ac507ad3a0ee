"""MD04: snapshots that do not come. Asked for again, and nothing is believed before them."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from pipeline import records as r
from pipeline.units import NS_PER_S
from tests.faults.test_MD03_books import markets
from tests.models.chain import Chain
from tests.models.venue_model import Market
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

SUBSCRIPTIONS = figure("MD04", "subscriptions")
ROWS = 20
ASKED_NS_MAX = 6 * NS_PER_S


@pytest.mark.parametrize("sockets", [1, 2])
@pytest.mark.parametrize("seed", [4, fresh_seed()])
def test_MD04_a_withheld_snapshot_is_asked_for_again(
    seed: int, sockets: int, gate_record: Callable[..., None],
) -> None:
    """5 % withheld at random: every one is found, 0 believed before it comes, then all are the venue's."""
    rng = random.Random(seed)
    done = withheld = 0
    while done < SUBSCRIPTIONS // 4:
        rows = markets(rng, ROWS)
        chain = Chain(rows, sockets=sockets, reopen_ns=1, blocks=(32, 32, 4))
        wanted: dict[int, int] = {}  # row -> since when its snapshot is withheld
        is_lossy = True

        def withholds(market: Market) -> bool:
            if is_lossy and rng.random() < 0.05:  # noqa: B023
                wanted.setdefault(market.row, chain.now_ns)  # noqa: B023
                return True
            return False

        chain.venue.withholds = withholds
        for _ in range(300):
            if rng.random() < 0.3:
                market = rng.choice(rows)
                market.venue_ns += 10**6
                chain.commit(market)
            chain.step(50)
            for market in rows:
                if chain.is_believed(market.row):
                    assert chain.equals(market), f"seed {seed}: believed and wrong"
        withheld += len(wanted)
        is_lossy = False
        assert chain.run(90_000, 50, until=chain.is_settled), f"seed {seed}: {chain.counters()}"
        done += ROWS
    assert withheld > done // 50
    gate_record("MD04", "subscriptions", done, seed)


def test_MD04_the_question_is_repeated_after_five_seconds() -> None:
    """One row never gets its snapshot: asked again in 5 s, ever more seldom, and its socket stays."""
    rng = random.Random(1)
    rows = markets(rng, 3)
    chain = Chain(rows)
    lost = rows[0]
    asked: list[int] = []

    def withholds(market: Market) -> bool:
        if market is lost:
            asked.append(chain.now_ns)
        return market is lost

    chain.venue.withholds = withholds
    chain.run(4_900, 20)
    first_ns = asked[0]
    assert chain.run(1_500, 20, until=lambda: asked[-1] > first_ns), "asked again"
    assert asked[-1] - first_ns <= ASKED_NS_MAX
    for _ in range(1_000):
        chain.step(100)
        assert not chain.is_believed(lost.row)
        if rng.random() < 0.2:
            market = rng.choice(rows[1:])  # a trade of the lost one would bring its book
            market.venue_ns += 10**6
            chain.commit(market)
    assert 1 == len(chain.opens), "the others lose nothing for its sake"
    gaps = [record for record in chain.passed if record.kind == r.Kind.GAP]
    assert {lost.row} == {gap.instrument for gap in gaps}
    chain.venue.withholds = lambda market: False
    assert chain.run(200_000, 50, until=chain.is_settled)
