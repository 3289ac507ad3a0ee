"""Slow model of native.submit: orders as `json.dumps` writes them, requests as text, a batch as a list."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any, NamedTuple

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderType, Rule, Side
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket import identity, wire
from pipeline.venues.polymarket.answers import Sent
from pipeline.venues.polymarket.identity import AccountIdentity
from tests.models.signing_model import SlowBrake

ORDERS_MAX = 15  # in one request
ZERO_BODY = b"Content-Length: 0\r\n\r\n"


def split(slots: bytes) -> list[bytes]:
    """Return the records that stand one behind the other."""
    return [slots[at : at + SLOT_BYTES] for at in range(0, len(slots), SLOT_BYTES)]


class SlowRenderer:
    """Renders the orders of one account; knows the INSTRUMENT record of each row."""

    def __init__(self, account: AccountIdentity, api_key: str, defer_exec: bool) -> None:
        self._account = account
        self._api_key = api_key
        self._defer_exec = defer_exec
        self._markets: dict[int, Any] = {}

    def on_instrument(self, slot: bytes) -> None:
        """Take an INSTRUMENT record; a later one replaces the row."""
        record = CODECS[Kind.INSTRUMENT].unpack(slot)
        self._markets[record.instrument] = record

    def render(self, slots: bytes) -> bytes | Cause:
        """Return the body of one SIGNED slot, the array of 2..15; or the first Cause why not."""
        orders = [CODECS[Kind.SIGNED].unpack(slot) for slot in split(slots)]
        if not 1 <= len(orders) <= ORDERS_MAX:
            return Cause.TOO_MANY_ORDERS
        for order in orders:
            if order.instrument not in self._markets:
                return Cause.NO_INSTRUMENT
            if order.outcome > 1 or order.side > max(Side) or order.order_type > max(OrderType):
                return Cause.MISSING_VALUE
            if min(order.expiration_s, order.maker_amount, order.taker_amount, order.timestamp_ms) < 0:
                return Cause.MISSING_VALUE
        said = [self._said(order) for order in orders]
        return json.dumps(said if len(said) > 1 else said[0], separators=(",", ":")).encode()

    def _said(self, order: Any) -> dict[str, Any]:
        """Return an order as the venue documents it, in the venue's key order."""
        account, market = self._account, self._markets[order.instrument]
        token = market.token_no if order.outcome else market.token_yes
        return {
            "deferExec": self._defer_exec,
            "order": {
                "builder": "0x" + account.builder.hex(),
                "expiration": str(order.expiration_s),
                "maker": identity.checksum(account.maker),
                "makerAmount": str(order.maker_amount),
                "metadata": "0x" + account.metadata.hex(),
                "salt": order.salt,
                "side": Side(order.side).name,
                "signature": "0x" + self._signature(order, market).hex(),
                "signatureType": int(account.signature_type),
                "signer": identity.checksum(account.signer),
                "takerAmount": str(order.taker_amount),
                "timestamp": str(order.timestamp_ms),
                "tokenId": str(int.from_bytes(token, "big")),
            },
            "orderType": OrderType(order.order_type).name,
            "owner": self._api_key,
        } | ({"postOnly": True} if order.post_only else {})

    def _signature(self, order: Any, market: Any) -> bytes:
        """Return the 65 bytes of a plain key; of a deposit wallet with the tail of ERC-7739."""
        if self._account.signature_type != wire.SignatureType.DEPOSIT_WALLET:
            return order.signature  # type: ignore[no-any-return]
        exchange = identity.exchange_of(bool(market.rules & Rule.NEG_RISK), bool(market.rules & Rule.V2))
        domain = identity.exchange_domains(self._account.chain_id)[exchange]
        contents = wire.ORDER_TYPE
        return order.signature + domain + order.struct_hash + contents + bytes((0, len(contents)))


class Credentials(NamedTuple):
    """What the headers of a private request are made of."""

    address: str
    api_key: str
    secret: bytes
    passphrase: bytes


def signature(secret: bytes, method: str, path: str, body: bytes, timestamp_s: int) -> bytes:
    """Return the padded base64url HMAC-SHA256 of time, METHOD, path without query, body."""
    signed = str(timestamp_s).encode() + method.encode() + path.partition("?")[0].encode() + body
    return base64.urlsafe_b64encode(hmac.new(secret, signed, hashlib.sha256).digest())


def request(host: str, who: Credentials, method: str, path: str, timestamp_s: int, body: bytes) -> bytes:
    """Return one HTTP/1.1 request as it leaves."""
    head = "\r\n".join((
        f"{method} {path} HTTP/1.1", f"Host: {host}", "User-Agent: pm-pipeline", "Accept: application/json",
        "Connection: keep-alive", f"POLY_ADDRESS: {who.address}",
        f"POLY_SIGNATURE: {signature(who.secret, method, path, body, timestamp_s).decode()}",
        f"POLY_TIMESTAMP: {timestamp_s}", f"POLY_API_KEY: {who.api_key}",
        f"POLY_PASSPHRASE: {who.passphrase.decode()}", "")).encode()
    if body:
        return head + b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return head + (ZERO_BODY if method == "POST" else b"\r\n")


def sent_of(slot: bytes) -> Sent:
    """Return what must be known of an order once its record is gone."""
    order = CODECS[Kind.SIGNED].unpack(slot)
    return Sent(
        order.order_no, order.group_no, order.order_hash, order.side, order.instrument, order.account)


class SlowBatch:
    """The orders of one package, in the order of their signatures."""

    def __init__(self) -> None:
        self.orders: list[bytes] = []

    @property
    def head(self) -> tuple[int, int, int]:
        """(group_no, position of the cause, when its first byte was read) of the package."""
        first = CODECS[Kind.SIGNED].unpack(self.orders[0])
        return first.group_no, first.source_seq, first.recv_ns

    @property
    def order_no_max(self) -> int:
        """The highest order number, 0 of no orders."""
        return max([sent_of(slot).order_no for slot in self.orders], default=0)

    def sent(self) -> tuple[Sent, ...]:
        """Return what must be known of each order once the batch is gone."""
        return tuple(map(sent_of, self.orders))

    def ask(
        self, brake: SlowBrake, now_ns: int, level: int, overtaking: dict[int, object],
    ) -> list[tuple[Sent, int]]:
        """Take out every order that may not go; return it with its cause, 0: its cancel overtook it."""
        kept, refused = [], []
        for slot in self.orders:
            order = CODECS[Kind.SIGNED].unpack(slot)
            usd_micro = order.maker_amount if order.side == Side.BUY else 0  # what the order can cost
            cause = brake.refuse(now_ns, order.deadline_ns, order.intent_class, usd_micro, level)
            if order.order_no in overtaking:
                del overtaking[order.order_no]
                refused.append((sent_of(slot), 0))
            elif cause != Cause.NONE:
                refused.append((sent_of(slot), int(cause)))
            else:
                kept.append(slot)
        self.orders = kept
        return refused
