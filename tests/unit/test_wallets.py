"""Every wallet of a key is derived as the official client derives it, by the pipeline and by the exchange."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.sim.wallets import wallet_of
from pipeline.venues.polymarket.identity import address_bytes, checksum
from pipeline.venues.polymarket.wallets import WalletKind, classify, wallets_of
from tests.shared import SHARED, needs_shared

PATH = SHARED / "venues" / "polymarket-vectors.json"
KEYS: list[dict[str, Any]] = json.loads(PATH.read_bytes())["keys"] if PATH.is_file() else []
NAMES = {
    WalletKind.EOA: "address", WalletKind.PROXY: "proxy_wallet", WalletKind.SAFE: "safe_wallet",
    WalletKind.DEPOSIT_BEACON: "deposit_wallet_beacon", WalletKind.DEPOSIT_UUPS: "deposit_wallet_uups"}


@needs_shared
def test_every_wallet_of_the_vectors_is_derived() -> None:
    """All five addresses of each key equal the vectors', and each is recognised as what it is."""
    assert KEYS
    for key in KEYS:
        owner = address_bytes(key["address"])
        found = {kind: checksum(address) for kind, address in wallets_of(owner).items()}
        assert {kind: key[name] for kind, name in NAMES.items()} == found
        for kind, name in NAMES.items():
            assert kind is classify(owner, address_bytes(key[name]))


@needs_shared
def test_the_exchange_derives_the_same_by_itself() -> None:
    """sim shares no code with the pipeline, and gives each signature type the vectors' wallet."""
    for key in KEYS:
        names = ("address", "proxy_wallet", "safe_wallet", "deposit_wallet_beacon")
        assert [key[name] for name in names] == [wallet_of(key["address"], kind) for kind in range(4)]


def test_a_strangers_wallet_is_none_of_the_keys() -> None:
    """The zero-one address, and a wallet with one bit changed, are recognised as nobody's."""
    owner = bytes(19) + b"\x01"
    assert classify(owner, bytes(19) + b"\x02") is None
    for address in wallets_of(owner).values():
        assert classify(owner, bytes([address[0] ^ 1]) + address[1:]) is None


@pytest.mark.parametrize(("kind", "number"), [
    (WalletKind.EOA, 0), (WalletKind.PROXY, 1), (WalletKind.SAFE, 2), (WalletKind.DEPOSIT_BEACON, 3),
    (WalletKind.DEPOSIT_UUPS, 3)])
def test_each_kind_has_its_signature_type(kind: WalletKind, number: int) -> None:
    """The number that stands in an order of such a wallet (venue sheet 10.1)."""
    assert number == kind.signature_type
