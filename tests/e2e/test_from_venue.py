"""pm run --recover-from-venue as a real process: new logs, the venue's truth, and it trades."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli_runs import Market, Run, pm, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("market"), "fromvenue")
    yield found
    found.close()


def test_run_begins_anew_from_what_the_venue_says(market: Market, tmp_path: Path) -> None:
    """Its orders reach the exchange although it counts them from 1 again; the old logs are kept aside."""
    state = tmp_path / "state"
    for arguments in ((), ("--recover-from-venue",), ()):
        before = len(market.arrivals())
        run = Run(market.config, "--set", f"state_dir={state}", "--mode", "local", *arguments)
        try:
            until(lambda before=before: len(market.arrivals()) >= before + 5, f"five orders with {arguments}")
        finally:
            code, _, errors = run.stop()
        assert (0, "") == (code, errors)
        assert 0 == market.exchange.control("GET", "/control/status")["open_orders"]
        left = json.loads(pm("status", "--state", state, "--json").stdout)
        assert 0 == left["counters"]["open_orders"], "an order was neither sent nor refused"
        assert bool(arguments) <= (state / "old" / "1" / "logs" / "stream").is_dir()
    assert ["1"] == [path.name for path in (state / "old").iterdir()]
