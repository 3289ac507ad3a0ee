"""What the client scripts share; runs in the clients' own environment, so it imports nothing of the project.

A script is a list of flows. Each flow returns facts as JSON; one that raises tells its traceback as `failed`,
and the others go on. The test reads the facts from stdout and compares them with the exchange's own books.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

DEADLINE_S = 30.0
#: Keys of wallets that hold nothing anywhere: publicly known development keys. Never fund them.
KEYS = {
    "anvil3": "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "anvil4": "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "anvil5": "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
    "anvil6": "0x92db14e403b83dfe3df233f83dfa3a0d7096f21ca9b0d6d6b8d88b2b4ec1564e",
    "anvil7": "0x4bbbf85ce3377467afe5d46f804f221813b2bb87f24d81f60f1fcdbf7cbf4356",
}


def run(flows: Sequence[Callable[[], Any]]) -> None:
    """Run every flow and print one JSON object: its name to what it returned."""
    facts: dict[str, Any] = {}
    for flow in flows:
        begun_s = time.perf_counter()
        try:
            facts[flow.__name__] = flow()
        except Exception:  # noqa: BLE001 - whatever a client raises is what the test wants to see
            facts[flow.__name__] = {"failed": traceback.format_exc()}
        print(f"{flow.__name__}: {time.perf_counter() - begun_s:.2f} s", file=sys.stderr)
    print(json.dumps(facts, default=str))


def until(ask: Callable[[], Any], what: str) -> Any:
    """Return the first true answer."""
    end, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while time.monotonic() < end:
        found = ask()
        if found:
            return found
        pause.wait(0.05)
    raise AssertionError(f"{what} did not come within {DEADLINE_S} s")


def refused(call: Callable[[], Any]) -> dict[str, Any]:
    """Return the type and the fields of the exception that the call must raise."""
    try:
        answer = call()
    except Exception as error:  # noqa: BLE001 - as above
        fields = ("status_code", "error_msg", "status", "code", "retry_after", "restriction", "heartbeat_id")
        shown = {name: getattr(error, name) for name in fields if getattr(error, name, None) is not None}
        return {"type": type(error).__name__, "text": str(error), **shown}
    raise AssertionError(f"a refusal expected, was {answer!r}")
