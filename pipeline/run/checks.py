"""What must hold before anything starts: mode, hosts, secret files, a venue that answers.

Everything is checked before the first process exists, so that a refusal leaves nothing half started.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from pipeline.config.files import check_files
from pipeline.config.load import Config
from pipeline.errors import ConfigError, RiskRefusal, Unreachable
from pipeline.venues.polymarket.identity import identify

CONNECT_S_MAX = 5.0


def check_start(config: Config, mode: str) -> None:
    """Raise one clear line when this configuration must not start in this mode."""
    if mode not in ("dry", "local", "live"):
        raise ConfigError(f"run: mode was {mode!r}, expected dry, local or live")
    if mode == "live":
        raise RiskRefusal(
            "run: live trading is not armed in this version; use --mode dry, or --mode local with a local "
            "exchange")
    proxies = [account.proxy_url for account in config.accounts.values() if account.proxy_url]
    for url in (*_urls(config), *proxies):
        if mode == "local":
            _refuse_foreign(url)
    check_accounts(config)
    check_files(config)
    for url in _urls(config):
        _probe(url)


def check_accounts(config: Config) -> None:
    """Raise ConfigError for a wallet that cannot be: a mistyped address, a wrong signature type."""
    for name, account in config.accounts.items():
        try:
            identify(
                account.address, account.maker, account.signature_type, config.venues.polymarket.chain_id)
        except ConfigError as error:
            raise ConfigError(f"accounts.{name}: {error}") from error


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
