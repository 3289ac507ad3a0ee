"""Renders signed orders, cancels and heartbeats as the exact bytes that leave the host.

Place in the stream: the gateway feeds INSTRUMENT records to `OrderRenderer`, then turns SIGNED slots
into bodies and bodies into HTTP/1.1 requests. Nothing here opens a socket or reads a clock.
Key order of the bodies: as polymarket-client 0.14.0 writes them, compact JSON (all vectors); every value
is a number, hex or an enum word, so no text can need escaping.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pipeline.codec import CODECS
from pipeline.errors import ConfigError, InvariantError
from pipeline.kinds import Kind, Rule
from pipeline.native.submit import OrderBodies
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.identity import (
    AccountIdentity,
    checksum,
    exchange_domains,
    exchange_of,
)
from pipeline.venues.polymarket.sign import signature_tail

_OWNER = re.compile(r"[0-9a-zA-Z-]{1,64}")
_HOST = re.compile(r"[0-9A-Za-z.\-\[\]:]{1,255}")
_PATH = re.compile(r"/[!-~]{0,2047}")
_HEADER_BLOCK = re.compile(rb"(?:[!-9;-~]+: [ -~]*\r\n)*")
_METHODS: Final = ("GET", "POST", "DELETE")
_INSTRUMENT = CODECS[Kind.INSTRUMENT]


class OrderRenderer(OrderBodies):
    """Renders the orders of one account (`native/submit`); learns tokens and exchange of each row."""

    __slots__ = ("_domains", "account")

    def __init__(self, account: AccountIdentity, api_key: str, *, defer_exec: bool = False) -> None:
        """api_key: the owner field of each body; it must be the key of the L2 headers."""
        if not _OWNER.fullmatch(api_key):
            raise ConfigError("polymarket.encode: api_key expected as letters, digits and dashes, was not")
        self.account = account
        self._domains = exchange_domains(account.chain_id)
        order = (
            f'{{"deferExec":{"true" if defer_exec else "false"},'
            f'"order":{{"builder":"0x{account.builder.hex()}",'
            f'"expiration":"%","maker":"{checksum(account.maker)}","makerAmount":"%",'
            f'"metadata":"0x{account.metadata.hex()}","salt":%,"side":"%","signature":"0x%",'
            f'"signatureType":{int(account.signature_type)},"signer":"{checksum(account.signer)}",'
            '"takerAmount":"%","timestamp":"%","tokenId":"%"},'
            f'"orderType":"%","owner":"{api_key}"'
        ).encode()
        *pieces, last = order.split(b"%")
        super().__init__(
            [*pieces, last + b"}", last + b',"postOnly":true}'], signature_tail(int(account.signature_type)))

    def on_instrument(self, slot: bytes | memoryview, offset: int = 0) -> None:
        """Learn tokens and exchange of a row from its INSTRUMENT record; a later record replaces them."""
        row = _INSTRUMENT.unpack(slot, offset)
        exchange = exchange_of(bool(row.rules & Rule.NEG_RISK), bool(row.rules & Rule.V2))
        yes, no = (
            str(int.from_bytes(token, "big")).encode() for token in (row.token_yes, row.token_no))
        self.set_row(row.instrument, yes, no, self._domains[exchange])


def cancel_body(order_hash: bytes) -> bytes:
    """Return the body of `DELETE /order`."""
    return b'{"orderID":"0x%b"}' % order_hash.hex().encode()


def cancels_body(order_hashes: Sequence[bytes]) -> bytes:
    """Return the body of `DELETE /orders` for 1..1000 hashes; InvariantError for another count."""
    if not 1 <= len(order_hashes) <= wire.BATCH_CANCELS_MAX:
        raise InvariantError(f"polymarket.encode: expected 1..{wire.BATCH_CANCELS_MAX} cancels a request, "
                             f"were {len(order_hashes)}; split them")
    return b"[" + b",".join(b'"0x%b"' % order_hash.hex().encode() for order_hash in order_hashes) + b"]"


def cancel_market_body(condition: bytes | None, token: bytes | None = None) -> bytes:
    """Return the body of `DELETE /cancel-market-orders`; either or both narrow it.

    condition: 32 bytes (a v2 condition padded with one zero byte), None = any. token: 32 bytes.
    Both None is refused with InvariantError: `DELETE /cancel-all`, without a body, says that.
    """
    if condition is None and token is None:
        raise InvariantError("polymarket.encode: expected a condition or a token, was neither; cancel all?")
    market = b"0x%b" % condition.hex().encode() if condition is not None else b""
    asset = str(int.from_bytes(token, "big")).encode() if token is not None else b""
    return b'{"market":"%b","asset_id":"%b"}' % (market, asset)


def heartbeat_body(heartbeat_id: str) -> bytes:
    """Return the body of `POST /v1/heartbeats`: "" first, then the id of the last answer."""
    if heartbeat_id and not _OWNER.fullmatch(heartbeat_id):
        raise InvariantError("polymarket.encode: heartbeat id expected as letters, digits, dashes, was not")
    return b'{"heartbeat_id":"%b"}' % heartbeat_id.encode()


def render_request(method: str, path: str, host: str, headers: bytes, body: bytes = b"") -> bytes:
    """Return one HTTP/1.1 request, ready for the socket.

    path: with its query. headers: extra lines, each ended by CRLF. Raises InvariantError for anything
    that could end a line early: nothing from outside may write into a request.
    """
    if method not in _METHODS or not _PATH.fullmatch(path) or not _HOST.fullmatch(host):
        raise InvariantError(f"polymarket.encode: expected method, path and host of a request, "
                             f"were {method!r} {path[:80]!r} {host[:80]!r}")
    if not _HEADER_BLOCK.fullmatch(headers):
        raise InvariantError("polymarket.encode: a header line is malformed (not shown: may hold a secret)")
    return _head(method, path, host) + headers + _length(method, body) + body


def _head(method: str, path: str, host: str) -> bytes:
    return (f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: pm-pipeline\r\n"
            "Accept: application/json\r\nConnection: keep-alive\r\n").encode()


def _length(method: str, body: bytes) -> bytes:
    if body:
        return b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    return b"Content-Length: 0\r\n\r\n" if method == "POST" else b"\r\n"


class RequestRenderer:
    """Renders authenticated requests to one host with their constant parts prepared."""

    def __init__(self, host: str, auth: L2Auth) -> None:
        self._host = host
        self._auth = auth
        render_request("GET", "/", host, auth.headers("GET", "/", b"", 0))  # refuses a bad host or header now
        #: Head of each request on the order path, and what its HMAC covers of it.
        self._heads = {
            (method, path): (_head(method, path, host), f"{method}{path}".encode()) for method, path in (
                ("POST", wire.PATH_ORDER), ("POST", wire.PATH_ORDERS), ("DELETE", wire.PATH_ORDER),
                ("DELETE", wire.PATH_ORDERS), ("DELETE", wire.PATH_CANCEL_MARKET),
                ("POST", wire.PATH_HEARTBEAT))}

    def prepare(self) -> None:
        """Get ready for the next request, while nothing waits for it."""
        self._auth.prepare()

    def render(self, method: str, path: str, timestamp_s: int, body: bytes = b"") -> bytes:
        """Return the request with its L2 headers over exactly these bytes."""
        known = self._heads.get((method, path))
        if known is not None and body:
            return self._auth.request(*known, body, timestamp_s)
        return render_request(
            method, path, self._host, self._auth.headers(method, path, body, timestamp_s), body)
