"""PR04: what waited while a lane stood leaves only if it still may; the order driver on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.kinds import Cause, HaltLevel, OrderState
from pipeline.net.edge import Outbox, Submit
from pipeline.net.orders import OrderConnections
from pipeline.shm.halt import HaltPage
from pipeline.units import NS_PER_S
from tests.models.gateway_rig import EPOCH, Gateway
from tests.models.signer_rig import T0_NS

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
WAIT_S = 5.0


class Machine:
    """Requests with a last time each; notes what the driver says."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.until_ns: dict[int, int] = {}
        self.answered: list[int] = []
        self.failed: list[tuple[int, bool, Cause]] = []

    def ask(self, tag: int, until_ns: int) -> None:
        self.until_ns[tag] = until_ns
        self.outbox.put(Submit(tag, b"POST /%d HTTP/1.1\r\n\r\n" % tag))

    def refuses(self, now_ns: int, tag: int) -> Cause:
        return Cause.DEADLINE if now_ns > self.until_ns[tag] else Cause.NONE

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        self.answered.append(tag)

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        self.failed.append((tag, was_sent, cause))

    def on_timer(self, now_ns: int) -> None:
        raise AssertionError("a driver has no timer of its own")

    def flush(self) -> bool:
        return True


async def until(is_so: Callable[[], object]) -> None:
    """Let the loop go on until it is so."""
    loop = asyncio.get_running_loop()
    end_s = loop.time() + WAIT_S
    while not is_so():
        assert loop.time() < end_s
        await asyncio.sleep(0)


def test_PR04_what_waited_past_its_deadline_never_leaves() -> None:
    """One connection, three requests: the second's time ends while the first is answered; the third goes."""
    asked: list[bytes] = []
    go, over = asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(4_096):
                asked.append(data.split()[1])
                await go.wait()
                writer.write(ANSWER)
        writer.close()
        over.set()

    async def run() -> Machine:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        machine, now_ns = Machine(), 1_000
        driver = OrderConnections(
            machine, f"http://127.0.0.1:{port}", lambda: now_ns, lambda: None, None, lambda _tag, _at: None,
            connections=1)
        driver.warm()
        for tag, until_ns in ((1, 1_000), (2, 1_999), (3, 3_000)):
            machine.ask(tag, until_ns)
        driver.pump()
        await until(lambda: asked)
        now_ns = 2_000
        go.set()
        await until(lambda: len(machine.answered) == 2)
        await driver.close()
        server.close()
        await asyncio.wait_for(over.wait(), WAIT_S)
        return machine

    machine = asyncio.run(run())
    assert ([1, 3], [(2, False, Cause.DEADLINE)]) == (machine.answered, machine.failed)
    assert [b"/1", b"/3"] == asked


@pytest.mark.parametrize(("level", "after_ns", "cause"), [
    (HaltLevel.H0, NS_PER_S, Cause.NONE),
    (HaltLevel.H0, NS_PER_S + 1, Cause.DEADLINE),
    (HaltLevel.H1, 0, Cause.HALT_LEVEL),
    (HaltLevel.H3, 0, Cause.HALT_LEVEL),
])
def test_PR04_a_gateway_asks_again_before_the_bytes(
    tmp_path: Path, level: HaltLevel, after_ns: int, cause: Cause,
) -> None:
    """What was right when the request was made may not be any more: time and halt count at the write."""
    gateway = Gateway(tmp_path)
    gateway.machine.on_beat(T0_NS, EPOCH, 0)
    gateway.sign(1)
    request = gateway.machine.outbox.take()
    assert isinstance(request, Submit)
    if level:
        HaltPage(tmp_path, "operator").put(level, now_ns=T0_NS, reason="a test")
    now_ns = T0_NS + after_ns
    assert cause == gateway.machine.refuses(now_ns, request.tag)
    assert Cause.NONE == gateway.machine.refuses(now_ns, request.tag + 1)  # it knows nothing against it
    if cause:
        gateway.machine.on_failure(now_ns, request.tag, False, cause)
        assert [(1, OrderState.SENT, Cause.NONE), (1, OrderState.UNSENT, cause)] == gateway.reports()
