"""Answers about keys, money, country and rates: exact values, or a refusal that shows nothing secret."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from pipeline.venues.polymarket import health, keys
from pipeline.venues.polymarket.auth import ApiKey, Secret, load_api_file
from pipeline.venues.polymarket.health import Geo, Money, Rate
from pipeline.venues.polymarket.identity import Refusal
from tests.shared import seeds

SECRET = "c2VjcmV0LW9mLXRoaXMtdGVzdC1hbG9uZS1hbmQtbm9ib2R5"
PHRASE = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"
KEY = {"apiKey": "0ad2f3a1-5b1c-4d6e-8f90-a1b2c3d4e5f6", "secret": SECRET, "passphrase": PHRASE}
SPENDER = "0xe111180000d2663c0091e4f400237545b87b996b"


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_a_key_survives_its_file(tmp_path: Path) -> None:
    """What the venue answered, written and read back, is the same key; the file is what auth takes."""
    found = keys.parse_key(200, body(KEY))
    assert isinstance(found, ApiKey)
    path = tmp_path / "api.json"
    path.touch(0o600)
    path.write_bytes(keys.render_api_file(found))
    assert found == load_api_file(path)
    assert KEY == json.loads(path.read_bytes())
    assert Secret(PHRASE.encode()) == found.passphrase
    assert SECRET not in repr(found)
    assert PHRASE not in repr(found)


@pytest.mark.parametrize(("status", "answer"), [
    (200, {**KEY, "secret": SECRET + "!"}), (200, {**KEY, "secret": ""}), (200, {**KEY, "apiKey": "a b"}),
    (200, {**KEY, "passphrase": f"{PHRASE}\r\nX: y"}), (200, {**KEY, "passphrase": 5}), (200, [KEY]),
    (200, {"secret": SECRET, "passphrase": PHRASE}), (200, "x"), (201, KEY),
    (500, {"error": {"secret": SECRET}}),
])
def test_a_broken_key_is_refused_and_not_shown(status: int, answer: Any) -> None:
    """Whatever is wrong with an answer that may hold the secret, no part of it is in the refusal."""
    found = keys.parse_key(status, body(answer))
    assert isinstance(found, Refusal)
    for part in (SECRET, SECRET[:12], PHRASE, PHRASE[:12]):
        assert part not in found.text


def test_the_venues_own_words_are_told() -> None:
    """A refusal says the status and the error's text, cut to a line's length."""
    found = keys.parse_key(401, body({"error": "Invalid L1 Request headers"}))
    assert isinstance(found, Refusal)
    assert "http 401: Invalid L1 Request headers" == found.text
    for parse in (keys.parse_key, health.parse_version):
        hostile = parse(400, body({"error": "\x1b[2J\r\n" + "x" * 10_000}))
        assert isinstance(hostile, Refusal)
        assert hostile.text.isprintable()
        assert len(hostile.text) < 200


@pytest.mark.parametrize(("answer", "is_listed"), [
    ({"apiKeys": [KEY["apiKey"]]}, True), ({"apiKeys": ["other"]}, False),
    ({"apiKeys": KEY["apiKey"]}, False),
    ([KEY["apiKey"]], False), ({}, False)])
def test_a_key_counts_as_taken_only_when_listed(answer: Any, is_listed: bool) -> None:
    """A text that merely contains the key, or a list elsewhere, is no proof."""
    assert is_listed is keys.lists_key(body(answer), KEY["apiKey"])
    assert not keys.lists_key(b"<html>", KEY["apiKey"])


CASES: list[tuple[Any, Any, Any]] = [
    (health.parse_version, {"version": 2}, 2),
    (health.parse_version, {"version": "2"}, None),
    (health.parse_version, {"version": True}, None),
    (health.parse_geoblock, {"blocked": False, "country": "IE", "region": "L"}, Geo(False, "IE", "L")),
    (health.parse_geoblock, {"blocked": True, "country": "G\x1b[2J", "region": 5}, Geo(True, "?", "?")),
    (health.parse_geoblock, {"blocked": "false"}, None),
    (health.parse_geoblock, {"blocked": 0}, None),
    (health.parse_geoblock, {}, None),
    (health.parse_closed_only, {"closed_only": True}, True),
    (health.parse_closed_only, {"closed_only": "false"}, None),
    (health.parse_closed_only, {}, None),
    (health.parse_money, {"balance": "1000000", "allowances": {"0x" + SPENDER[2:].upper(): str(2**256 - 1)}},
     Money(1_000_000, {SPENDER: 2**256 - 1})),
    (health.parse_money, {"balance": 5, "allowances": {}}, Money(5, {})),
    (health.parse_money, {"balance": "-5", "allowances": {}}, None),
    (health.parse_money, {"balance": "1e6", "allowances": {}}, None),
    (health.parse_money, {"balance": "5", "allowance": "7"}, None),
    (health.parse_money, {"balance": "5", "allowances": {SPENDER: "x"}}, None),
    (health.parse_money, {"balance": "5", "allowances": {"exchange": "7"}}, None),
    (health.parse_approvals, {"data": {"contracts": [{"token": "0xA", "spender": "0xB", "approved": True}]}},
     {("0xa", "0xb"): True}),
    (health.parse_approvals, {"data": {"contracts": [{"token": "0xA", "spender": "0xB", "approved": 1}]}},
     None),
    (health.parse_approvals, {"data": {"contracts": [{"token": "0xA"}]}}, None),
    (health.parse_approvals, {"data": []}, None),
]


@pytest.mark.parametrize(("parse", "answer", "expected"), CASES)
def test_values_are_exact_or_refused(parse: Any, answer: Any, expected: Any) -> None:
    """The right shape gives the value, any other a refusal; nothing is defaulted or coerced."""
    found = parse(200, body(answer))
    if expected is None:
        assert isinstance(found, Refusal)
    else:
        assert expected == found
    assert isinstance(parse(503, body(answer)), Refusal)
    assert isinstance(parse(200, b"<html>"), Refusal)


@pytest.mark.parametrize(("headers", "expected"), [
    ({}, None),
    ({"poly-ratelimit-tier": "Gold", "poly-ratelimit-remaining": "599"}, Rate("Gold", 599, "")),
    ({"poly-ratelimit-remaining": "-3"}, Rate("", -1, "")),
    ({"poly-ratelimit-warning": "80%"}, Rate("", -1, "80%"))])
def test_rate_headers(headers: dict[str, str], expected: Rate | None) -> None:
    """What the headers say, and None where there are none."""
    assert expected == health.parse_rate(headers)


@pytest.mark.parametrize("seed", seeds(20))
def test_no_answer_can_break_a_parser(seed: int) -> None:
    """Cut, flipped and nested answers end in a value or a refusal, never in an exception."""
    rng = random.Random(seed)
    parsers = {parse for parse, _, _ in CASES} | {keys.parse_key}
    texts = [body(answer) for _, answer, _ in CASES] + [body(KEY), b"[" * 5_000, b"", b"null", b"\xff\xfe"]
    for _ in range(100):
        text = bytearray(rng.choice(texts))
        for _ in range(rng.randint(0, 3)):
            if text:
                text[rng.randrange(len(text))] = rng.randrange(256)
        for parse in parsers:
            found = parse(200, bytes(text[: rng.randint(0, len(text))]))
            assert found is not None, f"seed {seed}"
