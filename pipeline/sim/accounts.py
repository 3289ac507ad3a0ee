"""Who trades here: an account owns one wallet, one key, and the token buckets of its rate tier."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from dataclasses import dataclass, field

from pipeline.sim.contracts import UNLIMITED
from pipeline.sim.settings import Tier
from pipeline.units import NS_PER_S


@dataclass(frozen=True, slots=True)
class Credentials:
    """L2 credentials as the venue hands them out; the secret is padded base64url of 32 bytes."""

    api_key: str
    secret: str = field(repr=False)
    passphrase: str = field(repr=False)


@dataclass(slots=True, eq=False)
class Account:
    """`owner` is the EOA that signs and holds the API key; `wallet` holds the funds (= owner for type 0).

    `sets_micro` endows complete sets per condition, paid for from outside at 1 USD each. An owner with
    several wallets has one account for each: `purses` lists them all in each of them.
    """

    name: str
    owner: str
    wallet: str
    signature_type: int
    cash_micro: int
    credentials: Credentials | None = None
    sets_micro: dict[str, int] = field(default_factory=dict)
    tier: str = "Elite"
    closed_only: bool = False
    banned: bool = False
    is_deployed: bool = True  # whether the wallet's contract exists
    allowances: dict[tuple[str, str], int] = field(default_factory=dict)  # as changed; else no limit
    purses: list[Account] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.purses = self.purses or [self]

    def allowance(self, token: str, spender: str) -> int:
        """Return what the spender may take of a token contract; for shares 0 or without limit."""
        return self.allowances.get((token.lower(), spender.lower()), UNLIMITED)

    def purse(self, signature_type: int, wallet: str = "") -> Account | None:
        """Return the owner's account of this type and, if given, this wallet."""
        for account in self.purses:
            if account.signature_type == signature_type and wallet.lower() in ("", account.wallet.lower()):
                return account
        return None


def derive_credentials(seed: int, address: str, nonce: int) -> Credentials:
    """Return the credentials of (address, nonce); the same seed always gives the same."""

    def draw(purpose: str) -> bytes:
        text = f"{purpose}:{address.lower()}:{nonce}".encode()
        return hmac.new(seed.to_bytes(16, "big", signed=True), text, hashlib.sha256).digest()

    return Credentials(
        api_key=str(uuid.UUID(bytes=draw("key")[:16], version=4)),
        secret=base64.urlsafe_b64encode(draw("secret")).decode(),
        passphrase=draw("passphrase").hex(),
    )


class Bucket:
    """A token bucket in integers: `level` counts tokens times NS_PER_S, so refill is exact."""

    def __init__(self, per_s: int, burst: int) -> None:
        self.per_s = per_s
        self.full = burst * NS_PER_S
        self.level = self.full
        self.seen_ns = 0

    def refill(self, now_ns: int) -> None:
        self.level = min(self.full, self.level + max(0, now_ns - self.seen_ns) * self.per_s)
        self.seen_ns = max(self.seen_ns, now_ns)

    def take(self, now_ns: int, tokens: int, may_owe: bool = False) -> bool:
        """Take all of `tokens` or none; `may_owe` takes them even into debt (cancel-all)."""
        self.refill(now_ns)
        need = tokens * NS_PER_S
        if self.level < need and not may_owe:
            return False
        self.level -= need
        return True

    def remaining(self) -> int:
        """Return the whole tokens left; never below 0."""
        return max(0, self.level // NS_PER_S)

    def wait_s(self, tokens: int) -> int:
        """Return the whole seconds until `tokens` are there; at least 1."""
        return max(1, -(-(tokens * NS_PER_S - self.level) // (self.per_s * NS_PER_S)))

    def reset_s(self) -> int:
        """Return the whole seconds until the bucket is full again, rounded up."""
        return -(-(self.full - self.level) // (self.per_s * NS_PER_S))


@dataclass(slots=True)
class Buckets:
    orders: Bucket
    cancels: Bucket

    @classmethod
    def of(cls, tier: Tier) -> Buckets:
        return cls(
            Bucket(tier.orders_per_s, tier.orders_burst), Bucket(tier.cancels_per_s, tier.cancels_burst)
        )
