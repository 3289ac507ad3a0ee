"""The last brake counts as a plain model does, forgets nothing over a restart, and refuses when in doubt."""

from __future__ import annotations

import mmap
import random
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pipeline.errors import EnvironmentProblem, InvariantError
from pipeline.kinds import Cause, HaltLevel, IntentClass
from pipeline.native.brake import MAGIC, STATE_BYTES, BrakeCore, is_allowed
from pipeline.stages.brake import Brake, Ceilings, restart_numbers
from pipeline.units import MICRO, NS_PER_S
from tests.models import signing_model
from tests.models.signing_model import DAY_NS, MINUTE_NS, SlowBrake
from tests.shared import scaled, seeds

SEEDS = 64
ASKED = scaled(400, 4_000)  # of each seed
T0_NS = 1_790_000_000 * NS_PER_S
I64_MAX, U64_MAX = (1 << 63) - 1, (1 << 64) - 1
PLENTY = Ceilings(1_000 * MICRO, 1_000_000 * MICRO, 10_000)
NEW_RISK, HEDGE, REDUCE, CANCEL = IntentClass
#: What may go on at each level (faults.md, halt ladder).
LADDER: dict[HaltLevel, set[IntentClass]] = {
    HaltLevel.H0: {NEW_RISK, HEDGE, REDUCE, CANCEL}, HaltLevel.H1: {HEDGE, REDUCE, CANCEL},
    HaltLevel.H2: {HEDGE, CANCEL}, HaltLevel.H3: {CANCEL}, HaltLevel.H4: {CANCEL}}


def ceilings_of(rng: random.Random) -> Ceilings:
    """Return ceilings that are reached soon, or hardly ever, or that let nothing through."""
    return Ceilings(
        order_usd_micro_max=rng.choice([0, 1, 50 * MICRO, 1_000 * MICRO, I64_MAX]),
        day_usd_micro_max=rng.choice([0, 200 * MICRO, 5_000 * MICRO, 5_000 * MICRO, I64_MAX]),
        minute_orders_max=rng.choice([0, 1, 3, 20, 20, I64_MAX]))


def usd_of(rng: random.Random, slow: SlowBrake) -> int:
    """Return the money of an order: often exactly what a ceiling leaves, or one more or less."""
    ceilings = slow.ceilings
    left = ceilings.day_usd_micro_max - slow.day_usd_micro
    usd_micro = rng.choice([
        0, ceilings.order_usd_micro_max, left, min(left, ceilings.order_usd_micro_max),
        rng.randint(0, 60 * MICRO), rng.randint(0, 60 * MICRO), I64_MAX, -1, -I64_MAX - 1])
    return max(-I64_MAX - 1, min(I64_MAX, usd_micro + rng.choice([0, 0, 0, 1, -1])))


def state_of(slow: SlowBrake) -> bytes:
    """Return what the lane's file holds of this brake."""
    numbers = (slow.day, slow.day_usd_micro, slow.minute, slow.minute_orders)
    return MAGIC + b"".join(number.to_bytes(8, "little", signed=True) for number in numbers) + (
        slow.order_no.to_bytes(8, "little"))


def reopened(rng: random.Random, brake: Brake, slow: SlowBrake, path: Path) -> Brake:
    """Return the brake of the lane's next life, after a clean end or a crash; at times with new ceilings."""
    if rng.random() < 0.5:
        brake.close()
    if rng.random() < 0.5:
        slow.ceilings = ceilings_of(rng)
    return Brake(path, slow.ceilings)


@cache
def play(seed: int) -> Counter[str]:
    """Ask a brake with a file and its model the same; return how often each answer and each event came."""
    rng, found = random.Random(seed), Counter[str]()
    slow, now_ns = SlowBrake(ceilings_of(rng)), rng.choice([T0_NS, T0_NS, -DAY_NS, 0])
    with TemporaryDirectory() as directory:
        path = Path(directory) / "lane.state"
        brake = Brake(path, slow.ceilings)
        for number in range(ASKED):
            now_ns += rng.choice([0, 0, 1, NS_PER_S, MINUTE_NS // 3, MINUTE_NS, DAY_NS // 4, -NS_PER_S])
            asked = (
                now_ns, rng.choice([now_ns, now_ns, now_ns + 1, now_ns - 1, I64_MAX, I64_MAX]),
                rng.choice([*IntentClass, NEW_RISK, 4]), usd_of(rng, slow),
                rng.choice([*HaltLevel, 0, 0, 0, 0, 5, 255]))
            where = f"seed {seed}, number {number}: {asked} of {slow.ceilings}"
            before = slow.day_usd_micro, slow.minute_orders
            cause = slow.refuse(*asked)
            assert cause == brake.refuse(*asked), where
            found[cause.name] += 1
            ceilings = slow.ceilings
            if cause == Cause.NONE and asked[3]:
                found["day full"] += slow.day_usd_micro == ceilings.day_usd_micro_max
                found["order full"] += asked[3] == ceilings.order_usd_micro_max
            if cause == Cause.NONE:
                found["minute full"] += slow.minute_orders == ceilings.minute_orders_max
            elif cause == Cause.CEILING:
                found["counted anew"] += before != (slow.day_usd_micro, slow.minute_orders)
            if rng.random() < 0.5:
                order_no = rng.choice([number, number, 0, rng.getrandbits(20), rng.getrandbits(64)])
                brake.commit(order_no)
                slow.commit(order_no)
            assert slow.order_no == brake.order_no, where
            if rng.random() < 0.1:
                brake = reopened(rng, brake, slow, path)
                found["reopened"] += 1
            assert state_of(slow) == path.read_bytes()[:STATE_BYTES], where
    return found


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_refusals_equal_the_slow_model(seed: int) -> None:
    """Over days, minutes, halts, restarts and changed ceilings: the same cause, number and stored state."""
    assert play(seed), f"seed {seed}"


def test_every_answer_is_among_the_random_ones() -> None:
    """The random orders meet each cause, fill each ceiling exactly, and go on after a new day or minute."""
    found = sum((play(seed) for seed in range(SEEDS - 1)), Counter[str]())

    assert {"NONE", "DEADLINE", "HALT_LEVEL", "CEILING", "day full", "order full", "minute full",
            "counted anew", "reopened"} == found.keys()
    assert min(found.values()) >= 20, found


@pytest.mark.parametrize("level", [*HaltLevel, 5, 255])
@pytest.mark.parametrize("intent_class", list(IntentClass))
def test_the_halt_ladder(level: int, intent_class: IntentClass) -> None:
    """Each level lets through what its step of the ladder says; above the last one, only cancels."""
    expected = intent_class in LADDER[HaltLevel(min(level, HaltLevel.H4))]
    cause = Brake(None, PLENTY).refuse(T0_NS, T0_NS, intent_class, 1, level)

    assert expected == is_allowed(level, intent_class) == signing_model.is_allowed(level, intent_class)
    assert (Cause.NONE if expected else Cause.HALT_LEVEL) == cause


def test_a_deadline_is_the_last_moment() -> None:
    """At its deadline an order may go, one nanosecond later it may not, whatever else is wrong with it."""
    brake = Brake(None, PLENTY)

    assert Cause.NONE == brake.refuse(T0_NS, T0_NS, NEW_RISK, 1, 0)
    assert Cause.DEADLINE == brake.refuse(T0_NS + 1, T0_NS, NEW_RISK, -1, 4)


def test_ceilings_are_reached_exactly() -> None:
    """The last dollar of a day and the last order of a minute go, one more waits for the next period."""
    brake = Brake(None, Ceilings(order_usd_micro_max=6, day_usd_micro_max=10, minute_orders_max=3))
    day_ns = T0_NS // DAY_NS * DAY_NS

    def ask(now_ns: int, usd_micro: int) -> int:
        return brake.refuse(now_ns, I64_MAX, NEW_RISK, usd_micro, 0)

    assert [Cause.CEILING, Cause.NONE, Cause.CEILING, Cause.NONE, Cause.CEILING] == [
        ask(day_ns, usd_micro) for usd_micro in (7, 6, 5, 4, 1)]
    assert [Cause.NONE, Cause.CEILING] == [ask(day_ns + MINUTE_NS - 1, 0) for _ in range(2)]
    assert [Cause.NONE] * 3 + [Cause.CEILING] == [ask(day_ns + MINUTE_NS, 0) for _ in range(4)]
    assert [Cause.CEILING, Cause.CEILING] == [ask(day_ns + DAY_NS - 1, usd_micro) for usd_micro in (1, -1)]
    assert [Cause.NONE, Cause.CEILING] == [ask(day_ns + DAY_NS, 6) for _ in range(2)]


def test_what_was_used_survives_the_end_of_its_lane(tmp_path: Path) -> None:
    """After a close, and after a crash, the next life knows number, money and orders of the last one."""
    path, ceilings = tmp_path / "lane.state", Ceilings(10, 15, 3)
    first = Brake(path, ceilings)
    assert Cause.NONE == first.refuse(T0_NS, T0_NS, NEW_RISK, 10, 0)
    first.commit(41)
    second = Brake(path, ceilings)  # the first one is not closed: its process died
    assert 41 == second.order_no
    assert Cause.CEILING == second.refuse(T0_NS, T0_NS, NEW_RISK, 6, 0)
    assert Cause.NONE == second.refuse(T0_NS, T0_NS, NEW_RISK, 5, 0)
    second.commit(40)
    second.close()
    third = Brake(path, ceilings)
    assert 41 == third.order_no
    assert [Cause.CEILING, Cause.NONE, Cause.CEILING] == [
        third.refuse(T0_NS, T0_NS, NEW_RISK, usd_micro, 0) for usd_micro in (1, 0, 0)]


@pytest.mark.parametrize("order_no", [1, 255, 256, 2**40 + 7, U64_MAX])
def test_the_order_number_is_in_the_file_at_once(tmp_path: Path, order_no: int) -> None:
    """Bytes 40 to 48 hold the highest number when `commit` returns, little endian; a lower one leaves it."""
    path = tmp_path / "lane.state"
    brake = Brake(path, PLENTY)
    for committed in (order_no, order_no - 1, 0):
        brake.commit(committed)
        assert order_no.to_bytes(8, "little") == path.read_bytes()[40:48]
    assert order_no == brake.order_no
    assert (mmap.PAGESIZE, 0o600) == (path.stat().st_size, path.stat().st_mode & 0o777)


@pytest.mark.parametrize("content", [b"\x7fELF", b"pmbrake2", b"", b"Pmbrake1"])
def test_a_foreign_file_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """A page that is not ours, even an empty one, is an error that names the file; not a byte is changed."""
    path = tmp_path / "somebody.else"
    path.write_bytes(content.ljust(mmap.PAGESIZE, b"\0"))
    with pytest.raises(EnvironmentProblem, match=str(path)):
        Brake(path, PLENTY)
    assert content.ljust(mmap.PAGESIZE, b"\0") == path.read_bytes()


def test_a_closed_brake_refuses_everything(tmp_path: Path) -> None:
    """Without its file nothing may go, not even a cancel; the file keeps what it held."""
    path = tmp_path / "lane.state"
    brake = Brake(path, PLENTY)
    brake.commit(7)
    kept = path.read_bytes()
    brake.close()
    brake.commit(8)

    assert {int(Cause.HALT_LEVEL)} == {
        brake.refuse(T0_NS, T0_NS, intent_class, 0, 0) for intent_class in IntentClass}
    assert kept == path.read_bytes()
    assert 7 == Brake(path, PLENTY).order_no


def test_brakes_without_a_file_share_nothing() -> None:
    """What a rehearsal wears out is its own, and begins at zero."""
    ceilings = Ceilings(1, 1, 1)
    worn, other = Brake(None, ceilings), Brake(None, ceilings)
    worn.commit(9)

    assert [Cause.NONE, Cause.CEILING] == [worn.refuse(T0_NS, T0_NS, NEW_RISK, 1, 0) for _ in range(2)]
    assert Cause.NONE == other.refuse(T0_NS, T0_NS, NEW_RISK, 1, 0)
    assert (9, 0) == (worn.order_no, other.order_no)


@pytest.mark.parametrize("state", [bytearray(STATE_BYTES - 1), bytearray(STATE_BYTES)])
def test_a_state_that_is_none_raises(state: bytearray) -> None:
    """Too few bytes, or bytes without the magic that are said to be used, are never counted in."""
    with pytest.raises(InvariantError, match=r"native\.brake"):
        BrakeCore(memoryview(state), 1, 1, 1, False)
    assert not any(state)


def test_numbers_begin_anew_with_a_new_log(tmp_path: Path) -> None:
    """A lane's file forgets the highest order number and keeps what was spent today."""
    path = tmp_path / "gateway-main.state"
    brake = Brake(path, PLENTY)
    assert 0 == brake.refuse(T0_NS, T0_NS + 1, NEW_RISK, 900_000 * 1, 0)
    brake.commit(41)
    before = bytearray(path.read_bytes()[:STATE_BYTES])
    brake.close()

    restart_numbers(path)
    again = Brake(path, PLENTY)
    assert 0 == again.order_no
    assert before[:-8] == path.read_bytes()[: STATE_BYTES - 8]
    again.close()
