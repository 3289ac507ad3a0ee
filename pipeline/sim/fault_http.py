"""Faults of requests: what stands before the exchange's routes and spoils the way there or back.

"Before" means that the exchange never saw the request; "after" that it carried it out and the answer is
lost or replaced. One fault strikes a request: the first active one, in the order of the file.
"""

from __future__ import annotations

from collections.abc import Callable

from pipeline.sim import errors_text as texts
from pipeline.sim.exchange import Reply
from pipeline.sim.fault_books import ghosts_of
from pipeline.sim.fault_run import FaultRun
from pipeline.sim.faults import HttpFault
from pipeline.sim.http import Response, refuse
from pipeline.sim.timers import Timers
from pipeline.units import NS_PER_MS

HTML = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
CarryOut = Callable[[int, Reply], None]


class HttpFaults:
    """The exchange's `Gate`."""

    def __init__(self, runs: list[FaultRun], timers: Timers) -> None:
        self._runs = runs
        self._timers = timers

    def on_request(
        self, now_ns: int, service: str, route: str, carry_out: CarryOut, reply: Reply
    ) -> None:
        for run in self._runs:
            fault = run.fault
            if isinstance(fault, HttpFault) and is_route(fault, route) and run.hits():
                run.note(now_ns, f"{service} {route}")
                self._spoil(now_ns, fault, carry_out, reply)
                return
        carry_out(now_ns, reply)

    def _spoil(self, now_ns: int, fault: HttpFault, carry_out: CarryOut, reply: Reply) -> None:
        delay_ns = fault.delay_ms * NS_PER_MS
        if fault.kind == "cut_before":
            reply(now_ns, None)
        elif fault.kind == "cut_after":
            carry_out(now_ns, lambda at_ns, _: reply(at_ns, None))
        elif fault.kind == "slow_request":
            self._timers.at(now_ns + delay_ns, lambda due_ns: carry_out(due_ns, reply))
        elif fault.kind == "slow_answer":
            carry_out(now_ns, lambda at_ns, answer: self._reply_late(at_ns + delay_ns, answer, reply))
        elif fault.kind == "ghost_books":
            carry_out(now_ns, lambda at_ns, answer: reply(at_ns, ghosts_of(answer, fault.dated, at_ns)))
        elif fault.kind == "error_after":
            carry_out(now_ns, lambda at_ns, _: reply(at_ns, answer_of(fault)))
        else:
            reply(now_ns, answer_of(fault))

    def _reply_late(self, at_ns: int, answer: Response | None, reply: Reply) -> None:
        self._timers.at(at_ns, lambda due_ns: reply(due_ns, answer))


def is_route(fault: HttpFault, route: str) -> bool:
    """Whether "POST /order" is one of the fault's routes."""
    return any(
        route == one or (one.endswith("*") and route.startswith(one[:-1])) for one in fault.routes
    )


def answer_of(fault: HttpFault) -> Response:
    """Return the answer that stands for the exchange's own."""
    if fault.kind == "rate_limit":
        return refuse(texts.RATE_LIMITED, {"retry-after": str(fault.retry_after_s)})
    if fault.kind == "unauthorized":
        return refuse(texts.UNAUTHORIZED)
    if fault.kind == "not_json":
        return Response(fault.status or 502, {"content-type": "text/html"}, HTML)
    return refuse(texts.Refusal("internal server error", fault.status or 500))
