"""`pm run`: one pipeline in the foreground until a signal, a halt H4 or what nobody can mend ends it.

Reads configuration and the halt page; the supervisor does the rest. SIGTERM and SIGINT are a clean end. A
service manager that asks for it (`run/notify.py`) hears when all lanes run, that they turn, and what holds.
"""

from __future__ import annotations

import faulthandler
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import orjson

from pipeline.config.load import load, parse_override
from pipeline.errors import IntegrityError, RiskRefusal, UsageError
from pipeline.kinds import HaltLevel
from pipeline.run.notify import Notifier, Watchdog
from pipeline.run.supervisor import OWN_PAGE, StartStopped, Supervisor
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.shm.status import LaneState, StatusView
from pipeline.units import NS_PER_S

POLL_S = 0.25
STATUS_NS = NS_PER_S  # how often the service manager may hear a changed status
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run_service(
    config_files: Sequence[Path],
    mode: str | None,
    topology: str | None,
    cpus: str,
    set_: Sequence[str],
    as_json: bool,
    from_venue: bool = False,
) -> int:
    """Run until told to stop; return 0 after a clean end. Raises PipelineError, with nothing left behind.

    from_venue: set the logs aside and take over what the venue says.
    """
    if cpus not in ("auto", "virtual"):
        raise UsageError(f"run: --cpus is auto or virtual, was {cpus!r}")
    overrides = dict(parse_override(text) for text in set_)
    overrides |= {key: value for key, value in (("topology", topology), ("mode", mode)) if value is not None}
    config = load(config_files, overrides)
    supervisor = Supervisor(
        config, config_files, overrides, config.mode, is_virtual=cpus == "virtual", from_venue=from_venue)
    _refuse_stopped(supervisor.state_dir)
    asked = _Asked()
    notifier = Notifier()
    if notifier.watchdog_ns:
        faulthandler.enable()  # the watchdog's SIGABRT leaves in the journal where we stood
    try:
        supervisor.start(lambda: bool(asked.name))
        _run(supervisor, notifier, asked, as_json)
    except StartStopped:
        pass  # asked for, and nothing was left behind
    finally:
        notifier.stopping()
        supervisor.stop()
        notifier.close()
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


def _run(supervisor: Supervisor, notifier: Notifier, asked: _Asked, as_json: bool) -> None:
    page = HaltPage(supervisor.state_dir)
    views = {name: supervisor.status(name) for name in (*(lane.name for lane in supervisor.lanes), OWN_PAGE)}
    try:
        unlocked = _not_locked(views)
        _say_up(supervisor, page, unlocked, as_json)
        if unlocked and notifier.is_heard:  # by hand it is nobody's plan
            print(
                f"pm: warning: the memory of {', '.join(unlocked)} is not locked, so it may be paged out; "
                "this machine refuses LimitMEMLOCK=infinity; going on", file=sys.stderr, flush=True)
        notifier.ready()
        _watch(supervisor, page, views, notifier, asked)
    finally:
        for view in views.values():
            view.close()
        page.close()


def _watch(
    supervisor: Supervisor, page: HaltPage, views: dict[str, StatusView], notifier: Notifier, asked: _Asked
) -> None:
    # Its own page tells that somebody looks after the lanes: this loop alone would not notice.
    watchdog = Watchdog(notifier, list(views.items()), time.monotonic_ns())
    told_ns = 0
    while not asked.name:
        supervisor.watch()
        page.check()  # a page that was replaced is a brake that no lane feels
        if page.level() >= HaltLevel.H4:
            raise RiskRefusal(f"run: {_who_halts(page)}; the pipeline stopped. pm resume --reason clears it")
        now_ns = time.monotonic_ns()
        watchdog.look(now_ns)
        if now_ns - told_ns >= STATUS_NS:
            told_ns = now_ns
            notifier.status(_status_line(supervisor.mode, page, views))
        time.sleep(POLL_S)


def _status_line(mode: str, page: HaltPage, views: dict[str, StatusView]) -> str:
    """Return what `systemctl status` shows: mode, halt, lanes."""
    lanes = ", ".join(
        name if view.state == LaneState.RUNNING else f"{name} {view.state.name.lower()}"
        for name, view in views.items() if name != OWN_PAGE)
    return f"mode {mode}, {_who_halts(page) if page.level() > HaltLevel.H0 else 'halt H0'}, lanes {lanes}"


def _not_locked(views: dict[str, StatusView]) -> list[str]:
    """Return the lanes that asked the kernel to lock their memory and were refused."""
    return [name for name, view in views.items() if view.counters().get("mlock_refused")]


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


def _say_up(supervisor: Supervisor, page: HaltPage, unlocked: list[str], as_json: bool) -> None:
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
            "memory_not_locked": unlocked,
        },
        words,
        as_json,
    )


def _say(facts: dict[str, object], words: str, as_json: bool) -> None:
    print(orjson.dumps(facts).decode() if as_json else words, file=sys.stdout, flush=True)
