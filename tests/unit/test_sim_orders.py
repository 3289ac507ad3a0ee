"""The exchange's proof of an order, against the venue vectors and against tampering."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from pipeline.sim.accounts import Account
from pipeline.sim.book import Order
from pipeline.sim.errors_text import Refusal
from pipeline.sim.market import Market
from pipeline.sim.orders import Payload, check_signature, parse, prove
from pipeline.sim.settings import ExchangeSettings
from tests.shared import SHARED, needs_shared
from tests.sim_trader import KEYS, NOW_NS, Trader, contract_domain, market

WALLET = "0xBc0fF067b7740Eff76C1ca93c875Ba6B890d6B50"


def vectors() -> dict[str, Any]:
    path = SHARED / "venues" / "polymarket-vectors.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"orders": [], "keys": []}
    return found


VECTORS = vectors()
OWNERS = {key["name"]: key["address"] for key in VECTORS["keys"]}


def vector_market(vector: dict[str, Any]) -> Market:
    inputs = vector["inputs"]
    step = int(Decimal(inputs["tick_size"]) * 10_000)
    version = {"2": "v1", "3": "v2"}[inputs["protocol_version"]]
    tokens = (inputs["token_id"], "2")
    return market(tokens=tokens, neg_risk=inputs["neg_risk"], version=version, tick_step=step)


def vector_account(vector: dict[str, Any]) -> Account:
    inputs = vector["inputs"]
    return Account("vector", OWNERS[inputs["key"]], inputs["funder"], inputs["signature_type"], 0)


def parsed(body: dict[str, Any]) -> Payload:
    payload = parse(body)
    assert isinstance(payload, Payload)
    return payload


def proven(body: dict[str, Any], account: Account, of: Market, now_ns: int = NOW_NS) -> Order | Refusal:
    payload = parse(body)
    if isinstance(payload, Refusal):
        return payload
    tokens = {token: (of, outcome) for outcome, token in enumerate(of.tokens)}
    return prove(now_ns, payload, account, body["owner"], tokens, ExchangeSettings())


@needs_shared
def test_vectors_are_all_here() -> None:
    """The table below runs over the whole vectors file, not over nothing."""
    assert 70 <= len(VECTORS["orders"])
    assert {0, 1, 2, 3} == {vector["inputs"]["signature_type"] for vector in VECTORS["orders"]}


@pytest.mark.parametrize("vector", VECTORS["orders"], ids=lambda vector: vector["id"])
def test_vector_signature_is_recovered(vector: dict[str, Any]) -> None:
    """Every order that both official clients signed proves its owner, and has the id that they computed."""
    payload = parsed(json.loads(vector["wire_body"]))
    owner = OWNERS[vector["inputs"]["key"]]
    order_id, refusal = check_signature(payload.fields, payload.signature, owner, vector_market(vector), 137)

    assert refusal is None
    assert vector["order_hash"] == order_id


@pytest.mark.parametrize("vector", VECTORS["orders"], ids=lambda vector: vector["id"])
def test_vector_price_is_read_back(vector: dict[str, Any]) -> None:
    """The amounts of an official client encode the limit price that it was given, or break a server rule."""
    inputs = vector["inputs"]
    found = proven(json.loads(vector["wire_body"]), vector_account(vector), vector_market(vector))
    if isinstance(found, Refusal):
        strict = vector.get("server_strict_takerAmount", vector["takerAmount"])
        too_fine = inputs["kind"] == "market" and strict != vector["takerAmount"]
        too_small = inputs["kind"] == "limit" and Decimal(inputs["size"]) < 5
        assert too_fine or too_small, found.text
        return

    assert int(Decimal(inputs["price"]) * 10_000) == found.price_ticks
    assert (inputs["side"] == "BUY") == found.is_buy


@pytest.mark.parametrize("signature_type", [0, 1, 2, 3])
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("salt", 99),
        ("tokenId", "12"),
        ("makerAmount", "5100000"),
        ("takerAmount", "10010000"),
        ("side", "SELL"),
        ("timestamp", "1"),
        ("metadata", "0x" + "11" * 32),
        ("builder", "0x" + "22" * 32),
    ],
)
def test_no_signed_field_can_be_changed(signature_type: int, name: str, value: Any) -> None:
    """Every field of the order is under the signature, for every signature type."""
    of, trader = market(), Trader(signature_type=signature_type, wallet=WALLET if signature_type else "")
    good = trader.body(of)
    good["order"]["salt"] = int(good["order"]["salt"])
    bad = json.loads(json.dumps(good))
    bad["order"][name] = value

    assert isinstance(proven(good, trader.account(), of), Order)
    assert Refusal("invalid signature") == proven(bad, trader.account(), of)


@pytest.mark.parametrize("signature_type", [0, 2, 3])
@pytest.mark.parametrize("signed_for", [("v1", True), ("v2", False), ("chain", False)])
def test_another_exchange_is_a_version_mismatch(signature_type: int, signed_for: tuple[str, bool]) -> None:
    """A good signature for the wrong exchange, version or chain gets the venue's own text."""
    of, trader = market(), Trader(signature_type=signature_type, wallet=WALLET if signature_type else "")
    version, neg_risk = signed_for
    domain = (
        contract_domain(of, 80002)
        if version == "chain"
        else contract_domain(market(version=version, neg_risk=neg_risk))
    )
    refused = proven(trader.body(of, domain=domain), trader.account(), of)

    assert Refusal("order_version_mismatch") == refused


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"signing_key": KEYS[1]}, "invalid signature"),
        ({"change_order": {"signature": "0x" + "11" * 65}}, "invalid signature"),
        ({"change_order": {"signature": "0x" + "ff" * 64 + "1b"}}, "invalid signature"),
        ({"change_order": {"signature": "0x" + "00" * 64 + "1b"}}, "invalid signature"),
        ({"change_order": {"signature": "0x1b"}}, "invalid signature"),
        (
            {"change_signed": {"signer": WALLET}},
            "the order signer address has to be the address of the API KEY",
        ),
        (
            {"change_signed": {"maker": WALLET}},
            "maker address not allowed, please use the deposit wallet flow",
        ),
        (
            {"change_signed": {"signatureType": 2}},
            "maker address not allowed, please use the deposit wallet flow",
        ),
        ({"change_signed": {"tokenId": 999}}, "No orderbook exists for the requested token id"),
        ({"change_signed": {"takerAmount": 9_995_000}}, "invalid amounts, share amount supports"),
        ({"change_signed": {"makerAmount": 5_000_010}}, "invalid amounts, collateral amount supports"),
        (
            {"change_signed": {"makerAmount": 5_000_100}},
            "invalid amounts, collateral at price 0.5 must be 5000000",
        ),
        ({"change_signed": {"makerAmount": 5_050_000}}, "Price (0.505) breaks minimum tick size rule: 0.01"),
        ({"change_signed": {"makerAmount": 10_000_000}}, "Price (1) breaks minimum tick size rule: 0.01"),
        ({"quantity": "4.99"}, "Size (4.99) lower than the minimum: 5"),
        (
            {"order_type": "FAK", "change_signed": {"makerAmount": 5_001_000}},
            "invalid amounts, the market buy",
        ),
        (
            {"order_type": "FAK", "change_signed": {"takerAmount": 9_999_999}},
            "invalid amounts, the market buy",
        ),
        ({"order_type": "FOK", "price": "0.505"}, "breaks minimum tick size rule: 0.01"),
        ({"order_type": "FOK", "side": "SELL", "price": "0.505"}, "breaks minimum tick size rule: 0.01"),
        ({"expiration": 1_790_001_000}, "invalid expiration"),
        ({"order_type": "GTD", "expiration": 1_790_000_179}, "invalid expiration"),
        ({"order_type": "GTD"}, "invalid expiration"),
        ({"owner": "another"}, "the order owner has to be the owner of the API KEY"),
    ],
)
def test_refusals(change: dict[str, Any], text: str) -> None:
    """Each wrong order is refused with the venue's text."""
    of, trader = market(), Trader()
    body = trader.body(of, **change)
    payload = parsed(body)
    tokens = {token: (of, outcome) for outcome, token in enumerate(of.tokens)}
    refused = prove(NOW_NS, payload, trader.account(), trader.credentials.api_key, tokens, ExchangeSettings())

    assert isinstance(refused, Refusal)
    assert text in refused.text


def test_account_states_are_refused() -> None:
    """A banned account places nothing; a closed-only one does not buy."""
    of, trader = market(), Trader()
    body = trader.body(of)
    sell = trader.body(of, side="SELL")

    assert Refusal(f"address {trader.owner} banned") == proven(body, trader.account(banned=True), of)
    closed = trader.account(closed_only=True)
    assert Refusal(f"address {trader.owner} in closed only mode") == proven(body, closed, of)
    assert isinstance(proven(sell, closed, of), Order)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("orderType", "IOC"),
        ("orderType", None),
        ("postOnly", "yes"),
        ("deferExec", 0),
        ("owner", 7),
        ("order", []),
        ("order.salt", "7"),
        ("order.salt", 1 << 53),
        ("order.salt", True),
        ("order.salt", -1),
        ("order.signatureType", "0"),
        ("order.signatureType", 4),
        ("order.side", 0),
        ("order.maker", "0x12"),
        ("order.tokenId", 11),
        ("order.tokenId", str(1 << 256)),
        ("order.makerAmount", 5_000_000),
        ("order.makerAmount", "0"),
        ("order.takerAmount", "-1"),
        ("order.takerAmount", "1e7"),
        ("order.takerAmount", "١٢"),
        ("order.timestamp", "now"),
        ("order.metadata", "0x00"),
        ("order.signature", "0xzz"),
        ("order.signature", None),
        ("order.expiration", 0),
    ],
)
def test_payload_shape(path: str, value: Any) -> None:
    """A payload of another shape is refused before anything is computed from it."""
    body = Trader().body(market())
    *above, name = path.split(".")
    target = body[above[0]] if above else body
    target[name] = value

    assert Refusal("Invalid order payload") == parse(body)
    del target[name]
    if name not in ("postOnly", "deferExec"):
        assert Refusal("Invalid order payload") == parse(body)


def test_order_of_the_first_protocol_is_a_version_mismatch() -> None:
    """An order of the dead V1 (nonce and fee rate, no timestamp) gets the text that the venue gives it."""
    body = Trader().body(market())
    del body["order"]["timestamp"]
    body["order"] |= {"nonce": "0", "feeRateBps": "0", "taker": "0x" + "00" * 20}

    assert Refusal("order_version_mismatch") == parse(body)
