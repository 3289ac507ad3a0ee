"""pm cancel-all against a real run on a local exchange: it ends with nothing open, and nothing follows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli_runs import Market, Run, pm, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("market"), "cancelall")
    yield found
    found.close()


def test_cancel_all_proves_what_the_exchange_knows(market: Market, tmp_path: Path) -> None:
    """Exit 0 under a trading run: the exchange holds no open order, then and ten opportunities later."""
    state = tmp_path / "state"
    run = Run(market.config, "--set", f"state_dir={state}", "--mode", "local")
    try:
        until(lambda: len(market.arrivals()) >= 5, "five orders")
        done = pm("cancel-all", "--state", state, "--json")
        assert (0, "") == (done.returncode, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout)
        assert ("H2", 0, True) == (found["level"], found["open_orders"], found["is_running"])
        before = market.exchange.control("GET", "/control/status")
        assert 0 == before["open_orders"]
        until(
            lambda: market.exchange.control("GET", "/control/status")["plants"] >= before["plants"] + 10,
            "ten more opportunities")
        assert before["orders"] == market.exchange.control("GET", "/control/status")["orders"]
        status = json.loads(pm("status", "--state", state, "--json").stdout)
        assert "halted H2 by operator: pm cancel-all" == status["why_nothing"][0]
    finally:
        code, _, errors = run.stop()
    assert (0, "") == (code, errors)
    again = pm("cancel-all", "--state", state)
    assert (0, "") == (again.returncode, again.stderr)
    assert "nothing runs, and the last run left no order open" in again.stdout
