"""The CONNECT proxy of `pm exchange --official-hosts`: a tunnel to one of the venue's host names ends here.

Reads the one request of a new connection. A tunnel to `clob.polymarket.com:443` and its like is granted, and
from its next byte on the same connection speaks TLS and belongs to that host's service; any other host, port
or method is refused with 403 and one line. Nothing is ever forwarded to another machine.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from pipeline.sim.hosts import OFFICIAL, TLS_PORT, Host
from pipeline.sim.http_reader import BadRequest, Request, RequestReader
from pipeline.sim.wire import Wire

GRANTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
Enter = Callable[[Wire, Host], None]  # gives the connection to the service of a host


class Tunnel:
    """One connection to the proxy, until it is granted or refused."""

    def __init__(self, tls: ssl.SSLContext, enter: Enter) -> None:
        self._tls = tls
        self._enter = enter
        self._requests = RequestReader(body_bytes_max=0)
        self._is_refused = False

    def on_data(self, wire: Wire, data: bytes) -> None:
        if self._is_refused:  # the answer is still on its way out; nothing more is heard
            return
        try:
            request = next(self._requests.feed(data), None)
        except BadRequest:
            self._refuse(wire, f"expected CONNECT HOST:{TLS_PORT}")
            return
        if request is None:
            return
        why = _why_not(request)
        if why:
            self._refuse(wire, why)
            return
        wire.send(GRANTED)
        self._enter(wire, OFFICIAL[_host_of(request.target)[0]])
        wire.start_tls(self._tls, self._requests.rest())

    def _refuse(self, wire: Wire, why: str) -> None:
        self._is_refused = True
        wire.send(refusal(why))
        wire.close_after_send()


def _host_of(target: str) -> tuple[str, str]:
    host, _, port = target.rpartition(":")
    return host.lower(), port


def _why_not(request: Request) -> str:
    """Return why a request gets no tunnel, "" if it gets one."""
    if request.method != "CONNECT":
        return f"expected CONNECT HOST:{TLS_PORT}, was {_shown(request.method)}"
    host, port = _host_of(request.target)
    if host in OFFICIAL and port == str(TLS_PORT):
        return ""
    served = f"port {TLS_PORT} of {', '.join(OFFICIAL)}"
    return f"{_shown(request.target)} is not served by the local exchange, only {served}"


def _shown(text: str) -> str:
    """Return what a stranger sent as it may stand in a header line."""
    return "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in text[:100])


def refusal(why: str) -> bytes:
    """Return the answer; clients show the reason of a refused CONNECT, seldom its body."""
    body = f"pm exchange: {why}\n".encode()
    head = f"HTTP/1.1 403 {why}\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body
