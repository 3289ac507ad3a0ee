"""From intent to request bytes: digest, signature, whole order, packages of three, HMAC, body.

One pinned core, one call timed at a time out of Python as signer and gateway make it. Before the clock starts
the first order is signed by eth-account too: same digest, same signature.
"""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import coincurve
from eth_account import Account

from bench import harness
from pipeline.codec import CODECS
from pipeline.kinds import Kind, OrderType, Rule
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.encode import OrderRenderer, RequestRenderer
from pipeline.venues.polymarket.identity import Refusal, checksum, exchange_domains, exchange_of, identify
from pipeline.venues.polymarket.sign import OrderSigner, Signed, order_hasher

SEED = 13
KEY = random.Random(f"bench sign {SEED}").randbytes(32)  # of no account anywhere
API_KEY = "7f4d3c2b-0000-4000-8000-00000000be5c"
TIME_MS, TIME_S = 1_790_000_000_000, 1_790_000_000
ROWS = 64
ORDER_TYPES = {
    "EIP712Domain": [("name", "string"), ("version", "string"), ("chainId", "uint256"),
                     ("verifyingContract", "address")],
    "Order": [("salt", "uint256"), ("maker", "address"), ("signer", "address"), ("tokenId", "uint256"),
              ("makerAmount", "uint256"), ("takerAmount", "uint256"), ("side", "uint8"),
              ("signatureType", "uint8"), ("timestamp", "uint256"), ("metadata", "bytes32"),
              ("builder", "bytes32")],
}


class Rig:
    """One account with everything that signing and rendering need, and orders by seed."""

    def __init__(self, count: int) -> None:
        draw = random.Random(SEED)
        address = Account.from_key(KEY).address
        self.account = identify(address, address, 0)
        self.signer = OrderSigner(Secret(KEY), self.account)
        self.hasher, self.key = order_hasher(), coincurve.PrivateKey(KEY)
        self.domain = exchange_domains(wire.POLYGON)[exchange_of(True, False)]
        self.auth = L2Auth(address, API_KEY, Secret(draw.randbytes(32)), Secret(b"passphrase-of-the-bench"))
        self.orders = OrderRenderer(self.account, API_KEY)
        self.requests = RequestRenderer("clob.polymarket.com", self.auth)
        tokens = [(b"\x40" + draw.randbytes(31), b"\x41" + draw.randbytes(31)) for _ in range(ROWS)]
        for row, (yes, no) in enumerate(tokens, 1):
            self.orders.on_instrument(CODECS[Kind.INSTRUMENT].pack(
                instrument=row, token_yes=yes, token_no=no, rules=int(Rule.NEG_RISK | Rule.TRADABLE)))
        self.wanted = [
            (number, 1 + draw.randrange(ROWS), draw.randrange(2), 10_000 * draw.randint(100, 90_000),
             10_000 * draw.randint(100_000, 900_000)) for number in range(1, count + 1)]
        self.tokens = tokens

    def sign(self, index: int) -> Signed:
        """Return order `index`, signed."""
        salt, row, outcome, maker_amount, taker_amount = self.wanted[index]
        found = self.signer.sign(
            salt=salt, token=self.tokens[row - 1][outcome], maker_amount=maker_amount,
            taker_amount=taker_amount, side=0, timestamp_ms=TIME_MS, neg_risk=True, v2=False)
        if isinstance(found, Refusal):
            raise SystemExit(f"bench sign: an order expected, was {found.text}")
        return found

    def slot(self, index: int, place: int = 0, places: int = 1) -> bytes:
        """Return order `index` as the signer publishes it."""
        salt, row, outcome, maker_amount, taker_amount = self.wanted[index]
        signed = self.sign(index)
        return CODECS[Kind.SIGNED].pack(
            instrument=row, order_no=salt, group_no=salt, salt=salt, maker_amount=maker_amount,
            taker_amount=taker_amount, timestamp_ms=TIME_MS, outcome=outcome, order_type=int(OrderType.FAK),
            order_hash=signed.order_hash, struct_hash=signed.struct_hash, signature=signed.signature,
            batch_index=place, batch_count=places)

    def digest(self, index: int) -> tuple[bytes, bytes]:
        """Return the struct hash and order hash alone."""
        salt, row, outcome, maker_amount, taker_amount = self.wanted[index]
        account = self.account
        return self.hasher.hash_order(
            salt, account.maker, account.signer, self.tokens[row - 1][outcome], maker_amount, taker_amount, 0,
            0, TIME_MS, account.metadata, account.builder, self.domain)

    def body(self, slots: bytes) -> bytes:
        """Return the body of POST /orders."""
        found = self.orders.render(slots)
        if not isinstance(found, bytes):
            raise SystemExit(f"bench sign: a body expected, was cause {found}")
        return found

    def package(self, index: int) -> bytes:
        """Sign three orders and render the whole request: what a package of three legs costs."""
        slots = b"".join(self.slot(index + place, place, 3) for place in range(3))
        return self.requests.render("POST", wire.PATH_ORDERS, TIME_S, self.body(slots))

    def typed(self, index: int) -> dict[str, Any]:
        """Return the order as wallets are asked to sign it: the independent way."""
        salt, row, outcome, maker_amount, taker_amount = self.wanted[index]
        version, contract = wire.EXCHANGES[wire.POLYGON, exchange_of(True, False)]
        maker = checksum(self.account.maker)
        return {
            "types": {name: [{"name": key, "type": kind} for key, kind in fields] for name, fields in
                      ORDER_TYPES.items()},
            "primaryType": "Order",
            "domain": {"name": wire.DOMAIN_NAME.decode(), "version": version, "chainId": wire.POLYGON,
                       "verifyingContract": contract},
            "message": {
                "salt": salt, "maker": maker, "signer": maker,
                "tokenId": int.from_bytes(self.tokens[row - 1][outcome], "big"), "makerAmount": maker_amount,
                "takerAmount": taker_amount, "side": 0, "signatureType": 0, "timestamp": TIME_MS,
                "metadata": bytes(32), "builder": bytes(32)},
        }


def run(is_smoke: bool) -> dict[str, Any]:
    """Measure; smoke signs a hundred orders."""
    count, few = (100, 3) if is_smoke else (20_000, 200)
    rig = Rig(count + 3)
    _prove(rig)
    signatures = [rig.sign(index) for index in range(min(count, 1_000))]
    checksum_all = 0
    for signed in signatures:
        checksum_all = zlib.crc32(signed.order_hash + signed.signature, checksum_all)
    digests = [rig.digest(index)[1] for index in range(count)]
    one, three = rig.slot(0), b"".join(rig.slot(place, place, 3) for place in range(3))
    body = rig.body(three)
    with harness.pinned(harness.best_cpus(1)[0]), harness.quiet_heap():
        figures: dict[str, Any] = {
            "checksum": f"{checksum_all:08x}", "orders_in_checksum": len(signatures),
            "clock_ns": harness.clock_cost_ns(), "package_bytes": len(rig.package(0)),
            "digest_ns": _time(count, rig.digest),
            "sign_recoverable_ns": _time(
                count, lambda index: rig.key.sign_recoverable(digests[index], hasher=None)),
            "order_ns": _time(count, rig.sign),
            "signed_record_ns": _time(count, rig.slot),
            "package_of_3_ns": _time(count // 4, rig.package),
            "hmac_ns": _time(
                count, lambda index: rig.auth.signature("POST", wire.PATH_ORDERS, body, TIME_S + index)),
            "body_1_ns": _time(count, lambda index: rig.orders.render(one)),
            "body_3_ns": _time(count, lambda index: rig.body(three)),
            "request_3_ns": _time(
                count, lambda index: rig.requests.render("POST", wire.PATH_ORDERS, TIME_S + index, body)),
            "order_after_pause_ns": _time(few, rig.sign, pause_s=0.005),
            "eth_account_ns": _time(
                few, lambda index: Account.sign_typed_data(KEY, full_message=rig.typed(index))),
        }
    return harness.record("sign", "python -m bench sign", figures, is_smoke)


def _prove(rig: Rig) -> None:
    """The same order through eth-account gives the same hash and signature."""
    ours, theirs = rig.sign(0), Account.sign_typed_data(KEY, full_message=rig.typed(0))
    if ours.order_hash != bytes(theirs.message_hash) or ours.signature != bytes(theirs.signature):
        raise SystemExit("bench sign: eth-account expected to sign the same, was another digest or signature")


def _time(count: int, act: Callable[[int], object], pause_s: float = 0.0) -> dict[str, int]:
    """Return percentiles of `count` single calls; pause_s before each leaves the caches to others."""
    found, clock = [], time.perf_counter_ns
    for index in range(count):
        if pause_s:
            time.sleep(pause_s)
        begun = clock()
        act(index)
        found.append(clock() - begun)
    return harness.percentiles(found)
