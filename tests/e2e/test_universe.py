"""Markets that open, pause and end on a real exchange: rows, books and orders follow without a restart."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Flag, Kind, Rule
from pipeline.native.log import LogReader
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.units import MICRO, NS_PER_S
from tests.cli_runs import Market, Run, until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Market]:
    found = Market(tmp_path / "market", "universe", markets=3, planted_events=1)
    yield found
    found.close()


class Stream:
    """The records of the run's stream so far, by kind."""

    def __init__(self, state: Path) -> None:
        self._directory = state / "logs" / "stream"

    def records(self, *kinds: Kind) -> list[Any]:
        reader = LogReader(self._directory, "stream", None)
        wanted, found = Filter(reader, kinds), list[Any]()
        while data := wanted.read(4_096, 1 << 40):
            found += [unpack(data, at) for at in range(0, len(data), SLOT_BYTES)]
        reader.close()
        return found

    def row_of(self, condition: str, rules: int = 0, without: int = 0) -> Any:
        """Return the newest INSTRUMENT of a condition when its rules are such, else None."""
        told = [one for one in self.records(Kind.INSTRUMENT)
                if f"0x{one.condition.hex()}" == condition and not one.flags & Flag.REPEAT]
        return told[-1] if told and told[-1].rules & rules == rules and not told[-1].rules & without else None


def test_markets_open_and_end_without_a_restart_and_while_we_are_away(market: Market) -> None:
    """Heard of on the socket, looked up and confirmed long before the next walk, a book, settled.

    The walk over the list comes once a minute: a market's life here is over before. Then two markets end
    behind our back, one as a void, and nobody tells.
    """
    run = Run(market.config, "--mode", "local")
    try:
        stream = Stream(market.state)
        until(lambda: len(stream.records(Kind.SNAPSHOT)) >= 3, "the first books")
        opened = market.exchange.control("POST", "/control/market", {"open": "late"})
        row = until(lambda: stream.row_of(opened["condition"], Rule.TRADABLE), "the new market")
        (told,) = [one for one in stream.records(Kind.ANNOUNCED)
                   if f"0x{one.condition.hex()}" == opened["condition"]]
        assert row.now_ns - told.now_ns < 5 * NS_PER_S
        until(lambda: [one for one in stream.records(Kind.SNAPSHOT)
                       if one.instrument == row.instrument], "its book")

        market.exchange.control(
            "POST", "/control/market", {"slug": opened["slug"], "do": "resolve", "winner": 1, "told": True})
        paid = until(lambda: [one for one in stream.records(Kind.RESOLVED)
                              if one.instrument == row.instrument], "its resolution")
        assert [(0, MICRO)] == [(one.payout_micro_yes, one.payout_micro_no) for one in paid]
    finally:
        code, _, errors = run.stop()
    assert (0, "") == (code, errors)
    end_untold(market)


def end_untold(market: Market) -> None:
    """A void and a win while we are away: what is listed no more is asked about, and both are settled."""
    stream, slugs = Stream(market.state), ("generated-0", "generated-1")
    rows = {one.condition.hex(): one.instrument for one in stream.records(Kind.INSTRUMENT)}
    # Gamma writes a v2 condition without its padding (venue sheet 3.4)
    listed = {one["slug"]: "0x" + one["conditionId"][2:].ljust(64, "0") for one in market_rows(market)}
    market.exchange.control("POST", "/control/market", {"slug": slugs[0], "do": "void"})
    market.exchange.control(
        "POST", "/control/market", {"slug": slugs[1], "do": "resolve", "winner": 0, "told": False})
    wanted = {rows[listed[slug].removeprefix("0x")]: payout for slug, payout in zip(
        slugs, ((MICRO // 2, MICRO // 2), (MICRO, 0)), strict=True)}
    run = Run(market.config, "--mode", "local")
    try:
        def paid() -> dict[int, tuple[int, int]]:
            return {one.instrument: (one.payout_micro_yes, one.payout_micro_no)
                    for one in stream.records(Kind.RESOLVED) if one.instrument in wanted}

        assert wanted == until(lambda: paid() if len(paid()) == len(wanted) else None, "both resolutions")
        until(lambda: all(stream.row_of(listed[slug], Rule.CLOSED, Rule.TRADABLE) for slug in slugs),
              "the blocks")
    finally:
        code, _, errors = run.stop()
    assert (0, "") == (code, errors)


def market_rows(market: Market) -> list[dict[str, Any]]:
    """Return Gamma's open markets, asked as anybody would."""
    url = f"{market.exchange.urls['gamma']}/markets/keyset?limit=100&closed=false"
    with urlopen(url, timeout=10) as answer:
        found: list[dict[str, Any]] = json.loads(answer.read())["markets"]
    return found
