"""OR12 on real sockets: a cancel and a match reach the local exchange at the same time, on two connections.

Whoever comes first wins there. Our side is the product's: answers, user channel, reconcile and trade; of half
of the orders the user channel says nothing. The exchange's own books are the truth.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import aiohttp

from pipeline.codec import runs, unpack
from pipeline.kinds import Kind, OrderState, OrderType, Origin, Side
from pipeline.native.ring import Reader, Writer
from pipeline.net.edge import Ask
from pipeline.sim.server import Clock, Server
from pipeline.stages.account import AccountMachine, AccountSettings
from pipeline.stages.stage import Counts
from pipeline.units import MICRO
from pipeline.venues.polymarket import answers
from pipeline.venues.polymarket.answers import Sent
from pipeline.venues.polymarket.auth import L2Auth, Secret
from tests.models.core_rig import instrument, pack, started, tick
from tests.models.signer_rig import ring
from tests.shared import fresh_seed
from tests.sim_trader import KEYS, Trader, exchange_of, market
from tests.tools.faultrows import figure

RACES = figure("OR12", "socket_races")
SHARES, PRICE_TICKS = 10, 4_000
WAIT_S = 20.0
MARKET = market(fee_rate_ppm=0)
S = OrderState


class Venue:
    """The exchange on a port of this machine, in a thread."""

    def __init__(self, traders: list[Trader]) -> None:
        self.exchange = exchange_of(traders, [MARKET])
        self._server = Server(self.exchange, Clock())
        self.port = self._server.listen("clob", "127.0.0.1", 0)
        self._stops = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(lambda _now_ns: 0.01, self._stops.is_set)
        self._server.close()

    def close(self) -> None:
        self._stops.set()
        self._thread.join()


class Desk:
    """Trade and account over aiohttp; `feed` is the stream."""

    def __init__(self, us: Trader, port: int, session: aiohttp.ClientSession) -> None:
        self.us, self.url, self.session = us, f"http://127.0.0.1:{port}", session
        yes, no = (int(token).to_bytes(32, "big") for token in MARKET.tokens)
        row = instrument(1, token_yes=yes, token_no=no, condition=bytes.fromhex(MARKET.condition[2:]))
        self.rig = started(row)
        memory, keys = ring(512), us.credentials
        auth = L2Auth(
            us.owner, keys.api_key, Secret(base64.urlsafe_b64decode(keys.secret)),
            Secret(keys.passphrase.encode()))
        self.machine = AccountMachine(
            AccountSettings(
                user_ws_url="", clob_url=self.url, source=1, account=0, signature_type=0, source_seq=0,
                since_s=0, is_gentle=False, login=b""),
            keys.api_key, (us.wallet,), auth, Writer(memory), Counts())
        self.machine.markets.add(unpack(row))
        self._told = Reader(memory)
        self.unheard: set[str] = set()  # orders of which the user channel says nothing
        self.raced: list[tuple[bool, bool]] = []  # was cancelled, was matched, by the answers

    @property
    def orders(self) -> Any:
        return self.rig.trader.facts.orders

    def feed(self, *slots: bytes) -> None:
        now_ns = time.time_ns()
        for slot in slots:
            for one in self.rig.feed(slot[:8] + now_ns.to_bytes(8, "little") + slot[16:]):
                if one.kind == Kind.RECONCILE:
                    self.machine.on_reconcile(one)

    async def ask(self, who: Trader, method: str, path: str, value: Any) -> tuple[int, bytes]:
        body = json.dumps(value, separators=(",", ":")).encode()
        headers = who.headers(method, path, body, time.time_ns())
        async with self.session.request(method, self.url + path, data=body, headers=headers) as answer:
            return answer.status, await answer.read()

    async def place(self, number: int) -> Sent:
        """Rest one of our orders, as trade and gateway do it."""
        self.rig.trader.apply_decision(pack(
            Kind.PACKAGE, now_ns=time.time_ns(), group_no=number, basket=number, event=1, leg_count=1,
            size_micro=SHARES * MICRO))
        self.rig.trader.apply_decision(pack(
            Kind.INTENT, now_ns=time.time_ns(), instrument=1, order_no=number, group_no=number,
            price_ticks=PRICE_TICKS, size_micro=SHARES * MICRO, side=int(Side.BUY), cancel_rest=0,
            order_type=int(OrderType.GTC), worst_usd_micro=PRICE_TICKS * SHARES * 100))
        body = self.us.body(MARKET, price="0.4", quantity=str(SHARES))
        status, said = await self.ask(self.us, "POST", "/order", body)
        order_hash = bytes.fromhex(json.loads(said)["orderID"][2:])
        sent = Sent(number, number, order_hash, int(Side.BUY), 1)
        self.feed(answers.report(
            sent, answers.Verdict(S.SENT, answers.Cause.NONE), 0, time.time_ns(), Origin.GATEWAY))
        self.feed(*answers.order_answer(status, said, sent, time.time_ns()))
        assert S.LIVE == self.orders.by_no[number].state
        return sent

    async def race(self, sent: Sent, other: Trader, quantity: str, cancel_s: float, sell_s: float) -> None:
        """Cancel it, while somebody sells into it."""
        async def cancel() -> bool:
            await asyncio.sleep(cancel_s)
            self.orders.asked_cancel(sent.order_no, time.time_ns())
            status, said = await self.ask(
                self.us, "DELETE", "/order", {"orderID": "0x" + sent.order_hash.hex()})
            self.feed(*answers.cancel_answer(status, said, (sent,), time.time_ns()))
            return bool(json.loads(said)["canceled"])

        async def sell() -> bool:
            await asyncio.sleep(sell_s)
            body = other.body(MARKET, side="SELL", price="0.4", quantity=quantity, order_type="FAK")
            status, said = await self.ask(other, "POST", "/order", body)
            return status == 200 and json.loads(said)["status"] == "matched"

        self.raced.append(tuple(await asyncio.gather(cancel(), sell())))  # type: ignore[arg-type]

    async def listen(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            if not any(name in message.data for name in self.unheard):
                self.machine.on_frame(time.time_ns(), 0, message.data.encode())
                self.take()

    def take(self) -> None:
        self.machine.flush()
        self.feed(*runs(self._told.read(512)))

    async def settle(self) -> None:
        """Let time and reconciles pass until every order is over."""
        end_s = time.monotonic() + WAIT_S
        while self.orders.open_count:
            assert time.monotonic() < end_s, self.orders.open_orders
            self.feed(tick(time.time_ns()))
            rest = self.machine.rest
            rest.on_timer(time.time_ns())
            rest.work(time.time_ns())
            while isinstance(asked := rest.outbox.take(), Ask):
                async with self.session.get(asked.base + asked.target, headers=dict(asked.headers)) as answer:
                    rest.on_answer(time.time_ns(), asked.tag, answer.status, {}, await answer.read())
            self.take()
            await asyncio.sleep(0.002)  # the user channel's turn


async def play(venue: Venue, us: Trader, other: Trader, draw: random.Random) -> Desk:
    async with aiohttp.ClientSession() as session:
        desk = Desk(us, venue.port, session)
        keys = us.credentials
        async with session.ws_connect(f"ws://127.0.0.1:{venue.port}/ws/user") as socket:
            await socket.send_json({"type": "user", "markets": [], "auth": {
                "apiKey": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase}})
            listening = asyncio.create_task(desk.listen(socket))
            for number in range(1, RACES + 1):
                sent = await desk.place(number)
                if number % 2:
                    desk.unheard.add("0x" + sent.order_hash.hex())
                quantity = draw.choice(("3", "7.5", str(SHARES)))
                cancel_s, sell_s = draw.choice((0, 0, 0.001)), draw.choice((0, 0, 0.001))
                if number <= 2:  # each of them is first once, whatever the machine does
                    quantity, cancel_s, sell_s = str(SHARES), 0.02 * (number == 2), 0.02 * (number == 1)
                await desk.race(sent, other, quantity, cancel_s, sell_s)
            await desk.settle()
            await socket.close()
            await listening
        return desk


def test_OR12_cancel_and_match_meet_at_the_exchange(gate_record: Callable[..., None]) -> None:
    """Every order ends with exactly what the exchange matched of it, whoever was first and who told it."""
    seed = fresh_seed()
    print(f"seed {seed}")
    us = Trader(key=KEYS[0])
    other = Trader("other", KEYS[1], sets_micro={MARKET.condition: 10**12})
    venue = Venue([us, other])
    try:
        desk = asyncio.run(play(venue, us, other, random.Random(seed)))
    finally:
        venue.close()
    facts, spent = desk.rig.trader.facts, 0
    for number in range(1, RACES + 1):
        order = facts.orders.by_no[number]
        there = venue.exchange.engine.orders["0x" + order.order_hash.hex()]
        assert (there.matched_micro, there.usd_micro) == (order.filled_micro, order.filled_usd_micro)
        assert not order.reserved_usd_micro
        spent += there.usd_micro
    assert -spent == facts.positions.cash_usd_micro
    assert {True, False} <= {was_cancelled for was_cancelled, _ in desk.raced}, "one always won"
    gate_record("OR12", "socket_races", RACES, seed)
