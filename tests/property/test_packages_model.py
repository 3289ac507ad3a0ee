"""native.packages returns exactly what its slow model returns, whatever the bytes say."""

from __future__ import annotations

import random
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.core.risk import Proposal
from pipeline.core.sizing import Order, Package
from pipeline.core.strategies.interface import Idea
from pipeline.core.trader import slots_of
from pipeline.kinds import IntentClass, Kind, OrderType
from pipeline.native import packages
from pipeline.records import IDEA_LEGS, RUN_SLOTS_MAX, SLOT_BYTES
from tests.models import packages_model
from tests.models.core_rig import pack
from tests.shared import scaled, seeds

I64, U64 = 1 << 63, 1 << 64
ORDER = Order(0, 1, 0, 5_000, 1_000_000, 3)
CAUSE = bytes(SLOT_BYTES)
EDGES = (0, 1, 9_999, 10_000, (1 << 32) - 1, 10**12, I64 - 1)


def number(rng: random.Random, low: int, high: int) -> int:
    """Return an integer of low..high, often at an edge."""
    if rng.random() < 0.3:
        return min(high, max(low, rng.choice((low, high, *EDGES))))
    return rng.randint(low, high) if rng.random() < 0.5 else rng.randint(low, min(high, 10**9))


@pytest.mark.parametrize("seed", seeds(20))
def test_any_bytes_read_the_same(seed: int) -> None:
    """Slots of random bytes: fields, causing and venue time are equal."""
    rng = random.Random(seed)
    for _ in range(scaled(200, 5_000)):
        parts, before = rng.randint(1, 4), rng.randint(0, 2) * SLOT_BYTES
        run = bytearray(rng.randbytes(before + parts * SLOT_BYTES + rng.randint(0, 1) * SLOT_BYTES))
        if rng.random() < 0.7:
            for part in range(parts):
                run[before + part * SLOT_BYTES + 99] = rng.randint(0, IDEA_LEGS)
        found = packages.read_idea(bytes(run), before, parts)
        assert found == packages_model.read_idea(bytes(run), before, parts)
        assert all(type(order) is tuple for order in found[0][11])
        Proposal(*found[0])


@pytest.mark.parametrize("seed", seeds(20))
def test_any_package_renders_the_same(seed: int) -> None:
    """Every field anywhere in its range: the same bytes."""
    rng = random.Random(seed)
    for _ in range(scaled(200, 5_000)):
        count = rng.choice((1, 2, 3, 6, 15, RUN_SLOTS_MAX - 1))
        causing = (number(rng, 0, U64 - 1), *(number(rng, -I64, I64 - 1) for _ in range(2)))
        byte = [number(rng, 0, 255) for _ in range(2)]
        money = [number(rng, -I64, I64 - 1) for _ in range(6)]
        orders = tuple(
            (
                number(rng, 0, 255), number(rng, 0, (1 << 32) - 1), number(rng, 0, 255),
                number(rng, 0, 255), rng.choice((0, 1, 2, 3, 255)), number(rng, 0, (1 << 32) - 1),
                number(rng, -I64, I64 - 1),
            )
            for _ in range(count)
        )
        fields: Any = (
            number(rng, 0, U64 - 1), number(rng, 0, (1 << 32) - 1), number(rng, 0, (1 << 32) - 1), *byte,
            *money, orders,
        )
        paid, worst = ([number(rng, -I64, I64 - 1) for _ in range(count)] for _ in range(2))
        rest = (
            number(rng, 0, U64 - 1), number(rng, 0, U64 - 1 - count), number(rng, 0, U64 - 1 - count),
            number(rng, -I64, I64 - 1),
        )
        venue_ns = number(rng, 0, I64 - 1)
        found = packages.package_run(causing, venue_ns, fields, paid, worst, *rest)
        assert found == packages_model.package_run(causing, venue_ns, fields, paid, worst, *rest)
        records = [unpack(slot) for slot in slots_of(found)]
        assert [Kind.PACKAGE, *[Kind.INTENT] * count] == [record.kind for record in records]
        for record, order in zip(records[1:], orders, strict=True):
            is_gtc = order[4] == OrderType.GTC
            assert (record.cancel_rest, record.intent_class) == (is_gtc, IntentClass.NEW_RISK)


@pytest.mark.parametrize("seed", seeds(20))
def test_any_idea_renders_the_same_and_reads_back(seed: int) -> None:
    """Ideas of 1 to 64 orders: the same bytes, and what was written is what is read."""
    rng = random.Random(seed)
    for _ in range(scaled(200, 5_000)):
        orders = tuple(
            Order(
                number(rng, 0, 255), number(rng, 0, (1 << 32) - 1), number(rng, 0, 255),
                number(rng, 0, (1 << 32) - 1), number(rng, -I64, I64 - 1), number(rng, 0, 255))
            for _ in range(rng.choice((1, 2, 3, 5, 6, 7, 12, 13, RUN_SLOTS_MAX)))
        )
        package = Package(*(number(rng, -I64, I64 - 1) for _ in range(5)), orders)
        words = [number(rng, 0, (1 << 32) - 1) for _ in range(2)]
        idea = Idea(*words, number(rng, 0, 255), number(rng, 0, 255), number(rng, -I64, I64 - 1), package)
        stamps = (
            *(number(rng, 0, U64 - 1) for _ in range(2)), *(number(rng, -I64, I64 - 1) for _ in range(2)))
        idea_no, seq, now_ns, recv_ns = stamps
        cause = bytes(SLOT_BYTES) + pack(Kind.TICK, seq=seq, now_ns=now_ns, recv_ns=recv_ns)
        run = packages.idea_run(idea, idea_no, cause, SLOT_BYTES)
        assert run == packages_model.idea_run(idea, *stamps), f"seed {seed}"
        fields, causing, venue_ns = packages.read_idea(run, 0, len(run) // SLOT_BYTES)
        assert (stamps[1:], max(0, idea.venue_ns)) == (causing, venue_ns), f"seed {seed}"
        read = Proposal(*fields)
        assert [(*order[:3], *order[4:]) for order in read.orders] == [
            (leg_no, row, outcome, order_type, price, size)
            for leg_no, row, outcome, price, size, order_type in orders
        ], f"seed {seed}"


def test_what_does_not_fit_is_an_error() -> None:
    """Nothing wraps and nothing is read beyond the buffer."""
    idea = pack(Kind.IDEA, in_part=1)
    for offset, parts in ((-256, 1), (0, 0), (0, 2), (1, 1), (256, 1)):
        with pytest.raises(ValueError, match=r"native\.packages"):
            packages.read_idea(idea, offset, parts)
    fields, causing, venue_ns = packages.read_idea(idea, 0, 1)
    good: list[Any] = [causing, venue_ns, fields, [1], [1], 1, 1, 1, 1]
    assert len(packages.package_run(*good)) == 2 * SLOT_BYTES
    for count in (0, RUN_SLOTS_MAX + 1):
        with pytest.raises(ValueError, match=r"native\.packages"):
            packages.idea_run(Idea(1, 1, 1, 1, 1, Package(1, 1, 1, 1, 1, (ORDER,) * count)), 1, CAUSE)
    for offset in (-1, 1, SLOT_BYTES):
        with pytest.raises(ValueError, match="no slot"):
            packages.idea_run(Idea(1, 1, 1, 1, 1, Package(1, 1, 1, 1, 1, (ORDER,))), 1, CAUSE, offset)
    with pytest.raises(OverflowError):
        packages.idea_run(Idea(1 << 32, 1, 1, 1, 1, Package(1, 1, 1, 1, 1, (ORDER,))), 1, CAUSE)
    for place, wrong, error in (
        (1, I64, OverflowError),
        (2, (*fields[:11], ()), ValueError),
        (2, (*fields[:11], ((1, 2, 3),)), ValueError),
        (2, (*fields[:11], ([1, 2, 3, 4, 5, 6, 7],)), TypeError),
        (2, (U64, *fields[1:]), OverflowError),
        (2, (*fields[:3], 256, *fields[4:]), OverflowError),
        (2, (*fields[:11], ((0, 1, 0, 0, 0, 1 << 32, 1),)), OverflowError),
        (3, [I64], OverflowError),
        (3, [1, 1], ValueError),
        (4, [], ValueError),
        (4, [-I64 - 1], OverflowError),
        (5, U64, OverflowError),
        (8, I64, OverflowError),
    ):
        with pytest.raises(error):
            packages.package_run(*good[:place], wrong, *good[place + 1 :])
