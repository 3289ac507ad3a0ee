"""`pm exchange`: the local exchange in the foreground, for a pipeline that comes and goes beside it.

Writes, in its folder, what `pipeline/sim/process.py` says, the API key as the pipeline reads it, and
`pipeline.toml`: hosts, certificate and account, to be given to `pm run` behind a configuration. With
`official_hosts` it also tells the two environment variables under which an unchanged client of the venue
meets this exchange under the venue's own names, and writes them to `hosts.env`.
"""

from __future__ import annotations

import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.run.exchange import CA_FILE, fault_words, pipeline_keys, write_api_file
from pipeline.run.notify import Notifier
from pipeline.sim import process
from pipeline.units import MICRO

PORTS = ("clob_tls", "gamma_tls", "control", "clob", "proxy")  # from --port on, one after the other
AHEAD_S = 3_600  # of a run without an end, so much foreign flow is rendered before it starts
CONFIG_FILE, HOSTS_FILE = "pipeline.toml", "hosts.env"
GUEST_CASH_USD_MICRO = 10_000 * MICRO  # play money of each wallet that comes with a key of its own


@dataclass(frozen=True, slots=True)
class ExchangeOptions:
    """What the command line says. port 0 takes free ones; seconds 0 runs until a signal."""

    directory: Path
    seed: int = 1
    feeds: tuple[Path, ...] = ()
    generated: int | None = None  # binary markets to make up where no feed is played; None = as many as usual
    speed: str = "1"
    seconds: int = 0
    port: int = 8443
    official_hosts: bool = False
    as_json: bool = False
    signature_type: int = 0  # of the account's wallet
    faults: Path | None = None

    def settings(self) -> dict[str, Any]:
        """Return the settings of the exchange's process; raises UsageError in one line."""
        for feed in self.feeds:
            if not feed.is_file():
                raise UsageError(f"exchange: recording {feed} does not exist; give a *.jsonl.zst file")
        if self.feeds and self.generated is not None:
            raise UsageError("exchange: --feed plays markets, --generate makes them up; give one of the two")
        try:
            speed = self.speed if self.speed == "max" else float(self.speed)
        except ValueError:
            raise UsageError(f"exchange: --speed is a number or max, was {self.speed!r}") from None
        settings = {
            "run_dir": str(self.directory.resolve()), "seed": self.seed, "speed": speed,
            "feeds": [str(feed.resolve()) for feed in self.feeds], "ends_after_s": self.seconds,
            "signature_type": self.signature_type,
            # A pipeline that was here before remembers the trades of the exchange before.
            "life": time.time_ns(),
            "seconds": float(self.seconds or AHEAD_S),
            "guest_cash_usd_micro": GUEST_CASH_USD_MICRO,
            "official_hosts": self.official_hosts,
            "starts_on_request": self.official_hosts,  # a bot may never open the market channel
            "faults": str(self.faults.resolve()) if self.faults else "",
        }
        if self.generated is not None:
            settings["markets"] = self.generated
        if self.port:
            settings["ports"] = {name: self.port + place for place, name in enumerate(PORTS)}
        return settings


def run_exchange(options: ExchangeOptions) -> int:
    """Run until a signal or the time ends it; return 0. Raises PipelineError in one line."""
    settings = options.settings()
    try:
        options.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise EnvironmentProblem(
            f"exchange: {options.directory} cannot be made ({error.strerror}); check --dir") from error
    teller = _Teller(options.directory.resolve(), options.as_json)
    try:
        return process.run(settings, teller.tell)
    finally:
        teller.close()


class _Teller:
    """Turns the exchange's events into files, words and what the service manager wants to hear."""

    def __init__(self, directory: Path, as_json: bool) -> None:
        self._directory = directory
        self._as_json = as_json
        self._notifier = Notifier()

    def tell(self, event: str, **values: Any) -> None:
        if event == "ready":
            urls = values["urls"]
            config = self._prepare(urls)
            words = (f"exchange: {urls['clob_tls']} and {urls['clob']}, control {urls['control']}; "
                     f"pm run --config FILE --config {config} trades on it")
            if "proxy" in urls:
                values["environment"] = self._variables(urls)
                words = "\n".join([words, *_lines(values["environment"])])
            first = "request" if "proxy" in urls else "subscription to market data"
            start = f"  prices move, and a fault's time counts, from the first {first} on"
            words = "\n".join([words, *_table(urls), start])
            self._say({"event": event, **values, "config": str(config)}, words)
            self._notifier.ready()
        elif event == "done":
            self._notifier.stopping()
            counts = f"{values['orders']} orders, {values['trades']} trades, {values['refusals']} refused"
            self._say({"event": event, **values}, f"exchange ended: {counts}; its report: {values['report']}")
        elif event == "fault":
            self._say({"event": event, **values}, fault_words(values))
        elif self._as_json:
            self._say({"event": event, **values}, "")

    def _prepare(self, urls: dict[str, str]) -> Path:
        """Write what a pipeline needs; return the configuration file. TOML's strings are JSON's."""
        write_api_file(self._directory)
        lines = ["# Made by `pm exchange` at each start: hosts, certificate and account of this exchange."]
        for table, keys in pipeline_keys(self._directory, urls).items():
            lines += ["", f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
        path = self._directory / CONFIG_FILE
        partial = path.with_suffix(".partial")
        partial.write_text("\n".join(lines) + "\n")
        partial.replace(path)
        return path

    def _variables(self, urls: dict[str, str]) -> dict[str, str]:
        """Return, and keep in a file, the variables that lead a client of the venue here."""
        variables = {"HTTPS_PROXY": urls["proxy"], "SSL_CERT_FILE": str(self._directory / CA_FILE)}
        (self._directory / HOSTS_FILE).write_text("".join(f"{line}\n" for line in _lines(variables)))
        return variables

    def _say(self, facts: dict[str, Any], words: str) -> None:
        with suppress(BrokenPipeError):  # a reader that is gone is no reason to end
            print(orjson.dumps(facts).decode() if self._as_json else words, file=sys.stdout, flush=True)

    def close(self) -> None:
        self._notifier.close()


def _table(urls: dict[str, str]) -> list[str]:
    """Return where each service listens, with TLS and without it."""
    services = {
        "order book, REST": "clob", "market data": "ws_market", "own orders": "ws_user", "metadata": "gamma",
        "positions": "data", "wallets' relayer": "relayer"}
    return [f"  {what:<17}{urls[f'{name}_tls']:<38}{urls[name]}" for what, name in services.items()]


def _lines(variables: dict[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in variables.items()]
