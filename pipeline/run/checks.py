"""What must hold before anything starts: mode, hosts, secret files, a venue that answers.

Everything is checked before the first process exists, so that a refusal leaves nothing half started.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from pipeline.config.accounts import Account
from pipeline.config.files import check_files
from pipeline.config.load import Config
from pipeline.errors import ConfigError, RiskRefusal, Unreachable
from pipeline.run.conditions import Line, unmet
from pipeline.run.doctor import VENUE, WALLET, examine_apart
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import address_bytes, identify
from pipeline.venues.polymarket.wallets import classify

CONNECT_S_MAX = 5.0


def check_start(
    config: Config, mode: str, config_files: Sequence[Path] = (),
    overrides: Mapping[str, object] | None = None,
) -> None:
    """Raise one clear line when this configuration must not start in this mode.

    config_files, overrides: what `config` was made of, for the process that examines wallet and venue.
    """
    if mode not in ("dry", "local", "live"):
        raise ConfigError(f"run: mode was {mode!r}, expected dry, local or live")
    if mode == "live":
        lines = examine_apart(config_files, overrides or {}, (WALLET, VENUE))
        refuse_live(lines, config.accounts)
    proxies = [account.proxy_url for account in config.accounts.values() if account.proxy_url]
    for url in (*_urls(config), *proxies):
        if mode == "local":
            _refuse_foreign(url)
    check_accounts(config)
    check_files(config)
    for url in _urls(config):
        _probe(url)


def refuse_live(lines: Sequence[Line], accounts: Iterable[str]) -> NoReturn:
    """Raise why mode live does not start: the first condition that is not met, else that nothing arms it."""
    problems = unmet(lines, accounts)
    if problems:
        first, more = problems[0], len(problems) - 1
        rest = f" ({more} more: pm doctor wallet venue shows all)" if more else ""
        raise RiskRefusal(
            f"run: mode live refused: {first.topic}: {first.name}: {first.found}; do: {first.fix}{rest}; "
            "or use --mode dry")
    raise RiskRefusal(
        "run: wallet and venue are ready, but live trading is not armed in this version; use --mode dry, or "
        "--mode local with a local exchange")


def check_accounts(config: Config) -> None:
    """Raise ConfigError for a wallet that cannot be: a mistyped address, a wrong signature type."""
    chain_id = config.venues.polymarket.chain_id
    for name, account in config.accounts.items():
        try:
            identify(account.address, account.maker, account.signature_type, chain_id)
        except ConfigError as error:
            raise ConfigError(f"accounts.{name}: {error}{_kind_hint(account, chain_id)}") from error


def _kind_hint(account: Account, chain_id: int) -> str:
    """Return which signature_type the maker asks for, "" when its address tells none."""
    try:
        owner, maker = address_bytes(account.address), address_bytes(account.maker)
    except ConfigError:
        return ""
    kind = classify(owner, maker) if chain_id == wire.POLYGON else None
    if kind is None or kind.signature_type == account.signature_type:
        return ""
    return f"; this maker is the key's {kind.words}: set signature_type = {kind.signature_type.value}"


def _urls(config: Config) -> tuple[str, ...]:
    venue = config.venues.polymarket
    return venue.clob_url, venue.gamma_url, venue.market_ws_url, venue.user_ws_url


def _addresses(url: str) -> list[tuple[str, int]]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme in ("https", "wss") else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Unreachable(
            f"run: {host} has no address ({error.strerror}); check the host of {url}") from error
    return [(str(entry[4][0]), port) for entry in found]


def _refuse_foreign(url: str) -> None:
    for address, _ in _addresses(url):
        if not ipaddress.ip_address(address).is_loopback:
            raise RiskRefusal(
                f"run: mode local sends orders to this machine only, but {urlsplit(url).hostname} is "
                f"{address}; use --mode dry for a real venue")


def _probe(url: str) -> None:
    """The venue must answer on its port now; later outages are the edges' business."""
    problem = ""
    for address, port in _addresses(url):
        try:
            socket.create_connection((address, port), CONNECT_S_MAX).close()
        except OSError as error:
            problem = error.strerror or str(error)
        else:
            return
    raise Unreachable(
        f"run: nothing answers at {url} ({problem}); start the exchange or correct venues.polymarket")
