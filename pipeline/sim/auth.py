"""Who is asking: L1 (EIP-712 wallet signature) and L2 (HMAC) headers, checked over the exact bytes.

Source: venue sheet 9, read 2026-11-20. The clock tolerance of POLY_TIMESTAMP is unconfirmed: a setting.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from eth_utils.crypto import keccak

from pipeline.sim.accounts import Account, Credentials, derive_credentials
from pipeline.sim.eip712 import recover, word_address, word_int
from pipeline.sim.errors_text import INVALID_L1, KEY_EXISTS, KEY_UNKNOWN, TOO_MANY_KEYS, UNAUTHORIZED, Refusal
from pipeline.sim.settings import ExchangeSettings
from pipeline.units import NS_PER_S

MESSAGE = "This message attests that I control the given wallet"
_DOMAIN_TYPE = keccak(text="EIP712Domain(string name,string version,uint256 chainId)")
_AUTH_TYPE = keccak(text="ClobAuth(address address,string timestamp,uint256 nonce,string message)")
_NONCE_MAX = 1 << 256
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class BuilderKey:
    account: Account
    credentials: Credentials
    created_ns: int


class Auth:
    """API keys of all accounts. Keys come with the account or are made on request."""

    def __init__(
        self,
        settings: ExchangeSettings,
        accounts: Iterable[Account],
        seed: int,
        admit: Callable[[int, str], Account | None] = lambda now_ns, owner: None,
    ) -> None:
        self._settings = settings
        self._seed = seed
        self._admit = admit  # opens the accounts of an owner who is not known yet
        self._owners = {account.owner.lower(): account for account in accounts}
        self._keys: dict[str, tuple[Account, Credentials]] = {}
        self._builders: dict[str, BuilderKey] = {}
        self._made: dict[tuple[str, int], Credentials] = {}
        domain = _DOMAIN_TYPE + keccak(text="ClobAuthDomain") + keccak(text="1") + word_int(settings.chain_id)
        self._domain = keccak(domain)
        for account in self._owners.values():
            if account.credentials is not None:
                self._keep(account, 0, account.credentials)

    def check_l2(
        self, now_ns: int, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[Account, Credentials] | Refusal:
        """Return the account and its key, or the one refusal that the venue has for all faults."""
        found = self._keys.get(headers.get("poly_api_key", ""))
        timestamp = headers.get("poly_timestamp", "")
        if found is None or not self._is_fresh(now_ns, timestamp):
            return UNAUTHORIZED
        account, credentials = found
        if headers.get("poly_address", "").lower() != account.owner.lower():
            return UNAUTHORIZED
        message = f"{timestamp}{method}{path}".encode() + body
        wanted = sign_l2(credentials.secret, message)
        signature = headers.get("poly_signature", "")
        passphrase = headers.get("poly_passphrase", "")
        good = hmac.compare_digest(wanted.encode(), signature.encode())
        good &= hmac.compare_digest(credentials.passphrase.encode(), passphrase.encode())
        return found if good else UNAUTHORIZED

    def check_l1(self, now_ns: int, headers: Mapping[str, str]) -> tuple[Account, int] | Refusal:
        """Return the account and the nonce that a wallet signature proves."""
        address, timestamp = headers.get("poly_address", ""), headers.get("poly_timestamp", "")
        nonce_text = headers.get("poly_nonce", "0")
        is_good = _ADDRESS.fullmatch(address) is not None and _is_digits(nonce_text)
        if not is_good or not self._is_fresh(now_ns, timestamp) or int(nonce_text) >= _NONCE_MAX:
            return INVALID_L1
        nonce = int(nonce_text)
        struct = _AUTH_TYPE + word_address(address) + keccak(text=timestamp) + word_int(nonce)
        signer = recover(
            self._domain, keccak(struct + keccak(text=MESSAGE)), headers.get("poly_signature", "")
        )
        if signer != address.lower():
            return INVALID_L1
        account = self._owners.get(signer) or self._admit(now_ns, signer)
        if account is None:
            return INVALID_L1
        self._owners[signer] = account
        return account, nonce

    def create(self, account: Account, nonce: int) -> Credentials | Refusal:
        """Make the key of (owner, nonce); refused if there is one."""
        if (account.owner.lower(), nonce) in self._made:
            return KEY_EXISTS
        if len(self._made) >= self._settings.keys_max:
            return TOO_MANY_KEYS
        credentials = derive_credentials(self._seed, account.owner, nonce)
        self._keep(account, nonce, credentials)
        return credentials

    def derive(self, account: Account, nonce: int) -> Credentials | Refusal:
        return self._made.get((account.owner.lower(), nonce), KEY_UNKNOWN)

    def delete(self, api_key: str) -> None:
        self._keys.pop(api_key, None)
        self._made = {at: kept for at, kept in self._made.items() if kept.api_key != api_key}

    def create_builder(self, now_ns: int, account: Account) -> Credentials | Refusal:
        """Make one more builder key, which proves to the relayer who sends."""
        if len(self._builders) >= self._settings.keys_max:
            return TOO_MANY_KEYS
        made = derive_credentials(self._seed, f"builder {len(self._builders)} {account.owner}", 0)
        self._builders[made.api_key] = BuilderKey(account, made, now_ns)
        return made

    def builders_of(self, account: Account) -> list[BuilderKey]:
        return [key for key in self._builders.values() if key.account is account]

    def may_relay(
        self, now_ns: int, owner: str, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> bool:
        """Return whether a builder key of anyone, or a relayer key of the owner, stands behind a request.

        Builder keys are verified by HMAC. Relayer keys come from the venue's web page alone, so here any text
        is one: it counts for the address that it names, and every transaction has its own signature.
        """
        builder = self._builders.get(headers.get("poly_builder_api_key", ""))
        if builder is None:
            return bool(headers.get("relayer_api_key")) and (
                headers.get("relayer_api_key_address", "").lower() == owner.lower()
            )
        stamp = headers.get("poly_builder_timestamp", "")
        wanted = sign_l2(builder.credentials.secret, f"{stamp}{method}{path}".encode() + body)
        good = hmac.compare_digest(wanted.encode(), headers.get("poly_builder_signature", "").encode())
        passphrase = headers.get("poly_builder_passphrase", "")
        good &= hmac.compare_digest(builder.credentials.passphrase.encode(), passphrase.encode())
        return good and self._is_fresh(now_ns, stamp)

    def keys_of(self, account: Account) -> list[str]:
        return [key for key, (owner, _) in self._keys.items() if owner is account]

    def account_of(self, message: Any) -> Account | None:
        """Return the account that a user-channel login names, if key, secret and passphrase all fit."""
        if not isinstance(message, dict):
            return None
        given = Credentials(*(str(message.get(name, "")) for name in ("apiKey", "secret", "passphrase")))
        found = self._keys.get(given.api_key)
        return found[0] if found is not None and found[1] == given else None

    def _keep(self, account: Account, nonce: int, credentials: Credentials) -> None:
        self._made[account.owner.lower(), nonce] = credentials
        self._keys[credentials.api_key] = (account, credentials)

    def _is_fresh(self, now_ns: int, timestamp: str) -> bool:
        if not _is_digits(timestamp):
            return False
        return abs(now_ns // NS_PER_S - int(timestamp)) <= self._settings.clock_skew_s_max


def sign_l2(secret: str, message: bytes) -> str:
    """Return the padded base64url HMAC-SHA256 of `message` under a base64url secret."""
    key = base64.urlsafe_b64decode(secret + "=" * (-len(secret) % 4))
    return base64.urlsafe_b64encode(hmac.new(key, message, hashlib.sha256).digest()).decode()


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 78
