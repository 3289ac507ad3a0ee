"""core.trader: runs of decisions, timers, verdicts, cancels, restarts, and what a fill may change."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import CODECS, unpack
from pipeline.core.fills import QUARANTINE_MAX
from pipeline.core.trader import OUTPUT_SLOTS_MAX, Trader, slots_of
from pipeline.kinds import Cause, HaltLevel, Kind, OrderState, OrderType, Origin
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import (
    T0_NS,
    Rig,
    balance,
    config,
    event,
    fill,
    hash_of,
    pack,
    report,
    started,
    tick,
    top,
)

S = OrderState


def bought(*, price: int = 3_000, shares: float = 50, **limits: int) -> tuple[Rig, list[Any]]:
    """Return a rig that just decided to buy three outcomes, and its intents."""
    rig = started(*event([1, 2, 3]), **limits)
    for row in (1, 2, 3):
        decided = rig.feed(top(row, [(price - 100, shares)], [(price, shares)], seq=9))
    assert [Kind.PACKAGE, Kind.INTENT, Kind.INTENT, Kind.INTENT] == [record.kind for record in decided]
    return rig, decided[1:]


def kinds(decided: list[Any]) -> list[Kind]:
    return [Kind(record.kind) for record in decided]


def test_a_package_is_one_run_with_its_intents() -> None:
    """Package first, then its orders: numbers, amounts, deadline, salt, batch, cause, all from the record."""
    rig, intents = bought()
    package = rig.of(Kind.PACKAGE)[0]
    assert [(0, 4), (1, 4), (2, 4), (3, 4)] == [(record.part, record.parts) for record in (package, *intents)]
    assert (1, 1, 9, 3, 3, 50 * MICRO, 45 * MICRO) == (
        package.group_no,
        package.idea_no,
        package.basket,
        package.leg_count,
        package.order_count,
        package.payout_usd_micro,
        package.cost_usd_micro,
    )
    assert package.cause_seq == package.source_seq == rig.seq
    assert T0_NS == package.cause_venue_ns
    for place, intent in enumerate(intents):
        assert (place + 1, 1, place, 3, place, 3) == (
            intent.order_no,
            intent.group_no,
            intent.leg_no,
            intent.leg_count,
            intent.batch_index,
            intent.batch_count,
        )
        assert (15 * MICRO, 50 * MICRO, 50 * MICRO, 15 * MICRO) == (
            intent.maker_amount,
            intent.taker_amount,
            intent.size_micro,
            intent.worst_usd_micro,
        )
        assert (T0_NS + 250 * NS_PER_MS, T0_NS // NS_PER_MS, 7 << 32 | place + 1) == (
            intent.deadline_ns,
            intent.timestamp_ms,
            intent.salt,
        )
        assert (place + 1, 3_000, 0, 0, int(OrderType.FAK), 0, 0) == (
            intent.instrument,
            intent.price_ticks,
            intent.outcome,
            intent.side,
            intent.order_type,
            intent.intent_class,
            intent.cancel_rest,
        )
    facts = rig.trader.facts
    assert (3, 45 * MICRO) == (facts.orders.open_count, facts.orders.reservations.usd_micro)


def test_a_basket_with_an_open_group_is_busy() -> None:
    """The same basket again while its group is open: a verdict, no order; afterwards it may trade."""
    rig, intents = bought()
    decided = rig.feed(top(3, [(2_900, 50)], [(3_000, 40)]))
    assert [Kind.VERDICT] == kinds(decided)
    assert (Cause.GROUP_BUSY, 1, 9) == (decided[0].cause, decided[0].count, decided[0].basket)
    for number, intent in enumerate(intents):
        rig.feed(report(intent.order_no, S.SENT, Origin.GATEWAY), fill(intent, intent.size_micro, number))
    assert 0 == rig.trader.facts.orders.open_count
    later = T0_NS + NS_PER_S
    decided = []
    for row in (1, 2, 3):
        decided += rig.feed(top(row, [(2_900, 50)], [(3_000, 40)], later))
    assert Kind.PACKAGE in kinds(decided)


def test_verdict_repeats_are_counted_not_repeated() -> None:
    """At most one verdict a second of one (basket, cause); the next one, or a tick, tells the count."""
    rig, _ = bought()
    for size in range(1, 21):
        rig.feed(top(3, [(2_900, 50)], [(3_000, 20 + size)], T0_NS + size * NS_PER_MS))
    assert [1] == [verdict.count for verdict in rig.of(Kind.VERDICT)]
    rig.feed(tick(T0_NS + NS_PER_S))
    assert 1 == len(rig.of(Kind.VERDICT))  # the second is counted from the verdict, 1 ms after the package
    rig.feed(tick(T0_NS + NS_PER_S + 20 * NS_PER_MS))
    assert [1, 20] == [verdict.count for verdict in rig.of(Kind.VERDICT)]
    assert {Cause.GROUP_BUSY: 21} == rig.trader.counts  # the last one when the cooldown made detect ask again


def test_share_orders_are_cancelled_when_they_rest() -> None:
    """GTC orders of a package carry cancel_rest, and a resting rest is cancelled in the run of its report."""
    rig, intents = bought(price=3_100, shares=5.9)
    assert {(int(OrderType.GTC), 1)} == {(intent.order_type, intent.cancel_rest) for intent in intents}
    rig.feed(report(1, S.SENT, Origin.GATEWAY))
    decided = rig.feed(report(1, S.LIVE, Origin.HTTP, matched_micro=2 * MICRO))
    assert [Kind.CANCEL] == kinds(decided)
    assert (1, 1, 1, hash_of(1)) == (
        decided[0].order_no,
        decided[0].group_no,
        decided[0].cancel_no,
        decided[0].order_hash,
    )
    assert [] == rig.feed(report(1, S.LIVE, Origin.USER_CHANNEL))


def test_OR19_a_silent_order_is_unknown_on_a_tick() -> None:  # noqa: N802
    """After submit_timeout, on a tick only: UNKNOWN, a cancel, a reconcile; its market takes no new risk."""
    rig, _ = bought()
    rig.feed(report(1, S.SENT, Origin.GATEWAY), report(2, S.SENT, Origin.GATEWAY))
    rig.feed(top(3, [], [(9_000, 1)], T0_NS + 4 * NS_PER_S))
    assert S.SENT == rig.trader.facts.orders.by_no[1].state
    decided = rig.feed(tick(T0_NS + 4 * NS_PER_S))
    assert {Kind.BEAT, Kind.RECONCILE, Kind.CANCEL} == set(kinds(decided))
    assert [1, 2, 3] == [record.order_no for record in decided if record.kind == Kind.CANCEL]
    assert [S.UNKNOWN] * 3 == [order.state for order in rig.trader.facts.orders.open_orders]
    assert 45 * MICRO == rig.trader.facts.orders.reservations.usd_micro


def test_taker_delay_lengthens_the_timeout() -> None:
    """T_SUBMIT is the market's delay and a second where that is longer."""
    rig = started(*event([1, 2, 3], taker_delay_ns=5 * NS_PER_S))
    for row in (1, 2, 3):
        rig.feed(top(row, [(2_900, 50)], [(3_000, 50)]))
    rig.feed(tick(T0_NS + 5 * NS_PER_S))
    assert [S.INTENDED] * 3 == [order.state for order in rig.trader.facts.orders.open_orders]
    rig.feed(tick(T0_NS + 6 * NS_PER_S))
    assert [S.UNKNOWN] * 3 == [order.state for order in rig.trader.facts.orders.open_orders]


def test_FL06_fills_of_strangers_wait() -> None:  # noqa: N802
    """A fill that names only a hash we never heard waits, blocks its market, is booked when SENT names it."""
    rig, intents = bought()
    early = fill(intents[0], 50 * MICRO, 1, order_no=0)
    rig.feed(early, early)
    facts = rig.trader.facts
    held = facts.quarantine
    assert (0, 1, True) == (facts.positions.cash_usd_micro, held.count, 1 in held.rows)
    rig.feed(report(1, S.SENT, Origin.GATEWAY))
    assert (-15 * MICRO, 0, False) == (
        facts.positions.cash_usd_micro,
        facts.quarantine.count,
        1 in facts.quarantine.rows,
    )
    rig.feed(early)
    assert -15 * MICRO == facts.positions.cash_usd_micro
    assert facts.orders.by_no[1].is_closed


def test_FL06_a_market_with_a_stranger_takes_no_risk() -> None:  # noqa: N802
    """H1 for that market until the fill is explained."""
    rig = started(*event([1, 2, 3]))
    intent = unpack(pack(Kind.INTENT, order_no=77, instrument=2, price_ticks=3_000))
    rig.feed(fill(intent, MICRO, 1, order_no=0))
    for row in (1, 2, 3):
        decided = rig.feed(top(row, [(2_900, 50)], [(3_000, 50)]))
    assert [(Kind.VERDICT, Cause.UNKNOWN_ORDER_OPEN, 2)] == [(d.kind, d.cause, d.value) for d in decided]


def test_a_full_quarantine_halts() -> None:
    """A fill that cannot be kept is never forgotten silently: H3 by trade itself."""
    rig = started(*event([1, 2, 3]))
    for number in range(QUARANTINE_MAX + 1):
        intent = unpack(pack(Kind.INTENT, order_no=number + 1, instrument=1, price_ticks=3_000))
        rig.feed(fill(intent, MICRO, number, order_no=0))
    assert HaltLevel.H3 == rig.trader.facts.own_halt == rig.trader.facts.halt_level


VIEWS = [
    ("as we ordered", {}, 0),
    ("the sister token, sold", {"outcome": 1, "side": 1, "usd_micro": 35 * MICRO}, 1),
    ("the sister token", {"outcome": 1, "usd_micro": 35 * MICRO}, 1),
    ("side inverted", {"side": 1}, 1),
]


@pytest.mark.parametrize("changes, corrected", [view[1:] for view in VIEWS], ids=[view[0] for view in VIEWS])
def test_FL05_side_and_token_are_our_own(changes: dict[str, int], corrected: int) -> None:  # noqa: N802
    """Whatever view the venue tells a fill from, it is booked as our order's token, side and price."""
    rig, intents = bought()
    rig.feed(fill(intents[0], 50 * MICRO, 1, fee_usd_micro=20, **changes))
    facts = rig.trader.facts
    assert (50 * MICRO, -15 * MICRO - 20, corrected) == (
        facts.positions.held(1, 0),
        facts.positions.cash_usd_micro,
        facts.accounting.corrected_count,
    )


def test_halt_levels_are_obeyed_at_once() -> None:
    """H1: no new package. H2: everything open is cancelled in the run of the halt. H4: nothing at all."""
    rig, _ = bought()
    decided = rig.feed(pack(Kind.HALT, level=2, cause=int(Cause.OPERATOR)))
    assert [(Kind.CANCEL, number, Cause.OPERATOR) for number in (1, 2, 3)] == [
        (record.kind, record.order_no, record.cause) for record in decided
    ]
    assert [] == rig.feed(pack(Kind.HALT, level=2))
    rig.feed(pack(Kind.HALT, level=4))
    assert [] == rig.feed(tick(T0_NS + 10 * NS_PER_S), top(3, [(2_900, 50)], [(3_000, 41)]))
    fresh = started(*event([1, 2, 3]))
    fresh.feed(pack(Kind.HALT, level=1))
    for row in (1, 2, 3):
        decided = fresh.feed(top(row, [(2_900, 50)], [(3_000, 50)]))
    assert [(Kind.VERDICT, Cause.HALTED)] == [(record.kind, record.cause) for record in decided]


def test_a_restarted_gateway_settles_what_it_left() -> None:
    """LaneUp of a gateway: unanswered up to its last sent number UNKNOWN, above UNSENT; other lanes: none."""
    rig, _ = bought()
    rig.feed(pack(Kind.LANE_UP, stage_name=b"feed.polymarket", sent_order_no=3))
    assert [S.INTENDED] * 3 == [order.state for order in rig.trader.facts.orders.open_orders]
    decided = rig.feed(pack(Kind.LANE_UP, stage_name=b"gateway.main", sent_order_no=2, epoch=7))
    states = [rig.trader.facts.orders.by_no[number].state for number in (1, 2, 3)]
    assert [S.UNKNOWN, S.UNKNOWN, S.UNSENT] == states
    beat, *cancels = decided
    assert (Kind.BEAT, 3, 7) == (beat.kind, beat.fence_order_no, beat.fence_epoch)
    assert [(Kind.CANCEL, 1), (Kind.CANCEL, 2)] == [(record.kind, record.order_no) for record in cancels]


def test_a_restart_reconciles_before_it_trades() -> None:
    """After Resume: a reconcile on the next tick, no package before a pass that was asked for later ended."""
    rig = started(*event([1, 2, 3]))
    rig.feed(pack(Kind.RESUME))
    later = T0_NS + 20 * NS_PER_MS
    asked = [record for record in rig.feed(tick(later)) if record.kind == Kind.RECONCILE]
    assert 1 == len(asked)
    rig.feed(pack(Kind.RECONCILED, now_ns=later, request_no=asked[0].request_no + 5, ok=1))
    assert not rig.trader.facts.gate.is_reconciled
    rig.feed(pack(Kind.RECONCILED, now_ns=later, request_no=asked[0].request_no, ok=0))
    assert not rig.trader.facts.gate.is_reconciled
    again = [record for record in rig.feed(tick(later + 2 * NS_PER_S)) if record.kind == Kind.RECONCILE]
    rig.feed(pack(Kind.RECONCILED, now_ns=later + 2 * NS_PER_S, request_no=again[0].request_no, ok=1))
    assert rig.trader.facts.gate.is_reconciled


def test_resolution_pays_and_cancels() -> None:
    """A resolved market pays its shares, its residue is forgotten and what is open there is cancelled."""
    rig, intents = bought()
    rig.feed(fill(intents[0], 50 * MICRO, 1))
    decided = rig.feed(pack(Kind.RESOLVED, instrument=1, payout_micro_yes=MICRO, payout_micro_no=0))
    assert [] == decided
    assert 35 * MICRO == rig.trader.facts.positions.cash_usd_micro
    decided = rig.feed(pack(Kind.RESOLVED, instrument=2, payout_micro_yes=0, payout_micro_no=MICRO))
    assert [(Kind.CANCEL, 2, Cause.RESOLVED)] == [(item.kind, item.order_no, item.cause) for item in decided]


def test_ideas_in_several_slots_arrive_whole_or_slot_by_slot() -> None:
    """A run in one buffer and its slots one by one decide the same; a torn start decides nothing."""
    orders = 8
    idea = {
        "idea_no": 1,
        "basket": 9,
        "event": 1,
        "payout_usd_micro": 20 * MICRO,
        "size_micro": 20 * MICRO,
        "strategy": 1,
        "leg_count": orders,
        "order_count": orders,
        "now_ns": T0_NS,
        "parts": 2,
    }
    slots = []
    for part, rows in enumerate(([1, 2, 3, 4, 5, 6], [7, 8])):
        slots.append(
            CODECS[Kind.IDEA].pack(
                **idea,
                part=part,
                in_part=len(rows),
                leg_instrument=rows,
                leg_price_ticks=[1_000] * len(rows),
                leg_size_micro=[20 * MICRO] * len(rows),
                leg_no=bytes(row - 1 for row in rows).ljust(6, b"\0"),
                leg_type=bytes([int(OrderType.FAK)] * 6),
            )
        )
    found = []
    for runs in ([b"".join(slots)], slots, [slots[1]], [slots[1], *slots]):
        rig = started(*event(list(range(1, 9))))
        decided = []
        for run in runs:
            decided += [slot for out in rig.trader.on_record(run) for slot in slots_of(out)]
        found.append(decided)
    assert 9 == len(found[0])
    assert found[0] == found[1] == found[3]
    assert [] == found[2]


def test_every_answer_fits_one_run() -> None:
    """Whatever is due at once, one input causes at most 64 slots; the rest follows with the next."""
    rig = started(open_orders_max=1_000, event_usd_micro_max=10**15, market_usd_micro_max=10**15)
    rows = 0
    for number in range(1, 31):
        rig.feed(*event([rows + 1, rows + 2], number))
        for row in (rows + 1, rows + 2):
            rig.feed(top(row, [(3_900, 20)], [(4_000, 20)]))
        rows += 2
    assert 60 == rig.trader.facts.orders.open_count
    rig.trader.facts.subscribe_wanted.update(dict.fromkeys(range(500, 600)))
    runs = rig.trader.on_record(pack(Kind.HALT, level=2))
    assert [1] == [len(runs)]
    sizes = [len(slots_of(runs[0]))]
    while rig.trader.facts.orders.cancel_wanted:
        (run,) = rig.trader.on_record(balance(1))
        sizes.append(len(slots_of(run)))
    assert max(sizes) <= OUTPUT_SLOTS_MAX
    assert 60 == sum(1 for order in rig.trader.facts.orders.open_orders if order.cancel_ns)


def test_what_trade_does_not_know_passes() -> None:
    """Prices and records of other stages cause nothing."""
    trader = Trader()
    for kind in (
        Kind.TOP,
        Kind.SNAPSHOT,
        Kind.DELTA,
        Kind.BBO,
        Kind.TRADE_PRINT,
        Kind.GAP,
        Kind.CLOCK_STEP,
        Kind.PAD,
    ):
        slot = CODECS[kind].pack() if kind in CODECS else bytes(256)
        assert not trader.on_record(slot)
    assert not trader.on_record(config())


def test_a_verdict_that_was_told_is_not_told_again() -> None:
    """Repeats that the next verdict counted are gone: a later tick adds nothing."""
    rig, _ = bought(cooldown_ns=10 * NS_PER_S)
    for milliseconds in (1, 2, 1_501):
        rig.feed(
            *(
                top(row, [(2_900, 50)], [(3_000, 20 + milliseconds % 7)], T0_NS + milliseconds * NS_PER_MS)
                for row in (1, 2, 3)
            )
        )
    told = [verdict.count for verdict in rig.of(Kind.VERDICT)]
    refused = rig.trader.counts[Cause.GROUP_BUSY]
    rig.feed(tick(T0_NS + 3 * NS_PER_S - NS_PER_MS))
    rig.feed(tick(T0_NS + 3 * NS_PER_S + NS_PER_S))
    assert refused == sum(verdict.count for verdict in rig.of(Kind.VERDICT))
    assert told[0] == 1
