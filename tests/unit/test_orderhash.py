"""native.orderhash against eth-hash, eth-account's EIP-712 encoder and plain hashing of the words."""

from __future__ import annotations

import random
from typing import Any

import pytest
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak as oracle_keccak

from pipeline.native.orderhash import OrderHasher, keccak256
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.sign import order_hasher

FIELDS = [part.split(" ") for part in wire.ORDER_TYPE.decode()[len("Order("):-1].split(",")]


@pytest.mark.parametrize("size", [0, 1, 31, 32, 55, 66, 135, 136, 137, 271, 272, 273, 384, 1000])
def test_keccak_at_every_block_edge(size: int) -> None:
    """The sponge pads right at, below and above each block of 136 bytes."""
    data = random.Random(size).randbytes(size)

    assert oracle_keccak(data) == keccak256(data)
    assert oracle_keccak(data) == keccak256(memoryview(bytearray(data)))


@pytest.mark.parametrize("seed", range(20))
def test_keccak_random(seed: int) -> None:
    """Any length below 600 bytes hashes as eth-hash does."""
    rng = random.Random(seed)
    for _ in range(50):
        data = rng.randbytes(rng.randrange(600))
        assert oracle_keccak(data) == keccak256(data)


def random_order(rng: random.Random) -> dict[str, Any]:
    edge = rng.choice([0, 1, 2**53 - 1, 2**63 - 1, 2**64 - 1])
    return {
        "salt": rng.choice([rng.getrandbits(53), edge]),
        "maker": rng.randbytes(20),
        "signer": rng.randbytes(20),
        "tokenId": rng.randbytes(32),
        "makerAmount": rng.choice([rng.getrandbits(64), edge]),
        "takerAmount": rng.getrandbits(40),
        "side": rng.randrange(2),
        "signatureType": rng.randrange(4),
        "timestamp": rng.getrandbits(41),
        "metadata": rng.randbytes(32),
        "builder": rng.randbytes(32),
    }


@pytest.mark.parametrize("seed", range(25))
def test_order_hash_equals_eth_account(seed: int) -> None:
    """Struct hash and digest are those of eth-account for random orders on random domains."""
    rng = random.Random(seed)
    order = random_order(rng)
    contract, chain_id = rng.randbytes(20), rng.choice([137, 80002])
    message = dict(order)
    message["tokenId"] = int.from_bytes(order["tokenId"], "big")
    message |= {name: "0x" + order[name].hex() for name in ("maker", "signer")}
    expected = encode_typed_data(full_message={
        "domain": {"name": wire.DOMAIN_NAME.decode(), "version": "2", "chainId": chain_id,
                   "verifyingContract": "0x" + contract.hex()},
        "primaryType": "Order", "message": message,
        "types": {
            "EIP712Domain": [{"name": n, "type": t} for t, n in (
                ("string", "name"), ("string", "version"), ("uint256", "chainId"),
                ("address", "verifyingContract"))],
            "Order": [{"name": name, "type": kind} for kind, name in FIELDS]},
    })
    struct_hash, order_hash = order_hasher().hash_order(*order.values(), expected.header)

    assert expected.body == struct_hash
    assert oracle_keccak(b"\x19\x01" + expected.header + expected.body) == order_hash


def test_nested_digest_is_erc7739() -> None:
    """The wrapper hashes seven words: type, contents, name, version, chain, wallet, zero salt."""
    rng = random.Random(7)
    struct_hash, wallet, domain = rng.randbytes(32), rng.randbytes(20), rng.randbytes(32)
    words = (
        oracle_keccak(wire.NESTED_TYPE),
        struct_hash,
        oracle_keccak(b"DepositWallet"),
        oracle_keccak(b"1"),
        (137).to_bytes(32, "big"),
        bytes(12) + wallet,
        bytes(32),
    )
    expected = oracle_keccak(b"\x19\x01" + domain + oracle_keccak(b"".join(words)))

    assert expected == order_hasher().nested_digest(struct_hash, wallet, 137, domain)


@pytest.mark.parametrize(("name", "size"), [("maker", 20), ("signer", 20), ("tokenId", 32), ("metadata", 32),
                                            ("builder", 32), ("domain", 32)])
def test_wrong_lengths_are_refused(name: str, size: int) -> None:
    """A short or long field never reaches the hash."""
    order = random_order(random.Random(1)) | {"domain": bytes(32)}
    for wrong in (b"", bytes(size - 1), bytes(size + 1), None):
        with pytest.raises(ValueError, match=f"{size} bytes"):
            order_hasher().hash_order(*(order | {name: wrong}).values())


@pytest.mark.parametrize(
    ("name", "value"),
    [("salt", -1), ("salt", 2**64), ("makerAmount", 2**64), ("side", 256), ("timestamp", -5)],
)
def test_wide_integers_are_refused(name: str, value: int) -> None:
    """An integer outside its width raises instead of being cut."""
    order = random_order(random.Random(2)) | {"domain": bytes(32)}

    with pytest.raises(OverflowError):
        order_hasher().hash_order(*(order | {name: value}).values())


def test_hasher_needs_types() -> None:
    """A hasher cannot be made without its type strings."""
    with pytest.raises(TypeError):
        OrderHasher()  # type: ignore[call-arg]
