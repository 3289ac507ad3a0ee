"""API credentials: what the venue answers when they are made, and the file that holds them.

Used by `pm connect` and `pm doctor` alone; the trading processes only read the file (`auth.load_api_file`).
Source: venue sheet 9.1, clients sheet 2.1; docs /api-reference/authentication, read 2026-11-20.
"""

from __future__ import annotations

import base64

import orjson

from pipeline.errors import ConfigError
from pipeline.kinds import Cause
from pipeline.venues.polymarket.auth import ApiKey, Secret, decode_secret, is_header_text
from pipeline.venues.polymarket.health import plain
from pipeline.venues.polymarket.identity import Refusal

_NAMES = ("apiKey", "secret", "passphrase")


def header_pairs(block: bytes) -> tuple[tuple[str, str], ...]:
    """Return header lines, each ended by CRLF, as (name, value) pairs."""
    lines = block.decode().split("\r\n")
    return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines if line))


def parse_key(http_status: int, body: bytes) -> ApiKey | Refusal:
    """Return the credentials of an answer to create or derive, or why it holds none; nothing of it is shown.

    The venue's own words are told only when it refused: an answer with 200 may hold the secret.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        found = None
    if http_status != 200:
        said = found.get("error") if isinstance(found, dict) else None
        words = f": {plain(said)}" if isinstance(said, str) else ""
        cause = Cause.RATE_LIMIT if http_status == 429 else Cause.VENUE_REJECT
        return Refusal(cause, f"http {http_status}{words}")
    values = [found.get(name) for name in _NAMES] if isinstance(found, dict) else []
    texts = [value for value in values if isinstance(value, str) and is_header_text(value)]
    if len(texts) != len(_NAMES):
        return Refusal(
            Cause.BAD_ANSWER, "apiKey, secret and passphrase expected as printable text (not shown)")
    api_key, secret, passphrase = texts
    try:
        return ApiKey(api_key, decode_secret(secret), Secret(passphrase.encode()))
    except ConfigError:
        return Refusal(Cause.BAD_ANSWER, "the secret is no base64url text (not shown)")


def render_api_file(key: ApiKey) -> bytes:
    """Return what `auth.load_api_file` reads back; it is the secret itself: write it, never print it."""
    return orjson.dumps({
        "apiKey": key.api_key, "secret": base64.urlsafe_b64encode(key.secret.reveal()).decode(),
        "passphrase": key.passphrase.reveal().decode()}) + b"\n"


def lists_key(body: bytes, api_key: str) -> bool:
    """Tell whether `GET /auth/api-keys` names this key among the owner's."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    names = found.get("apiKeys") if isinstance(found, dict) else None
    return isinstance(names, list) and api_key in names
