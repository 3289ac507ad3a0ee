"""What the service manager hears: datagrams on a real socket, and pets only while every loop turns."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipeline.run.notify import Notifier, Watchdog
from pipeline.shm.status import LaneState
from pipeline.units import NS_PER_S
from tests.shared import ROOT

PERIOD_NS = 10 * NS_PER_S


class Manager:
    """The service manager's end: a bound datagram socket."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + name[1:] if name.startswith("@") else name)
        self._socket.setblocking(False)
        self._notifiers: list[Notifier] = []

    def notifier(self, **more: str) -> Notifier:
        """Return a notifier of a service that this manager started."""
        self._notifiers.append(Notifier(self.environment(**more)))
        return self._notifiers[-1]

    def heard(self) -> list[str]:
        """Return what came since the last look; unix datagrams are there as soon as they are sent."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.name, "PATH": os.environ["PATH"], **more}

    def stop_listening(self) -> None:
        self._socket.close()

    def close(self) -> None:
        for notifier in self._notifiers:
            notifier.close()
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    is_path = request.param == "path"
    found = Manager(str(tmp_path / "notify") if is_path else f"@pm-test-{os.getpid()}-{tmp_path.name}")
    yield found
    found.close()


@dataclass
class Page:
    """A lane's status page as far as the watchdog looks."""

    progress: int = 0
    pid: int = 7
    state: LaneState = LaneState.RUNNING
    is_alive: bool = True


def test_each_word_is_one_datagram(manager: Manager) -> None:
    """READY, STATUS, WATCHDOG and STOPPING arrive as sd_notify spells them, a repeated status once."""
    notifier = manager.notifier()
    notifier.ready()
    notifier.status("mode dry,\nhalt H0")
    notifier.status("mode dry, halt H0")
    notifier.alive()
    notifier.stopping()
    notifier.close()
    notifier.alive()
    assert ["READY=1", "STATUS=mode dry, halt H0", "WATCHDOG=1", "STOPPING=1"] == manager.heard()


def test_long_status_is_cut_between_letters(manager: Manager) -> None:
    """One datagram stays small, and what is cut is still text."""
    notifier = manager.notifier()
    notifier.status("a" + "µ" * 1_000)
    notifier.close()
    (line,) = manager.heard()
    assert line.startswith("STATUS=aµ")
    assert 400 < len(line.encode()) < 520


@pytest.mark.parametrize("name", ["", "relative", "/", "@"])
def test_nothing_without_a_socket(name: str) -> None:
    """Started by hand, or under a name that is none: nothing is sent, nothing fails."""
    notifier = Notifier({"NOTIFY_SOCKET": name} if name else {})
    notifier.ready()
    notifier.close()


def test_manager_that_is_gone_or_full_is_no_problem(manager: Manager) -> None:
    """A full queue loses our word at once instead of holding us; a closed one as well."""
    notifier = manager.notifier()
    for number in range(10_000):
        notifier.status(str(number))
    assert manager.heard()[:2] == ["STATUS=0", "STATUS=1"]
    manager.stop_listening()
    notifier.ready()


def test_ready_waits_for_a_manager_that_is_slow(manager: Manager) -> None:
    """A start waits for this one word: a queue that is full for a moment does not lose it."""
    notifier = manager.notifier()
    for number in range(10_000):
        notifier.status(str(number))
    heard: list[str] = []
    reader = threading.Timer(0.1, lambda: heard.extend(manager.heard()))
    reader.start()
    notifier.ready()
    reader.join()
    assert "READY=1" == [*heard, *manager.heard()][-1]


def test_children_do_not_inherit_the_manager(manager: Manager) -> None:
    """A lane must not speak for the service: the variables are gone once we have read them."""
    code = (
        "import os; from pipeline.run.notify import Notifier; n = Notifier(); n.ready(); "
        "print(sorted(k for k in os.environ if 'NOTIFY' in k or 'WATCHDOG' in k), n.watchdog_ns)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=manager.environment(WATCHDOG_USEC="5000000"),
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"[] {5 * NS_PER_S}" == done.stdout.strip()
    assert ["READY=1"] == manager.heard()


@pytest.mark.parametrize(
    ("variables", "expected_ns"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "20000000"}, 20 * NS_PER_S),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 20 * NS_PER_S),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_watchdog_period_is_ours_or_none(variables: dict[str, str], expected_ns: int) -> None:
    """A period for another process, or none, means that nobody waits for pets."""
    assert expected_ns == Notifier(dict(variables)).watchdog_ns


class Rig:
    """A watchdog of 10 s over two pages, with the manager that hears it."""

    def __init__(self, manager: Manager) -> None:
        self.manager = manager
        self.pages = {"core": Page(), "edge": Page(pid=8)}
        notifier = manager.notifier(WATCHDOG_USEC=str(PERIOD_NS // 1_000))
        alive = {page.pid: page for page in self.pages.values()}
        self.watchdog = Watchdog(
            notifier, list(self.pages.items()), 0, lambda pid: alive[pid].is_alive, 30 * NS_PER_S)

    def run(self, first_s: int, last_s: int, *turning: str) -> list[int]:
        """Look once a second; return the seconds at which a pet was heard."""
        pets = []
        for second in range(first_s, last_s):
            for name in turning:
                self.pages[name].progress += 1
            was_petted = self.watchdog.look(second * NS_PER_S)
            heard = self.manager.heard()
            assert (["WATCHDOG=1"] if was_petted else []) == heard
            pets += [second] if was_petted else []
        return pets


def test_pets_come_at_half_the_period(manager: Manager) -> None:
    """With all loops turning: one pet each 5 s of a period of 10 s."""
    assert [5, 10, 15, 20] == Rig(manager).run(0, 24, "core", "edge")


def test_one_loop_that_stands_ends_the_pets(manager: Manager) -> None:
    """The other lane's turns do not speak for it; as soon as it turns again, the next look pets."""
    rig = Rig(manager)
    assert [5] == rig.run(0, 6, "core", "edge")
    assert [] == rig.run(6, 60, "core")
    assert ["edge"] == rig.watchdog.still
    assert [60, 65] == rig.run(60, 70, "core", "edge")


@pytest.mark.parametrize("sign", ["dead", "starting"])
def test_lane_being_restarted_counts_until_the_limit(manager: Manager, sign: str) -> None:
    """30 s without the lane are the supervisor's business; more is a service that does not recover."""
    rig = Rig(manager)
    page = rig.pages["edge"]
    page.is_alive = sign != "dead"
    page.state = LaneState.STARTING if sign == "starting" else LaneState.RUNNING
    assert [5, 10, 15, 20, 25, 30] == rig.run(0, 100, "core")
    page.is_alive, page.state = True, LaneState.RUNNING
    assert [100, 105] == rig.run(100, 107, "core", "edge")


def test_second_restart_has_its_own_time(manager: Manager) -> None:
    """A lane that came up in between gets the whole limit again."""
    rig = Rig(manager)
    page = rig.pages["edge"]
    for first_s in (0, 25, 50):
        page.is_alive = False
        assert rig.run(first_s, first_s + 20, "core")
        page.is_alive = True
        assert rig.run(first_s + 20, first_s + 25, "core", "edge")


def test_unwatched_service_sends_no_pets(manager: Manager) -> None:
    """Without WATCHDOG_USEC looking is free."""
    watchdog = Watchdog(manager.notifier(), [("core", Page())], 0)
    assert not watchdog.look(100 * NS_PER_S)
    assert [] == manager.heard()


def test_a_corpse_is_not_alive(manager: Manager) -> None:
    """A killed lane that the supervisor has not reaped yet is away, not standing."""
    child = subprocess.Popen([sys.executable, "-c", "raise SystemExit"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    page = Page(pid=child.pid)
    notifier = manager.notifier(WATCHDOG_USEC="2")
    assert Watchdog(notifier, [("core", page)], 0).look(NS_PER_S)
    child.wait()
    page.pid = os.getpid()
    assert not Watchdog(notifier, [("core", page)], 0).look(NS_PER_S)
