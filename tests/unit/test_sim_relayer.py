"""The relayer: every signature is proven, nonces and deadlines hold, and what no book can do is said."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from eth_abi.abi import encode
from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from pipeline.sim import identity
from pipeline.sim.accounts import Credentials
from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Market
from pipeline.sim.relayer_calls import unpack_proxy
from pipeline.sim.relayer_proof import Call, batch_signer, proxy_signer, safe_signer
from tests.shared import SHARED, needs_shared
from tests.sim_guests import CASH_MICRO, Guest, ask, venue_for_guests
from tests.sim_trader import KEYS, NOW_NS, json_of, market

PATH = SHARED / "venues" / "polymarket-vectors.json"
VECTORS: dict[str, Any] = json.loads(PATH.read_text()) if PATH.is_file() else {"relayer": [], "keys": []}
OWNERS = {key["name"]: key["address"] for key in VECTORS["keys"]}
FACTORY = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
ADAPTER = "0xAdA100Db00Ca00073811820692005400218FcE1f"
COLLATERAL = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
SPENDER = "0xE111180000d2663C0091e4f400237545B87B996B"
DEADLINE_S = NOW_NS // 10**9 + 600
SHARE = 10**6


def signer_of(vector: dict[str, Any], nonce: int) -> str | None:
    """Return who signed a vector's transaction if it had this nonce."""
    if vector["type"] == "WALLET":
        calls = [Call(c["target"], int(c["value"]), bytes.fromhex(c["data"][2:])) for c in vector["calls"]]
        signature = bytes.fromhex(vector["signature"][2:])
        return batch_signer(vector["wallet"], nonce, int(vector["deadline"]), calls, signature, 137)
    call = Call(vector["to"], 0, bytes.fromhex(vector["data"][2:]))
    if vector["type"] == "SAFE":
        signature = bytes.fromhex(vector["signature_packed"][2:])
        return safe_signer(vector["safe"], nonce, call, vector["operation"], signature, 137)
    gas = tuple(int(vector[name]) for name in ("relayer_fee", "gas_price", "gas_limit"))
    relays, signature = (vector["relay_hub"], vector["relay"]), bytes.fromhex(vector["signature"][2:])
    return proxy_signer(vector["from"], call, gas, nonce, relays, signature)


@needs_shared
def test_vectors_prove_their_owner() -> None:
    """The three official signatures recover their owner, and nobody's with another nonce."""
    assert {"WALLET", "SAFE", "PROXY"} == {vector["type"] for vector in VECTORS["relayer"]}
    for vector in VECTORS["relayer"]:
        owner = OWNERS[vector["key"]].lower()
        assert owner == signer_of(vector, int(vector["nonce"]))
        assert owner != signer_of(vector, int(vector["nonce"]) + 1)


@needs_shared
def test_proxy_vector_holds_its_call() -> None:
    """The call inside the official proxy transaction is the official batch's call."""
    rows = {vector["type"]: vector for vector in VECTORS["relayer"]}
    proxy, (inner,) = rows["PROXY"], rows["WALLET"]["calls"]
    (found,) = unpack_proxy(Call(proxy["to"], 0, bytes.fromhex(proxy["data"][2:])))
    assert (inner["target"].lower(), 0, inner["data"]) == (found.target, found.value, "0x" + found.data.hex())


def set_call(of: Market, selector: str, size_micro: int, target: str = ADAPTER) -> dict[str, str]:
    values = [COLLATERAL, bytes(32), bytes.fromhex(of.condition[2:]), [1, 2], size_micro]
    data = encode(["address", "bytes32", "bytes32", "uint256[]", "uint256"], values)
    return {"target": target, "value": "0", "data": selector + data.hex()}


def split(of: Market, size_micro: int, **other: str) -> dict[str, str]:
    return set_call(of, "0x72ce4275", size_micro, **other)


def merge(of: Market, size_micro: int) -> dict[str, str]:
    return set_call(of, "0x9e7212ad", size_micro)


def approve(amount: int, spender: str = SPENDER) -> dict[str, str]:
    data = "0x095ea7b3" + encode(["address", "uint256"], [spender, amount]).hex()
    return {"target": COLLATERAL, "value": "0", "data": data}


def batch(
    guest: Guest, calls: list[dict[str, str]], nonce: int = 0, deadline_s: int = DEADLINE_S, key: str = ""
) -> dict[str, Any]:
    """Return a signed deposit-wallet batch, by eth-account's own typed data."""
    wallet, owner = guest.purses["deposit"].wallet, guest.purses["deposit"].owner
    typed = {
        "types": {
            "EIP712Domain": [{"name": n, "type": t} for n, t in (
                ("name", "string"), ("version", "string"), ("chainId", "uint256"),
                ("verifyingContract", "address"))],
            "Batch": [{"name": n, "type": t} for n, t in (
                ("wallet", "address"), ("nonce", "uint256"), ("deadline", "uint256"), ("calls", "Call[]"))],
            "Call": [{"name": n, "type": t} for n, t in (
                ("target", "address"), ("value", "uint256"), ("data", "bytes"))],
        },
        "primaryType": "Batch",
        "domain": {"name": "DepositWallet", "version": "1", "chainId": 137, "verifyingContract": wallet},
        "message": {
            "wallet": wallet, "nonce": nonce, "deadline": deadline_s,
            "calls": [
                {"target": c["target"], "value": int(c["value"]), "data": bytes.fromhex(c["data"][2:])}
                for c in calls
            ],
        },
    }
    signed = EthAccount.sign_message(encode_typed_data(full_message=typed), key or guest.key)
    return {
        "type": "WALLET", "from": owner, "to": FACTORY, "nonce": str(nonce), "metadata": "",
        "signature": "0x" + signed.signature.hex().removeprefix("0x"),
        "depositWalletParams": {"depositWallet": wallet, "deadline": str(deadline_s), "calls": calls},
    }


def submit(exchange: Exchange, body: Any, headers: dict[str, str] | None = None) -> Any:
    """Return (status, answer); the relayer key names the body's own owner unless headers are given."""
    raw = json.dumps(body).encode()
    named = headers or {"relayer_api_key": "any", "relayer_api_key_address": str(body.get("from", ""))}
    answer = exchange.on_request(NOW_NS, "relayer", "POST", "/submit", named, raw)
    return answer.status, json_of(answer)


def end_of(exchange: Exchange, answer: dict[str, Any]) -> tuple[str, str]:
    """Return state and error text of a submitted transaction."""
    assert "STATE_NEW" == answer["state"]
    row = ask(exchange, "relayer", f"/v1/account/transactions/{answer['transactionID']}")
    assert (row["transaction_hash"] == "") is (row["state"] == "STATE_FAILED")
    return row["state"], row["error_msg"] or ""


@pytest.fixture
def venue() -> tuple[Exchange, Market, Guest]:
    of = market()
    exchange = venue_for_guests([of])
    guest = Guest(exchange)
    assert 200 == guest.sign_in().status
    return exchange, of, guest


def balances(exchange: Exchange, of: Market, guest: Guest) -> tuple[int, int, int]:
    name = guest.purses["deposit"].name
    return (exchange.ledger.balance(name, "usd") - CASH_MICRO,
            *(exchange.ledger.balance(name, token) for token in of.tokens))


def test_split_and_merge_are_booked(venue: tuple[Exchange, Market, Guest]) -> None:
    """A batch splits and merges in its order; the nonce goes on; the ledger still proves itself."""
    exchange, of, guest = venue
    status, answer = submit(exchange, batch(guest, [split(of, 5 * SHARE), merge(of, 2 * SHARE)]))
    assert (200, ("STATE_CONFIRMED", "")) == (status, end_of(exchange, answer))
    assert (-3 * SHARE, 3 * SHARE, 3 * SHARE) == balances(exchange, of, guest)
    owner = guest.purses["deposit"].owner
    params = ask(exchange, "relayer", f"/v1/account/transactions/params?address={owner}&type=WALLET")
    assert (owner, "1") == (params["address"], params["nonce"])
    exchange.ledger.check([of])


@pytest.mark.parametrize(
    "name", ["too much", "wrong adapter", "unknown call", "value", "cut short", "not approved"])
def test_failed_transaction_changes_nothing(venue: tuple[Exchange, Market, Guest], name: str) -> None:
    """When one call cannot be done the batch fails, with the reason, and the books stay as they were."""
    exchange, of, guest = venue
    good = split(of, 5 * SHARE)
    bad, words = {
        "too much": (merge(of, 6 * SHARE), "6000000 free expected, was 5000000"),
        "wrong adapter": (split(of, SHARE, target=SPENDER), f"adapter {ADAPTER} expected"),
        "unknown call": ({**good, "data": "0x01b7037c"}, "no chain stands behind the local exchange"),
        "value": ({**good, "value": "1"}, "no chain stands behind the local exchange"),
        "cut short": ({**good, "data": good["data"][:80]}, "in its ABI"),
        "not approved": (merge(of, SHARE), "is not approved"),
    }[name]
    if name == "not approved":
        guest.purses["deposit"].allowances[
            "0x4d97dcd97ec945f40cf65f87097ace5ea0476045", ADAPTER.lower()] = 0
    before = exchange.ledger.digest()
    status, answer = submit(exchange, batch(guest, [good, approve(0), bad]))
    state, text = end_of(exchange, answer)
    assert (200, "STATE_FAILED") == (status, state)
    assert words in text
    assert before == exchange.ledger.digest()
    purse = guest.purses["deposit"]
    assert (1 << 256) - 1 == purse.allowance(COLLATERAL, SPENDER)


ROUTER = "0x12121212006e4CD160D18e3f00711DA5c3372600"


def router_call(of: Market, selector: str, size_micro: int, target: str = ROUTER) -> dict[str, str]:
    """Return a call of a v2 market: its condition is 31 bytes."""
    data = encode(["bytes31", "uint256"], [bytes.fromhex(of.condition[2:-2]), size_micro])
    return {"target": target, "value": "0", "data": selector + data.hex()}


def test_the_router_splits_and_merges_v2_markets() -> None:
    """v2 sets go through the router; the adapters refuse them, and the router refuses v1 conditions."""
    old = market()
    condition, tokens = identity.v2_ids(identity.BINARY_MODULE, 0, 0, "relayer")
    of = market(2, condition=condition, tokens=tokens, version="v2")
    exchange = venue_for_guests([old, of])
    guest = Guest(exchange)
    guest.sign_in()
    calls = [router_call(of, "0x82d3b9f1", 5 * SHARE), router_call(of, "0x5b63685e", 2 * SHARE)]
    _, answer = submit(exchange, batch(guest, calls))
    assert ("STATE_CONFIRMED", "") == end_of(exchange, answer)
    assert (-3 * SHARE, 3 * SHARE, 3 * SHARE) == balances(exchange, of, guest)
    exchange.ledger.check([old, of])
    before = exchange.ledger.digest()
    for nonce, (call, words) in enumerate((
        (split(of, SHARE), "expected open and of version v1"),
        (router_call(old, "0x82d3b9f1", SHARE), "expected open and of version v2"),
        (router_call(of, "0x82d3b9f1", SHARE, ADAPTER), "no chain stands behind"),
    ), 1):
        _, answer = submit(exchange, batch(guest, [call], nonce=nonce))
        state, text = end_of(exchange, answer)
        assert "STATE_FAILED" == state
        assert words in text
    assert before == exchange.ledger.digest()


def test_merge_leaves_what_open_orders_hold(venue: tuple[Exchange, Market, Guest]) -> None:
    """Shares that an open SELL holds cannot be merged away; cancelled, they can."""
    exchange, of, guest = venue
    submit(exchange, batch(guest, [split(of, 10 * SHARE)]))
    trader = guest.trader(guest.credentials(nonce=1), guest.purses["deposit"])
    order = json_of(trader.place(exchange, of, side="SELL", price="0.6", quantity="8"))
    assert "live" == order["status"]
    _, answer = submit(exchange, batch(guest, [merge(of, 3 * SHARE)], nonce=1))
    assert "STATE_FAILED" == end_of(exchange, answer)[0]
    trader.call(exchange, "DELETE", "/order", {"orderID": order["orderID"]})
    _, answer = submit(exchange, batch(guest, [merge(of, 3 * SHARE)], nonce=2))
    assert "STATE_CONFIRMED" == end_of(exchange, answer)[0]


def test_refusals(venue: tuple[Exchange, Market, Guest]) -> None:
    """A stranger's signature, a used or early nonce, a passed deadline, a changed call: 400, nothing done."""
    exchange, of, guest = venue
    calls = [split(of, SHARE)]
    changed = batch(guest, calls)
    changed["depositWalletParams"]["calls"] = [split(of, 2 * SHARE)]
    past_s = NOW_NS // 10**9
    cases = {
        "invalid signature": batch(guest, calls, key=KEYS[1]),
        "batch nonce 1 does not match on-chain nonce 0": batch(guest, calls, nonce=1),
        f"batch deadline {past_s} has passed": batch(guest, calls, deadline_s=past_s),
        "calls: 1 to 100 objects expected": batch(guest, []),
        "nonce: a decimal string expected": {**batch(guest, calls), "nonce": 0},
        "signature: 0x and hex digits expected": {**batch(guest, calls), "signature": "0x1"},
        "signatureParams: an object expected": {**batch(guest, calls), "type": "SAFE"},
    }
    for words, body in cases.items():
        status, answer = submit(exchange, body)
        assert 400 == status
        assert words in answer["error"]
    assert (400, {"error": "invalid signature"}) == submit(exchange, changed)
    assert (0, 0, 0) == balances(exchange, of, guest)


def test_only_keys_may_submit(venue: tuple[Exchange, Market, Guest]) -> None:
    """No key, a relayer key of another address, a builder key over other bytes: 401; a right one is taken."""
    exchange, of, guest = venue
    body = batch(guest, [split(of, SHARE)])
    other = EthAccount.from_key(KEYS[1]).address
    for headers in ({"x": "y"}, {"relayer_api_key": "any", "relayer_api_key_address": other}):
        assert 401 == submit(exchange, body, headers)[0]
    made = exchange.rest.auth.create_builder(NOW_NS, guest.purses["eoa"])
    assert isinstance(made, Credentials)
    stamp = str(NOW_NS // 10**9)

    def signed(raw: bytes) -> dict[str, str]:
        message = f"{stamp}POST/submit".encode() + raw
        digest = hmac.new(base64.urlsafe_b64decode(made.secret), message, hashlib.sha256).digest()
        proof = {
            "api_key": made.api_key, "passphrase": made.passphrase, "timestamp": stamp,
            "signature": base64.urlsafe_b64encode(digest).decode(),
        }
        return {f"poly_builder_{name}": value for name, value in proof.items()}

    assert 401 == submit(exchange, body, signed(b"{}"))[0]
    assert 200 == submit(exchange, body, signed(json.dumps(body).encode()))[0]


def test_limits_are_told() -> None:
    """Beyond their number, keys, builder keys and transactions are 429 and nothing grows."""
    exchange = venue_for_guests([market()], keys_max=2, relayed_max=1)
    guest = Guest(exchange)
    assert [200, 200, 429] == [guest.sign_in(nonce).status for nonce in range(3)]
    trader = guest.trader(guest.derived(), guest.purses["eoa"])
    made = [trader.call(exchange, "POST", "/auth/builder-api-key").status for _ in range(3)]
    assert [200, 200, 429] == made
    assert 2 == len(json_of(trader.call(exchange, "GET", "/auth/builder-api-key")))
    bodies = [batch(guest, [approve(1)], nonce) for nonce in (0, 1)]
    assert [200, 429] == [submit(exchange, body)[0] for body in bodies]


def test_deposit_wallet_is_made_once(venue: tuple[Exchange, Market, Guest]) -> None:
    """WALLET-CREATE makes a wallet that does not exist; of the right owner only, and once."""
    exchange, _, guest = venue
    purse = guest.purses["deposit"]
    purse.is_deployed = False
    path = f"/deployed?address={purse.wallet}&type=WALLET"
    assert {"deployed": False} == ask(exchange, "relayer", path)
    body = {"type": "WALLET-CREATE", "from": purse.owner, "to": FACTORY, "metadata": ""}
    assert 400 == submit(exchange, {**body, "to": ADAPTER})[0]
    assert "STATE_CONFIRMED" == end_of(exchange, submit(exchange, body)[1])[0]
    assert {"deployed": True} == ask(exchange, "relayer", path)
    assert ("STATE_FAILED", "the wallet exists already") == end_of(exchange, submit(exchange, body)[1])


def test_deployed_knows_kinds_and_the_older_wallet(venue: tuple[Exchange, Market, Guest]) -> None:
    """A wallet exists under its own type alone; the kind from before the beacon was never made."""
    exchange, _, guest = venue
    types = {"eoa": "WALLET", "proxy": "PROXY", "safe": "SAFE", "deposit": "WALLET", "deposit-uups": "WALLET"}
    found = {}
    for name, kind in types.items():
        path = f"/deployed?address={guest.purses[name].wallet}&type={kind}"
        found[name] = ask(exchange, "relayer", path)["deployed"]
    assert {"eoa": False, "proxy": True, "safe": True, "deposit": True, "deposit-uups": False} == found
    wallet = guest.purses["proxy"].wallet
    assert {"deployed": False} == ask(exchange, "relayer", f"/deployed?address={wallet}&type=SAFE")
    assert {"deployed": False} == ask(exchange, "relayer", "/deployed?address=0x" + "00" * 20)


@pytest.mark.parametrize("target", ["/nothing", "/v1/account/transactions/none", "/relay-payload?type=SAFE"])
def test_unknown_is_not_found(target: str) -> None:
    """What is not served or not known is 404 with words."""
    assert "not found" == ask(venue_for_guests([market()]), "relayer", target, 404)["error"]
