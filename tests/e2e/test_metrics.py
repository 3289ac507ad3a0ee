"""The metrics of a run that trades: scraped over HTTP, judged by Prometheus's own tool and by `pm status`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.ui.endpoint import served_at
from pipeline.ui.families import FAMILIES
from tests.cli_runs import Market, Run, pm, until
from tests.tools.servers import promtool

pytestmark = pytest.mark.timeout(180)
#: What an operator must find for every run, from ../shared/architecture and the issue.
REQUIRED = (
    "pm_frames", "pm_records", "pm_ring_depth_records", "pm_ring_capacity_records", "pm_stream_lag_records",
    "pm_drops", "pm_fallbacks", "pm_restarts", "pm_lane_cpu_seconds", "pm_lane_resident_memory_bytes",
    "pm_lane_context_switches", "pm_step_seconds", "pm_tick_to_order_seconds", "pm_halt_level",
    "pm_halt_owner_level", "pm_books", "pm_orders", "pm_build_info", "pm_lane_up", "pm_lane_turns",
)


class Trading:
    """A run in mode local that has matched orders."""

    def __init__(self, directory: Path) -> None:
        self.market = Market(directory, "metricsrun")
        self.run = Run(self.market.config, "--mode", "local")
        until(lambda: self.value("pm_orders", state="matched") > 3, "matched orders")

    @property
    def url(self) -> str:
        """Return where the metrics are served now: a restarted lane may have another port."""
        return str(served_at(Path(self.run.up["run_dir"])).get("url", ""))

    def text(self) -> str:
        with urllib.request.urlopen(self.url, timeout=20) as answer:
            found: bytes = answer.read()
        return found.decode()

    def families(self) -> dict[str, Any]:
        return {family.name: family for family in text_string_to_metric_families(self.text())}

    def value(self, family: str, **labels: str) -> float:
        """Return the sum of the series with these labels."""
        samples = self.families()[family].samples
        return sum(
            sample.value for sample in samples if labels.items() <= sample.labels.items())

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(pm("status", "--state", self.market.state, "--json").stdout)
        return found


@pytest.fixture(scope="module")
def trading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trading]:
    found = Trading(tmp_path_factory.mktemp("metrics"))
    yield found
    found.run.stop()
    found.market.close()


def test_promtool_finds_nothing(trading: Trading, pytestconfig: pytest.Config) -> None:
    """Names, units, types and help of every metric are as the field wants them; the tool is no yes-man."""
    tool = promtool(pytestconfig.cache.mkdir("servers"))

    def check(text: str) -> tuple[int, str]:
        done = subprocess.run(
            [tool, "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60)
        return done.returncode, done.stdout + done.stderr

    text = trading.text()
    assert (0, "") == check(text)
    assert text.count("# TYPE pm_") == len(FAMILIES)
    for bad in (
        text.replace("pm_frames_total", "pm_frames"), text.replace("_seconds", "_ms"), text + "pm_bad{\n",
    ):
        assert check(bad)[0] != 0


def test_every_required_family_has_series_with_lane_and_stage(trading: Trading) -> None:
    """No family of the list is empty, and no series anywhere lacks the two labels."""
    families = trading.families()
    assert [] == [name for name in REQUIRED if not families[name].samples]
    for family in families.values():
        assert all({"lane", "stage"} <= set(sample.labels) for sample in family.samples), family.name
    lanes = set(trading.run.up["lanes"])
    for name in ("pm_lane_up", "pm_lane_cpu_seconds", "pm_restarts"):
        assert lanes <= {sample.labels["lane"] for sample in families[name].samples}
    assert {1.0} == {sample.value for sample in families["pm_lane_up"].samples}


def test_numbers_agree_with_pm_status(trading: Trading) -> None:
    """Two ways to look at one run: what grows lies between two looks of the other."""
    before, families, after = trading.status(), trading.families(), trading.status()
    for counter, family in (
        ("frames", "pm_frames"), ("ideas", "pm_ideas"), ("packages", "pm_packages"),
        ("orders_sent", "pm_orders_sent"), ("sequencer_position", "pm_records"),
    ):
        stage = "feed.polymarket.0" if counter == "frames" else None
        stage = "sequencer" if counter == "sequencer_position" else stage
        found = sum(
            sample.value for sample in families[family].samples
            if stage is None or sample.labels["stage"] == stage)
        assert before["counters"][counter] <= found <= after["counters"][counter], counter
    books = sum(sample.value for sample in families["pm_books"].samples)
    assert books == after["counters"]["instruments"]
    orders = sum(sample.value for sample in families["pm_orders"].samples)
    assert before["summary"]["orders"] <= orders <= after["summary"]["orders"]
    assert trading.url == after["metrics"]


def test_histograms_count_every_package(trading: Trading) -> None:
    """Buckets rise, +Inf is the count, and the steps of all packages are as many as packages."""
    families = trading.families()
    whole = {sample.labels.get("le", sample.name): sample.value
             for sample in families["pm_tick_to_order_seconds"].samples}
    counts = [value for le, value in whole.items() if not le.startswith("pm_")]
    assert sorted(counts) == counts
    assert whole["+Inf"] == whole["pm_tick_to_order_seconds_count"] > 0
    steps = {sample.labels["step"]: sample.value for sample in families["pm_step_seconds"].samples
             if sample.name.endswith("_count")}
    assert {"decode", "sequence", "book", "detect", "trade", "sign", "submit"} == set(steps)


def test_an_operators_halt_is_seen(trading: Trading) -> None:
    """pm halt raises the level and its owner's; pm resume clears both."""
    assert 0 == pm("halt", "drill", "--level", "H1", "--state", trading.market.state).returncode
    assert 1 == trading.value("pm_halt_level") == trading.value("pm_halt_owner_level", owner="operator")
    until(lambda: trading.value("pm_stream_halt_level") == 1, "the stream to be told")
    assert 0 == pm("resume", "--reason", "over", "--state", trading.market.state).returncode
    assert 0 == trading.value("pm_halt_level")


def test_only_this_machine_can_reach_it(trading: Trading) -> None:
    """The kernel's view of every listening socket of the run's processes."""
    pids = [lane["pid"] for lane in trading.status()["lanes"]]
    listening = [one.laddr.ip for pid in pids for one in psutil.Process(pid).net_connections("tcp")
                 if one.status == psutil.CONN_LISTEN]
    assert ["127.0.0.1"] == listening


def test_a_lane_that_died_is_told_everywhere(trading: Trading) -> None:
    """Its restart is counted by the metrics and by pm status, and the event log has the error."""
    state = trading.market.state
    edge = next(lane for lane in trading.status()["lanes"] if "edge" == lane["name"])
    os.kill(edge["pid"], signal.SIGKILL)
    until(lambda: trading.value("pm_restarts", lane="edge") == 1, "the restart to be counted")
    until(lambda: trading.value("pm_lane_up", lane="edge") == 1, "the lane to be up again")
    found = trading.status()
    again = next(lane for lane in found["lanes"] if "edge" == lane["name"])
    assert (1, True) == (again["restarts"], again["pid"] != edge["pid"])
    text = pm("status", "--state", state).stdout
    assert f"metrics: {trading.url}" in text
    assert ", 1 restarts: " in text
    assert "last error: " in text
    logged = pm("logs", "--state", state, "--event", "lane_died", "--json").stdout.splitlines()
    died = [json.loads(line) for line in logged]
    assert [("edge", edge["pid"])] == [(event["of"], event["pid"]) for event in died]
    # A busy machine may have made it tell of a stall since.
    assert ("error", "supervisor") == (found["last_error"]["level"], found["last_error"]["lane"])
    assert died[0]["ts_ns"] <= found["last_error"]["ts_ns"]


def test_metrics_outlive_the_lane_that_serves_them(trading: Trading) -> None:
    """Its next start serves again, and the file says where."""
    pid = served_at(Path(trading.run.up["run_dir"]))["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: served_at(Path(trading.run.up["run_dir"])).get("pid", pid) != pid, "the next endpoint")
    until(lambda: trading.value("pm_lane_up", lane="back") == 1, "the lane to be up again")
    until(lambda: trading.value("pm_orders", state="matched") > 3, "the logs to be read again")


def test_a_supervisor_that_stands_still_is_told(trading: Trading) -> None:
    """Without its lease the lanes act as at H3: pm status says so, and the age of the lease is a metric."""
    def says() -> bool:
        return any("has not looked for" in line for line in trading.status()["why_nothing"])

    assert not says()
    os.kill(trading.run.process.pid, signal.SIGSTOP)
    try:
        until(says, "the word of pm status")
        assert trading.value("pm_lease_age_seconds") > 1
    finally:
        os.kill(trading.run.process.pid, signal.SIGCONT)
    until(lambda: trading.value("pm_lease_age_seconds") < 1, "the lease to be renewed")
    until(lambda: not says(), "the word to be gone")


def test_a_stopped_run_leaves_no_address_behind(trading: Trading, tmp_path: Path) -> None:
    """Tools must not scrape another program that got the port later."""
    state = tmp_path / "state"
    run = Run(trading.market.config, "--set", f"state_dir={state}")
    run_dir = Path(run.up["run_dir"])
    assert served_at(run_dir)["url"].startswith("http://127.0.0.1:")
    assert 0 == run.stop()[0]
    assert {} == served_at(run_dir)
    assert "" == json.loads(pm("status", "--state", state, "--json").stdout)["metrics"]
