"""A real run on a local exchange that changes its mind about the account: the halts come and go with it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.kinds import HaltLevel
from pipeline.run.exchange import GEOBLOCK
from pipeline.run.known_orders import unknown_of
from pipeline.shm import halt
from tests.cli_runs import Market, Run, pm, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Market]:
    found = Market(tmp_path_factory.mktemp("market"), "venuehalts")
    yield found
    found.close()


def reasons(state: Path) -> str:
    """Return why it halts, "" while nothing does."""
    level, entries, _ = halt.effective(state)
    return "; ".join(entry.reason for entry in entries) if level >= HaltLevel.H1 else ""


def test_what_the_venue_says_of_us_halts_and_clears(market: Market) -> None:
    """Closed-only and a blocked country halt new risk within a check or two, and go when they are over.

    Shares that come without a trade halt until `pm resume`, and are no matter behind it. Afterwards every
    order that the exchange saw is known to the state directory, and a stranger's is not.
    """
    run = Run(
        market.config, "--mode", "local", "--set", "supervision.venue_check_s=1",
        "--set", "supervision.shares_check_s=2", "--set",
        f"venues.polymarket.geoblock_url={market.exchange.urls['clob_tls']}{GEOBLOCK}")
    try:
        until(lambda: len(market.arrivals()) >= 3, "three orders")
        assert "the venue" not in reasons(market.state)
        for told, words in (("closed_only", "account main may only close positions"),
                            ("geoblocked", "does not serve this machine's country")):
            market.exchange.control("POST", "/control/account", {told: True})
            until(lambda said=words: said in reasons(market.state), f"the halt for {told}")
            market.exchange.control("POST", "/control/account", {told: False})
            until(lambda said=words: said not in reasons(market.state), f"the end of the halt for {told}")
        assert "our fills" not in reasons(market.state)
        market.exchange.control(
            "POST", "/control/fault", {"name": "gift", "kind": "transfer", "shares": "1000000", "way": "in"})
        until(lambda: "our fills" in reasons(market.state), "the halt for shares that nobody bought")
        done = pm("resume", "--state", market.state, "--reason", "they are from the other wallet")
        assert (0, "") == (done.returncode, done.stderr)
        until(lambda: not reasons(market.state), "the end of that halt")
        events = (market.state / "log" / "core.jsonl").read_text()
        assert 1 == events.count("shares_differ")
    finally:
        code, _, errors = run.stop()
    assert (0, "") == (code, errors)
    sent = [one["order_id"] for one in market.arrivals() if one["order_id"]]
    stranger = "0x" + "ab" * 32
    assert sent
    assert (stranger,) == unknown_of(market.state, [*sent, stranger])
    assert tuple(sent) == unknown_of(market.directory / "nothing", sent)
