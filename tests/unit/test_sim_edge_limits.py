"""Limits per address: the sheet's counts, exact windows, waiting before refusing, one address at a time."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from pipeline.sim.edge_limits import LIMITS, EdgeLimits, Limit
from pipeline.sim.exchange import Exchange
from pipeline.sim.http import Response
from pipeline.sim.settings import ExchangeSettings
from tests.sim_trader import NOW_NS, market

SECOND = 10**9
#: service, method, path, count, seconds. Source: venue sheet 16, read 2026-11-20.
SHEET = [
    ("gamma", "GET", "/events/keyset", 500, 10), ("gamma", "GET", "/markets/123", 300, 10),
    ("gamma", "GET", "/tags", 200, 10), ("data", "GET", "/v2/trades", 300, 10),
    ("data", "GET", "/v2/positions", 200, 10), ("data", "GET", "/v2/value", 800, 10),
    ("clob", "GET", "/book", 1_500, 10), ("clob", "POST", "/books", 500, 10),
    ("clob", "GET", "/tick-size", 200, 10), ("clob", "GET", "/ok", 100, 10),
    ("clob", "GET", "/clob-markets/0x1", 9_000, 10), ("clob", "GET", "/data/orders", 500, 10),
    ("clob", "GET", "/notifications", 125, 10), ("clob", "GET", "/auth/derive-api-key", 100, 10),
    ("clob", "GET", "/balance-allowance", 200, 10), ("clob", "GET", "/balance-allowance/update", 50, 10),
    ("clob", "POST", "/order", 5_000, 10), ("clob", "DELETE", "/order", 5_000, 10),
    ("clob", "POST", "/orders", 2_000, 10), ("clob", "DELETE", "/orders", 2_000, 10),
    ("clob", "DELETE", "/cancel-all", 250, 10), ("clob", "DELETE", "/cancel-market-orders", 1_500, 10),
    ("relayer", "POST", "/submit", 25, 60),
]


@pytest.mark.parametrize(("service", "method", "path", "count", "seconds"), SHEET)
def test_the_sheets_counts(service: str, method: str, path: str, count: int, seconds: int) -> None:
    """As many as the sheet says pass at once; the next waits for the whole window."""
    edge = EdgeLimits(queue_ns=0)
    for _ in range(count):
        assert (NOW_NS, 0) == edge.admit(NOW_NS, "a", service, method, path)
    assert (0, seconds) == edge.admit(NOW_NS, "a", service, method, path)
    assert (0, 1) == edge.admit(NOW_NS + (seconds - 1) * SECOND + 1, "a", service, method, path)
    assert 0 == edge.admit(NOW_NS + seconds * SECOND, "a", service, method, path)[1]


def test_sustained_limits_bind_over_ten_minutes() -> None:
    """21,000 batches in ten minutes, spread so that the short window never binds: one more is refused."""
    edge = EdgeLimits(queue_ns=0)
    step_ns = 10 * SECOND // 1_000
    for number in range(21_000):
        assert 0 == edge.admit(NOW_NS + number * step_ns, "a", "clob", "POST", "/orders")[1], number
    at_ns = NOW_NS + 21_000 * step_ns
    assert (0, 390) == edge.admit(at_ns, "a", "clob", "POST", "/orders")


@pytest.mark.parametrize("seed", range(20))
def test_no_window_ever_holds_more(seed: int) -> None:
    """Over random arrivals of two addresses no window of either holds more; nobody waits without need."""
    rng = random.Random(seed)
    limits = (Limit("all", "", (), 12), Limit("few", "clob", ("GET /few",), 4, 3))
    edge = EdgeLimits(2 * SECOND, limits)
    now_ns, gone = NOW_NS, {address: {limit.name: [] for limit in limits} for address in "ab"}
    for _ in range(400):
        now_ns += rng.choice((0, 0, rng.randrange(SECOND)))
        address, path = rng.choice("ab"), rng.choice(("/few", "/many"))
        start_ns, wait_s = edge.admit(now_ns, address, "clob", "GET", path)
        mine = [limit for limit in limits if limit.name == "all" or path == "/few"]
        free_ns = max(_free_ns(gone[address][one.name], one, now_ns) for one in mine)
        if wait_s:
            assert free_ns - now_ns > 2 * SECOND
            continue
        assert free_ns == start_ns, f"seed {seed}"
        for one in mine:
            starts = gone[address][one.name]
            starts.append(start_ns)
            assert sum(start_ns - one.window_s * SECOND < at for at in starts) <= one.count
    assert edge.delayed
    assert edge.refused


def _free_ns(starts: list[int], limit: Limit, now_ns: int) -> int:
    """Return the first time, nobody overtaken, with room in the window that ends there: tried one by one."""
    for at_ns in sorted({now_ns, *starts, *(start + limit.window_s * SECOND for start in starts)}):
        inside = sum(at_ns - limit.window_s * SECOND < start for start in starts)
        if at_ns >= max([now_ns, *starts]) and inside < limit.count:
            return at_ns
    raise AssertionError("a window always empties")


class _Asker:
    """Asks an exchange as one address and notes when which status came back."""

    def __init__(self, **settings: Any) -> None:
        self.exchange = Exchange(ExchangeSettings(**settings), [market()], [], seed=1)
        self.heard: list[tuple[int, Response]] = []

    def ask(self, now_ns: int, path: str, address: str = "10.0.0.1") -> None:
        def heard(at_ns: int, answer: Response | None) -> None:
            assert answer is not None
            self.heard.append((at_ns, answer))

        self.exchange.ask(now_ns, "clob", "GET", path, {}, b"", heard, address)


def test_a_request_waits_its_turn_and_no_longer() -> None:
    """Beyond the limit the answer comes when there is room; where that is too far: 429 with Retry-After."""
    asker = _Asker(edge_queue_ns=4 * SECOND)
    for _ in range(100):
        asker.ask(NOW_NS, "/ok")
    asker.ask(NOW_NS + 5 * SECOND, "/ok")
    assert [200] * 100 + [429] == [answer.status for _, answer in asker.heard]
    assert "5" == asker.heard[-1][1].headers["retry-after"]
    assert {"error": "Too Many Requests"} == json.loads(asker.heard[-1][1].body)
    asker.ask(NOW_NS + 7 * SECOND, "/ok")
    assert 101 == len(asker.heard)
    assert NOW_NS + 10 * SECOND == asker.exchange.next_timer_ns()
    asker.exchange.on_timer(NOW_NS + 10 * SECOND)
    at_ns, answer = asker.heard[-1]
    assert (NOW_NS + 10 * SECOND, 200) == (at_ns, answer.status)


def test_addresses_and_routes_do_not_share() -> None:
    """Another address, and another route of the same one, has room; without an address nothing is limited."""
    asker = _Asker(edge_queue_ns=0)
    for _ in range(101):
        asker.ask(NOW_NS, "/ok")
    for path, address in (("/time", "10.0.0.1"), ("/ok", "10.0.0.2"), ("/ok", "")):
        asker.ask(NOW_NS, path, address)
    assert [429, 200, 200, 200] == [answer.status for _, answer in asker.heard[100:]]
    free = _Asker(edge_limits=False)
    for _ in range(101):
        free.ask(NOW_NS, "/ok")
    assert {200} == {answer.status for _, answer in free.heard}


def test_every_limit_has_a_name_of_its_own() -> None:
    """Two limits of one name would share a window."""
    assert len(LIMITS) == len({limit.name for limit in LIMITS})
