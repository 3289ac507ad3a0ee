"""pm connect against the local exchange over real TLS: the key is made, kept, refused, and never shown."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipeline.config.load import load
from pipeline.errors import ConfigError, EnvironmentProblem, RiskRefusal, Unreachable
from pipeline.run.checks import check_accounts
from pipeline.run.connect import Origin, connect
from pipeline.run.exchange import ExchangeProcess
from pipeline.sim.accounts import Credentials, derive_credentials
from pipeline.sim.wallets import wallet_of
from pipeline.venues.polymarket.wallets import WalletKind
from tests.cli_runs import command, one_line, pm, write_config
from tests.e2e.test_sim_server import market_of
from tests.shared import ROOT, wait_until
from tests.sim_trader import Trader

pytestmark = pytest.mark.timeout(120)
SEED = 7
KINDS = (WalletKind.EOA, WalletKind.PROXY, WalletKind.SAFE, WalletKind.DEPOSIT_BEACON)


class Venue:
    """A small local exchange, its account with a wallet of one kind; a configuration without an API key."""

    def __init__(self, directory: Path, signature_type: int) -> None:
        self.directory = directory
        self.exchange = ExchangeProcess(directory / "exchange", {
            "seed": SEED, "markets": 1, "planted_events": 0, "signature_type": signature_type})
        self.exchange.start(lambda what, done, total: None)
        self.account = self.exchange.account()
        (directory / "secrets").mkdir(mode=0o700)
        self.api_file = directory / "secrets" / "api.json"
        urls = self.exchange.urls
        self.config = write_config(
            directory / "run.toml", "connect", directory / "state",
            {
                "clob_url": urls["clob_tls"], "gamma_url": urls["gamma_tls"],
                "market_ws_url": urls["ws_market_tls"], "user_ws_url": urls["ws_user_tls"],
                "tls_ca_file": str(self.exchange.ca_file),
            },
            {
                "address": self.account["address"], "maker": self.account["wallet"],
                "signature_type": signature_type,
                "key_file": str(self.exchange.key_file), "api_file": str(self.api_file),
            })

    def connect(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return pm("connect", "--config", self.config, *arguments)

    def key(self) -> dict[str, str]:
        """Return what stands in the file."""
        found: dict[str, str] = json.loads(self.api_file.read_text())
        return found

    def venue_key(self, nonce: int) -> dict[str, str]:
        """Return the key that this exchange gives for a nonce, from its own seed."""
        made = derive_credentials(SEED, self.account["address"], nonce)
        return {"apiKey": made.api_key, "secret": made.secret, "passphrase": made.passphrase}

    def ask(self, service: str, method: str, path: str, body: bytes, headers: dict[str, str]) -> Any:
        parts = urlsplit(self.exchange.urls[service])
        connection = http.client.HTTPSConnection(
            str(parts.hostname), parts.port, timeout=30,
            context=ssl.create_default_context(cafile=self.exchange.ca_file))
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()


@pytest.fixture(scope="module")
def shared_venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    found = Venue(tmp_path_factory.mktemp("venue"), 0)
    yield found
    found.exchange.stop()


@pytest.fixture
def venue(shared_venue: Venue) -> Venue:
    """Give the module's exchange; no API key has been written yet."""
    shared_venue.api_file.unlink(missing_ok=True)
    return shared_venue


@pytest.mark.parametrize("signature_type", [0, 1, 2, 3])
def test_a_connected_wallet_of_each_kind_can_trade(
    signature_type: int, tmp_path: Path, venue: Venue
) -> None:
    """The key that is written authenticates; the wallet's kind is named; an order of that wallet rests."""
    found = venue if signature_type == 0 else Venue(tmp_path, signature_type)
    try:
        done = connect(load([found.config]), "main", 0, replace=False)
        assert (Origin.DERIVED, True) == (done.origin, done.is_written)
        assert (KINDS[signature_type], "") == (done.wallet.kind, done.wallet.advice)
        assert 0o600 == stat.S_IMODE(found.api_file.stat().st_mode)
        key = found.key()
        assert found.venue_key(0) == key
        trader = Trader(
            key="0x" + found.exchange.key_file.read_text(), signature_type=signature_type,
            wallet=found.account["wallet"])
        trader.credentials = Credentials(key["apiKey"], key["secret"], key["passphrase"])
        status, page = found.ask("gamma_tls", "GET", "/markets/keyset?limit=1", b"", {})
        assert 200 == status
        order = trader.body(market_of(page["markets"][0]), price="0.01", quantity="10")
        body = json.dumps(order, separators=(",", ":")).encode()
        status, answer = found.ask(
            "clob_tls", "POST", "/order", body, trader.headers("POST", "/order", body, time.time_ns()))
        assert (200, True, "live") == (status, answer.get("success"), answer.get("status")), answer
    finally:
        if found is not venue:
            found.exchange.stop()


def test_a_key_is_made_kept_and_never_overwritten(venue: Venue) -> None:
    """Create, find again, refuse to lose another key: each end says which, and the file says the same."""
    config = load([venue.config])
    done = venue.connect("--nonce", time.time_ns())  # one that the exchange never saw
    assert (0, "") == (done.returncode, done.stderr)
    assert "made by the venue just now" in done.stdout
    first = venue.key()
    assert venue.venue_key(0) != first

    again = connect(config, "main", 0, replace=False)
    assert (Origin.KEPT, False) == (again.origin, again.is_written)
    assert first == venue.key()

    other = {**first, "apiKey": "00000000-0000-4000-8000-000000000000"}
    venue.api_file.write_text(json.dumps(other))
    with pytest.raises(RiskRefusal, match="--replace"):
        connect(config, "main", 0, replace=False)
    assert other == venue.key()

    replaced = connect(config, "main", 0, replace=True)
    assert (Origin.DERIVED, True) == (replaced.origin, replaced.is_written)
    assert venue.venue_key(0) == venue.key()
    assert 0o600 == stat.S_IMODE(venue.api_file.stat().st_mode)
    assert [venue.api_file] == list(venue.api_file.parent.iterdir())


STRANGER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.mark.parametrize(("overrides", "kind", "words"), [
    ({"accounts.main.address": STRANGER, "accounts.main.maker": STRANGER}, ConfigError, "is that of 0x"),
    ({"accounts.main.api_file": "/nowhere/api.json"}, EnvironmentProblem, "install -d -m 700 /nowhere"),
    ({"venues.polymarket.clob_url": "https://127.0.0.1:9"}, Unreachable, "(connection refused)"),
    ({"venues.polymarket.tls_ca_file": "/etc/hostname"}, EnvironmentProblem, "tls_ca_file: /etc/hostname"),
    ({"venues.polymarket.tls_ca_file": None}, Unreachable, "certificate is not trusted"),
])
def test_what_is_wrong_is_one_line_and_writes_nothing(
    overrides: dict[str, object], kind: type[Exception], words: str, venue: Venue
) -> None:
    """Another key's address, no folder, no venue, an unknown authority: what it was, and the way out."""
    text = venue.config.read_text()
    if overrides.get("venues.polymarket.tls_ca_file", "") is None:
        text, overrides = "".join(
            line for line in text.splitlines(keepends=True) if "tls_ca_file" not in line), {}
    changed = venue.directory / "changed.toml"
    changed.write_text(text)
    with pytest.raises(kind) as caught:
        connect(load([changed], overrides), "main", 0, replace=False)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not venue.api_file.exists()


def test_what_is_no_key_is_not_overwritten(venue: Venue) -> None:
    """A file with something else in it is somebody's, also with --replace; an empty one is nobody's."""
    config = load([venue.config])
    venue.api_file.write_text("not a key")
    venue.api_file.chmod(0o600)
    with pytest.raises(ConfigError, match="not overwritten"):
        connect(config, "main", 0, replace=True)
    assert "not a key" == venue.api_file.read_text()
    venue.api_file.write_text("")
    assert connect(config, "main", 0, replace=False).is_written


def test_the_right_signature_type_is_named(venue: Venue) -> None:
    """A maker that is the key's Safe under signature_type 0: connected, and exit 3 says what to set."""
    owner = venue.account["address"]
    done = venue.connect("--set", f"accounts.main.maker={wallet_of(owner, 2)}", "--json")
    assert 3 == done.returncode
    assert "set signature_type = 2 (was 0)" in one_line(done)
    found = json.loads(done.stdout)
    assert ("safe", True) == (found["wallet"], found["written"])
    for number, words in ((1, "proxy wallet"), (2, "Safe"), (3, "deposit wallet (beacon)")):
        assert found["wallets"][words].startswith(wallet_of(owner, number))
    with pytest.raises(ConfigError, match="set signature_type = 2"):
        check_accounts(load([venue.config], {"accounts.main.maker": wallet_of(owner, 2)}))


def test_no_secret_is_shown_or_left(venue: Venue) -> None:
    """Outputs, files but the api_file, command lines, environments hold no byte of a secret (I10)."""
    key = venue.exchange.key_file.read_text()
    made = venue.venue_key(0)
    raw = base64.urlsafe_b64decode(made["secret"])
    secrets = [key.encode(), bytes.fromhex(key), made["secret"].encode(), raw, raw.hex().encode(),
               made["passphrase"].encode()]
    seen: list[bytes] = []
    for arguments in (("--json",), ("--replace",)):
        process = subprocess.Popen(
            command("connect", "--config", venue.config, *arguments), cwd=ROOT, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        wait_until(lambda one=process: look_at(one, seen), 100, "the end of pm connect", pause_s=0.02)
        assert process.stdout is not None
        seen.append(process.stdout.read())
        process.stdout.close()
        assert 0 == process.returncode, seen[-1]
    for path in venue.directory.rglob("*"):
        if path.is_file() and path != venue.api_file and venue.directory / "exchange" not in path.parents:
            seen.append(path.read_bytes())
    everything = b"\0".join(seen)
    assert b"clob_url" in everything
    assert b"pipeline.run.keywork" in everything  # the process with the wallet key was looked at, too
    assert [] == [number for number, secret in enumerate(secrets) if secret in everything]


def look_at(process: subprocess.Popen[bytes], seen: list[bytes]) -> bool:
    """Keep command line and environment of a process and of its children; True when it ended."""
    if process.poll() is not None:
        return True
    family = [process.pid]
    with suppress(OSError):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        family += [int(number) for number in children.split()]
    for number in family:
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                seen.append(Path(f"/proc/{number}/{name}").read_bytes())
    return False
