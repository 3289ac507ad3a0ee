"""venues.polymarket.relayer: batches against eth_abi and eth_account, and the key stays untouched by a no."""

from __future__ import annotations

import pickle
import random

import eth_abi
import orjson
import pytest
from eth_account import Account
from eth_account.messages import encode_defunct, encode_typed_data

from pipeline.errors import ConfigError
from pipeline.native.orderhash import keccak256
from pipeline.venues.polymarket import relayer, settle, wire
from pipeline.venues.polymarket.auth import Secret
from pipeline.venues.polymarket.identity import (
    Refusal,
    address_bytes,
    checksum,
    identify,
    proxy_wallet,
    safe_wallet,
)
from pipeline.venues.polymarket.relayer import CALLS_MAX, RelayerSigner, Request
from pipeline.venues.polymarket.settle import Call
from tests.shared import seeds

KEY = Secret(b"\x21" * 32)
OWNER = Account.from_key(KEY.reveal()).address
DEPOSIT = "0x" + "5a" * 20
RELAY = b"\xaa" * 20
BAD = Call(address_bytes(wire.PUSD), settle.APPROVE.selector + eth_abi.encode(
    ["address", "uint256"], ["0x" + "66" * 20, 1]))


def signer(kind: int) -> RelayerSigner:
    owner = address_bytes(OWNER)
    wallets = {0: OWNER, 1: checksum(proxy_wallet(owner)), 2: checksum(safe_wallet(owner)), 3: DEPOSIT}
    return RelayerSigner(KEY, identify(OWNER, wallets[kind], kind))


def some_calls(rng: random.Random) -> list[Call]:
    makers = [
        lambda: settle.merge(rng.randbytes(32), rng.randint(1, 2**64), neg_risk=True),
        lambda: settle.redeem(rng.randbytes(32), neg_risk=False),
        lambda: settle.convert(rng.randbytes(31) + b"\0", rng.randint(1, 255), rng.randint(1, 2**64)),
        lambda: settle.merge_v2(rng.randbytes(31), rng.randint(1, 2**64)),
        lambda: settle.approve(*rng.choice(wire.APPROVALS))]
    return [rng.choice(makers)() for _ in range(rng.randint(1, 5))]


def as_tuples(calls: list[Call], head: int) -> list[tuple[int, str, int, bytes]]:
    return [(head, checksum(call.target), 0, call.data) for call in calls]


@pytest.mark.parametrize("seed", seeds(10))
def test_a_deposit_wallets_batch(seed):
    """The digest is eth-account's for the typed data, and the owner's address comes out of the signature."""
    rng = random.Random(seed)
    calls, nonce, deadline_s = some_calls(rng), rng.randrange(2**70), rng.randint(1, 2**62)
    found = signer(3).wallet(calls, nonce, deadline_s)
    typed = encode_typed_data(
        {"name": "DepositWallet", "version": "1", "chainId": 137, "verifyingContract": DEPOSIT},
        {"Batch": [{"name": "wallet", "type": "address"}, {"name": "nonce", "type": "uint256"},
                   {"name": "deadline", "type": "uint256"}, {"name": "calls", "type": "Call[]"}],
         "Call": [{"name": "target", "type": "address"}, {"name": "value", "type": "uint256"},
                  {"name": "data", "type": "bytes"}]},
        {"wallet": DEPOSIT, "nonce": nonce, "deadline": deadline_s, "calls": [
            {"target": checksum(call.target), "value": 0, "data": call.data} for call in calls]})

    assert isinstance(found, Request)
    assert keccak256(b"\x19\x01" + typed.header + typed.body) == found.digest
    assert OWNER == Account.recover_message(typed, signature=found.signature)
    wanted = orjson.loads(found.body)["depositWalletParams"]
    assert [call.data.hex() for call in calls] == [call["data"][2:] for call in wanted["calls"]]
    assert str(deadline_s) == wanted["deadline"]


@pytest.mark.parametrize("seed", seeds(10))
def test_a_safes_transaction(seed):
    """Several calls go through multisend by delegatecall, one goes straight; v is 31 or 32."""
    rng = random.Random(seed)
    calls, nonce = some_calls(rng), rng.randrange(2**40)
    found = signer(2).safe(calls, nonce)
    assert isinstance(found, Request)
    body = orjson.loads(found.body)
    operation = int(body["signatureParams"]["operation"])
    if len(calls) == 1:
        [call] = calls
        assert (0, checksum(call.target), call.data.hex()) == (operation, body["to"], body["data"][2:])
    else:
        packed = b"".join(b"\0" + call.target + bytes(32) + len(call.data).to_bytes(32, "big") + call.data
                          for call in calls)
        data = keccak256(b"multiSend(bytes)")[:4] + eth_abi.encode(["bytes"], [packed])
        assert (1, wire.SAFE_MULTISEND, data.hex()) == (operation, body["to"], body["data"][2:])
    names = (("to", "address"), ("value", "uint256"), ("data", "bytes"), ("operation", "uint8"),
             ("safeTxGas", "uint256"), ("baseGas", "uint256"), ("gasPrice", "uint256"),
             ("gasToken", "address"), ("refundReceiver", "address"), ("nonce", "uint256"))
    zero = "0x" + "00" * 20
    typed = encode_typed_data(
        {"chainId": 137, "verifyingContract": body["proxyWallet"]},
        {"SafeTx": [{"name": name, "type": kind} for name, kind in names]},
        {"to": body["to"], "value": 0, "data": bytes.fromhex(body["data"][2:]), "operation": operation,
         "safeTxGas": 0, "baseGas": 0, "gasPrice": 0, "gasToken": zero, "refundReceiver": zero,
         "nonce": nonce})

    assert keccak256(b"\x19\x01" + typed.header + typed.body) == found.digest
    plain = found.signature[:64] + bytes([found.signature[64] - 4])
    assert found.signature[64] in (31, 32)
    assert OWNER == Account.recover_message(encode_defunct(found.digest), signature=plain)


@pytest.mark.parametrize("seed", seeds(10))
def test_a_proxys_request(seed):
    """The wrapped calls are what eth_abi writes for an array of tuples; the hash covers every field once."""
    rng = random.Random(seed)
    calls, nonce, gas = some_calls(rng), rng.randrange(2**40), rng.randint(1, 10**8)
    found = signer(1).proxy(calls, nonce, gas, RELAY)
    data = keccak256(b"proxy((uint8,address,uint256,bytes)[])")[:4] + eth_abi.encode(
        ["(uint8,address,uint256,bytes)[]"], [as_tuples(calls, 1)])
    packed = b"rlx:" + b"".join((
        address_bytes(OWNER), address_bytes(wire.PROXY_FACTORY), data, bytes(64), gas.to_bytes(32, "big"),
        nonce.to_bytes(32, "big"), address_bytes(wire.RELAY_HUB), RELAY))

    assert isinstance(found, Request)
    assert data.hex() == orjson.loads(found.body)["data"][2:]
    assert keccak256(packed) == found.digest
    assert OWNER == Account.recover_message(encode_defunct(found.digest), signature=found.signature)


class NoKey:
    """Fails the test whenever somebody signs."""

    def sign_recoverable(self, *_arguments, **_named):
        pytest.fail("the key was touched")


@pytest.mark.parametrize(("kind", "method", "arguments"), [
    (3, "wallet", ([BAD], 7, 1)), (2, "safe", ([BAD], 7)), (1, "proxy", ([BAD], 7, 1, RELAY)),
    (3, "wallet", ([], 7, 1)), (3, "wallet", (list(settle.approvals()) * 4, 7, 1)),
    (3, "wallet", ([settle.approvals()[0], BAD], 7, 1)), (2, "safe", ([settle.approvals()[0], BAD], 7)),
    (3, "wallet", (settle.approvals(), -1, 1)), (3, "wallet", (settle.approvals(), 2**256, 1)),
    (3, "wallet", (settle.approvals(), 1, 0)), (1, "proxy", (settle.approvals(), 1, 0, RELAY)),
    (1, "proxy", (settle.approvals(), 1, 1, RELAY[:19])), (0, "wallet", (settle.approvals(), 1, 1)),
    (0, "safe", (settle.approvals(), 1)), (2, "wallet", (settle.approvals(), 1, 1)),
    (3, "proxy", (settle.approvals(), 1, 1, RELAY))])
def test_a_refusal_does_not_touch_the_key(monkeypatch, kind, method, arguments):
    """A call off the list, too many or none, a bad number, another wallet kind: a no, nothing is signed."""
    made = signer(kind)
    monkeypatch.setattr(made, "_key", NoKey())

    assert isinstance(getattr(made, method)(*arguments), Refusal)


def test_limits_and_owners():
    """The most calls of a batch pass; another owner's key, another chain and a copy of the signer do not."""
    most = (settle.approvals() * 4)[:CALLS_MAX]
    made = signer(3)
    assert isinstance(made.wallet(most, 1, 1), Request)
    assert relayer.batch_digest(bytes(20), 1, 1, most, 137) != relayer.batch_digest(bytes(20), 1, 1, most, 1)
    with pytest.raises(ConfigError, match="belongs to"):
        RelayerSigner(Secret(b"\x22" * 32), identify(OWNER, DEPOSIT, 3))
    with pytest.raises(ConfigError, match="chain 137"):
        RelayerSigner(KEY, identify(OWNER, DEPOSIT, 3, wire.AMOY))
    with pytest.raises(TypeError, match="never pickled"):
        pickle.dumps(made)
    assert KEY.reveal().hex() not in repr(made)
