"""Makes one thing break in a lane, once, when a test says so; found by Python itself when a process starts.

The test makes a file of the case's name in the directory SICK_DIR; whoever meets that case first takes it
away, leaves the time (ns) in CASE.done, and breaks. Nothing in the product knows of it: the classes are
changed behind their import.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import os
import sys
import time
from types import ModuleType
from typing import Any

DIRECTORY = os.environ.get("SICK_DIR", "")
#: case -> module, class, method, whether it never returns instead of raising
CASES = {
    "rest task": ("pipeline.net.rest", "RestDriver", "_ask", False),
    "socket listener": ("pipeline.net.websocket", "SocketDriver", "arrived", False),
    "order answer": ("pipeline.net.orders", "OrderConnections", "answered", False),
    "stage beside sockets": ("pipeline.stages.account", "AccountStage", "poll", False),
    "stage of the core": ("pipeline.stages.trade", "TradeStage", "poll", False),
    "stage without sockets": ("pipeline.stages.signer", "SignerStage", "poll", False),
    "wedged beside sockets": ("pipeline.stages.gateway_stage", "GatewayStage", "poll", True),
    "wedged without sockets": ("pipeline.stages.signer", "SignerStage", "poll", True),
    "wedged core": ("pipeline.stages.sequencer", "SequencerStage", "poll", True),
}


def is_now(case: str) -> bool:
    """Tell whether this case is asked for; whoever takes its file away has it, and nobody else."""
    place = os.path.join(DIRECTORY, case)
    try:
        os.unlink(place)
    except OSError:
        return False
    with open(place + ".taken", "w") as file:
        file.write(str(time.time_ns()))
    os.rename(place + ".taken", place + ".done")
    return True


def sicken(module: ModuleType) -> None:
    """Put the cases of this module into its classes."""
    for case, (name, owner, method, never_ends) in CASES.items():
        if name == module.__name__:
            _replace(getattr(module, owner), method, case, never_ends)


def _replace(owner: Any, method: str, case: str, never_ends: bool) -> None:
    healthy = getattr(owner, method)

    def sick(self: Any, *arguments: Any) -> Any:
        if is_now(case):
            while never_ends:
                pass
            raise RuntimeError(f"sick: {case}")
        return healthy(self, *arguments)

    setattr(owner, method, sick)


class Finder(importlib.abc.MetaPathFinder):
    """Changes a module right after it was executed."""

    def find_spec(
        self, name: str, path: Any = None, target: Any = None,
    ) -> importlib.machinery.ModuleSpec | None:
        """Find it as ever; a module with cases gets them when it was executed."""
        if name not in {module for module, *_ in CASES.values()}:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        loader: Any = spec and spec.loader
        if spec is None or loader is None:
            return None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            sicken(module)

        loader.exec_module = exec_module
        return spec


if DIRECTORY:
    sys.meta_path.insert(0, Finder())
