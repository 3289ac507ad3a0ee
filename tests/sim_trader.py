"""A trader against the local exchange, written from the venue sheet with eth-account's own typed data.

Independent of pipeline.sim: amounts in Decimal, signatures through `encode_typed_data`, HMAC by hand.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from pipeline.sim.accounts import Account, Credentials
from pipeline.sim.exchange import Exchange
from pipeline.sim.http import Response
from pipeline.sim.market import Market, Source
from pipeline.sim.settings import ExchangeSettings

NOW_NS = 1_790_000_000 * 10**9
ZERO = "0x" + "00" * 32
KEYS = [  # publicly known development keys; never fund them
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
]
CONTRACTS = {
    ("v1", False): ("2", "0xE111180000d2663C0091e4f400237545B87B996B"),
    ("v1", True): ("2", "0xe2222d279d744050d28e00520010520000310F59"),
    ("v2", False): ("3", "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"),
    ("v2", True): ("3", "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"),
}
ORDER_FIELDS = [
    {"name": name, "type": kind}
    for kind, name in (
        part.split()
        for part in [
            "uint256 salt",
            "address maker",
            "address signer",
            "uint256 tokenId",
            "uint256 makerAmount",
            "uint256 takerAmount",
            "uint8 side",
            "uint8 signatureType",
            "uint256 timestamp",
            "bytes32 metadata",
            "bytes32 builder",
        ]
    )
]
DOMAIN_FIELDS = [
    {"name": "name", "type": "string"},
    {"name": "version", "type": "string"},
    {"name": "chainId", "type": "uint256"},
    {"name": "verifyingContract", "type": "address"},
]
ORDER_TYPE = "Order(" + ",".join(f"{f['type']} {f['name']}" for f in ORDER_FIELDS) + ")"
DECIMALS = {
    "0.1": (1, 3),
    "0.01": (2, 4),
    "0.005": (3, 5),
    "0.0025": (4, 6),
    "0.001": (3, 5),
    "0.0001": (4, 6),
}


def market(number: int = 1, **changes: Any) -> Market:
    """Return a market with small numbers as tokens: 10n + 1 and 10n + 2."""
    values: dict[str, Any] = {
        "condition": f"0x{number:064x}",
        "tokens": (str(10 * number + 1), str(10 * number + 2)),
        "outcomes": ("Yes", "No"),
        "question": f"Question {number}?",
        "slug": f"question-{number}",
        "tick_step": 100,
        "min_order_size": "5",
        "neg_risk": False,
        "fee_rate_ppm": 70_000,
        "fee_exponent": 1,
        "source": Source.GENERATED,
    }
    return Market(**(values | changes))


def amounts(kind: str, side: str, tick: str, price: str, quantity: str) -> tuple[int, int]:
    """Return (makerAmount, takerAmount) as the exact-decimal official client does (venue sheet 10.5)."""
    _, amount_decimals = DECIMALS[tick]
    exact_price, size = Decimal(price), Decimal(quantity).quantize(Decimal("0.01"), ROUND_FLOOR)
    if kind == "limit":
        usd = size * exact_price
        maker, taker = (usd, size) if side == "BUY" else (size, usd)
    else:
        raw = size / exact_price if side == "BUY" else size * exact_price
        places = min(4, amount_decimals)
        taker = raw.quantize(Decimal(1).scaleb(-places - 4), ROUND_CEILING).quantize(
            Decimal(1).scaleb(-places), ROUND_FLOOR
        )
        maker = size
    return int(maker * 10**6), int(taker * 10**6)


def contract_domain(of: Market, chain_id: int = 137) -> dict[str, Any]:
    version, contract = CONTRACTS[of.version, of.neg_risk]
    return {
        "name": "Polymarket CTF Exchange",
        "version": version,
        "chainId": chain_id,
        "verifyingContract": contract,
    }


@dataclass
class Trader:
    """Signs orders and requests for one account."""

    name: str = "demo"
    key: str = KEYS[0]
    signature_type: int = 0
    wallet: str = ""
    cash_micro: int = 1_000_000_000
    sets_micro: dict[str, int] = field(default_factory=dict)
    tier: str = "Elite"
    salt: int = 0

    def __post_init__(self) -> None:
        self.owner: str = EthAccount.from_key(self.key).address
        self.wallet = self.wallet or self.owner
        secret = base64.urlsafe_b64encode(hashlib.sha256(self.name.encode()).digest()).decode()
        self.credentials = Credentials(f"key-of-{self.name}", secret, f"phrase-of-{self.name}")

    def account(self, **changes: Any) -> Account:
        values: dict[str, Any] = {
            "name": self.name,
            "owner": self.owner,
            "wallet": self.wallet,
            "signature_type": self.signature_type,
            "cash_micro": self.cash_micro,
            "credentials": self.credentials,
            "sets_micro": self.sets_micro,
            "tier": self.tier,
        }
        return Account(**(values | changes))

    def body(
        self,
        of: Market,
        side: str = "BUY",
        price: str = "0.5",
        quantity: str = "10",
        order_type: str = "GTC",
        outcome: int = 0,
        expiration: int = 0,
        domain: dict[str, Any] | None = None,
        signing_key: str = "",
        change_signed: dict[str, Any] | None = None,
        change_order: dict[str, Any] | None = None,
        **change_body: Any,
    ) -> dict[str, Any]:
        """Return a POST /order body. `change_signed` alters fields before, `change_order` after signing."""
        kind = "limit" if order_type in ("GTC", "GTD") else "market"
        tick = {1000: "0.1", 100: "0.01", 50: "0.005", 25: "0.0025", 10: "0.001", 1: "0.0001"}[of.tick_step]
        maker, taker = amounts(kind, side, tick, price, quantity)
        self.salt += 1
        signed: dict[str, Any] = {
            "salt": self.salt,
            "maker": self.wallet,
            "signer": self.wallet if self.signature_type == 3 else self.owner,
            "tokenId": int(of.tokens[outcome]),
            "makerAmount": maker,
            "takerAmount": taker,
            "side": int(side == "SELL"),
            "signatureType": self.signature_type,
            "timestamp": NOW_NS // 10**6,
            "metadata": ZERO,
            "builder": ZERO,
        } | (change_signed or {})
        signature = self.sign(signed, domain or contract_domain(of), signing_key or self.key)
        wire: dict[str, Any] = {name: str(value) for name, value in signed.items()}
        wire |= {"salt": signed["salt"], "signatureType": signed["signatureType"]}
        wire |= {
            "side": "SELL" if signed["side"] else "BUY",
            "expiration": str(expiration),
            "signature": signature,
        }
        wire |= change_order or {}
        body = {"deferExec": False, "order": wire, "orderType": order_type, "owner": self.credentials.api_key}
        return body | change_body

    def sign(self, order: dict[str, Any], domain: dict[str, Any], key: str) -> str:
        types: dict[str, Any] = {"EIP712Domain": DOMAIN_FIELDS, "Order": ORDER_FIELDS}
        plain = encode_typed_data(
            full_message={"types": types, "primaryType": "Order", "domain": domain, "message": order}
        )
        if order["signatureType"] != 3:
            return "0x" + EthAccount.sign_message(plain, key).signature.hex().removeprefix("0x")
        nested_fields = [
            {"name": "contents", "type": "Order"},
            *DOMAIN_FIELDS,
            {"name": "salt", "type": "bytes32"},
        ]
        message = {
            "contents": order,
            "name": "DepositWallet",
            "version": "1",
            "chainId": domain["chainId"],
            "verifyingContract": order["signer"],
            "salt": ZERO,
        }
        nested = encode_typed_data(
            full_message={
                "types": types | {"TypedDataSign": nested_fields},
                "primaryType": "TypedDataSign",
                "domain": domain,
                "message": message,
            }
        )
        inner = bytes(EthAccount.sign_message(nested, key).signature)
        trailer = ORDER_TYPE.encode() + len(ORDER_TYPE).to_bytes(2, "big")
        return "0x" + (inner + plain.header + plain.body + trailer).hex()

    def headers(self, method: str, path: str, body: bytes, now_ns: int) -> dict[str, str]:
        stamp = str(now_ns // 10**9)
        key = base64.urlsafe_b64decode(self.credentials.secret)
        digest = hmac.new(key, f"{stamp}{method}{path}".encode() + body, hashlib.sha256).digest()
        return {
            "poly_address": self.owner,
            "poly_signature": base64.urlsafe_b64encode(digest).decode(),
            "poly_timestamp": stamp,
            "poly_api_key": self.credentials.api_key,
            "poly_passphrase": self.credentials.passphrase,
        }

    def call(
        self, exchange: Exchange, method: str, target: str, value: Any = None, now_ns: int = NOW_NS
    ) -> Response:
        """Send one authenticated request."""
        body = b"" if value is None else json.dumps(value, separators=(",", ":")).encode()
        headers = self.headers(method, target.partition("?")[0], body, now_ns)
        return exchange.on_request(now_ns, "clob", method, target, headers, body)

    def place(self, exchange: Exchange, of: Market, now_ns: int = NOW_NS, **order: Any) -> Response:
        return self.call(exchange, "POST", "/order", self.body(of, **order), now_ns)


def exchange_of(
    traders: list[Trader], markets: list[Market], settings: ExchangeSettings | None = None, seed: int = 7
) -> Exchange:
    accounts = [trader.account() for trader in traders]
    return Exchange(settings or ExchangeSettings(), markets, accounts, seed)


def json_of(response: Response) -> Any:
    return json.loads(response.body)


def error_of(response: Response) -> str:
    text: str = json_of(response)["error"]
    return text
