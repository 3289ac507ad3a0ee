"""One account of the product on the local exchange, in simulated time, with somebody on its user channel.

The product's own account machine and trader; the exchange answers REST and makes the true frames. `tell` is
asked about each true frame and returns what is heard instead. The exchange's trades decide what is held.
"""

from __future__ import annotations

import base64
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import orjson

from pipeline import records as r
from pipeline.codec import CODECS, unpack
from pipeline.net.edge import Ask, CloseSocket, OpenSocket, SendText
from pipeline.sim.book import Order, OrderType
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.trades import Placed
from pipeline.stages.account import AccountMachine, AccountSettings
from pipeline.stages.reconcile import contradictions_gauge
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.auth import L2Auth, Secret
from tests.models.core_rig import instrument, pack, report, started, tick
from tests.sim_trader import NOW_NS, Trader, exchange_of, market

DESK = Trader(cash_micro=10**15)  # derives an address: once
ROWS = (1, 2)
SETTINGS = ExchangeSettings(
    settle_failed_ppm=150_000, settle_retried_ppm=150_000, failed_within_ns=NS_PER_S)
REPORT = CODECS[r.Kind.REPORT]
INTENT = CODECS[r.Kind.INTENT]
Tell = Callable[[bytes], Iterable[bytes]]


class Gauges(Counts):
    """Counts that a test can read."""

    def __init__(self) -> None:
        super().__init__()
        self.values: Counter[str] = Counter()

    def add(self, name: str, amount: int = 1) -> None:
        self.values[name] += amount

    def put(self, name: str, value: int) -> None:
        self.values[name] = value


class AccountWorld:
    """Orders go to the engine directly; everything that is told of them goes through the account's edge."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_ns = NOW_NS
        self.tell: Tell = lambda frame: [frame]
        self.markets = [market(row, fee_rate_ppm=0) for row in ROWS]
        self.exchange = exchange_of([DESK], self.markets, SETTINGS, seed)
        slots = [
            instrument(row, condition=row.to_bytes(32, "big"), token_yes=_bytes(of.tokens[0]),
                       token_no=_bytes(of.tokens[1]))
            for row, of in zip(ROWS, self.markets, strict=True)]
        self.rig = started(*slots, usd_micro=10**15)
        self.gauges = Gauges()
        self.said: list[bytes] = []  # by the account's edge, on the way to trade
        keys = DESK.credentials
        settings = AccountSettings(
            user_ws_url="wss://x", clob_url="https://x", source=1, account=0, signature_type=0, source_seq=0,
            since_s=0, is_gentle=False, login=b"", backoff_ns_min=NS_PER_MS)
        self._login = {"apiKey": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase}
        auth = L2Auth(DESK.owner, keys.api_key, Secret(base64.urlsafe_b64decode(keys.secret)),
                      Secret(keys.passphrase.encode()))
        self.machine = AccountMachine(
            settings, keys.api_key, (DESK.owner,), auth, self, self.gauges)  # type: ignore[arg-type]
        for slot in slots:
            self.machine.on_instrument(unpack(slot))
        self.orders: dict[str, Order] = {}
        self.terms: dict[str, tuple[int, int, int]] = {}  # order id -> row, outcome, side
        self._socket = 0
        self.step(NS_PER_MS)

    # -- what happens ------------------------------------------------------------------------------

    def push(self, run: bytes) -> bool:
        """The ring of the account's lane."""
        self.said.append(run)
        return True

    def place(
        self, row: int, outcome: int, is_buy: bool, price_ticks: int, size_micro: int, kind: str,
    ) -> str:
        """Decide an order, send it, and hear the answer; the user channel tells on its own."""
        number, usd_micro = len(self.orders) + 1, price_ticks * size_micro // 10_000
        amounts = (usd_micro, size_micro) if is_buy else (size_micro, usd_micro)
        account = self.exchange.accounts["demo"]
        order_id = "0x" + self.rng.randbytes(32).hex()
        order = Order(
            order_id, account, DESK.credentials.api_key, self.markets[row - 1], outcome, is_buy,
            OrderType(kind), False, price_ticks, *amounts, 0, self.now_ns)
        side = int(r.Side.BUY if is_buy else r.Side.SELL)
        slot = pack(
            r.Kind.INTENT, now_ns=self.now_ns, instrument=row, order_no=number, outcome=outcome, side=side,
            order_type=int(r.OrderType[kind]), price_ticks=price_ticks, size_micro=size_micro,
            maker_amount=amounts[0], taker_amount=amounts[1], worst_usd_micro=usd_micro)
        self.rig.trader.facts.apply_decision(slot)
        self.machine.own.on_intent(INTENT.unpack(slot))
        self.orders[order_id], self.terms[order_id] = order, (row, outcome, side)
        self._answer(number, order_id, r.OrderState.SENT, r.Origin.GATEWAY)
        self.exchange.on_timer(self.now_ns)
        placed = self.exchange.engine.submit(self.now_ns, order)
        if isinstance(placed, Placed):
            state = r.OrderState.MATCHED if placed.status == "matched" else r.OrderState.LIVE
            shares, money = order.matched_micro, order.usd_micro
            told = {"making_micro": money if is_buy else shares, "taking_micro": shares if is_buy else money}
            self._answer(number, order_id, state, r.Origin.HTTP, **(told if shares else {}))
        else:
            self._answer(number, order_id, r.OrderState.REJECTED, r.Origin.HTTP, matched_micro=0)
        return order_id

    def clone_next_id(self) -> str:
        """Return the id that the next order will have."""
        rng = random.Random()
        rng.setstate(self.rng.getstate())
        return "0x" + rng.randbytes(32).hex()

    def _answer(
        self, number: int, order_id: str, state: r.OrderState, origin: r.Origin, **told: int
    ) -> None:
        slot = report(number, state, origin, self.now_ns, order_hash=bytes.fromhex(order_id[2:]), **told)
        self.machine.on_report(self.now_ns, REPORT.unpack(slot))
        self._decided(self.rig.feed(slot))

    def step(self, dt_ns: int) -> None:
        """Let time pass, and carry everything that is said."""
        self.now_ns += dt_ns
        self.exchange.on_timer(self.now_ns)
        self._hear()
        self.machine.on_timer(self.now_ns)
        self._decided(self.rig.feed(tick(self.now_ns)))
        self._carry()

    def settle(self) -> None:
        """Let every trade reach its end and two whole passes of the venue's lists be read."""
        for _ in range(12):
            self.step(NS_PER_S // 2)
        for _ in range(8):
            self.step(20 * NS_PER_S)
            self.step(NS_PER_S // 2)

    # -- what is carried -----------------------------------------------------------------------------

    def _hear(self) -> None:
        for out in self.exchange.take_output():
            if out.socket != self._socket:
                continue
            if out.is_close:
                self._lost()
                continue
            for frame in self.tell(out.frame) if out.frame != b"PONG" else [out.frame]:
                self.machine.on_frame(self.now_ns, 0, frame)
                self._carry()

    def _lost(self) -> None:
        self._socket = 0
        self.machine.on_close(self.now_ns, 0, r.Cause.DISCONNECT)

    def _carry(self) -> None:
        """Carry records to trade, its questions back, and questions to the exchange, until nobody speaks."""
        is_busy = True
        while is_busy:
            is_busy = bool(self.machine.rest.work(self.now_ns))
            while self.said:
                run = self.said.pop(0)
                self._decided(self.rig.feed(run[:8] + self.now_ns.to_bytes(8, "little") + run[16:]))
                is_busy = True
            for outbox in (self.machine.outbox, self.machine.rest.outbox):
                while (command := outbox.take()) is not None:
                    is_busy = True
                    self._do(command)

    def _do(self, command: Any) -> None:
        if isinstance(command, Ask):
            names = {name.lower(): value for name, value in command.headers}
            answer = self.exchange.on_request(
                self.now_ns, "clob", command.method, command.target, names, command.body)
            self.machine.rest.on_answer(self.now_ns, command.tag, answer.status, {}, answer.body)
        elif isinstance(command, OpenSocket):
            self._socket = self.exchange.open_socket(self.now_ns, "user")
            self.machine.on_open(self.now_ns, 0)
        elif isinstance(command, CloseSocket) and self._socket:
            self.exchange.close_socket(self.now_ns, self._socket)
            self._lost()
        elif isinstance(command, SendText) and command.data != b"PING":
            login = {"type": "user", "auth": self._login}
            self.exchange.on_text(self.now_ns, self._socket, orjson.dumps(login))
        elif isinstance(command, SendText) and self._socket:
            self.exchange.on_text(self.now_ns, self._socket, command.data)

    def _decided(self, decisions: Iterable[Any]) -> None:
        for decision in decisions:
            if decision.kind == r.Kind.RECONCILE:
                self.machine.on_reconcile(decision)
            elif decision.kind == r.Kind.CANCEL:
                order_id = "0x" + bytes(decision.order_hash).hex()
                order = self.exchange.engine.open.get("demo", {}).get(order_id)
                if order is not None:
                    self.exchange.engine.cancel(self.now_ns, [order])

    # -- what is true ------------------------------------------------------------------------------

    def held(self) -> Counter[tuple[int, int]]:
        """Return the shares of each (row, outcome) by the exchange's own trades that did not fail."""
        found: Counter[tuple[int, int]] = Counter()
        for trade in self.exchange.engine.trades.values():
            for order in (trade.taker, trade.maker):
                if order is not None and trade.status != "FAILED":
                    row, outcome, side = self.terms[order.order_id]
                    found[row, outcome] += trade.size_micro if side == r.Side.BUY else -trade.size_micro
        return found

    def differing(self) -> list[tuple[int, int]]:
        """Return the (row, outcome) of which trade holds something else than the exchange says."""
        true, facts = self.held(), self.rig.trader.facts
        return [(row, outcome) for row in ROWS for outcome in (0, 1)
                if facts.positions.held(row, outcome) != true[row, outcome]]

    def is_stopped(self, row: int) -> bool:
        """Return whether nothing new is risked in the market: it is unexplained, or the account is halted."""
        facts = self.rig.trader.facts
        return bool(
            self.gauges.values[contradictions_gauge("")] or row in facts.quarantine.rows
            or row in facts.orders.reservations.unknown)


def _bytes(token: str) -> bytes:
    return int(token).to_bytes(32, "big")
