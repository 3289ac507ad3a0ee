"""The way out through a proxy that the account's owner names: HTTP CONNECT or SOCKS5, then TLS to the venue.

RFC 9110 section 9.3.6; RFC 1928 and 1929, with user and password from a file. A proxy sees where we go and
nothing of what we say. It is a setting, for networks that have no other way out: nothing here chooses one,
and a venue that refuses an address is never asked by another. The environment's proxies are not read.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import Unreachable
from pipeline.venues.polymarket.auth import load_login_file

HEAD_BYTES_MAX = 8 * 1024
_SOCKS, _PLAIN, _BY_NAME = 5, 0, 3
_METHODS = {0: "no login", 2: "user and password"}
_REFUSALS = {
    1: "general failure", 2: "not allowed by its rules", 3: "network unreachable", 4: "host unreachable",
    5: "connection refused", 6: "time to live expired", 7: "command not supported",
    8: "address type not supported"}
_PORTS = {"socks5": 1_080, "http": 8_080}


@dataclass(frozen=True, slots=True)
class Proxy:
    """`scheme` is http (CONNECT) or socks5; `login` is "user:password" or empty, and never printed."""

    scheme: str
    host: str
    port: int
    login: str = field(default="", repr=False)

    @property
    def words(self) -> str:
        """Return the proxy for people."""
        return f"{self.scheme}://{self.host}:{self.port}"


def proxy_of(url: str | None, login_file: str | None = None) -> Proxy | None:
    """Return the proxy of `accounts.*.proxy_url` and `proxy_file`, None without; raises as key files do."""
    if url is None:
        return None
    parts, login = urlsplit(url), load_login_file(Path(login_file)) if login_file else ""
    return Proxy(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], login)


async def connect(proxy: Proxy, host: str, port: int) -> socket.socket:
    """Return a socket that ends at host:port; the proxy finds its address.

    Raises Unreachable in one line that names the proxy, OSError when the proxy cannot be reached.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(proxy.host, proxy.port, type=socket.SOCK_STREAM)
    family, kind, number, _, address = found[0]
    sock = socket.socket(family, kind, number)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, address)
        ask = _ask_socks if proxy.scheme == "socks5" else _ask_http
        await ask(loop, sock, proxy, host, port)
    except BaseException:
        sock.close()
        raise
    return sock


async def _ask_http(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, host: str, port: int,
) -> None:
    login = ""
    if proxy.login:
        login = f"Proxy-Authorization: Basic {base64.b64encode(proxy.login.encode()).decode()}\r\n"
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    await loop.sock_sendall(sock, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{login}\r\n".encode())
    head = bytearray()
    while not head.endswith(b"\r\n\r\n"):  # byte by byte: what follows belongs to the venue
        head += await _exactly(loop, sock, 1, proxy)
        if len(head) > HEAD_BYTES_MAX:
            raise _refusal(proxy, f"its answer's head exceeds {HEAD_BYTES_MAX} bytes")
    first = head.split(b"\r\n", 1)[0].decode("latin-1")
    if not re.match(r"HTTP/1\.[01] 2\d\d( |$)", first):
        raise _refusal(proxy, f"expected a 2xx to CONNECT {target}, found {first[:80]!r}")


async def _ask_socks(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, proxy: Proxy, host: str, port: int,
) -> None:
    wanted = 2 if proxy.login else 0
    await loop.sock_sendall(sock, bytes((_SOCKS, 1, wanted)))
    version, method = await _exactly(loop, sock, 2, proxy)
    if (version, method) != (_SOCKS, wanted):
        raise _refusal(proxy, f"it does not take {_METHODS[wanted]} (it said {version}, {method})")
    if proxy.login:
        user, _, password = proxy.login.partition(":")
        parts = [part.encode() for part in (user, password)]
        await loop.sock_sendall(sock, b"\x01" + b"".join(bytes((len(part),)) + part for part in parts))
        if (await _exactly(loop, sock, 2, proxy))[1]:
            raise _refusal(proxy, "it refuses user and password")
    name = host.encode("idna")
    await loop.sock_sendall(
        sock, bytes((_SOCKS, 1, _PLAIN, _BY_NAME, len(name))) + name + port.to_bytes(2, "big"))
    _, code, _, kind = await _exactly(loop, sock, 4, proxy)
    if code:
        raise _refusal(proxy, f"it cannot reach {host}:{port}: {_REFUSALS.get(code, code)}")
    length = {1: 4, 4: 16}.get(kind) or (await _exactly(loop, sock, 1, proxy))[0]
    await _exactly(loop, sock, length + 2, proxy)


async def _exactly(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, count: int, proxy: Proxy,
) -> bytes:
    found = b""
    while len(found) < count:
        part = await loop.sock_recv(sock, count - len(found))
        if not part:
            raise _refusal(proxy, "it closed the connection in the middle of its answer")
        found += part
    return found


def _refusal(proxy: Proxy, words: str) -> Unreachable:
    return Unreachable(f"net.egress: proxy {proxy.words}: {words}; check accounts.*.proxy_url and proxy_file")
