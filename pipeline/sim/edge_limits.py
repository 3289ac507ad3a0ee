"""The venue's limits per address: how often one may ask, whoever he is.

Reads each request's peer, service and route before anything else does; answers when it may go on. A request
beyond a limit waits for its turn; one that would wait too long gets 429. Unconfirmed: how long the edge lets
one wait (a setting), and that refused requests count for nothing. Source: venue sheet 16, read 2026-11-20.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.sim.errors_text import RATE_LIMITED
from pipeline.sim.http import Response, refuse
from pipeline.sim.timers import Timers
from pipeline.units import NS_PER_S

PEERS_MAX = 1_024  # addresses remembered; the one that was silent longest is forgotten
WINDOW_S, LONG_S, MINUTE_S = 10, 600, 60


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `count` requests in any `window_s` seconds over every route that the limit covers."""

    name: str
    service: str  # "" = all
    routes: tuple[str, ...]  # "GET /book", "/auth/*": any method, anything behind; () = all of the service
    count: int
    window_s: int = WINDOW_S

    def covers(self, service: str, method: str, path: str) -> bool:
        """Return whether a request counts against it."""
        if self.service not in ("", service):
            return False
        return not self.routes or any(_is_route(route, method, path) for route in self.routes)


def _is_route(route: str, method: str, path: str) -> bool:
    wanted_method, _, wanted = route.rpartition(" ")
    if wanted_method not in ("", method):
        return False
    return path.startswith(wanted[:-1]) if wanted.endswith("*") else path == wanted


def _trading(route: str, burst: int, sustained: int) -> tuple[Limit, Limit]:
    return (
        Limit(f"{route} in 10 s", "clob", (route,), burst),
        Limit(f"{route} in 10 min", "clob", (route,), sustained, LONG_S),
    )


LIMITS: tuple[Limit, ...] = (
    Limit("all hosts", "", (), 15_000),
    Limit("gamma", "gamma", (), 4_000),
    Limit("gamma /events", "gamma", ("/events", "/events/*"), 500),
    Limit("gamma /markets", "gamma", ("/markets", "/markets/*"), 300),
    Limit("gamma listings", "gamma", ("/events", "/events/*", "/markets", "/markets/*"), 900),
    Limit("gamma /tags", "gamma", ("/tags", "/tags/*"), 200),
    Limit("data", "data", (), 800),
    Limit("data /v2/trades", "data", ("/v2/trades",), 300),
    Limit("data /v2/positions", "data", ("/v2/positions",), 200),
    Limit("relayer /submit", "relayer", ("POST /submit",), 25, MINUTE_S),
    Limit("clob", "clob", (), 9_000),
    *(
        Limit(route, "clob", (route,), count)
        for route, count in (
            ("/book", 1_500), ("/books", 500), ("/price", 1_500), ("/prices", 500), ("/midpoint", 1_500),
            ("/midpoints", 500), ("/prices-history", 1_000), ("/tick-size", 200), ("/ok", 100),
            ("/data/orders", 500), ("/data/trades", 500), ("/notifications", 125),
            ("/balance-allowance", 200), ("/balance-allowance/update", 50),
        )
    ),
    Limit("ledger", "clob", ("/data/orders", "/data/trades"), 900),
    Limit("api keys", "clob", ("/auth/*",), 100),
    *_trading("POST /order", 5_000, 120_000),
    *_trading("DELETE /order", 5_000, 120_000),
    *_trading("POST /orders", 2_000, 21_000),
    *_trading("DELETE /orders", 2_000, 15_000),
    *_trading("DELETE /cancel-all", 250, 6_000),
    *_trading("DELETE /cancel-market-orders", 1_500, 21_000),
)


@dataclass(slots=True)
class _Peer:
    starts: dict[str, deque[int]] = field(default_factory=dict)  # by limit: when the newest requests went on


class EdgeLimits:
    """Sliding windows of each address. `queue_ns` is how long a request may be held back."""

    def __init__(self, queue_ns: int, limits: tuple[Limit, ...] = LIMITS) -> None:
        self._queue_ns = queue_ns
        self._limits = limits
        self._named = frozenset(route.rpartition(" ")[2] for limit in limits for route in limit.routes)
        self._covering: dict[tuple[str, str, str], tuple[Limit, ...]] = {}
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self.delayed = 0
        self.refused = 0

    def admit(self, now_ns: int, address: str, service: str, method: str, path: str) -> tuple[int, int]:
        """Return (when it goes on in ns, 0), or (0, whole seconds after which to come back): refused."""
        peer = self._peers.setdefault(address, _Peer())
        self._peers.move_to_end(address)
        if len(self._peers) > PEERS_MAX:
            self._peers.popitem(last=False)
        windows = [(limit, peer.starts.setdefault(limit.name, deque(maxlen=limit.count)))
                   for limit in self._of(service, method, path)]
        start_ns = now_ns
        for limit, starts in windows:
            if starts:
                start_ns = max(start_ns, starts[-1])  # nobody overtakes who waits
            if len(starts) == limit.count:
                start_ns = max(start_ns, starts[0] + limit.window_s * NS_PER_S)
        if start_ns - now_ns > self._queue_ns:
            self.refused += 1
            return 0, -(-(start_ns - now_ns) // NS_PER_S)
        self.delayed += start_ns > now_ns
        for _, starts in windows:
            starts.append(start_ns)
        return start_ns, 0

    def let_in(
        self, now_ns: int, asked: tuple[str, str, str, str], timers: Timers, go_on: Callable[[int], None],
        reply: Callable[[int, Response | None], None],
    ) -> None:
        """Go on with a request now or at its turn, or refuse it. asked: address, service, method, path."""
        start_ns, wait_s = self.admit(now_ns, *asked)
        if wait_s:
            reply(now_ns, refuse(RATE_LIMITED, {"retry-after": str(wait_s)}))
        elif start_ns > now_ns:
            timers.at(start_ns, go_on)
        else:
            go_on(now_ns)

    def _of(self, service: str, method: str, path: str) -> tuple[Limit, ...]:
        """Return the limits that cover a route; of paths with ids in them the head stands for all."""
        head = path if path in self._named else "/" + path.strip("/").partition("/")[0] + "/*"
        key = service, method, head
        found = self._covering.get(key)
        if found is None:
            found = tuple(one for one in self._limits if one.covers(service, method, head))
            if len(self._covering) < PEERS_MAX:
                self._covering[key] = found
        return found
