"""`pm connect`: makes or finds the API key of a wallet and writes the file that the pipeline reads.

The wallet signs a fixed sentence (L1); the venue answers with the key that signs requests (L2). Moves no
money and places nothing. The trading processes never do this: they only read the file.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pipeline.config.accounts import Account
from pipeline.config.load import Config
from pipeline.errors import (
    ConfigError,
    EnvironmentProblem,
    RateLimited,
    Rejected,
    RiskRefusal,
    Unreachable,
    UsageError,
    VenueError,
)
from pipeline.kinds import Cause
from pipeline.net.asker import Answer, Asker, NoAnswer
from pipeline.run import keywork
from pipeline.run.tls import tls_context
from pipeline.store.durable import write_durably
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import ApiKey, L2Auth, load_api_file
from pipeline.venues.polymarket.identity import Refusal, address_bytes, checksum
from pipeline.venues.polymarket.keys import header_pairs, lists_key, parse_key, render_api_file
from pipeline.venues.polymarket.wallets import WalletKind, classify, wallets_of

Pairs = tuple[tuple[str, str], ...]


class Origin(Enum):
    """Where the key came from."""

    MADE = "made"
    DERIVED = "derived"  # the venue had one for this wallet and nonce
    KEPT = "kept"  # the file's own works


@dataclass(frozen=True, slots=True)
class Wallet:
    """What the configured maker is, seen from the key's address."""

    kind: WalletKind | None  # None: none of this key's wallets
    advice: str  # what to change in the configuration, "" when it is right
    all_of_key: dict[str, str]  # words of each kind -> address


@dataclass(frozen=True, slots=True)
class Connected:
    """What was done; holds nothing of the API key."""

    account: str
    address: str
    wallet: Wallet
    origin: Origin
    api_file: Path
    is_written: bool


def choose_account(config: Config, name: str | None) -> tuple[str, Account]:
    """Return the account that is meant; raises UsageError when that is not clear."""
    names = ", ".join(config.accounts) or "none"
    if name is not None and name not in config.accounts:
        raise UsageError(f"connect: no account {name!r}; the configuration has {names}")
    if name is None and len(config.accounts) != 1:
        raise UsageError(f"connect: which account? --account NAME; the configuration has {names}")
    chosen = name or next(iter(config.accounts))
    return chosen, config.accounts[chosen]


def look_at_wallet(name: str, account: Account, chain_id: int) -> Wallet:
    """Compare the configured maker and signature type with every wallet that the address can have."""
    owner, maker = address_bytes(account.address), address_bytes(account.maker)
    if chain_id != wire.POLYGON:  # the factories' addresses are known there alone
        return Wallet(WalletKind.EOA if owner == maker else None, "", {})
    kind = classify(owner, maker)
    advice = ""
    if kind is None:
        advice = (f"accounts.{name}.maker is no wallet of this key that the venue makes; set it to one of "
                  "the wallets above, and signature_type with it")
    elif kind.signature_type != account.signature_type:
        advice = (f"accounts.{name}.maker is this key's {kind.words}: set signature_type = "
                  f"{kind.signature_type.value} (was {account.signature_type})")
    found = {one.words: f"{checksum(address)} (signature_type {one.signature_type.value})"
             for one, address in wallets_of(owner).items()}
    return Wallet(kind, advice, found)


def connect(config: Config, name: str, nonce: int, *, replace: bool) -> Connected:
    """Connect one account; raises PipelineError in one line, with nothing written then.

    nonce: which of the wallet's keys; 0 is the one that every client uses. replace: overwrite a file that
    holds another key.
    """
    account = config.accounts[name]
    path = Path(os.path.realpath(account.api_file))
    kept = _read_kept(path)
    _check_folder(name, path)
    now_s = time.time_ns() // NS_PER_S
    work = keywork.do(account, config.venues.polymarket.chain_id, l1_time_s=now_s, nonce=nonce)
    if work.address.lower() != account.address.lower():
        raise ConfigError(
            f"connect: the key in {account.key_file} is that of {work.address}, but accounts.{name}.address "
            f"is {account.address}; correct the address or the key file")
    wallet = look_at_wallet(name, account, config.venues.polymarket.chain_id)
    try:
        origin, key = asyncio.run(_talk(config, work, None if replace else kept))
    except Unreachable as problem:
        raise Unreachable(f"connect: {problem}; nothing was written") from None
    is_written = origin is not Origin.KEPT
    if is_written and kept is not None and not replace and kept != key:
        raise RiskRefusal(
            f"connect: {path} holds another API key, which the venue does not take for {work.address}; "
            "nothing was overwritten: --replace does that")
    if is_written:
        _write(path, key)
    return Connected(name, work.address, wallet, origin, path, is_written)


def _read_kept(path: Path) -> ApiKey | None:
    """Return the key of the file, None when there is none; what is no key is refused, not overwritten."""
    try:
        if not path.exists() or not path.stat().st_size:
            return None
    except OSError as error:
        raise EnvironmentProblem(f"connect: {path} cannot be read ({error.strerror})") from None
    try:
        return load_api_file(path)
    except ConfigError as problem:
        raise ConfigError(f"connect: {problem}; it is not overwritten: move it away first") from None


def _check_folder(name: str, path: Path) -> None:
    """Refuse before a key is made that could not be kept."""
    if not path.parent.is_dir():
        raise EnvironmentProblem(
            f"connect: accounts.{name}.api_file: {path.parent}: no such folder; run: "
            f"install -d -m 700 {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise EnvironmentProblem(
            f"connect: accounts.{name}.api_file: {path.parent} is not ours to write; name a folder of yours")


async def _talk(config: Config, work: keywork.KeyWork, kept: ApiKey | None) -> tuple[Origin, ApiKey]:
    """Return the key that the venue takes: the kept one if it does, else a new or derived one."""
    base = config.venues.polymarket.clob_url
    async with Asker(tls_context(config)) as asker:
        if kept is not None and await is_taken(asker, base, work.address, kept):
            return Origin.KEPT, kept
        origin = Origin.MADE
        found = await _ask_key(asker, "POST", base + wire.PATH_API_KEY, work.l1_headers)
        if isinstance(found, Refusal) and found.text.startswith("http 400"):  # there is one for this nonce
            origin = Origin.DERIVED
            found = await _ask_key(asker, "GET", base + wire.PATH_DERIVE_API_KEY, work.l1_headers)
        if isinstance(found, Refusal):
            raise _refused(found, base)
        if not await is_taken(asker, base, work.address, found):
            raise VenueError(
                f"connect: {base} gave a key and then does not take it; nothing was written, try again")
        return origin, found


async def _ask_key(asker: Asker, method: str, url: str, headers: Pairs) -> ApiKey | Refusal:
    answer = await asker.ask(method, url, headers)
    if isinstance(answer, NoAnswer):
        raise Unreachable(f"{url}: {answer.words}")
    return parse_key(answer.status, answer.body)


def _refused(refusal: Refusal, base: str) -> VenueError:
    if refusal.cause == Cause.RATE_LIMIT:
        return RateLimited(f"connect: {base} refuses for now ({refusal.text}); try again in a minute")
    hint = "; is this machine's clock right? pm doctor venue measures it" if "401" in refusal.text else ""
    return Rejected(f"connect: {base} gave no API key ({refusal.text}){hint}")


async def is_taken(asker: Asker, base: str, address: str, key: ApiKey) -> bool:
    """Ask the venue whether it takes this key of this address; raises Unreachable when it does not say."""
    auth = L2Auth(address, key.api_key, key.secret, key.passphrase)
    block = auth.headers("GET", wire.PATH_API_KEYS, b"", time.time_ns() // NS_PER_S)
    answer = await asker.ask("GET", base + wire.PATH_API_KEYS, header_pairs(block))
    if isinstance(answer, Answer) and answer.status in (200, 401):
        return answer.status == 200 and lists_key(answer.body, key.api_key)
    words = answer.words if isinstance(answer, NoAnswer) else f"http {answer.status}"
    raise Unreachable(f"{base}{wire.PATH_API_KEYS}: {words}")


def _write(path: Path, key: ApiKey) -> None:
    try:
        write_durably(path, render_api_file(key))
    except OSError as error:
        raise EnvironmentProblem(
            f"connect: {path} cannot be written ({error.strerror}); the venue keeps the key: run it again"
        ) from None
