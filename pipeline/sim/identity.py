"""Deterministic ids for markets that the exchange makes up: condition, tokens, event, NegRisk market.

Every id is SHA-256 of a name, so the same seed and the same recording give the same ids everywhere.
Token ids of a v1 market have bits set where a v2 position id must have none, so nobody takes them for v2.
Source of the v2 layout: venue sheet 3.4, read 2026-11-20.
"""

from __future__ import annotations

import functools
import hashlib

V2_RESERVED = ((1 << 64) - 1) << 40  # all zero exactly in v2 ids (sheet, section 1)
V2_EVERY = 4
BINARY_MODULE, NEG_RISK_MODULE = 1, 2  # first byte of a v2 position id


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on every part."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()


def condition_id(*parts: object) -> str:
    return "0x" + digest("condition", *parts).hex()


def token_ids(condition: str) -> tuple[str, str]:
    """Return the decimal ids of both outcomes."""
    yes, no = (int.from_bytes(digest("token", condition, outcome), "big") | 1 << 41 for outcome in (0, 1))
    return str(yes), str(no)


def version_of(place: int) -> str:
    """Return the protocol version of the market or event at a place of a run: one in four is v2."""
    return "v2" if place % V2_EVERY == 1 else "v1"


def v2_ids(module: int, arity: int, index: int, *parts: object) -> tuple[str, tuple[str, str]]:
    """Return condition and both position ids of a v2 market; markets of one event differ in `index` alone.

    The condition is 31 bytes, padded on the right to the 64 digits that the order book shows. `arity` is the
    event's count of conditions, 0 for a binary market (as on the canaries of 2026-10-05).
    """
    base = int.from_bytes(digest("v2", *parts)[:16], "big")
    yes = module << 248 | base << 120 | arity << 104 | index << 8
    return f"0x{yes:064x}", (str(yes), str(yes | 1))


def short_condition(condition: str) -> str:
    """Return a v2 condition in the 62 digits that the metadata service shows."""
    return condition[:-2]


def onchain_event_id(condition: str) -> str:
    """Return the id of a v2 event: the 29 bytes that its conditions share, padded to 32.

    V: polymarket-client 0.14.0 refuses a metadata object that has it in another form.
    """
    return condition[:-6] + "000000"


def sister_token(token: str) -> str:
    """Return a stand-in id for the other outcome of a market whose recording shows only one."""
    return str(int.from_bytes(digest("sister", token), "big") | 1 << 41)


@functools.lru_cache(maxsize=1 << 16)  # asked for each market of each page
def number(*parts: object) -> str:
    """Return a short decimal id as Gamma gives to markets and events."""
    return str(1_000_000 + int.from_bytes(digest("number", *parts)[:4], "big"))


def neg_risk_market_id(*parts: object) -> str:
    """Return a bytes32 whose last byte is zero: the question index goes there."""
    return "0x" + digest("neg-risk", *parts)[:31].hex() + "00"


def question_id(neg_risk_id: str, outcome_index: int) -> str:
    """Return the question id of one outcome of a NegRisk event."""
    return f"{neg_risk_id[:-2]}{outcome_index:02x}"
