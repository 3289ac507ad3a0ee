"""pm exchange --official-hosts over raw sockets: tunnels to the venue's names end here, no others do."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.cli_runs import Exchange

HOSTS = {
    "clob.polymarket.com": "/version",
    "gamma-api.polymarket.com": "/markets/keyset?limit=1",
    "data-api.polymarket.com": "/v2/value?user=0x0000000000000000000000000000000000000001",
    "relayer-v2.polymarket.com": "/deployed?address=0x0000000000000000000000000000000000000001",
}
SOCKETS = "ws-subscriptions-clob.polymarket.com"
UPGRADE = (
    "upgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@pytest.fixture(scope="module")
def exchange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    found = Exchange(tmp_path_factory.mktemp("official") / "exchange", "--port", 0, "--official-hosts")
    yield found
    found.stop()


def dial(exchange: Exchange) -> socket.socket:
    parts = urlsplit(exchange.ready["environment"]["HTTPS_PROXY"])
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def until_end(connection: socket.socket) -> bytes:
    """Read what comes until the other side closes."""
    data = b""
    while part := connection.recv(65_536):
        data += part
    return data


def head_of(connection: socket.socket) -> bytes:
    """Read one head, byte by byte: what follows it belongs to TLS."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        part = connection.recv(1)
        assert part, data
        data += part
    return data


def trusting(exchange: Exchange) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=exchange.ready["environment"]["SSL_CERT_FILE"])


def enter(exchange: Exchange, host: str, name: str = "") -> ssl.SSLSocket:
    """Return a TLS connection through a tunnel to the host, verified as `name`."""
    connection = dial(exchange)
    connection.sendall(f"CONNECT {host}:443 HTTP/1.1\r\nhost: {host}:443\r\n\r\n".encode())
    assert head_of(connection).startswith(b"HTTP/1.1 200 ")
    return trusting(exchange).wrap_socket(connection, server_hostname=name or host)


def get(connection: ssl.SSLSocket, path: str, more: str = "connection: close\r\n") -> tuple[int, Any]:
    """Return status and JSON of one GET."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: any\r\n{more}\r\n".encode())
    head, _, body = until_end(connection).partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body or b"null")


@pytest.mark.parametrize("host", HOSTS)
def test_each_name_is_its_own_service(exchange: Exchange, host: str) -> None:
    """A verified TLS connection to each name answers that service's question and no other service's."""
    for other, path in HOSTS.items():
        with enter(exchange, host) as connection:
            status = get(connection, path)[0]
            assert (status == 200) is (other == host), path  # the CLOB asks for a key first: 401


def test_names_decide_over_clashing_paths(exchange: Exchange) -> None:
    """/markets is a page with a cursor on the CLOB and a bare list on Gamma."""
    with enter(exchange, "clob.polymarket.com") as connection:
        status, page = get(connection, "/markets")
        assert (200, "LTE=") == (status, page["next_cursor"])
    with enter(exchange, "gamma-api.polymarket.com") as connection:
        status, rows = get(connection, "/markets")
        assert (200, 20) == (status, len(rows))
        assert rows[0]["conditionId"] in {row["condition_id"] for row in page["data"]}


@pytest.mark.parametrize(("host", "is_taken"), [(SOCKETS, True), *((host, False) for host in HOSTS)])
def test_websockets_have_their_own_name(exchange: Exchange, host: str, is_taken: bool) -> None:
    """An upgrade is taken under the name for websockets alone, which answers no plain request."""
    with enter(exchange, host) as connection:
        connection.sendall(f"GET /ws/market HTTP/1.1\r\nhost: {host}\r\n{UPGRADE}\r\n".encode())
        assert head_of(connection).startswith(b"HTTP/1.1 101 " if is_taken else b"HTTP/1.1 404 ")
    if is_taken:
        with enter(exchange, host) as connection:
            assert 404 == get(connection, "/version")[0]


@pytest.mark.parametrize(
    "request_line",
    [
        "CONNECT example.com:443", "CONNECT polymarket.com:443", "CONNECT clob.polymarket.com:80",
        "CONNECT clob.polymarket.com.example.com:443", "CONNECT 127.0.0.1:443", "CONNECT clob.polymarket.com",
        "GET http://clob.polymarket.com/version", "GET /version", "CONNECT \u00e9\x01.com:443",
    ],
)
def test_everything_else_is_refused_in_one_line(exchange: Exchange, request_line: str) -> None:
    """403, one line that says what was wrong and what is served, and the connection is closed."""
    with dial(exchange) as connection:
        connection.sendall(f"{request_line} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        head, _, body = until_end(connection).partition(b"\r\n\r\n")
    reason = head.splitlines()[0].decode("ascii")
    assert reason.startswith("HTTP/1.1 403 ")
    assert "CONNECT HOST:443" in reason or "clob.polymarket.com" in reason
    assert f"pm exchange: {reason.removeprefix('HTTP/1.1 403 ')}\n" == body.decode("ascii")


def test_words_may_come_in_pieces_or_at_once(exchange: Exchange) -> None:
    """A CONNECT cut into bytes is understood; so is a greeting of TLS that comes in the same packet."""
    host = "clob.polymarket.com"
    words = f"CONNECT {host}:443 HTTP/1.1\r\n\r\n".encode()
    with dial(exchange) as connection:
        for place in range(len(words)):
            connection.sendall(words[place : place + 1])
        assert head_of(connection).startswith(b"HTTP/1.1 200 ")
        with trusting(exchange).wrap_socket(connection, server_hostname=host) as tunnel:
            assert (200, {"version": 2}) == get(tunnel, "/version")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    machine = trusting(exchange).wrap_bio(incoming, outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        machine.do_handshake()
    with dial(exchange) as connection:
        connection.sendall(words + outgoing.read())
        assert head_of(connection).startswith(b"HTTP/1.1 200 ")
        incoming.write(connection.recv(1 << 16))
        while True:
            try:
                machine.do_handshake()
                break
            except ssl.SSLWantReadError:
                incoming.write(connection.recv(1 << 16))
    assert host in {name for kind, name in machine.getpeercert()["subjectAltName"] if kind == "DNS"}


@pytest.mark.parametrize("name", ["polymarket.com", "www.polymarket.com", "example.com"])
def test_certificate_vouches_for_no_other_name(exchange: Exchange, name: str) -> None:
    """Behind a granted tunnel the certificate is good for the served names alone."""
    with pytest.raises(ssl.SSLCertVerificationError):
        enter(exchange, "clob.polymarket.com", name)
