"""ui.endpoint and run.metrics: loopback only, one warning instead of an end, a file that names the port."""

from __future__ import annotations

import gc
import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import orjson
import psutil
import pytest

from pipeline.config.topology import LaneSpec
from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.run.metrics import serve_metrics
from pipeline.run.spec import RunSpec
from pipeline.run.startpoint import StartPoint
from pipeline.store.events import EventLog, event_path
from pipeline.ui.collector import RunCollector
from pipeline.ui.endpoint import FILE_NAME, Endpoint, served_at
from tests.models.metrics_run import LANES, RunModel


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunModel]:
    made = RunModel(tmp_path)
    yield made
    made.close()


def scrape(port: int, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def describe(run: RunModel) -> None:
    """Leave the run's description, as the supervisor does."""
    lanes = tuple(
        LaneSpec(name=name, stages=stages, cpu=None, wait="block", nice=0, realtime=False, awake=False)
        for name, stages in LANES.items())
    RunSpec(
        instance=run.facts.instance, generation=1, mode="dry", state_dir=str(run.facts.state_dir),
        run_dir=str(run.facts.run_dir), anchor_wall_ns=0, anchor_mono_ns=0, salt_epoch=1, config_files=(),
        overrides={}, lanes=lanes, doorbells={}, start=StartPoint()).save(run.facts.run_dir / "spec.json")


def test_a_scrape_is_answered_and_the_file_names_the_port(run: RunModel) -> None:
    """Tools find the endpoint by the file; it goes with the endpoint."""
    endpoint = Endpoint(RunCollector(run.facts, ("back", "observe")), 0, run.facts.run_dir)
    found = served_at(run.facts.run_dir)
    assert (endpoint.port, endpoint.url) == (found["port"], found["url"])
    status, text = scrape(endpoint.port)
    assert 200 == status
    assert 'pm_lane_up{lane="core",stage=""} 1.0\n' in text
    status, text = scrape(endpoint.port, "/metrics?name[]=pm_lane_up")
    assert (200, 3) == (status, text.count("\npm_"))
    assert 405 == scrape(endpoint.port, method="POST")[0]
    endpoint.close()
    assert {} == served_at(run.facts.run_dir)
    with pytest.raises(ConnectionRefusedError):
        scrape(endpoint.port)


def test_it_listens_on_loopback_and_nowhere_else(run: RunModel) -> None:
    """The kernel's view of our listening sockets; any address that others reach is refused."""
    endpoint = Endpoint(RunCollector(run.facts, ("back", "observe")), 0, run.facts.run_dir)
    listening = [
        one.laddr.ip for one in psutil.Process().net_connections("tcp")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == endpoint.port]
    endpoint.close()
    assert ["127.0.0.1"] == listening
    for host in ("0.0.0.0", "::", "192.168.0.1", "localhost", "", "example.org"):
        with pytest.raises(UsageError, match="loopback only"):
            Endpoint(RunCollector(run.facts, ("back", "observe")), 0, run.facts.run_dir, host)


def test_scrapes_leave_no_garbage(run: RunModel) -> None:
    """Lanes run with the collector of garbage switched off: a scrape must not make cycles."""
    endpoint = Endpoint(RunCollector(run.facts, ("back", "observe")), 0, run.facts.run_dir)
    scrape(endpoint.port)
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for _ in range(20):
            assert 200 == scrape(endpoint.port)[0]
        unreachable = gc.collect()
    finally:
        if was_enabled:
            gc.enable()
        endpoint.close()
    assert unreachable < 20, "less than one object a scrape"


def test_a_taken_port_is_one_warning_and_no_end(run: RunModel) -> None:
    """Trading goes on; the event says which port and what to do."""
    describe(run)
    log = EventLog(run.facts.state_dir / "log", "back")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert serve_metrics("observe", port, run.facts.run_dir, log) is None
    log.close()
    lines = event_path(run.facts.state_dir / "log", "back").read_bytes().splitlines()
    assert 1 == len(lines)
    event = orjson.loads(lines[0])
    assert ("warning", "metrics_not_served", "observe", port) == tuple(
        event[name] for name in ("level", "event", "stage", "port"))
    assert "set metrics.port" in event["problem"]
    assert {} == served_at(run.facts.run_dir)


def test_without_room_for_its_file_nothing_keeps_serving(run: RunModel) -> None:
    """A port that nobody can find is worth nothing: the server is closed again."""
    (run.facts.run_dir / FILE_NAME).with_suffix(".partial").mkdir()
    before = len(psutil.Process().net_connections("tcp"))
    with pytest.raises(EnvironmentProblem, match="cannot be written"):
        Endpoint(RunCollector(run.facts, ("back", "observe")), 0, run.facts.run_dir)
    assert before == len(psutil.Process().net_connections("tcp"))


def test_the_run_is_described_by_its_spec(run: RunModel) -> None:
    """Lanes, rings and their writers come from the run's own description; without one nothing is served."""
    log = EventLog(run.facts.state_dir / "log", "back")
    assert serve_metrics("observe", 0, run.facts.run_dir, log) is None
    describe(run)
    endpoint = serve_metrics("observe", 0, run.facts.run_dir, log)
    assert endpoint is not None
    _, text = scrape(endpoint.port)
    endpoint.close()
    log.close()
    assert 'pm_ring_depth_records{lane="core",ring="tops",stage="book"} 0.0\n' in text
    assert 'pm_halt_level{lane="back",stage="observe"} 0.0\n' in text
