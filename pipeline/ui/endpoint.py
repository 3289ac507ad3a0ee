"""The `/metrics` endpoint: prometheus_client's own server, on loopback, in threads of its own.

Reads through a collector; writes `metrics.json` into the run directory, so that tools find the port.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from pipeline.errors import EnvironmentProblem, UsageError

LOOPBACK = "127.0.0.1"
FILE_NAME = "metrics.json"


class Endpoint:
    """A running endpoint. Close it; what is being answered then may be cut."""

    def __init__(self, collector: Collector, port: int, run_dir: Path, host: str = LOOPBACK) -> None:
        """Bind and serve. port: 0 takes any free one.

        Raises EnvironmentProblem when the port cannot be had, UsageError for an address that others reach.
        """
        refuse_others(host)
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise EnvironmentProblem(
                f"ui.endpoint: {host}:{port} cannot be served ({error.strerror}); "
                "set metrics.port to a free port, or to 0") from error
        self.port = int(self._server.server_port)
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/metrics"
        self._file = run_dir / FILE_NAME
        try:
            partial = self._file.with_suffix(".partial")
            facts = {"url": self.url, "host": host, "port": self.port, "pid": os.getpid()}
            partial.write_bytes(orjson.dumps(facts))
            partial.replace(self._file)
        except OSError as error:
            self.close()
            raise EnvironmentProblem(
                f"ui.endpoint: {self._file} cannot be written ({error.strerror}); free space") from error

    def close(self) -> None:
        """Stop serving; takes at most half a second."""
        self._file.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def refuse_others(host: str) -> None:
    """Raise UsageError unless the address is this machine's own: the numbers are nobody else's business."""
    try:
        is_own = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_own = False
    if not is_own:
        raise UsageError(
            f"ui.endpoint: metrics are served on loopback only, was {host!r}; use 127.0.0.1 or ::1, and a "
            "tunnel or a local agent to carry them")


def served_at(run_dir: Path) -> dict[str, Any]:
    """Return url, host, port and pid of the run's endpoint; {} when there is none."""
    try:
        found = orjson.loads((run_dir / FILE_NAME).read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
