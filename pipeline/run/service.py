"""`pm run`: one pipeline in the foreground until a signal, a halt H4 or the death of a lane ends it.

Reads configuration and the halt page; the supervisor does the rest. SIGTERM and SIGINT are a clean end.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import orjson

from pipeline.config.load import load, parse_override
from pipeline.errors import IntegrityError, RiskRefusal, UsageError
from pipeline.records import HaltLevel
from pipeline.run.supervisor import StartStopped, Supervisor
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage

POLL_S = 0.1
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_service(
    config_files: Sequence[Path],
    mode: str | None,
    topology: str | None,
    cpus: str,
    set_: Sequence[str],
    as_json: bool,
) -> int:
    """Run until told to stop; return 0 after a clean end. Raises PipelineError, with nothing left behind."""
    if cpus not in ("auto", "virtual"):
        raise UsageError(f"run: --cpus is auto or virtual, was {cpus!r}")
    overrides = dict(parse_override(text) for text in set_)
    overrides |= {key: value for key, value in (("topology", topology), ("mode", mode)) if value is not None}
    config = load(config_files, overrides)
    supervisor = Supervisor(config, config_files, overrides, config.mode, is_virtual=cpus == "virtual")
    _refuse_stopped(supervisor.state_dir)
    asked = _Asked()
    try:
        supervisor.start(lambda: bool(asked.name))
        page = HaltPage(supervisor.state_dir)
        try:
            _say_up(supervisor, page, as_json)
            _watch(supervisor, page, asked)
        finally:
            page.close()
    except StartStopped:
        pass  # asked for, and nothing was left behind
    finally:
        supervisor.stop()
    _say({"event": "stopped", "signal": asked.name}, f"stopped by {asked.name}", as_json)
    return 0


class _Asked:
    """Whether a signal asks for the end. The first one counts; more of them change nothing."""

    def __init__(self) -> None:
        self.name = ""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.name = self.name or signal.Signals(number).name


def _watch(supervisor: Supervisor, page: HaltPage, asked: _Asked) -> None:
    while not asked.name:
        supervisor.watch()
        page.check()  # a page that was replaced is a brake that no lane feels
        if page.level() >= HaltLevel.H4:
            raise RiskRefusal(f"run: {_who_halts(page)}; the pipeline stopped. pm resume --reason clears it")
        time.sleep(POLL_S)


def _refuse_stopped(state_dir: Path) -> None:
    """A latched H4 means: do not even start. A missing page is a new state directory."""
    if not (state_dir / halt.FILE_NAME).exists():
        return
    level, entries, problem = halt.effective(state_dir)
    if problem:
        raise IntegrityError(problem)
    if level >= HaltLevel.H4:
        raise RiskRefusal(
            f"run: halted {level.name} by {entries[0].owner} ({entries[0].reason}); nothing starts before "
            f"pm resume --state {state_dir} --reason …"
        )


def _who_halts(page: HaltPage) -> str:
    found = page.entries()
    return f"halted {found[0].level.name} by {found[0].owner} ({found[0].reason})" if found else "halted"


def _say_up(supervisor: Supervisor, page: HaltPage, as_json: bool) -> None:
    lanes = {lane.name: lane.cpu for lane in supervisor.lanes}
    level = page.level()
    shown = ", ".join(name if cpu is None else f"{name} on cpu {cpu}" for name, cpu in lanes.items())
    words = f"running: mode {supervisor.mode}, lanes {shown}, state {supervisor.state_dir}"
    if level > HaltLevel.H0:
        words += f"; {_who_halts(page)}"
    _say(
        {
            "event": "running",
            "mode": supervisor.mode,
            "topology": supervisor.config.topology,
            "lanes": lanes,
            "state": str(supervisor.state_dir),
            "run_dir": str(supervisor.run_dir),
            "halt": level.name,
        },
        words,
        as_json,
    )


def _say(facts: dict[str, object], words: str, as_json: bool) -> None:
    print(orjson.dumps(facts).decode() if as_json else words, file=sys.stdout, flush=True)
