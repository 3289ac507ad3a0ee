"""The control port of the exchange process: start, stop, resolve, faults, report. Loopback and a token.

Every request needs `authorization: Bearer TOKEN`. POST /control/start, /control/stop-flow,
/control/resolve {"seed": n}, /control/account {"closed_only": bool, "geoblocked": bool},
/control/market {"open": name} or {"slug": s, "do": "pause"|"accept"|"resolve"|"void", "winner": 0|1,
"told": bool}, /control/fault {"name": n} of the file or {"name", "kind", …} of a new one, /control/quit;
GET /control/status, /control/faults, /control/report.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import orjson

from pipeline.errors import ConfigError
from pipeline.sim.http import Response
from pipeline.sim.http_reader import Request
from pipeline.sim.report import report
from pipeline.sim.scenario import Scenario
from pipeline.sim.server import Server, json_answer

_MARKET_DEEDS = ("pause", "accept", "resolve", "void")


class ControlPort:
    """Routes of the control service."""

    def __init__(self, scenario: Scenario, server: Server, token: str) -> None:
        self._scenario = scenario
        self._server = server
        self._token = token
        routes: dict[str, Callable[[Request], Response]] = {
            "POST /control/start": self._start,
            "POST /control/stop-flow": self._stop_flow,
            "POST /control/resolve": self._resolve,
            "POST /control/account": self._account,
            "POST /control/fault": self._fault,
            "POST /control/market": self._market,
            "POST /control/quit": self._quit,
            "GET /control/faults": self._faults,
            "GET /control/status": self._status,
            "GET /control/report": self._report,
        }
        for name, route in routes.items():
            server.controls[name] = self._guarded(route)

    def _guarded(self, route: Callable[[Request], Response]) -> Callable[[Request], Response]:
        def guarded(request: Request) -> Response:
            given = request.headers.get("authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return json_answer({"error": "wrong control token"}, 401)
            return route(request)

        return guarded

    def status(self) -> dict[str, Any]:
        """Return counts that change while it runs."""
        scenario = self._scenario
        tally = scenario.exchange.engine.tally
        sockets = self._server.sockets.values()
        return {
            "now_ns": self._server.clock.now_ns(),
            "flow_started_ns": scenario.player.started_ns,
            "flow_ns": scenario.player.flow_ns,
            "flow_done": scenario.player.is_done,
            "frames_queued": sum(item.wire.queued for item in sockets),
            "frames_accepted": sum(item.wire.accepted for item in sockets),
            "orders": tally.orders,
            "open_orders": len(scenario.exchange.engine.open.get(scenario.account.name, ())),
            "refusals": tally.refusals,
            "trades": tally.trades,
            "plants": len(scenario.planting.journal),
            "requests": self._server.requests_count,
            "is_final": bool(scenario.finished_ns),
        }

    def _start(self, request: Request) -> Response:
        self._scenario.player.start(self._server.clock.now_ns())
        return json_answer(self.status())

    def _stop_flow(self, request: Request) -> Response:
        self._scenario.stop_flow(self._server.clock.now_ns())
        self._server.flush()
        return json_answer(self.status())

    def _resolve(self, request: Request) -> Response:
        try:
            value = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError:
            return json_answer({"error": "a JSON object with seed expected"}, 400)
        seed = value.get("seed") if isinstance(value, dict) else None
        if not isinstance(seed, int):
            return json_answer({"error": "an integer seed expected"}, 400)
        self._scenario.resolve_all(self._server.clock.now_ns(), seed)
        self._server.flush()
        return json_answer({**self.status(), "winners": self._scenario.winners})

    def _account(self, request: Request) -> Response:
        """Set what the venue thinks of the account and of where it is; absent keys stay."""
        try:
            value = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict) or not all(isinstance(given, bool) for given in value.values()):
            return json_answer({"error": "closed_only and geoblocked as booleans expected"}, 400)
        account, geoblock = self._scenario.account, self._scenario.exchange.geoblock
        account.closed_only = value.get("closed_only", account.closed_only)
        geoblock.blocked = value.get("geoblocked", geoblock.blocked)
        return json_answer(self.status())

    def _market(self, request: Request) -> Response:
        """Open a market, or change the life of one: what only the venue can do."""
        try:
            value = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError:
            value = None
        now_ns, exchange = self._server.clock.now_ns(), self._scenario.exchange
        if isinstance(value, dict) and isinstance(value.get("open"), str):
            market = self._scenario.open_market(now_ns, value["open"])
            self._server.flush()
            return json_answer({"slug": market.slug, "condition": market.condition})
        slug = value.get("slug") if isinstance(value, dict) else None
        found = [one for one in exchange.engine.markets.values() if one.slug == slug]
        do = value.get("do") if found else None
        if not found or found[0].payout_micro is not None or do not in _MARKET_DEEDS:
            words = f"open, or slug of an open market and do out of {', '.join(_MARKET_DEEDS)} expected"
            return json_answer({"error": words}, 400)
        if do == "resolve":
            told = value.get("told") is not False
            exchange.resolve(now_ns, found[0], int(value.get("winner") == 1), is_told=told)
        elif do == "void":
            exchange.void(now_ns, found[0])
        else:
            found[0].accepting = do == "accept"
        self._server.flush()
        return json_answer({"slug": slug, "accepting": found[0].accepting})

    def _fault(self, request: Request) -> Response:
        try:
            value = orjson.loads(request.body or b"{}")
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict) or not isinstance(value.get("name"), str):
            return json_answer({"error": "a JSON object with the name of a fault expected"}, 400)
        now_ns, plan = self._server.clock.now_ns(), self._scenario.faults
        try:
            run = plan.inject(now_ns, value) if "kind" in value else plan.trigger(now_ns, value["name"])
        except ConfigError as problem:
            return json_answer({"error": str(problem)}, 400)
        self._server.flush()
        return json_answer(run.row())

    def _faults(self, request: Request) -> Response:
        return json_answer(self._scenario.faults.rows())

    def _status(self, request: Request) -> Response:
        return json_answer(self.status())

    def _report(self, request: Request) -> Response:
        return json_answer(self.full_report())

    def full_report(self) -> dict[str, Any]:
        """Return what the process also writes at its end."""
        rows = [item.row() for item in self._server.sockets.values()]
        return report(self._scenario, rows, self._server.clock.now_ns())

    def _quit(self, request: Request) -> Response:
        self._server.is_stopping = True
        return json_answer(self.status())
