"""L1 and L2 headers against the venue vectors, and every way in which they can be wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.sim.accounts import Account, Credentials
from pipeline.sim.auth import Auth
from pipeline.sim.errors_text import Refusal
from pipeline.sim.settings import ExchangeSettings
from tests.shared import SHARED, needs_shared
from tests.sim_trader import NOW_NS, Trader, error_of, exchange_of, json_of, market

PATH = SHARED / "venues" / "polymarket-vectors.json"
VECTORS: dict[str, Any] = (
    json.loads(PATH.read_text()) if PATH.is_file() else {"l1_auth": [], "l2_hmac": [], "keys": []}
)
OWNERS = {key["name"]: key["address"] for key in VECTORS["keys"]}


def lower(headers: dict[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def auth_for(owner: str, credentials: Credentials | None, chain_id: int = 137) -> Auth:
    account = Account("vector", owner, owner, 0, 0, credentials)
    return Auth(ExchangeSettings(chain_id=chain_id), [account], 1)


@needs_shared
def test_vectors_are_all_here() -> None:
    """The tables below run over the whole vectors file, not over nothing."""
    assert 7 <= len(VECTORS["l1_auth"])
    assert 15 <= len(VECTORS["l2_hmac"])


@pytest.mark.parametrize("vector", VECTORS["l2_hmac"], ids=lambda v: f"{v['key']}-{v['method']}{v['path']}")
def test_l2_vectors(vector: dict[str, Any]) -> None:
    """What both official clients sign is accepted; one changed byte of the body is not."""
    credentials = Credentials(vector["api_key"], vector["secret"], vector["passphrase"])
    auth = auth_for(OWNERS[vector["key"]], credentials)
    message = vector["signed_message"]
    body = message.removeprefix(f"{vector['timestamp']}{vector['method']}{vector['path']}").encode()
    now_ns = vector["timestamp"] * 10**9
    headers = lower(vector["headers"])
    found = auth.check_l2(now_ns, vector["method"], vector["path"], headers, body)

    assert not isinstance(found, Refusal)
    assert credentials == found[1]
    assert Refusal("Unauthorized/Invalid api key", 401) == auth.check_l2(
        now_ns, vector["method"], vector["path"], headers, body + b" "
    )


@pytest.mark.parametrize(
    "vector", VECTORS["l1_auth"], ids=lambda v: f"{v['key']}-{v['chain_id']}-{v['nonce']}"
)
def test_l1_vectors(vector: dict[str, Any]) -> None:
    """A wallet signature proves its address on its own chain and for its own nonce only."""
    headers, now_ns = lower(vector["headers"]), vector["timestamp"] * 10**9
    auth = auth_for(vector["address"], None, vector["chain_id"])
    found = auth.check_l1(now_ns, headers)

    assert not isinstance(found, Refusal)
    assert vector["nonce"] == found[1]
    refused = Refusal("Invalid L1 Request headers", 401)
    assert refused == auth.check_l1(now_ns, headers | {"poly_nonce": str(vector["nonce"] + 1)})
    assert refused == auth.check_l1(now_ns + 31 * 10**9, headers)
    assert refused == auth_for(vector["address"], None, 1).check_l1(now_ns, headers)


@pytest.mark.parametrize(
    "change",
    [
        {"poly_api_key": "another"},
        {"poly_api_key": ""},
        {"poly_passphrase": "another"},
        {"poly_address": "0x" + "11" * 20},
        {"poly_signature": "AAAA"},
        {"poly_signature": "\u00e9"},
        {"poly_timestamp": str(NOW_NS // 10**9 - 31)},
        {"poly_timestamp": str(NOW_NS // 10**9 + 31)},
        {"poly_timestamp": "soon"},
        {"poly_timestamp": "-1"},
    ],
)
def test_l2_refusals(change: dict[str, str]) -> None:
    """Anything wrong in the headers is one and the same 401."""
    trader = Trader()
    exchange = exchange_of([trader], [market()])
    headers = trader.headers("GET", "/data/orders", b"", NOW_NS)

    assert 200 == exchange.on_request(NOW_NS, "clob", "GET", "/data/orders", headers, b"").status
    refused = exchange.on_request(NOW_NS, "clob", "GET", "/data/orders", headers | change, b"")
    assert (401, "Unauthorized/Invalid api key") == (refused.status, error_of(refused))


def test_stale_hmac_is_refused() -> None:
    """A request with a good signature over an old time is refused, up to the second."""
    trader = Trader()
    exchange = exchange_of([trader], [market()])
    old = trader.headers("DELETE", "/cancel-all", b"", NOW_NS)

    for age_s, status in ((30, 200), (31, 401)):
        answer = exchange.on_request(NOW_NS + age_s * 10**9, "clob", "DELETE", "/cancel-all", old, b"")
        assert status == answer.status


def test_signature_covers_method_path_and_body_but_not_the_query() -> None:
    """The venue signs the path without its query string (venue sheet 9.2)."""
    trader = Trader()
    exchange = exchange_of([trader], [market()])
    headers = trader.headers("GET", "/data/orders", b"", NOW_NS)

    assert 200 == exchange.on_request(NOW_NS, "clob", "GET", "/data/orders?market=0x1", headers, b"").status
    assert 401 == exchange.on_request(NOW_NS, "clob", "GET", "/data/trades", headers, b"").status
    assert 401 == exchange.on_request(NOW_NS, "clob", "DELETE", "/data/orders", headers, b"").status
    assert 401 == exchange.on_request(NOW_NS, "clob", "GET", "/data/orders", headers, b"x").status


@needs_shared
def test_key_is_made_once_and_derived_after() -> None:
    """Create answers 400 when the key exists, derive returns the same, the made key then signs requests."""
    vector = next(v for v in VECTORS["l1_auth"] if v["chain_id"] == 137 and v["nonce"] == 0)
    trader = Trader(key=next(k["private_key"] for k in VECTORS["keys"] if k["name"] == vector["key"]))
    now_ns, headers = vector["timestamp"] * 10**9, lower(vector["headers"])
    exchange = exchange_of([trader], [market()])
    exchange.rest.auth.delete(trader.credentials.api_key)

    derived_early = exchange.on_request(now_ns, "clob", "GET", "/auth/derive-api-key", headers, b"")
    made = exchange.on_request(now_ns, "clob", "POST", "/auth/api-key", headers, b"")
    again = exchange.on_request(now_ns, "clob", "POST", "/auth/api-key", headers, b"")
    derived = exchange.on_request(now_ns, "clob", "GET", "/auth/derive-api-key", headers, b"")

    assert [400, 200, 400, 200] == [r.status for r in (derived_early, made, again, derived)]
    assert json_of(made) == json_of(derived)
    assert 44 == len(json_of(made)["secret"])  # 32 bytes, padded
    trader.credentials = Credentials(*(json_of(made)[name] for name in ("apiKey", "secret", "passphrase")))
    keys = trader.call(exchange, "GET", "/auth/api-keys", None, now_ns)
    assert {"apiKeys": [trader.credentials.api_key]} == json_of(keys)
    assert "OK" == json_of(trader.call(exchange, "DELETE", "/auth/api-key", None, now_ns))
    assert 401 == trader.call(exchange, "GET", "/auth/api-keys", None, now_ns).status
