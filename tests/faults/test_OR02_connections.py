"""OR02, OR24: the order path's connections, on real sockets: failures, age, proxies, redirects."""

from __future__ import annotations

import asyncio
import base64
import os
import random
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest

from pipeline.kinds import Cause
from pipeline.net.edge import Ask
from pipeline.net.egress import Proxy, proxy_of
from pipeline.net.orders import OrderConnections
from pipeline.net.rest import RestDriver
from pipeline.sim import certificates
from pipeline.units import NS_PER_MS, NS_PER_S
from tests.faults.test_PR04_waiting import ANSWER, Machine, until
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

TRIALS, REDIRECTS = figure("OR02", "trials"), figure("OR24", "redirects")
TTL_NS = 250 * NS_PER_MS
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Authority(NamedTuple):
    """Contexts of a server on localhost, and of a client that trusts it alone."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def authority_in(directory: Path) -> Authority:
    directory.mkdir(exist_ok=True)
    ca_file = certificates.make(directory)
    return Authority(certificates.server_context(directory), ssl.create_default_context(cafile=ca_file))


class Venue:
    """A loopback server: notes each request; `answer` is what it says once `go` is set."""

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.answer, self.tls, self.host = ANSWER, tls, host
        self.asked: list[bytes] = []
        self.opened = 0
        self.writers: set[asyncio.StreamWriter] = set()
        self.server: asyncio.Server | None = None
        self.port = 0
        self.go = asyncio.Event()
        self.go.set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for writer in list(self.writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        self.writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.asked.append(head.split()[1])
                await self.go.wait()
                writer.write(self.answer)
        self.writers.discard(writer)
        writer.close()


class Drive:
    """A driver with a clock that the test moves; `troubles` are its words."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None, proxy: Proxy | None = None,
                 connections: int = 2, host: str = "127.0.0.1") -> None:
        self.now_ns, self.machine, self.troubles = 1_000, Machine(), list[str]()
        scheme = "https" if tls else "http"
        self.driver = OrderConnections(
            self.machine, f"{scheme}://{host}:{port}", lambda: self.now_ns, lambda: None, tls,
            lambda _tag, _at: None, connections=connections, proxy=proxy, on_trouble=self.troubles.append,
            reconnect_s=0.01)

    def ask(self, tag: int) -> None:
        self.machine.ask(tag, self.now_ns + TTL_NS)
        self.driver.pump()

    @property
    def idle(self) -> int:
        return len(self.driver._idle)

    def look(self) -> bool:
        self.driver.check(self.now_ns)
        return True


async def one_failure(rng: random.Random, drive: Drive, venue: Venue, tag: int) -> None:
    """Take the connections away before the request, in one of three ways; then bring them back, or do not."""
    await until(lambda: len(venue.writers) == drive.idle == 2)
    way = rng.choice(("cut idle", "cut idle", "closed port"))
    returns = way == "cut idle" or rng.random() < 0.5
    if way == "closed port":
        await venue.stop()
    else:
        for writer in list(venue.writers):
            writer.transport.abort()
    if rng.random() < 0.5:
        await until(lambda: not drive.idle)  # the driver knows already; else it learns at the write or later
    drive.ask(tag)
    if not returns:
        drive.now_ns += TTL_NS + 1
        drive.look()
    if venue.server is None:
        await venue.start()
    await until(lambda: drive.look() and (tag in drive.machine.answered or any(
        one[0] == tag for one in drive.machine.failed)))
    await until(lambda: drive.look() and drive.idle == 2)


def test_OR02_what_never_left_leaves_once_while_it_may(gate_record: Callable[..., None]) -> None:
    """Each request reaches the venue at most once, none after its time."""
    seed = fresh_seed()
    print(f"seed {seed}")

    async def run() -> tuple[Drive, Venue]:
        rng, venue = random.Random(seed), Venue()
        await venue.start()
        drive = Drive(venue.port)
        drive.driver.warm()
        await until(lambda: drive.idle == 2)
        for tag in range(1, TRIALS + 1):
            await one_failure(rng, drive, venue, tag)
        await drive.driver.close()
        await venue.stop()
        return drive, venue

    drive, venue = asyncio.run(run())
    asked = [int(path[1:]) for path in venue.asked]
    assert len(asked) == len(set(asked)), f"seed {seed}: sent twice"
    unsent = {tag for tag, was_sent, _ in drive.machine.failed if not was_sent}
    assert not unsent & set(asked), f"seed {seed}: told as unsent, and it came"
    answered = set(drive.machine.answered)
    assert len(answered) >= TRIALS // 5 and len(unsent) >= 1, f"seed {seed}"
    doubtful = {tag for tag, was_sent, _ in drive.machine.failed if was_sent}
    assert answered | unsent | doubtful == set(range(1, TRIALS + 1))
    gate_record("OR02", "trials", TRIALS, seed)


def test_OR02_an_old_connection_goes_when_a_younger_one_stands() -> None:
    """Never in the middle of a request, and the pool is never smaller for it."""

    async def run() -> None:
        venue = Venue()
        await venue.start()
        drive = Drive(venue.port)
        drive.driver.warm()
        await until(lambda: drive.idle == 2)
        venue.go.clear()
        drive.ask(1)
        await until(lambda: venue.asked)
        drive.now_ns += 241 * NS_PER_S
        drive.machine.until_ns[1] = drive.now_ns
        smallest = 2

        def rotated() -> bool:
            nonlocal smallest
            smallest = min(smallest, drive.idle + len(drive.driver._busy))
            drive.driver._timeout_ns = 1 << 60  # the request's own time is another matter
            return drive.look() and venue.opened >= 3

        await until(rotated)
        assert len(drive.driver._busy) == 1 and not drive.machine.failed
        venue.go.set()
        await until(lambda: rotated() and venue.opened == 4 and drive.idle == 2)
        assert [1] == drive.machine.answered and smallest >= 2
        await drive.driver.close()
        await venue.stop()

    asyncio.run(run())


class ProxyServer:
    """A CONNECT or SOCKS5 proxy of a few lines; keeps the first bytes that passed through it."""

    def __init__(self, login: str = "", refuses: bytes = b"") -> None:
        self.login, self.refuses = login, refuses
        self.targets: list[str] = []
        self.passed = bytearray()
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []
        self.server: asyncio.Server | None = None

    async def start(self, scheme: str) -> None:
        ask = self._socks if scheme == "socks5" else self._http

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.writers.append(writer)
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await ask(reader, writer)
            writer.close()

        self.server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self.server is not None
        self.server.close()
        for writer in self.writers:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.targets.append(head.split(" ")[1])
        if self.refuses:
            writer.write(self.refuses)
            return
        wanted = base64.b64encode(self.login.encode()).decode()
        assert (f"Proxy-Authorization: Basic {wanted}\r\n" in head) == bool(self.login)
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        await self._relay(reader, writer)

    async def _socks(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _, count = await reader.readexactly(2)
        methods = await reader.readexactly(count)
        method = 2 if self.login else 0
        assert method in methods
        writer.write(bytes((5, method)))
        if self.login:
            _, length = await reader.readexactly(2)
            user = await reader.readexactly(length)
            password = await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(bytes((1, int(f"{user.decode()}:{password.decode()}" != self.login))))
        _, _, _, kind, length = await reader.readexactly(5)
        assert kind == 3
        name, port = await reader.readexactly(length), await reader.readexactly(2)
        self.targets.append(f"{name.decode()}:{int.from_bytes(port, 'big')}")
        if self.refuses:
            writer.write(self.refuses)
            return
        writer.write(b"\x05\x00\x00\x01" + bytes(6))
        await self._relay(reader, writer)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(self.targets[-1].rpartition(":")[2])
        other_reader, other = await asyncio.open_connection("127.0.0.1", port)
        self.writers.append(other)

        async def pipe(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(ConnectionError):
                while data := await source.read(4_096):
                    self.passed += data
                    sink.write(data)
            sink.close()

        await asyncio.gather(pipe(reader, other), pipe(other_reader, writer))


@pytest.mark.parametrize("scheme", ["http", "socks5"])
@pytest.mark.parametrize("login", ["", "user:pass:word"])
def test_OR24_a_proxy_of_the_account_sees_tls_and_nothing_else(
    tmp_path: Path, scheme: str, login: str,
) -> None:
    """TLS ends at the venue, whose name the proxy resolves; requests never stand in what passes it."""
    authority = authority_in(tmp_path)

    async def run() -> None:
        venue, proxy = Venue(tls=authority.server), ProxyServer(login)
        await venue.start()
        await proxy.start(scheme)
        (tmp_path / "login").touch(mode=0o600)
        (tmp_path / "login").write_text(login + "\n")
        found = proxy_of(f"{scheme}://127.0.0.1:{proxy.port}", str(tmp_path / "login") if login else None)
        drive = Drive(venue.port, authority.client, found, connections=1, host="localhost")
        drive.driver.warm()
        await until(lambda: drive.idle == 1)
        drive.ask(1)
        await until(lambda: drive.machine.answered)
        assert [f"localhost:{venue.port}"] == proxy.targets and [b"/1"] == venue.asked
        assert b"POST" not in proxy.passed and proxy.passed[:1] == b"\x16"  # TLS at once
        assert login not in repr(found) or not login
        await drive.driver.close()
        await venue.stop()
        await proxy.stop()

    asyncio.run(run())


@pytest.mark.parametrize(("scheme", "refuses", "words"), [
    ("http", b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
    ("http", b"SSH-2.0-x\r\n\r\n", "SSH-2.0-x"),
    ("http", b"HTTP/1.1 200", "closed the connection"),
    ("socks5", b"\x05\x02\x00\x01" + bytes(6), "not allowed by its rules"),
    ("socks5", b"\x05", "closed the connection"),
])
def test_OR24_a_proxy_that_refuses_is_one_clear_line(scheme: str, refuses: bytes, words: str) -> None:
    """It names the proxy and the key to look at, once; the request was never sent, and goes no other way."""

    async def run() -> None:
        venue, proxy = Venue(), ProxyServer(refuses=refuses)
        await venue.start()
        await proxy.start(scheme)
        drive = Drive(venue.port, proxy=proxy_of(f"{scheme}://127.0.0.1:{proxy.port}"), connections=1)
        drive.driver.warm()
        drive.ask(1)
        await until(lambda: drive.look() and len(proxy.targets) >= 3)
        drive.now_ns += TTL_NS + 1
        drive.look()
        assert [(1, False, Cause.NO_CONNECTION)] == drive.machine.failed and not venue.opened
        line, = drive.troubles
        assert words in line and f"127.0.0.1:{proxy.port}" in line and "accounts.*.proxy_url" in line
        await drive.driver.close()
        await venue.stop()
        await proxy.stop()

    asyncio.run(run())


def test_OR24_a_certificate_of_nobody_gets_no_byte(tmp_path: Path) -> None:
    """TLS is verified: a venue with another authority, or another name, hears nothing of a request."""
    known, stranger = authority_in(tmp_path / "known"), authority_in(tmp_path / "stranger")

    async def run() -> None:
        for authority, name, host in (
                (stranger, "localhost", "127.0.0.1"), (known, "127.0.0.2", "127.0.0.2")):
            venue = Venue(authority.server, host)
            await venue.start()
            drive = Drive(venue.port, known.client, connections=1, host=name)
            drive.driver.warm()
            drive.ask(1)
            await until(lambda drive=drive: drive.look() and drive.troubles)
            drive.now_ns += TTL_NS + 1
            drive.look()
            assert [(1, False, Cause.NO_CONNECTION)] == drive.machine.failed and [] == venue.asked
            assert "certificate" in drive.troubles[0].lower()
            await drive.driver.close()
            await venue.stop()

    asyncio.run(run())


def test_OR24_redirects_and_the_environment_lead_nowhere(
    monkeypatch: pytest.MonkeyPatch, gate_record: Callable[..., None],
) -> None:
    """301 to 308 are answers like any other, on both HTTP drivers; the environment's proxies are not."""

    async def run() -> None:
        venue, elsewhere = Venue(), Venue()
        await venue.start()
        await elsewhere.start()
        trap = f"http://127.0.0.1:{elsewhere.port}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, trap)
            monkeypatch.setenv(name.lower(), trap)
        monkeypatch.delenv("NO_PROXY", raising=False)
        drive, rest, machine = Drive(venue.port), RestDriver(lambda: 1, None, lambda: None), Machine()
        drive.driver.warm()
        await until(lambda: drive.idle == 2)
        for tag in range(1, REDIRECTS + 1):
            status = (301, 302, 303, 307, 308)[tag % 5]
            venue.answer = (b"HTTP/1.1 %d Found\r\nLocation: %s/order\r\nContent-Length: 0\r\n\r\n"
                            % (status, trap.encode()))
            drive.ask(tag)
            rest.start(machine, Ask(tag, "GET", f"http://127.0.0.1:{venue.port}", f"/{tag}"))
            await until(lambda tag=tag: tag in drive.machine.answered and tag in machine.answered)
        assert 0 == elsewhere.opened and 2 * REDIRECTS == len(venue.asked)
        await drive.driver.close()
        await rest.close()
        await venue.stop()
        await elsewhere.stop()

    asyncio.run(run())
    assert os.environ["HTTPS_PROXY"]
    gate_record("OR24", "redirects", REDIRECTS)
