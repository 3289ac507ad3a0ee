"""Owners that the exchange has never heard of: they prove a key and trade from the wallets that it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from pipeline.sim.accounts import Account, Credentials
from pipeline.sim.data_api import DataApi
from pipeline.sim.exchange import Exchange
from pipeline.sim.http import Response
from pipeline.sim.market import Market
from pipeline.sim.relayer import Relayer
from pipeline.sim.settings import ExchangeSettings
from tests.sim_trader import KEYS, NOW_NS, Trader, json_of

CASH_MICRO = 10_000 * 10**6
MESSAGE = "This message attests that I control the given wallet"


def venue_for_guests(markets: list[Market], **settings: Any) -> Exchange:
    """Return an exchange without accounts that takes guests and serves the data API and the relayer."""
    values = {"guest_cash_micro": CASH_MICRO, **settings}
    exchange = Exchange(ExchangeSettings(**values), markets, [], seed=7)
    exchange.attach_service("data", DataApi(exchange))
    exchange.attach_service("relayer", Relayer(exchange, seed=7))
    return exchange


def l1_headers(key: str, nonce: int = 0, address: str = "", now_ns: int = NOW_NS) -> dict[str, str]:
    """Return the headers of a wallet signature, by eth-account's own typed data."""
    address, stamp = address or EthAccount.from_key(key).address, str(now_ns // 10**9)
    names = (("address", "address"), ("timestamp", "string"), ("nonce", "uint256"), ("message", "string"))
    domain = (("name", "string"), ("version", "string"), ("chainId", "uint256"))
    signable = encode_typed_data(full_message={
        "types": {
            "EIP712Domain": [{"name": name, "type": kind} for name, kind in domain],
            "ClobAuth": [{"name": name, "type": kind} for name, kind in names],
        },
        "primaryType": "ClobAuth",
        "domain": {"name": "ClobAuthDomain", "version": "1", "chainId": 137},
        "message": {"address": address, "timestamp": stamp, "nonce": nonce, "message": MESSAGE},
    })
    signature = "0x" + EthAccount.sign_message(signable, key).signature.hex().removeprefix("0x")
    proof = {"poly_signature": signature, "poly_timestamp": stamp, "poly_nonce": str(nonce)}
    return {"poly_address": address, **proof}


@dataclass
class Guest:
    """One owner with a key; `trader` signs for a wallet of it."""

    exchange: Exchange
    key: str = KEYS[0]

    def sign_in(self, nonce: int = 0) -> Response:
        headers = l1_headers(self.key, nonce)
        return self.exchange.on_request(NOW_NS, "clob", "POST", "/auth/api-key", headers, b"")

    def credentials(self, nonce: int = 0) -> Credentials:
        made = json_of(self.sign_in(nonce))
        return Credentials(made["apiKey"], made["secret"], made["passphrase"])

    def derived(self) -> Credentials:
        headers = l1_headers(self.key)
        answer = self.exchange.on_request(NOW_NS, "clob", "GET", "/auth/derive-api-key", headers, b"")
        made = json_of(answer)
        return Credentials(made["apiKey"], made["secret"], made["passphrase"])

    def trader(self, credentials: Credentials, purse: Account) -> Trader:
        found = Trader("guest", self.key, purse.signature_type, purse.wallet)
        found.credentials = credentials
        return found

    @property
    def purses(self) -> dict[str, Account]:
        """Return the accounts by the kind of their wallet."""
        owner = EthAccount.from_key(self.key).address.lower()
        rows = self.exchange.accounts.items()
        return {name.rpartition("/")[2]: one for name, one in rows if one.owner.lower() == owner}


def ask(exchange: Exchange, service: str, target: str, status: int = 200, now_ns: int = NOW_NS) -> Any:
    """Return the JSON that a GET of a service answers."""
    answer = exchange.on_request(now_ns, service, "GET", target, {}, b"")
    assert status == answer.status, answer.body
    return json_of(answer)
