"""OR05, OR07, OR11, OR13, OR14, OR23: no proof, rejects, delays, cancels and orders in silence.

Trade and gateway together in simulated time; the venue's own books are the truth.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pipeline.codec import unpack
from pipeline.core.order import Group, Order
from pipeline.core.orders import Orders
from pipeline.kinds import Cause, Kind, OrderState, OrderType, Origin
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S
from tests.models.core_rig import T0_NS, pack, report
from tests.models.desk import Desk, worst_of
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, hash_of, reply
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

S = OrderState
OVER = (S.MATCHED, S.CANCELED, S.EXPIRED, S.REJECTED, S.UNSENT)
CODES = (500, 502, 504, 520, 521, 522, 523, 524, 525, 526)
WORDS = (
    b"<html>Bad Gateway</html>", b"", b'{"error": "could not run the execution"}',
    b'{"error": "could not insert order"}')


def test_OR05_no_5xx_is_ever_answered_by_a_second_order(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Each code, each body, taken or not: one order of that hash, UNKNOWN until the venue says what is."""
    count = 0
    for seed in range(figure("OR05", "rounds")):
        for code in CODES:
            rng = random.Random(f"OR05:{seed}:{code}")
            is_taken, words = rng.random() < 0.5, rng.choice(WORDS)
            venue = MoodyVenue()

            def mood(_now_ns: int, arrival: Arrival, code: int = code, words: bytes = words,
                     is_taken: bool = is_taken, venue: MoodyVenue = venue) -> Reply | None:
                if arrival.kind not in ("order", "orders") or len(venue.seen("order", "orders")) > 2:
                    return None
                venue.open.update(dict.fromkeys(arrival.numbers, True) if is_taken else {})
                return code, {}, words

            venue.mood = mood
            desk = Desk(tmp_path, venue, seed)
            numbers = desk.offer()
            for _ in desk.steps(8 * NS_PER_S):
                for number in numbers:
                    is_full = desk.reserved(number) >= worst_of(desk.intents[number])
                    assert is_full or number in venue.cancelled, (seed, code)
            sent = Counter(one for arrival in venue.seen("order", "orders") for one in arrival.numbers)
            assert numbers and set(sent.values()) == {1}, (seed, code)
            state = S.CANCELED if is_taken else S.UNKNOWN  # nothing proves that it never arrives
            assert {state} == {desk.orders.by_no[number].state for number in numbers}, (seed, code, is_taken)
            assert not set(numbers) & venue.open.keys()
            count += 1
    gate_record("OR05", "rounds", count // len(CODES))


def test_OR07_a_market_that_refuses_is_left_alone(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """Every order is refused, an idea comes every 50 ms: at most 3 sends in 10 s a market."""
    seconds = figure("OR07", "seconds")

    def mood(_now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind == "order":
            return reply(400, {"error": "not enough balance / allowance"})
        return reply(400, {"error": "Invalid order payload"}) if arrival.kind == "orders" else None

    desk = Desk(tmp_path, MoodyVenue(mood), 7)
    for now_ns in desk.steps(seconds * NS_PER_S):
        if (now_ns - T0_NS) % (50 * NS_PER_MS) == 0:
            desk.offer()
    sends: dict[int, list[int]] = {}
    for arrival in desk.venue.seen("order", "orders"):
        for number in arrival.numbers:
            sends.setdefault(desk.intents[number].instrument, []).append(arrival.now_ns)
    for times in sends.values():
        assert all(later - first >= 10 * NS_PER_S for first, later in zip(times, times[3:], strict=False))
        assert len(times) >= 3 * (seconds // 11)
    rejects = [one for one in desk.wire.told if one.kind == Kind.REPORT and one.state == S.REJECTED]
    assert len(rejects) == sum(map(len, sends.values()))
    told = [one for one in desk.decided if one.kind == Kind.VERDICT and one.cause == Cause.COOL_DOWN]
    assert told and sum(one.count for one in told) > seconds
    gate_record("OR07", "seconds", seconds)


def test_OR07_duplicated_means_that_the_order_is_there(tmp_path: Path) -> None:
    """It is looked up, found and followed to its end; never sent again, never taken as refused."""
    venue = MoodyVenue()

    def mood(now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind.startswith("cancel") and now_ns < T0_NS + 2 * NS_PER_S:
            return 0, {}, b""  # so that it is seen before it goes
        if arrival.kind != "order":
            return None
        venue.open[arrival.numbers[0]] = True
        return reply(400, {"error": f"order 0x{hash_of(1).hex()} is invalid. Duplicated."})

    venue.mood = mood
    desk = Desk(tmp_path, venue, 1)
    numbers = desk.offer()
    seen: set[int] = set()
    for _ in desk.steps(9 * NS_PER_S):
        seen |= {desk.orders.by_no[number].state for number in numbers}
    assert numbers and S.REJECTED not in seen and S.LIVE in seen
    assert {S.CANCELED} == {desk.orders.by_no[number].state for number in numbers}
    assert 1 == max(Counter(one for arrival in venue.seen("order") for one in arrival.numbers).values())


def test_OR11_a_delayed_order_is_fully_exposed_to_its_end(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Held, or resting behind a delay: all of it stays reserved until a trade or the venue's word ends it."""
    seed, count = fresh_seed(), figure("OR11", "orders")
    print(f"seed {seed}")
    rng, done = random.Random(seed), 0
    while done < count:
        desk = Desk(tmp_path, MoodyVenue(status=rng.choice(("delayed", "unmatched"))), done)
        numbers = desk.offer()
        until_ns = desk.now_ns + rng.randint(300, 9_000) * NS_PER_MS
        is_filled = rng.random() < 0.5
        for now_ns in desk.steps(until_ns - desk.now_ns + 12 * NS_PER_S):
            if now_ns < until_ns:
                desk.venue.open |= dict.fromkeys(numbers, True)  # held: no cancel takes it away
                for number in numbers:
                    order = desk.orders.by_no[number]
                    is_known = order.state not in (S.CANCELED, S.EXPIRED, S.REJECTED)
                    is_full = desk.reserved(number) >= worst_of(desk.intents[number])
                    assert not is_known or is_full, (seed, order)
            elif numbers[0] in desk.venue.open:
                for number in numbers:
                    desk.end(number, S.MATCHED if is_filled else S.CANCELED, filled=is_filled)
        done += len(numbers)
        for number in numbers:
            order = desk.orders.by_no[number]
            assert order.is_closed and 0 == desk.reserved(number), (seed, order)
    gate_record("OR11", "orders", done, seed)


def test_OR13_a_cancel_without_an_answer_frees_nothing(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """It is asked for again, then the whole market is; the order keeps its reservation until then."""
    seed, count = fresh_seed(), figure("OR13", "cancels")
    print(f"seed {seed}")
    rng, done, markets = random.Random(seed), 0, 0
    while done < count:
        silent_ns = rng.randint(1_000, 20_000) * NS_PER_MS
        is_done = rng.random() < 0.5  # the venue cancels and the answer is lost
        venue = MoodyVenue()

        def mood(now_ns: int, arrival: Arrival, silent_ns: int = silent_ns, is_done: bool = is_done,
                 venue: MoodyVenue = venue) -> Reply | None:
            if not arrival.kind.startswith("cancel") or now_ns - T0_NS > silent_ns:
                return None
            if is_done:
                for number in arrival.numbers:
                    venue.drop(number)
            return 0, {}, b""

        venue.mood = mood
        desk = Desk(tmp_path, venue, done)
        numbers = desk.offer()
        desk.run(100 * NS_PER_MS)
        assert {S.LIVE} == {desk.orders.by_no[number].state for number in numbers}
        desk.feed(pack(Kind.HALT, now_ns=desk.now_ns, level=2, cause=int(Cause.OPERATOR)))
        for _ in desk.steps(silent_ns + 12 * NS_PER_S):
            for number in numbers:
                order = desk.orders.by_no[number]
                if not order.is_closed:
                    assert desk.reserved(number) >= worst_of(desk.intents[number]), (seed, done, order)
                else:
                    assert number not in venue.open, (seed, done, order)
        assert not venue.open and all(desk.orders.by_no[number].is_closed for number in numbers), (seed, done)
        asked = venue.seen("cancel", "cancels")
        # Once more where a list shows that it is gone while its refusal is on the way.
        assert len(asked) <= len(numbers) * (4 + silent_ns // NS_PER_S), (seed, done, len(asked))
        markets += bool(venue.seen("market"))
        done += len(numbers)
    assert markets
    gate_record("OR13", "cancels", done, seed)


def test_OR14_an_order_that_never_reports_again_is_resolved_by_polling(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """Matched or cancelled in silence: within 30 s trade knows, by what the venue lists and by name."""
    seed, count = fresh_seed(), figure("OR14", "orders")
    print(f"seed {seed}")
    rng, done = random.Random(seed), 0
    while done < count:
        desk = Desk(tmp_path, MoodyVenue(), done)
        numbers = desk.offer()
        ends_ns = desk.now_ns + rng.randint(200, 15_000) * NS_PER_MS
        is_filled = rng.random() < 0.5
        closed_ns = 0
        for now_ns in desk.steps(ends_ns - desk.now_ns + 31 * NS_PER_S):
            if now_ns >= ends_ns and numbers[0] in desk.venue.open:
                for number in numbers:
                    desk.end(number, S.MATCHED if is_filled else S.CANCELED, filled=is_filled)
            if not closed_ns and all(desk.orders.by_no[number].is_closed for number in numbers):
                closed_ns = now_ns
                break
        assert closed_ns >= ends_ns and closed_ns - ends_ns <= 30 * NS_PER_S, (seed, done)
        sizes = {desk.orders.by_no[number].filled_micro for number in numbers}
        assert sizes == ({desk.intents[numbers[0]].size_micro} if is_filled else {0}), (seed, done)
        done += len(numbers)
    gate_record("OR14", "orders", done, seed)


def test_OR23_an_expiry_is_a_cancel_that_nobody_asked_for(gate_record: Callable[..., None]) -> None:
    """A minute before its time, under either name, told once or by a list: ended; earlier fills count."""
    seed, count = fresh_seed(), figure("OR23", "expiries")
    print(f"seed {seed}")
    rng = random.Random(seed)
    for number in range(1, count + 1):
        orders = Orders()
        orders.open_group(Group(1, 9, 1, 1, 10 * MICRO, T0_NS))
        orders.intend(Order(
            number, 1, 1, 1, 0, 0, int(OrderType.GTD), 4_000, 10 * MICRO, 4 * MICRO, 4_200_000, 0, 0, 0,
            T0_NS, T0_NS + 3 * NS_PER_S))

        def tell(state: OrderState, origin: Origin, orders: Orders = orders, number: int = number,
                 **more: int) -> Order:
            order, _ = orders.on_report(unpack(report(number, state, origin, **more)))
            assert order is not None
            return order

        tell(S.SENT, Origin.GATEWAY)
        order = tell(S.LIVE, Origin.HTTP)
        matched = rng.choice((0, 0, 3 * MICRO))
        name = rng.choice((S.CANCELED, S.EXPIRED))
        tell(name, rng.choice((Origin.USER_CHANNEL, Origin.RECONCILE)), matched_micro=matched)
        assert order.state == name and order.is_closed == (matched == 0), (seed, number)
        assert (order.reserved_usd_micro > 0) == (matched > 0), (seed, number)
        if matched:  # what the venue says matched is reserved until its trade is told
            orders.on_fill(order, 1, matched, 4 * matched // 10, 0, T0_NS + NS_PER_S)
            assert order.is_closed and 0 == order.reserved_usd_micro, (seed, number)
        tell(S.LIVE, Origin.USER_CHANNEL)  # late, and wrong
        assert order.is_closed and order.state == name, (seed, number)
    gate_record("OR23", "expiries", count, seed)
