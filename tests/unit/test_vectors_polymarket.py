"""Every vector of the Polymarket file that concerns hashing, signing, amounts, bodies, auth and fees.

`PM_VECTORS=FILE` runs the same tests on another file of the schema polymarket-vectors/1. The file was
made with both official SDKs and an independent implementation; nothing here compares our output with
itself. Book hashes are tested beside their module (test_bookhash).
"""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from pipeline.codec import CODECS
from pipeline.errors import ConfigError
from pipeline.kinds import Kind, OrderType, Rule, Side
from pipeline.native.orderhash import keccak256
from pipeline.units import decimal_to_int
from pipeline.venues.polymarket import amounts, auth, encode, identity, wire
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner, Signed, order_hasher
from tests.shared import SHARED

SCHEMA = "polymarket-vectors/1"
SECTIONS = ("keys", "orders", "l1_auth", "l2_hmac", "fees", "buy_fee_adjust", "position_ids",
            "position_ids_not_v2", "invalid_inputs")
_GIVEN = os.environ.get("PM_VECTORS")
PATH = Path(_GIVEN) if _GIVEN else SHARED / "venues" / "polymarket-vectors.json"
pytestmark = pytest.mark.skipif(
    _GIVEN is None and not SHARED.is_dir(),
    reason="recordings: ../shared is not there; name a vector file with PM_VECTORS")


def _load() -> dict[str, Any]:
    if not PATH.is_file():
        if _GIVEN is not None:
            raise pytest.UsageError(f"PM_VECTORS={_GIVEN}: no such file")
        return {"schema": SCHEMA}
    loaded = json.loads(PATH.read_text("utf-8"))
    if not isinstance(loaded, dict) or loaded.get("schema") != SCHEMA:
        found = loaded.get("schema") if isinstance(loaded, dict) else type(loaded).__name__
        raise pytest.UsageError(
            f"{PATH}: schema expected {SCHEMA!r}, was {found!r}; these tests know no other"
        )
    return loaded


VECTORS = _load()


def cases(section: str) -> list[Any]:
    """Return the cases of a section, each with an id that names it in the report."""
    if not PATH.is_file():
        return [pytest.param(None, id="absent")]  # the module is skipped; an empty list would name no reason
    return [pytest.param(case, id=str(case.get("id", f"{section}-{number}")))
            for number, case in enumerate(VECTORS.get(section, []))]


def raw(text: str) -> bytes:
    return bytes.fromhex(text[2:])


def key_of(name: str) -> dict[str, Any]:
    return next(key for key in VECTORS["keys"] if key["name"] == name)


def secret_of(name: str) -> auth.Secret:
    return auth.Secret(raw(key_of(name)["private_key"]))


def ticks(text: str) -> int:
    return decimal_to_int(text, 4)


def micro(text: str) -> int:
    return decimal_to_int(text, 6)


def signer_of(inputs: dict[str, Any]) -> OrderSigner:
    owner = key_of(inputs["key"])["address"]
    account = identity.identify(owner, inputs["funder"], inputs["signature_type"], inputs["chain_id"],
                                builder=raw(inputs["builder"]), metadata=raw(inputs["metadata"]))
    return OrderSigner(secret_of(inputs["key"]), account)


def sign_case(case: dict[str, Any]) -> Signed:
    inputs, order = case["inputs"], case["order"]
    signed = signer_of(inputs).sign(
        inputs["salt"], identity.token_bytes(inputs["token_id"]), int(order["makerAmount"]),
        int(order["takerAmount"]), order["side"], inputs["timestamp_ms"],
        neg_risk=inputs["neg_risk"], v2=inputs["protocol_version"] == "3")
    assert isinstance(signed, Signed), signed
    return signed


def slots_of(case: dict[str, Any], row: int) -> tuple[bytes, bytes]:
    """Return the INSTRUMENT and SIGNED slots that the stages would pass for this case."""
    inputs, order, signed = case["inputs"], case["order"], sign_case(case)
    rules = (Rule.NEG_RISK if inputs["neg_risk"] else 0) | (
        Rule.V2 if inputs["protocol_version"] == "3" else 0
    )
    instrument = CODECS[Kind.INSTRUMENT].pack(
        instrument=row,
        rules=int(rules),
        token_yes=identity.token_bytes(inputs["token_id"]),
        token_no=bytes(32),
    )
    slot = CODECS[Kind.SIGNED].pack(
        instrument=row, salt=inputs["salt"], maker_amount=int(order["makerAmount"]),
        taker_amount=int(order["takerAmount"]), expiration_s=inputs["expiration"],
        timestamp_ms=inputs["timestamp_ms"], order_hash=signed.order_hash, struct_hash=signed.struct_hash,
        signature=signed.signature, side=order["side"], order_type=int(OrderType[inputs["order_type"]]),
        post_only=int(inputs["post_only"]))
    return instrument, slot


def renderer_of(case: dict[str, Any]) -> encode.OrderRenderer:
    inputs = case["inputs"]
    return encode.OrderRenderer(signer_of(inputs).account, inputs["owner"], defer_exec=inputs["defer_exec"])


def test_vectors_are_there() -> None:
    """An empty or thinned file must not pass for a checked one: every section has cases."""
    counts = {section: len(VECTORS.get(section, [])) for section in SECTIONS}

    assert all(counts.values()), counts
    assert VECTORS["constants"]["domain_separators"]
    assert VECTORS["order_batch"]["from"]
    assert VECTORS["match_arithmetic"]["cases"]


def test_vectors_refuse_an_unknown_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another schema fails by name instead of passing with nothing checked."""
    other = tmp_path / "other.json"
    other.write_text('{"schema":"polymarket-vectors/2"}')
    monkeypatch.setitem(globals(), "PATH", other)

    with pytest.raises(pytest.UsageError, match="polymarket-vectors/2"):
        _load()


def test_vectors_constants() -> None:
    """Type hashes and domain separators that we compute are the venue's."""
    constants = VECTORS["constants"]
    domains = {"ctf_exchange_v2": wire.Exchange.CTF_V2, "neg_risk_ctf_exchange_v2": wire.Exchange.NEG_RISK_V2,
               "exchange_v3": wire.Exchange.V3}
    computed = identity.exchange_domains(constants["chain_id"])

    assert constants["order_type_string"].encode() == wire.ORDER_TYPE
    assert constants["order_type_string_len"] == len(wire.ORDER_TYPE)
    assert constants["typed_data_sign_type_string"].encode() == wire.NESTED_TYPE
    assert raw(constants["order_type_hash"]) == keccak256(wire.ORDER_TYPE)
    assert raw(constants["typed_data_sign_type_hash"]) == keccak256(wire.NESTED_TYPE)
    assert raw(constants["eip712_domain_type_hash"]) == keccak256(wire.DOMAIN_TYPE)
    assert raw(constants["name_hash"]) == keccak256(wire.DOMAIN_NAME)
    for signature, selector in constants["selectors"].items():
        assert raw(selector) == keccak256(signature.encode())[:4]
    assert constants["domain_separators"].keys() == domains.keys()
    for name, separator in constants["domain_separators"].items():
        contract = wire.EXCHANGES[constants["chain_id"], domains[name]][1]
        assert raw(separator) == computed[domains[name]]
        assert constants["verifying_contracts"][name] == contract


@pytest.mark.parametrize("key", cases("keys"))
def test_vectors_keys(key: dict[str, Any]) -> None:
    """A key's address agrees with eth-account; proxy and Safe wallets derive from it."""
    owner = identity.address_bytes(key["address"])

    assert Account.from_key(key["private_key"]).address == key["address"]
    assert key["address"] == identity.checksum(owner)
    assert key["proxy_wallet"] == identity.checksum(identity.proxy_wallet(owner))
    assert key["safe_wallet"] == identity.checksum(identity.safe_wallet(owner))
    for name, kind in (("address", 0), ("proxy_wallet", 1), ("safe_wallet", 2),
                       ("deposit_wallet_beacon", 3), ("deposit_wallet_uups", 3)):
        account = identity.identify(key["address"], key[name], kind)
        assert owner == OrderSigner(secret_of(key["name"]), account).account.owner


@pytest.mark.parametrize("case", cases("orders"))
def test_vectors_amounts(case: dict[str, Any]) -> None:
    """Amounts equal the exact client's, and the strict taker amount the server's rule."""
    inputs = case["inputs"]
    side, price, step = Side[inputs["side"]], ticks(inputs["price"]), ticks(inputs["tick_size"])
    assert (*case["rounding"].values(),) == wire.ROUNDING[step]
    if inputs["kind"] == "limit":
        found = amounts.limit_amounts(side, price, micro(inputs["size"]), step)
        assert (int(case["makerAmount"]), int(case["takerAmount"])) == found
        return
    quantity = micro(inputs.get("amount_usd") or inputs["amount_shares"])
    loose = amounts.market_amounts(side, price, quantity, step, strict=False)
    strict = amounts.market_amounts(side, price, quantity, step, strict=True)

    assert (int(case["makerAmount"]), int(case["takerAmount"])) == loose
    assert (int(case["makerAmount"]), int(case["server_strict_takerAmount"])) == strict


@pytest.mark.parametrize("case", cases("orders"))
def test_vectors_order_amounts_never_round(case: dict[str, Any]) -> None:
    """`order_amounts` says exactly price and size, or refuses; a limit order it says equals the vector."""
    inputs = case["inputs"]
    order_type, side = OrderType[inputs["order_type"]], Side[inputs["side"]]
    price, step = ticks(inputs["price"]), ticks(inputs["tick_size"])
    size = micro(inputs["size"]) if inputs["kind"] == "limit" else (
        int(case["takerAmount"]) if side == Side.BUY else int(case["makerAmount"]))
    found = amounts.order_amounts(order_type, side, price, size, step)
    if isinstance(found, Refusal):
        assert 0 <= found.nearest_size_micro < size
        if found.nearest_size_micro:
            found = amounts.order_amounts(order_type, side, price, found.nearest_size_micro, step)
    if not isinstance(found, Refusal):
        usd, shares = found if side == Side.BUY else found[::-1]
        assert Fraction(price, 10_000) == Fraction(usd, shares)
        if inputs["kind"] == "limit":
            assert (int(case["makerAmount"]), int(case["takerAmount"])) == found


@pytest.mark.parametrize("case", cases("orders"))
def test_vectors_orders(case: dict[str, Any]) -> None:
    """Struct hash, order id and signature are the SDKs', byte for byte."""
    inputs, order, signed = case["inputs"], case["order"], sign_case(case)

    assert raw(case["domain_separator"]) == signed.domain
    assert raw(case["struct_hash"]) == signed.struct_hash
    assert raw(case["order_hash"]) == signed.order_hash
    assert raw(case["signature"]) == signed.wire_signature
    account = signer_of(inputs).account
    assert (order["maker"], order["signer"]) == (
        identity.checksum(account.maker),
        identity.checksum(account.signer),
    )
    if inputs["signature_type"] == 3:
        nested = order_hasher().nested_digest(
            signed.struct_hash, account.maker, inputs["chain_id"], signed.domain
        )
        assert raw(case["poly1271"]["signed_digest"]) == nested
        assert raw(case["poly1271"]["inner_signature"]) == signed.signature
        assert len(signed.wire_signature) == 317
    else:
        assert key_of(inputs["key"])["address"] == Account._recover_hash(
            signed.order_hash, signature=signed.signature)


@pytest.mark.parametrize("case", cases("orders"))
def test_vectors_wire_bodies(case: dict[str, Any]) -> None:
    """The body rendered from a SIGNED slot is the official client's, byte for byte."""
    renderer = renderer_of(case)
    instrument, slot = slots_of(case, row=7)
    renderer.on_instrument(instrument)

    assert case["wire_body"].encode() == renderer.render(slot)


def test_vectors_order_batch() -> None:
    """A batch body is the array of its single bodies; the vector mixes accounts, each of ours is of one."""
    batch = VECTORS["order_batch"]
    members = [next(case for case in VECTORS["orders"] if case["id"] == name) for name in batch["from"]]
    singles = []
    for row, case in enumerate(members, start=1):
        renderer = renderer_of(case)
        instrument, slot = slots_of(case, row)
        renderer.on_instrument(instrument)
        single = renderer.render(slot)
        assert isinstance(single, bytes)
        singles.append(single)
        assert b"[%b,%b]" % (single, single) == renderer.render(slot + slot)

    assert batch["body"].encode() == b"[%b]" % b",".join(singles)


@pytest.mark.parametrize("case", cases("l1_auth"))
def test_vectors_l1_auth(case: dict[str, Any]) -> None:
    """The ClobAuth proof and its headers are the SDK's."""
    proof = auth.prove_l1(secret_of(case["key"]), case["chain_id"], case["timestamp"], case["nonce"])

    assert raw(case["domain_separator"]) == auth.auth_domain(case["chain_id"])
    assert raw(case["struct_hash"]) == proof.struct_hash
    assert raw(case["digest"]) == proof.digest
    assert raw(case["signature"]) == proof.signature
    assert (
        "".join(f"{name}: {value}\r\n" for name, value in case["headers"].items()).encode() == proof.headers()
    )


@pytest.mark.parametrize("case", cases("l2_hmac"))
def test_vectors_l2_hmac(case: dict[str, Any]) -> None:
    """The HMAC covers exactly the bytes that are sent, apostrophes included."""
    body = (case["body"] or "").encode()
    l2 = auth.L2Auth(case["headers"]["POLY_ADDRESS"], case["api_key"], auth.decode_secret(case["secret"]),
                     auth.Secret(case["passphrase"].encode()))
    headers = l2.headers(case["method"], case["path"], body, case["timestamp"])

    assert case["signature"].encode() == l2.signature(case["method"], case["path"], body, case["timestamp"])
    assert case["signature"].encode() == l2.signature(
        case["method"], case["path"] + "?market=0x1&next_cursor=MA%3D%3D", body, case["timestamp"])
    assert "".join(f"{name}: {value}\r\n" for name, value in case["headers"].items()).encode() == headers


@pytest.mark.parametrize("case", cases("fees"))
def test_vectors_fees(case: dict[str, Any]) -> None:
    """The taker fee is floored to 10 micro-USD; BUY pays it on top, SELL has it deducted."""
    price, shares = ticks(case["price"]), micro(case["shares"])
    fee = amounts.taker_fee_usd_micro(price, shares, decimal_to_int(case["rate"], 6), case["exponent"])
    value = Fraction(price * shares, 10_000)
    flow = -value - fee if case["side"] == "BUY" else value - fee

    assert case["fee_usd_micro"] == fee == Fraction(case["fee_usd_5dp"]) * 10**6
    assert 0 <= Fraction(case["fee_exact"]) * 10**6 - fee < 10
    assert Fraction(case["cash_flow_usd"]) * 10**6 == flow


@pytest.mark.parametrize("case", cases("buy_fee_adjust"))
def test_vectors_buy_fee_adjust(case: dict[str, Any]) -> None:
    """A hard budget is spent to the cent and never exceeded by collateral plus fee."""
    adjusted = amounts.fee_adjusted_usd_micro(
        micro(case["amount"]), micro(case["max_spend"]), ticks(case["price"]),
        decimal_to_int(case["fee_rate"], 6), case["exponent"], int(case["builder_taker_bps"]))

    assert micro(case["adjusted_floor_2dp"]) == adjusted


def test_vectors_match_arithmetic() -> None:
    """A partial fill rounds the counter amount down, as the contract does."""
    for case in VECTORS["match_arithmetic"]["cases"]:
        assert int(case["counterAmount"]) == amounts.counter_amount(
            int(case["order_makerAmount"]), int(case["order_takerAmount"]), int(case["makerAssetFill"]))


@pytest.mark.parametrize("case", cases("position_ids"))
def test_vectors_position_ids(case: dict[str, Any]) -> None:
    """A v2 position id names its condition and its complement."""
    token = identity.token_bytes(case["position_id"])
    built = (
        bytes([case["moduleId"]])
        + raw(case["baseHash"])
        + case["arity"].to_bytes(2, "big")
        + bytes(8)
        + (
            case["resolutionChain"].to_bytes(2, "big")
            + case["conditionIndex"].to_bytes(2, "big")
            + bytes([case["outcomeIndex"]])
        )
    )

    assert built == token == raw(case["position_id_hex"])
    assert case["is_v2"] is identity.is_v2_token(token)
    assert raw(case["condition_id_bytes31"]) == identity.v2_condition(token)
    assert raw(case["condition_id_padded64"]) == identity.v2_condition(token) + b"\0"
    assert identity.token_bytes(case["complement_position_id"]) == identity.complement(token)


@pytest.mark.parametrize("case", cases("position_ids_not_v2"))
def test_vectors_not_v2(case: dict[str, Any]) -> None:
    """A CTF token id is not taken for a position id."""
    assert case["is_v2"] is identity.is_v2_token(identity.token_bytes(case["token_id"]))


@pytest.mark.parametrize("case", cases("invalid_inputs"))
def test_vectors_invalid_inputs(case: dict[str, Any]) -> None:
    """What the SDK refuses is refused by all three ways to an amount."""
    price, step = ticks(case["price"]), ticks(case["tick_size"])
    assert case["reject"] is True
    for side in Side:
        assert isinstance(amounts.limit_amounts(side, price, 10_000_000, step), Refusal)
        assert isinstance(amounts.market_amounts(side, price, 10_000_000, step), Refusal)
        for order_type in OrderType:
            assert isinstance(amounts.order_amounts(order_type, side, price, 10_000_000, step), Refusal)


def test_vectors_reject_other_wallets() -> None:
    """The vectors' wallets under a wrong kind or owner are refused before a signer exists."""
    first, second = VECTORS["keys"][:2]
    for owner, funder, kind in (
        (first["address"], first["proxy_wallet"], 0),
        (first["address"], first["safe_wallet"], 1),
        (first["address"], second["safe_wallet"], 2),
        (first["address"], first["address"], 3),
    ):
        with pytest.raises(ConfigError):
            identity.identify(owner, funder, kind)
