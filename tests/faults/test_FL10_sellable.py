"""FL10: shares that were just bought are no balance yet: what may be used is what is settled, and all of it.

The local exchange settles late, fails some matches, and refuses whoever sells what it does not have yet.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from pipeline.core.holdings import holdings
from pipeline.kinds import OrderState, OrderType, Origin, Side
from pipeline.sim.errors_text import Refusal
from pipeline.sim.settings import ExchangeSettings
from pipeline.sim.trades import Placed
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models.core_rig import report
from tests.models.fill_stream import Facts
from tests.shared import fresh_seed
from tests.sim_orders import order
from tests.sim_trader import NOW_NS, Trader, exchange_of, market
from tests.tools.faultrows import figure

ASK, BID = 5_000, 4_800
ROW = 1


class Desk:
    """Buys at random and sells whatever trade's facts say is free; its user channel tells the facts."""

    def __init__(self, seed: int) -> None:
        self.rng, self.world, self.market, client = random.Random(seed), Facts((ROW,)), market(), Trader()
        delay_ns = self.rng.choice((0, 1, 5, 20, 60)) * NS_PER_S
        self.exchange = exchange_of([client], [self.market], ExchangeSettings(
            mined_after_ns=delay_ns // 3, confirmed_after_ns=delay_ns, settle_failed_ppm=150_000,
            settle_retried_ppm=100_000, failed_within_ns=delay_ns), seed)
        self.account, self.now_ns = self.exchange.accounts["demo"], NOW_NS
        self.socket = self.exchange.open_socket(NOW_NS, "user")
        keys = client.credentials
        auth = {"apiKey": keys.api_key, "secret": keys.secret, "passphrase": keys.passphrase}
        login = json.dumps({"type": "user", "auth": auth, "markets": []})
        self.exchange.on_text(NOW_NS, self.socket, login.encode())
        of = self.market
        tokens = {token: (ROW, outcome, of.condition) for outcome, token in enumerate(of.tokens)}
        self.decoder = UserDecoder(
            owner=keys.api_key, maker_addresses=(client.wallet,), token_lookup=tokens,
            fee_of=lambda row: (self.market.fee_rate_ppm, 1), account=0, source=1)
        self.hear()

    def step(self) -> None:
        """Let time pass; offer and bid for as much as anybody may want."""
        self.now_ns += self.rng.choice((10, 300, 4_000, 20_000)) * NS_PER_MS
        self.world.now_ns = self.now_ns
        while (due_ns := self.exchange.next_timer_ns()) is not None and due_ns <= self.now_ns:
            self.exchange.on_timer(due_ns)
        levels = [(False, ASK, 500 * MICRO), (True, BID, 500 * MICRO)]
        self.exchange.foreign_changes(self.now_ns, self.market, levels)
        self.hear()

    def send(self, side: Side, size: int) -> Refusal | Placed:
        """Send one order; what trade knows of it stands before what the venue makes of it."""
        ticks = ASK if side == Side.BUY else BID
        made = order(self.account, self.market, side == Side.BUY, ticks, size)
        intent = self.world.order(ROW, ticks, size, side=side, order_type=OrderType.GTC, sent=False)
        self.world.tell(report(
            intent.order_no, OrderState.SENT, Origin.GATEWAY, order_hash=bytes.fromhex(made.order_id[2:])))
        placed = self.exchange.engine.submit(self.now_ns, made)
        if isinstance(placed, Refusal):
            self.world.tell(report(intent.order_no, OrderState.REJECTED))
        self.hear()
        return placed

    def hear(self) -> None:
        for said in self.exchange.take_output():
            if said.socket == self.socket and said.frame not in (b"", b"PONG"):
                found = self.decoder.decode(said.frame, self.now_ns)
                assert found.reject is None, found.text
                self.world.tell(*found.records)

    def free(self) -> int:
        return sum(one.free_micro(0) for one in holdings(self.world.facts))

    @property
    def settled(self) -> int:
        """Return the exchange's own word: a balance without what a failed settlement could take back."""
        token = self.market.tokens[0]
        ledger = self.exchange.ledger
        return max(0, ledger.balance("demo", token) - ledger.unsettled("demo", token))


def test_FL10_only_settled_shares_are_sold_and_all_of_them_can_be(gate_record: Callable[..., None]) -> None:
    """Settled after 0 to 60 s, or never: no sale of what is free is refused, and nothing stays unused."""
    first, count, sales, waited, seed = fresh_seed(), figure("FL10", "sales"), 0, 0, fresh_seed()
    print(f"seed {first}")
    while sales < count:
        desk = Desk(seed)
        rng: Any = desk.rng
        for _ in range(20):
            desk.step()
            assert desk.settled == desk.free(), seed
            if rng.random() < 0.6:
                desk.send(Side.BUY, rng.randint(5, 40) * MICRO)
                assert desk.settled == desk.free(), seed
            free = desk.free() // 10_000 * 10_000
            held = sum(one.held_micro[0] for one in holdings(desk.world.facts))
            waited += held > free
            if free >= 5 * MICRO and rng.random() < 0.7:
                assert isinstance(desk.send(Side.SELL, free), Placed), (seed, free)
                sales += 1
        seed += 1
    assert waited > count // 4
    gate_record("FL10", "sales", sales, first)
