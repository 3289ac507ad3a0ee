"""Bodies are what JSON says they are, requests cannot be injected into, batches are bounded."""

from __future__ import annotations

import json
import random

import pytest

from pipeline.codec import CODECS
from pipeline.errors import ConfigError, InvariantError
from pipeline.kinds import Cause, Kind, OrderType, Rule, Side
from pipeline.venues.polymarket import encode, identity, wire
from pipeline.venues.polymarket.auth import L2Auth, Secret

OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
WALLET = "0x" + "cd" * 20
API_KEY = "0ad2f3a1-5b1c-4a2d-9e3f-1a2b3c4d5e6f"
AUTH = L2Auth(OWNER, API_KEY, Secret(b"k" * 32), Secret(b"6f1d2c3b"))


def signed_slot(rng: random.Random, row: int) -> bytes:
    return CODECS[Kind.SIGNED].pack(
        instrument=row,
        salt=rng.getrandbits(53),
        maker_amount=rng.randrange(1, 2**63),
        order_no=rng.getrandbits(40),
        taker_amount=rng.randrange(1, 2**63),
        expiration_s=rng.choice([0, 1_790_003_600]),
        timestamp_ms=rng.getrandbits(41),
        order_hash=rng.randbytes(32),
        struct_hash=rng.randbytes(32),
        signature=rng.randbytes(65),
        outcome=rng.randrange(2),
        side=rng.randrange(2),
        order_type=rng.randrange(4),
        post_only=rng.randrange(2),
    )


def instrument_slot(rng: random.Random, row: int) -> bytes:
    return CODECS[Kind.INSTRUMENT].pack(
        instrument=row, token_yes=rng.randbytes(32), token_no=rng.randbytes(32),
        rules=int(rng.choice([Rule(0), Rule.NEG_RISK, Rule.V2, Rule.V2 | Rule.NEG_RISK])))


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("seed", range(20))
def test_a_body_says_what_its_slot_says(kind: int, seed: int) -> None:
    """Every value of a random SIGNED slot comes back from the JSON with the type that the venue wants."""
    rng = random.Random(seed)
    account = identity.identify(OWNER, OWNER if kind == 0 else WALLET, kind)
    renderer = encode.OrderRenderer(account, API_KEY)
    listed, slot = instrument_slot(rng, 12), signed_slot(rng, 12)
    renderer.on_instrument(listed)
    rendered = renderer.render(slot)
    assert isinstance(rendered, bytes)
    body, fields = json.loads(rendered), CODECS[Kind.SIGNED].unpack(slot)
    market = CODECS[Kind.INSTRUMENT].unpack(listed)
    token = market.token_no if fields.outcome else market.token_yes
    exchange = identity.exchange_of(bool(market.rules & Rule.NEG_RISK), bool(market.rules & Rule.V2))
    domain = identity.exchange_domains(137)[exchange]
    signature = fields.signature + (
        domain + fields.struct_hash + wire.ORDER_TYPE + b"\0\xba" if kind == 3 else b"")
    expected = {
        "deferExec": False, "orderType": OrderType(fields.order_type).name, "owner": API_KEY, "order": {
            "salt": fields.salt, "maker": identity.checksum(account.maker),
            "signer": identity.checksum(account.signer), "tokenId": str(int.from_bytes(token, "big")),
            "makerAmount": str(fields.maker_amount), "takerAmount": str(fields.taker_amount),
            "side": Side(fields.side).name, "expiration": str(fields.expiration_s), "signatureType": kind,
            "timestamp": str(fields.timestamp_ms), "metadata": "0x" + "00" * 32, "builder": "0x" + "00" * 32,
            "signature": "0x" + signature.hex()}} | ({"postOnly": True} if fields.post_only else {})

    assert expected == body
    assert json.dumps(body, separators=(",", ":")).encode() == rendered


@pytest.mark.parametrize("count", [1, 2, 14, 15])
def test_a_batch_is_the_array_of_its_orders(count: int) -> None:
    """Batches of 1 to 15 keep the order of their slots."""
    rng = random.Random(count)
    renderer = encode.OrderRenderer(identity.identify(OWNER, OWNER, 0), API_KEY)
    for row in range(1, 4):
        renderer.on_instrument(instrument_slot(rng, row))
    slots = [signed_slot(rng, rng.randrange(1, 4)) for _ in range(count)]
    singles = [renderer.render(slot) for slot in slots]
    whole = renderer.render(b"".join(slots))
    assert isinstance(whole, bytes)

    found = json.loads(whole)
    assert [json.loads(single) for single in singles if isinstance(single, bytes)] == (
        found if count > 1 else [found])


@pytest.mark.parametrize(
    ("rows", "cause"),
    [
        ([], Cause.TOO_MANY_ORDERS),
        ([1] * 16, Cause.TOO_MANY_ORDERS),
        ([1, 99], Cause.NO_INSTRUMENT),
        ([99], Cause.NO_INSTRUMENT),
    ],
)
def test_impossible_batches_are_refused(rows: list[int], cause: Cause) -> None:
    """No order, sixteen, or one of a row without an instrument record: a cause, never a part of a body."""
    rng = random.Random(3)
    renderer = encode.OrderRenderer(identity.identify(OWNER, OWNER, 0), API_KEY)
    renderer.on_instrument(instrument_slot(rng, 1))

    assert cause == renderer.render(b"".join(signed_slot(rng, row) for row in rows))


def test_a_later_instrument_replaces_the_row() -> None:
    """A row's tokens are those of its newest INSTRUMENT record."""
    rng = random.Random(5)
    renderer = encode.OrderRenderer(identity.identify(OWNER, OWNER, 0), API_KEY)
    slot = signed_slot(rng, 3)
    bodies = []
    for _ in range(2):
        renderer.on_instrument(instrument_slot(rng, 3))
        bodies.append(renderer.render(slot))

    assert bodies[0] != bodies[1]


def test_cancel_bodies() -> None:
    """Cancels name orders by hash, markets by condition and token; the venue's key order."""
    one, two = bytes([1]) * 32, bytes([2]) * 32

    assert b'{"orderID":"0x' + b"01" * 32 + b'"}' == encode.cancel_body(one)
    assert b'["0x' + b"01" * 32 + b'","0x' + b"02" * 32 + b'"]' == encode.cancels_body([one, two])
    assert b'{"market":"0x' + b"01" * 32 + b'","asset_id":""}' == encode.cancel_market_body(one)
    assert b'{"market":"","asset_id":"7"}' == encode.cancel_market_body(None, (7).to_bytes(32, "big"))
    assert b'{"heartbeat_id":""}' == encode.heartbeat_body("")


def test_cancel_counts_are_bounded() -> None:
    """0 and 1001 cancels, and a cancel of nothing in particular, are programming errors."""
    assert 1000 == len(json.loads(encode.cancels_body([bytes(32)] * 1000)))
    for hashes in ([], [bytes(32)] * 1001):
        with pytest.raises(InvariantError, match="1000"):
            encode.cancels_body(hashes)
    with pytest.raises(InvariantError, match="cancel all"):
        encode.cancel_market_body(None)


def test_a_request_is_http() -> None:
    """A request parses back to its parts and its length is exact."""
    body = b'{"a":1}'
    request = encode.render_request(
        "POST", "/order", "clob.polymarket.com", b"X-One: 1\r\nX-Two: 2\r\n", body
    )
    head, _, rest = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])

    assert "POST /order HTTP/1.1" == lines[0]
    assert body == rest
    assert {"Host": "clob.polymarket.com", "X-One": "1", "X-Two": "2", "Content-Length": "7",
            "Content-Type": "application/json"}.items() <= headers.items()
    assert b"Content-Length: 0\r\n" in encode.render_request("POST", "/auth/api-key", "h", b"")
    assert b"Content-" not in encode.render_request("GET", "/time", "h", b"")
    assert b"Content-" not in encode.render_request("DELETE", "/cancel-all", "h", b"")


def test_an_authenticated_request_signs_its_own_bytes() -> None:
    """Prepared heads and the general way give the same request; the query is sent but not signed."""
    renderer = encode.RequestRenderer("clob.polymarket.com", AUTH)
    for method, path, body in (("POST", "/order", b"{}"), ("DELETE", "/cancel-all", b""),
                               ("GET", "/data/orders?market=0x1", b"")):
        headers = AUTH.headers(method, path, body, 1_790_000_000)
        expected = encode.render_request(method, path, "clob.polymarket.com", headers, body)
        assert expected == renderer.render(method, path, 1_790_000_000, body)
        assert AUTH.signature(method, path.partition("?")[0], body, 1_790_000_000) in expected


@pytest.mark.parametrize(
    ("method", "path", "host", "headers"),
    [
        ("PUT", "/order", "h", b""),
        ("post", "/order", "h", b""),
        ("POST", "order", "h", b""),
        ("POST", "/a b", "h", b""),
        ("POST", "/a\r\nX: 1", "h", b""),
        ("GET", "/\x00", "h", b""),
        ("GET", "/é", "h", b""),
        ("GET", "/", "h\r\nX: 1", b""),
        ("GET", "/", "", b""),
        ("GET", "/", "h/x", b""),
        ("GET", "/", "h", b"X: 1"),
        ("GET", "/", "h", b"X: 1\n"),
        ("GET", "/", "h", b"\r\n"),
        ("GET", "/", "h", b"X: 1\r\n\r\nGET /"),
        ("GET", "/", "h", b"X\r\n"),
        ("GET", "/" + "a" * 3000, "h", b""),
    ],
)
def test_nothing_can_write_into_a_request(method: str, path: str, host: str, headers: bytes) -> None:
    """Line breaks, odd methods, hosts and paths are refused before a byte is rendered."""
    with pytest.raises(InvariantError):
        encode.render_request(method, path, host, headers)


@pytest.mark.parametrize("owner", ["", 'a"b', "a b", "a\r\n", "x" * 65, "a\\"])
def test_an_owner_cannot_break_the_template(owner: str) -> None:
    """The API key stands unescaped in the body, so only plain ids are taken."""
    with pytest.raises(ConfigError):
        encode.OrderRenderer(identity.identify(OWNER, OWNER, 0), owner)
