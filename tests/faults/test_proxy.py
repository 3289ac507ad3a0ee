"""The fault proxy itself: each fault on real sockets, plain and over TLS; the same seed, the same faults."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from pipeline.sim import certificates
from tests.proxy.plan import Dice, Fate, Plan, Shuffle
from tests.proxy.proxy import FaultProxy, Happened
from tests.proxy.wire import MessageReader
from tests.shared import fresh_seed

COUNT = 300  # messages that the venue sends on "go"


class Venue:
    """Answers `POST /order` and plays COUNT numbered texts, then "end", on each websocket."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.orders: list[bytes] = []
        self.port = 0
        self._tls = tls

    async def __aenter__(self) -> Venue:
        app = web.Application()
        app.router.add_post("/order", self._order)
        app.router.add_get("/ws", self._ws)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _order(self, request: web.Request) -> web.Response:
        self.orders.append(await request.read())
        return web.Response(text="accepted " + "x" * 1_000)

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.data == "PING":
                await ws.send_str("PONG")
            elif message.data == "go":
                for number in range(COUNT):
                    await ws.send_str(f"message {number} " + "y" * (number % 300))
                await ws.send_str("end")
        return ws


async def heard(session: aiohttp.ClientSession, proxy: FaultProxy, path: str = "/ws", go: str = "go",
                **options: Any) -> list[str]:
    """Return the texts that came until "end" or the end of the line."""
    scheme = "wss" if options else "ws"
    found: list[str] = []
    async with session.ws_connect(f"{scheme}://localhost:{proxy.port}{path}", **options) as ws:
        await ws.send_str(go)
        await ws.send_str("PING")  # no plan touches its PONG, as "end" may be lost like any text
        async for message in ws:
            if message.type != aiohttp.WSMsgType.TEXT or message.data in ("end", "PONG"):
                break
            found.append(message.data)
    return found


Act = Callable[[Venue, FaultProxy, aiohttp.ClientSession], Awaitable[None]]


def with_proxy(plan: Plan, act: Act) -> FaultProxy:
    """Run `act` between a venue and its proxy; return the proxy, ended."""
    async def run() -> FaultProxy:
        async with Venue() as venue, aiohttp.ClientSession() as session:
            proxy = FaultProxy(("127.0.0.1", venue.port), plan)
            with proxy:
                await act(venue, proxy, session)
            return proxy

    return asyncio.run(run())


def numbers(texts: list[str]) -> list[int]:
    return [int(text.split(" ")[1]) for text in texts]


@pytest.mark.parametrize("fate", [Fate.DROP, Fate.DUPLICATE, Fate.REORDER, Fate.DELAY])
def test_a_message_fault_shows_on_a_socket(fate: Fate) -> None:
    """Messages are lost, doubled, swapped or late as whole messages, exactly those that the proxy names."""
    got: list[int] = []

    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        got.extend(numbers(await heard(session, proxy)))

    proxy = with_proxy(Plan(7, delay_ms=(1, 3), **{fate.value: 0.1}), act)
    hit = [item.message - 1 for item in proxy.happened if item.message <= COUNT]
    assert {fate} == {item.fate for item in proxy.happened}
    assert len(hit) > COUNT // 30
    shuffle: Shuffle[int] = Shuffle()
    dice, expected = Dice(proxy.plan, 1, "ws"), []
    for number in range(COUNT):
        expected += shuffle.feed(number, dice.next()[0])
    assert [*expected, *shuffle.flush()] == got
    if fate is Fate.DELAY:
        assert list(range(COUNT)) == got
    else:
        assert list(range(COUNT)) != got


@pytest.mark.parametrize("fate", [Fate.RESET, Fate.TRUNCATE])
def test_a_line_ends_amid_its_messages(fate: Fate) -> None:
    """A reset or a cut message ends the line there: what came before is whole, nothing comes after."""
    got: list[int] = []

    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        got.extend(numbers(await heard(session, proxy)))

    proxy = with_proxy(Plan(3, first=50, **{fate.value: 0.05}), act)
    (fault,) = proxy.happened
    assert Happened(1, fault.message, fate) == fault
    assert fault.message > 50
    assert got == list(range(len(got)))
    assert len(got) <= fault.message - 1
    if fate is Fate.TRUNCATE:
        assert len(got) == fault.message - 1


@pytest.mark.parametrize("fate", [Fate.RESET, Fate.DROP, Fate.CUT, Fate.TRUNCATE, Fate.DELAY])
def test_a_request_meets_its_fault(fate: Fate) -> None:
    """The venue never gets a reset or lost request; a cut or truncated one it carries out unseen."""
    outcomes: list[str] = []

    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        for number in range(20):
            try:
                url = f"http://127.0.0.1:{proxy.port}/order"
                async with session.post(url, data=b"%d" % number) as answer:
                    outcomes.append(str(answer.status) + (await answer.text())[:8])
            except (aiohttp.ClientError, ConnectionError) as error:
                outcomes.append(type(error).__name__)
        reached = fate in (Fate.CUT, Fate.TRUNCATE, Fate.DELAY)
        assert [b"%d" % number for number in range(20) if reached] == venue.orders

    proxy = with_proxy(Plan(5, delay_ms=(1, 3), **{fate.value: 1.0}), act)
    assert [fate] * 20 == [item.fate for item in proxy.happened]
    good = [outcome for outcome in outcomes if outcome == "200accepted"]
    assert (20 if fate is Fate.DELAY else 0) == len(good), outcomes
    assert (20 if fate in (Fate.CUT, Fate.TRUNCATE, Fate.DELAY) else 0) == proxy.counts["answers"]


def test_data_freezes_while_pong_goes_on() -> None:
    """A silent stall: the socket is open and answers PING, no data comes; after it all of it in order."""
    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"ws://127.0.0.1:{proxy.port}/ws") as ws:
            proxy.freeze_data()
            await ws.send_str("go")
            for _ in range(3):
                await ws.send_str("PING")
                assert "PONG" == (await ws.receive(timeout=10)).data
            proxy.thaw_data()
            got = [(await ws.receive(timeout=10)).data for _ in range(COUNT + 1)]
            assert list(range(COUNT)) == numbers(got[:-1])

    with_proxy(Plan(1), act)


def test_everything_freezes_and_a_cut_ends_it() -> None:
    """A frozen line answers nothing, not even PING; cut() resets every line that is open."""
    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        async with session.ws_connect(f"ws://127.0.0.1:{proxy.port}/ws") as ws:
            await ws.send_str("PING")
            assert "PONG" == (await ws.receive(timeout=10)).data
            proxy.freeze()
            await ws.send_str("PING")
            with pytest.raises(asyncio.TimeoutError):
                await ws.receive(timeout=0.3)
        proxy.thaw()
        async with session.ws_connect(f"ws://127.0.0.1:{proxy.port}/ws") as ws:
            assert 1 <= await asyncio.to_thread(proxy.cut)
            assert (await ws.receive(timeout=10)).type in (
                aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR, aiohttp.WSMsgType.CLOSE)

    with_proxy(Plan(1), act)


def test_tls_on_both_sides(tmp_path: Path) -> None:
    """Clients meet a certificate of the exchange's authority, the venue a TLS client; faults are the same."""
    authority = certificates.make(tmp_path)

    async def run(is_tls: bool) -> tuple[list[str], list[Happened]]:
        server = certificates.server_context(tmp_path) if is_tls else None
        client = ssl.create_default_context(cafile=authority)
        async with Venue(server) as venue, aiohttp.ClientSession() as session:
            proxy = FaultProxy(("127.0.0.1", venue.port), Plan(11, drop=0.1, duplicate=0.1, reorder=0.1),
                               server_tls=server, target_tls=client if is_tls else None)
            with proxy:
                return await heard(session, proxy, **({"ssl": client} if is_tls else {})), proxy.happened

    assert asyncio.run(run(True)) == asyncio.run(run(False))


@pytest.mark.parametrize("seed", [1, 256_374_450, fresh_seed()])  # the second's next seed loses "end"
def test_the_same_seed_gives_the_same_faults(seed: int) -> None:
    """Two runs of one seed hear the same; another seed and another line hear something else."""
    async def act(venue: Venue, proxy: FaultProxy, session: aiohttp.ClientSession) -> None:
        texts.append([numbers(await heard(session, proxy)) for _ in range(2)])

    texts: list[list[list[int]]] = []
    plans = [Plan(number, drop=0.05, duplicate=0.1, reorder=0.1) for number in (seed, seed, seed + 1)]
    happened = [with_proxy(plan, act).happened for plan in plans]
    assert happened[0] == happened[1] != happened[2]
    assert texts[0] == texts[1] != texts[2], f"seed {seed}"
    assert texts[0][0] != texts[0][1]


def test_frames_of_every_size_and_fragment_are_one_message() -> None:
    """Lengths of one, two and eight bytes, masks and fragments: payload and raw bytes are what came."""
    key = bytes((1, 2, 3, 4))
    small, middle, large = b"a" * 125, b"b" * 60_000, b"c" * 70_000
    frames = [
        bytes((0x81, 125)) + small,
        bytes((0x01, 126)) + len(middle).to_bytes(2, "big") + middle,
        bytes((0x8A, 0)),  # a control frame between two fragments
        bytes((0x80, 127)) + len(large).to_bytes(8, "big") + large,
        bytes((0x81, 0x80 | 4)) + key + bytes(b ^ key[at & 3] for at, b in enumerate(b"PING")),
    ]
    reader, found = MessageReader(), []
    stream = b"".join(frames)
    for at in range(0, len(stream), 1_009):
        found += reader.feed(stream[at:at + 1_009])
    assert [small, b"", middle + large, b"PING"] == [message.payload for message in found]
    assert [True, False, True, False] == [message.is_data for message in found]
    assert len(stream) == sum(len(message.raw) for message in found)


def test_a_plan_of_impossible_chances_is_refused() -> None:
    """Chances that sum to more than one are a mistake in the test."""
    with pytest.raises(ValueError, match=r"must sum to 0\.\.1"):
        Plan(1, drop=0.6, duplicate=0.6)
