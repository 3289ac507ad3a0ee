"""Every vector of calldata, relayer requests, neg-risk conversion and selectors, byte for byte.

`PM_VECTORS=FILE` runs the same tests on another file of the schema polymarket-vectors/1. Nothing here
compares our output with itself: the file was made with both official SDKs and an independent implementation.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from pipeline.venues.polymarket import identity, relayer, settle, wire
from pipeline.venues.polymarket.convert import Converted, converted, index_set
from pipeline.venues.polymarket.relayer import RelayerSigner, Request
from pipeline.venues.polymarket.settle import Call
from tests.unit.test_vectors_polymarket import VECTORS, cases, key_of, pytestmark, raw, secret_of

__all__ = ["pytestmark"]
SECTIONS = ("calldata", "relayer")
ALL_FUNCTIONS = {method.signature for method in settle.ALLOWED.values()}
READS = {"balanceOf(address,uint256)", "balanceOfBatch(address[],uint256[])"}  # asked, never signed


def call_of(case: dict[str, Any]) -> Call:
    """Return our call for a named calldata vector."""
    kind, _, what = case["name"].partition("_")
    args = case["args"]
    condition, amount = raw(args["condition_id"]), args.get("amount", 0)
    if kind == "router":
        return {
            "split": lambda: settle.split_v2(condition, amount),
            "merge": lambda: settle.merge_v2(condition, amount),
            "redeem": lambda: settle.redeem_v2(condition, args["outcome_index"], amount),
        }[what]()
    neg_risk = kind == "negrisk"
    return {
        "split": lambda: settle.split(condition, amount, neg_risk=neg_risk),
        "merge": lambda: settle.merge(condition, amount, neg_risk=neg_risk),
        "redeem": lambda: settle.redeem(condition, neg_risk=neg_risk),
    }[what]()


def signer_of(case: dict[str, Any], wallet: str, kind: int) -> RelayerSigner:
    account = identity.identify(key_of(case["key"])["address"], wallet, kind)
    return RelayerSigner(secret_of(case["key"]), account)


def relayed(kind: str) -> dict[str, Any]:
    return next(case for case in VECTORS["relayer"] if case["type"] == kind)


def test_vectors_are_there() -> None:
    """An empty or thinned file must not pass for a checked one."""
    assert all(VECTORS[section] for section in SECTIONS)
    assert VECTORS["neg_risk_convert"]["cases"]
    assert {"WALLET", "SAFE", "PROXY"} == {case["type"] for case in VECTORS["relayer"]}


def test_vectors_selectors() -> None:
    """Every selector is the venue's, and every function that it lists is one that we can write, or a read."""
    selectors = VECTORS["constants"]["selectors"]

    assert ALL_FUNCTIONS | READS == selectors.keys()
    for method in settle.ALLOWED.values():
        assert raw(selectors[method.signature]) == method.selector


@pytest.mark.parametrize("case", cases("calldata"))
def test_vectors_calldata(case: dict[str, Any]) -> None:
    """Target and calldata are the official client's, and the allow-list takes exactly these."""
    call = call_of(case)

    assert case["to"] == identity.checksum(call.target)
    assert raw(case["data"]) == call.data
    assert 0 == case["value"]
    assert settle.refusal_of(call) is None


def test_vectors_neg_risk_convert() -> None:
    """What a conversion pays, which YES it gives and its calldata are those of the contract's source."""
    for case in VECTORS["neg_risk_convert"]["cases"]:
        indices = index_set(tuple(case["no_question_indices"]))
        amount = int(case["amount_base_units"])
        found = converted(case["n_questions"], indices, amount, case["market_fee_bips"])

        assert isinstance(found, Converted)
        assert int(case["indexSet"]) == indices
        assert int(case["collateral_out_base_units"]) == found.usd_micro
        assert int(case["yes_out_each_base_units"]) == found.yes_micro
        assert tuple(case["yes_out_question_indices"]) == found.yes_indices
        call = settle.convert(raw(case["calldata_market_id"]), indices, amount)
        assert raw(case["calldata"]) == call.data
        assert wire.NEG_RISK_CTF_ADAPTER == identity.checksum(call.target)
        assert settle.refusal_of(call) is None


def test_vectors_relayer_deposit_wallet() -> None:
    """A deposit wallet's batch: domain, struct hash, digest and signature; the body is that of the sheet."""
    case = relayed("WALLET")
    calls = [Call(raw(call["target"]), raw(call["data"])) for call in case["calls"]]
    nonce, deadline_s = int(case["nonce"]), int(case["deadline"])
    hashes = relayer.batch_digest(raw(case["wallet"]), nonce, deadline_s, calls, wire.POLYGON)
    request = signer_of(case, case["wallet"], 3).wallet(calls, nonce, deadline_s)

    assert (raw(case["domain_separator"]), raw(case["struct_hash"]), raw(case["digest"])) == hashes
    assert isinstance(request, Request)
    assert raw(case["digest"]) == request.digest
    assert raw(case["signature"]) == request.signature
    assert {
        "type": "WALLET", "from": key_of(case["key"])["address"], "to": wire.DEPOSIT_FACTORY,
        "nonce": case["nonce"], "signature": case["signature"], "metadata": "",
        "depositWalletParams": {
            "depositWallet": case["wallet"], "deadline": case["deadline"], "calls": case["calls"]},
    } == orjson.loads(request.body)


def test_vectors_relayer_safe() -> None:
    """A Safe's transaction: digest, and the packed signature of the personal message with v of 31 or 32."""
    case = relayed("SAFE")
    call, nonce = Call(raw(case["to"]), raw(case["data"])), int(case["nonce"])
    hashes = relayer.safe_digest(raw(case["safe"]), call, case["operation"], nonce, wire.POLYGON)
    request = signer_of(case, case["safe"], 2).safe([call], nonce)

    assert (raw(case["domain_separator"]), raw(case["struct_hash"]), raw(case["digest"])) == hashes
    assert isinstance(request, Request)
    assert raw(case["signature_packed"]) == request.signature
    body = orjson.loads(request.body)
    assert (case["to"], case["safe"], case["data"], case["nonce"], case["signature_packed"]) == (
        body["to"], body["proxyWallet"], body["data"], body["nonce"], body["signature"])
    assert str(case["operation"]) == body["signatureParams"]["operation"]


def test_vectors_relayer_proxy() -> None:
    """A proxy's request: the wrapped calldata, the relay hub's digest and its signature."""
    case = relayed("PROXY")
    inner = next(other for other in VECTORS["relayer"] if other["type"] == "SAFE")
    calls = [Call(raw(inner["to"]), raw(inner["data"]))]
    wallet = key_of(case["key"])["proxy_wallet"]
    request = signer_of(case, wallet, 1).proxy(
        calls, int(case["nonce"]), int(case["gas_limit"]), raw(case["relay"]))

    assert isinstance(request, Request)
    assert raw(case["hash"]) == request.digest
    assert raw(case["signature"]) == request.signature
    body = orjson.loads(request.body)
    assert (case["from"], case["to"], case["data"], wallet) == (
        body["from"], body["to"], body["data"], body["proxyWallet"])
    assert {"gasLimit": case["gas_limit"], "gasPrice": case["gas_price"], "relay": identity.checksum(
        raw(case["relay"])), "relayHub": case["relay_hub"], "relayerFee": case["relayer_fee"],
    } == body["signatureParams"]
