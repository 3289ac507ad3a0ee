"""Deterministic ids for markets that the exchange makes up: condition, tokens, event, NegRisk market.

Every id is SHA-256 of a name, so the same seed and the same recording give the same ids everywhere.
Token ids have bits set where a V2 position id must have none, so nobody takes them for V2.
"""

from __future__ import annotations

import functools
import hashlib

V2_RESERVED = ((1 << 64) - 1) << 40  # all zero exactly in V2 ids (sheet, section 1)


def digest(*parts: object) -> bytes:
    """Return 32 bytes that depend on every part."""
    return hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()


def condition_id(*parts: object) -> str:
    return "0x" + digest("condition", *parts).hex()


def token_ids(condition: str) -> tuple[str, str]:
    """Return the decimal ids of both outcomes."""
    yes, no = (int.from_bytes(digest("token", condition, outcome), "big") | 1 << 41 for outcome in (0, 1))
    return str(yes), str(no)


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
