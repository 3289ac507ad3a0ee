"""The exchange as a process: `python -m pipeline.sim.process --config FILE`.

Reads a JSON object: `run_dir` (made when missing), `host` (127.0.0.1), `ports` (of the names in `SERVICES`,
"control" and "proxy"; 0 or absent = free), `official_hosts` (false; true: the CONNECT proxy, see `tunnel`),
`cpu` (pin to it), `die_with_parent` (false), `ends_after_s` (0 = never), and the keys of `ScenarioConfig`.
Tells by JSON lines on stdout, or to whom it is given: {"event": "progress"…}, {"event": "ready", urls, ca,
run_dir}, {"event": "fault", name, kind, what: begins, hits or ends, count}, {"event": "done"}. Writes in
`run_dir`:
`ready.json`, `ca.pem`, `key.hex` and `api.json` (mode 0600), `control.token` (0600), `report.json`. SIGTERM
or SIGINT ends it cleanly with exit 0.
"""

from __future__ import annotations

import argparse
import gc
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from pipeline.errors import ConfigError, EnvironmentProblem, PipelineError
from pipeline.sim import certificates
from pipeline.sim.control import ControlPort
from pipeline.sim.fault_plan import FaultPlan
from pipeline.sim.fault_run import FaultRun
from pipeline.sim.scenario import Scenario, ScenarioConfig, build
from pipeline.sim.server import Clock, Server

SERVICES = (
    ("clob", "clob", False),
    ("clob_tls", "clob", True),
    ("gamma", "gamma", False),
    ("gamma_tls", "gamma", True),
    ("data", "data", False),
    ("data_tls", "data", True),
    ("relayer", "relayer", False),
    ("relayer_tls", "relayer", True),
)
DRAIN_S = 5.0


def say(event: str, **values: Any) -> None:
    """Write one JSON line to stdout; a reader that is gone is no reason to fail."""
    with suppress(BrokenPipeError):
        sys.stdout.buffer.write(orjson.dumps({"event": event, **values}) + b"\n")
        sys.stdout.buffer.flush()


def read_config(path: Path) -> dict[str, Any]:
    """Return the JSON object of the file."""
    try:
        raw = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"exchange config {path}: cannot be read ({error.strerror})") from error
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"exchange config {path}: expected JSON, found {error}") from error
    if not isinstance(raw, dict) or not isinstance(raw.get("run_dir"), str):
        raise ConfigError(f"exchange config {path}: an object with run_dir expected")
    return raw


def write_account(scenario: Scenario, directory: Path) -> None:
    """Write the demo account's secrets for the pipeline, owner-only."""
    account = scenario.account
    credentials = account.credentials
    if credentials is None:
        raise ConfigError("exchange: the demo account expected API credentials, was made without")
    certificates.write_private(directory / "key.hex", scenario.private_key.hex().encode())
    certificates.write_private(
        directory / "api.json",
        orjson.dumps(
            {
                "apiKey": credentials.api_key,
                "secret": credentials.secret,
                "passphrase": credentials.passphrase,
                "address": account.owner,
                "wallet": account.wallet,
                "signature_type": account.signature_type,
            }
        ),
    )


def listen_all(
    server: Server, host: str, ports: dict[str, int], directory: Path, with_proxy: bool
) -> dict[str, str]:
    """Open every port; return the URLs by name."""
    tls = certificates.server_context(directory)
    shown = f"[{host}]" if ":" in host else host
    urls: dict[str, str] = {}
    for name, service, is_tls in SERVICES:
        port = server.listen(service, host, int(ports.get(name, 0)), tls if is_tls else None)
        suffix = "s" if is_tls else ""
        urls[name] = f"http{suffix}://{shown}:{port}"
        if service == "clob":
            for channel in ("market", "user"):
                urls[f"ws_{channel}{'_tls' if is_tls else ''}"] = f"ws{suffix}://{shown}:{port}/ws/{channel}"
    if with_proxy:  # for this machine alone, like the control port
        proxy = server.listen_proxy("127.0.0.1", int(ports.get("proxy", 0)), tls)
        urls["proxy"] = f"http://127.0.0.1:{proxy}"
    urls["control"] = (
        f"http://127.0.0.1:{server.listen('control', '127.0.0.1', int(ports.get('control', 0)))}"
    )
    return urls


def run(raw: dict[str, Any], tell: Callable[..., None] = say) -> int:
    """Build, serve until told to stop, report. tell(event, **values) hears what happens."""
    stops: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: stops.append(received))
    directory = Path(raw.pop("run_dir"))
    host, ports, cpu = str(raw.pop("host", "127.0.0.1")), dict(raw.pop("ports", {})), raw.pop("cpu", None)
    niceness = int(raw.pop("nice", 0))
    with_proxy = bool(raw.pop("official_hosts", False))
    dies_with_parent = bool(raw.pop("die_with_parent", False))
    ends_after_s = float(raw.pop("ends_after_s", 0))
    config = ScenarioConfig.parse(raw)
    directory.mkdir(parents=True, exist_ok=True)
    if cpu is not None:
        _pin(int(cpu))
    if niceness > 0:
        os.nice(niceness)
    certificates.make(directory)
    clock = Clock()
    parent = os.getppid()

    def progress(what: str, done: int, total: int) -> None:
        tell("progress", what=what, done=done, total=total)
        if stops:
            raise SystemExit(0)

    holder: list[Server] = []
    scenario = build(
        config,
        clock.now_ns(),
        lambda socket, data, frames: holder[0].write(socket, data, frames),  # noqa: PLW0108 - made below
        lambda: holder[0].backlog_bytes(),  # noqa: PLW0108 - as above
        progress,
    )
    server = Server(scenario.exchange, clock)
    holder.append(server)
    _attach_faults(scenario.faults, server, tell)
    token = secrets.token_hex(16)
    control = ControlPort(scenario, server, token)
    urls = listen_all(server, host, ports, directory, with_proxy)
    write_account(scenario, directory)
    certificates.write_private(directory / "control.token", token.encode())
    ready = {"pid": os.getpid(), "urls": urls, "ca": str(directory / "ca.pem"), "run_dir": str(directory)}
    (directory / "ready.json").write_bytes(orjson.dumps(ready))
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    tell("ready", **ready)
    ends_s = time.monotonic() + ends_after_s if ends_after_s else float("inf")

    def should_stop() -> bool:
        return bool(stops) or (dies_with_parent and os.getppid() != parent) or time.monotonic() > ends_s

    server.run(scenario.pump, should_stop)
    scenario.stop_flow(clock.now_ns())
    server.flush()
    is_drained = server.drain(DRAIN_S)
    final = control.full_report()
    (directory / "report.json").write_bytes(orjson.dumps(final, option=orjson.OPT_NON_STR_KEYS))
    server.close()
    counts = {name: final["tally"][name] for name in ("orders", "trades", "refusals")}
    report = str(directory / "report.json")
    tell("done", is_drained=is_drained, is_final=final["is_final"], report=report, **counts)
    return 0


def _attach_faults(plan: FaultPlan, server: Server, tell: Callable[..., None]) -> None:
    """Let the faults reach the sockets, and be told of."""

    def told(what: str, run: FaultRun, now_ns: int) -> None:
        note = run.notes[-1][1] if run.notes else ""
        name, kind = run.fault.name, run.fault.kind
        tell("fault", name=name, kind=kind, what=what, count=run.count, note=note, now_ns=now_ns)

    plan.frames.write = server.write_unspoiled
    server.frame_gate = plan.frames
    plan.tell = told


def _pin(cpu: int) -> None:
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        raise EnvironmentProblem(
            f"exchange: cannot run on cpu {cpu} ({error.strerror}); choose another"
        ) from error


def main(arguments: list[str] | None = None) -> int:
    """Entry point; a problem is one line on stderr and its exit code."""
    parser = argparse.ArgumentParser(prog="pipeline.sim.process", description="A local Polymarket exchange.")
    parser.add_argument("--config", type=Path, required=True, help="JSON file, see the module's text")
    options = parser.parse_args(arguments)
    try:
        return run(read_config(options.config))
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
