"""FL12: fees that differ from the schedule we know: no trade without one, a balance that tells the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Rule, TradeStatus
from pipeline.stages.account import Markets
from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.models.core_rig import FULL, T0_NS, balance, event, fill, instrument, pack, report, started, top
from tests.models.fill_stream import Facts
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

T = TradeStatus
MONEY = 1_000 * MICRO
CALM_NS = 6 * NS_PER_S


def fee_of(price_ticks: int, size: int, rate_ppm: int) -> int:
    """Return the venue's fee: exact, floored to 10 micro-dollars (venue sheet 14.1)."""
    price = Fraction(price_ticks, 10_000)
    return int(Fraction(size) * Fraction(rate_ppm, MICRO) * price * (1 - price) // 10 * 10)


class Venue:
    """Charges by its own schedule; trade learns of a new one later. Balances are the venue's own."""

    def __init__(self, seed: int) -> None:
        self.rng, self.world = random.Random(seed), Facts(usd_micro=MONEY, fee_rate_ppm=40_000)
        self.markets = Markets()
        self.rate = dict.fromkeys((1, 2, 3), 40_000)  # as charged
        self.cash, self.wrong, self.unsettled, self.number = MONEY, 0, 0, 0
        for slot in event((1, 2, 3), fee_rate_ppm=40_000):
            self.markets.add(CODECS[Kind.INSTRUMENT].unpack(slot))
        self.tell_balance()

    def tell_balance(self) -> None:
        self.world.now_ns += CALM_NS
        self.world.tell(balance(self.cash))

    def trade(self) -> None:
        """Fill one order; what it cost is charged by the schedule in force, told by the one that we know."""
        rng, self.number = self.rng, self.number + 1
        row, size, ticks = rng.choice((1, 2, 3)), rng.randint(1, 50) * MICRO, rng.randrange(1_000, 9_000, 100)
        order = self.world.order(row, ticks, size)
        charged = fee_of(ticks, size, self.rate[row])
        rate_ppm, exponent = self.markets.fee_of(row)
        assert 1 == exponent
        told = fee_of(ticks, size, rate_ppm)
        self.cash -= ticks * size // 10_000 + charged
        self.wrong += told - charged
        for status in (T.MATCHED, T.CONFIRMED):
            self.world.tell(fill(order, size, self.number, status=status, fee_usd_micro=told))

    def change(self) -> None:
        """A schedule changes at the venue; sometimes we hear of it at once."""
        row = self.rng.choice((1, 2, 3))
        self.rate[row] = self.rng.choice((0, 20_000, 40_000, 70_000))
        if self.rng.random() < 0.5:
            self.hear(row)

    def hear(self, row: int) -> None:
        slot = instrument(row, row - 1, 3, fee_rate_ppm=self.rate[row])
        self.markets.add(CODECS[Kind.INSTRUMENT].unpack(slot))
        self.world.tell(slot)


def test_FL12_every_difference_rings_and_is_known_to_the_micro_dollar(
    gate_record: Callable[..., None],
) -> None:
    """Schedules change, heard of or not: our ledger and the unexplained part are the venue's cash."""
    first, count, rang = fresh_seed(), figure("FL12", "changes"), 0
    print(f"seed {first}")
    for seed in range(first, first + count):
        venue = Venue(seed)
        for _ in range(6):
            before, alarms = venue.wrong, venue.world.facts.alarms.count("cash_differs")
            if venue.rng.random() < 0.4:
                venue.change()
            for _ in range(venue.rng.randint(0, 3)):
                venue.trade()
            venue.world.perhaps_die(venue.rng, 0.1)
            venue.tell_balance()
            facts = venue.world.facts
            is_wrong = venue.wrong != before
            assert alarms + is_wrong == facts.alarms.count("cash_differs"), seed
            rang += is_wrong
            collateral = facts.gate.collateral
            explained = facts.positions.cash_usd_micro
            assert venue.cash - MONEY == explained + collateral.unexplained_usd_micro, seed
            assert venue.wrong == collateral.unexplained_usd_micro, seed
    assert rang > count // 4
    gate_record("FL12", "changes", count, first)


def test_FL12_no_false_alarm_from_what_is_on_its_way() -> None:
    """Open orders, unsettled trades, fills a moment ago, a market that is over and not redeemed yet."""
    venue = Venue(1)
    world, facts = venue.world, venue.world.facts
    order = world.order(1, 5_000, 10 * MICRO)
    fee = fee_of(5_000, 10 * MICRO, 40_000)
    world.tell(balance(MONEY - 7 * MICRO))  # it holds some of it for the order
    world.tell(fill(order, 10 * MICRO, 1, status=T.MATCHED, fee_usd_micro=fee))
    venue.cash -= 5 * MICRO + fee
    world.tell(balance(MONEY))  # asked for before the match
    world.now_ns += CALM_NS
    world.tell(balance(MONEY), fill(order, 10 * MICRO, 1, status=T.CONFIRMED, fee_usd_micro=fee))
    world.tell(report(1, OrderState.MATCHED, matched_micro=10 * MICRO))
    venue.tell_balance()
    world.tell(pack(Kind.RESOLVED, instrument=1, payout_micro_yes=MICRO))
    venue.tell_balance()  # not redeemed yet
    venue.cash += 10 * MICRO
    venue.tell_balance()
    assert 0 == facts.alarms.count("cash_differs") == facts.gate.collateral.unexplained_usd_micro
    venue.cash += 3 * MICRO  # somebody pays in
    venue.tell_balance()
    assert (1, 3 * MICRO) == (
        facts.alarms.count("cash_differs"), facts.gate.collateral.unexplained_usd_micro)


def test_FL12_an_unknown_fee_is_no_trade() -> None:
    """A market whose schedule is not known any more takes no risk; a late fill keeps the last known one."""
    rig = started(*event((1, 2, 3), fee_rate_ppm=40_000))
    unknown = instrument(2, 1, 3, fee_rate_ppm=0, rules=FULL & ~int(Rule.TRADABLE))
    rig.feed(unknown)
    decided = rig.feed(*(top(row, [(2_000, 50)], [(3_000, 50)], T0_NS) for row in (1, 2, 3)))
    assert Kind.PACKAGE not in [one.kind for one in decided]
    assert {Cause.NOT_TRADABLE} >= {one.cause for one in decided if one.kind == Kind.VERDICT}

    markets = Markets()
    for slot in (*event((1, 2, 3), fee_rate_ppm=40_000), unknown):
        markets.add(CODECS[Kind.INSTRUMENT].unpack(slot))
    decoder = UserDecoder(
        owner="key", maker_addresses=(), token_lookup=markets.tokens, fee_of=markets.fee_of, account=0,
        source=1)
    token = next(name for name, (row, outcome, _) in markets.tokens.items() if (row, outcome) == (2, 0))
    [slot] = decoder.decode_trade_row({
        "id": "t", "taker_order_id": "0x" + "33" * 32, "asset_id": token, "side": "BUY", "size": "10",
        "price": "0.5", "match_time": "1790000000", "owner": "key", "status": "CONFIRMED",
        "maker_orders": []}, 1).records
    assert fee_of(5_000, 10 * MICRO, 40_000) == CODECS[Kind.FILL].unpack(slot).fee_usd_micro
