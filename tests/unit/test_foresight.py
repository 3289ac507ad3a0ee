"""Signatures made ahead change when work is done and nothing else: not what is signed, nor whether."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account

from pipeline.codec import CODECS
from pipeline.core.limits import ORDER_NO_MAX, SALT_EPOCH_MAX, salt_of
from pipeline.kinds import Cause, HaltLevel, Kind, OrderType, Side
from pipeline.native.signing import AHEAD_MAX
from pipeline.records import IDEA_LEGS
from pipeline.stages.foresight import WANTED_MAX, Foreseen, Foresight
from pipeline.units import MICRO, NS_PER_MS
from pipeline.venues.polymarket import identity
from tests.models.signer_rig import EPOCH, KEY, PLENTY, T0_NS, Leg, SignerRig, account_of, idea, intents

SIGNED = CODECS[Kind.SIGNED]
LEGS = [
    Leg(1, 5_000, 2 * MICRO), Leg(2, 3_100, 4 * MICRO, outcome=1),
    Leg(3, 400, 100 * MICRO, side=int(Side.SELL)), Leg(1, 9_900, 7 * MICRO, order_type=int(OrderType.GTC)),
]
FIRST = intents(1, 10, [LEGS[0]])  # tells salt epoch and next order number
OWNER = identity.checksum(account_of(KEY).owner)


@pytest.fixture
def rig(tmp_path: Path) -> SignerRig:
    """A signer that hears hints and has signed order 1."""
    found = SignerRig(tmp_path / "ahead")
    assert 1 == len(found.decide(FIRST))
    return found


@pytest.fixture
def plain(tmp_path: Path) -> SignerRig:
    """The same signer without foresight: what it makes is right by the vectors."""
    found = SignerRig(tmp_path / "plain", hints=False)
    found.decide(FIRST)
    return found


def test_signed_ahead_is_signed_the_same(rig: SignerRig, plain: SignerRig) -> None:
    """An idea's orders are signed ahead, and byte for byte as they are signed when they are asked for."""
    rig.hint(idea(20, LEGS))
    taken = intents(2, 20, LEGS)
    found, expected = rig.decide(taken), plain.decide(taken)

    assert len(LEGS) == len(found) == rig.count("signed_ahead")
    assert 0 == plain.count("signed_ahead")
    assert expected == found
    for slot in found:
        record = SIGNED.unpack(slot)
        assert Cause.NONE == record.cause
        assert OWNER == Account._recover_hash(record.order_hash, signature=record.signature)


OTHERWISE: list[dict[str, Any]] = [
    {"salt": salt_of(EPOCH, 9)}, {"timestamp_ms": T0_NS // NS_PER_MS + 1}, {"outcome": 1}, {"instrument": 2},
    {"price_ticks": 5_100, "maker_amount": 1_020_000}, {"price_ticks": 4_900, "maker_amount": 980_000},
    {"size_micro": 4 * MICRO, "maker_amount": 2 * MICRO, "taker_amount": 4 * MICRO},
    {"side": int(Side.SELL), "maker_amount": 2 * MICRO, "taker_amount": MICRO},
]


@pytest.mark.parametrize("changes", OTHERWISE, ids=lambda changes: next(iter(changes)))
def test_what_trade_decides_otherwise_is_signed_anew(
    rig: SignerRig, plain: SignerRig, changes: dict[str, Any],
) -> None:
    """Another salt, time, token, price, size or side than foreseen: the old signature is not used."""
    rig.hint(idea(20, LEGS[:1]))
    wrong = SIGNED.unpack(plain.decide(intents(2, 20, LEGS[:1]))[0])
    taken = intents(2, 20, LEGS[:1], **changes)
    found, expected = rig.decide(taken), plain.decide(taken)

    assert expected == found
    assert 0 == rig.count("signed_ahead")
    record = SIGNED.unpack(found[0])
    assert Cause.NONE == record.cause
    assert wrong.order_hash != record.order_hash
    assert OWNER == Account._recover_hash(record.order_hash, signature=record.signature)


def test_nothing_leaves_without_its_intent(rig: SignerRig) -> None:
    """Hints alone put nothing in the ring, count nothing as signed and leave the brake's file as it was."""
    before = rig.brake_path.read_bytes()
    for seq in range(20, 40):
        rig.hint(idea(seq, LEGS, T0_NS + seq))

    assert [] == rig.signed()
    assert (1, 0, 0) == (rig.count("signed"), rig.count("signed_ahead"), rig.count("sign_refused"))
    assert before == rig.brake_path.read_bytes()
    assert 1 == rig.signing.brake.order_no


def test_a_signature_is_used_once(rig: SignerRig, plain: SignerRig) -> None:
    """An intent that comes a second time is signed anew, and the same."""
    rig.hint(idea(20, LEGS[:1]))
    taken = intents(2, 20, LEGS[:1])
    first, second = rig.decide(taken), rig.decide(taken)

    assert first == second == plain.decide(taken)
    assert 1 == rig.count("signed_ahead")


REFUSED = [
    ({"deadline_ns": T0_NS - 1}, Cause.DEADLINE),
    ({"worst_usd_micro": PLENTY.order_usd_micro_max + 1}, Cause.CEILING),
    ({"maker_amount": MICRO + 10_000}, Cause.BELOW_MINIMUM),
    ({"instrument": 9}, Cause.NO_INSTRUMENT),
]


@pytest.mark.parametrize(("changes", "cause"), REFUSED, ids=[cause.name for _, cause in REFUSED])
def test_the_brake_has_the_last_word(rig: SignerRig, changes: dict[str, Any], cause: Cause) -> None:
    """A signature that is there already does not make an order pass; the refusal carries none of it."""
    rig.hint(idea(20, LEGS[:1]))
    record = SIGNED.unpack(rig.decide(intents(2, 20, LEGS[:1], **changes))[0])

    assert cause == record.cause
    assert (bytes(32), bytes(32), bytes(65)) == (record.order_hash, record.struct_hash, record.signature)
    assert (1, 1, 0) == (rig.count("signed"), rig.count("sign_refused"), rig.count("signed_ahead"))
    assert 2 == rig.signing.brake.order_no


def test_the_order_number_is_stored_before_its_record_leaves(rig: SignerRig) -> None:
    """At each push the brake's file holds that order's number already, signed ahead or not."""
    stored: list[tuple[int, int]] = []

    class Watching:
        def has_room(self, count: int = 1) -> bool:
            return True

        def push(self, slot: bytes) -> bool:
            in_file = int.from_bytes(rig.brake_path.read_bytes()[40:48], "little")
            stored.append((SIGNED.unpack(slot).order_no, in_file))
            return True

    rig.stage._sink = Watching()  # type: ignore[assignment]
    rig.hint(idea(20, LEGS[:2]))
    rig.decide(intents(2, 20, LEGS))

    assert [(number, number) for number in range(2, 2 + len(LEGS))] == stored
    assert 2 == rig.count("signed_ahead")


def test_a_day_ceiling_counts_what_was_asked_for(tmp_path: Path) -> None:
    """What is signed ahead costs nothing of the day's money; what is asked for does."""
    rig = SignerRig(tmp_path / "poor", ceilings=replace(PLENTY, day_usd_micro_max=25 * MICRO))
    rig.decide(FIRST)
    rig.hint(idea(20, LEGS))
    causes = [SIGNED.unpack(slot).cause for slot in rig.decide(intents(2, 20, LEGS))]

    assert [Cause.NONE, Cause.CEILING, Cause.CEILING, Cause.CEILING] == causes


@pytest.mark.parametrize("level", [HaltLevel.H1, HaltLevel.H2, HaltLevel.H3, HaltLevel.H4])
def test_a_halt_stops_signing_ahead(rig: SignerRig, level: HaltLevel) -> None:
    """From H1 on no new risk is signed ahead; the wishes of that time are over when the halt is."""
    rig.halt(level)
    rig.hint(idea(20, LEGS))

    assert [] == rig.signing.ahead_salts
    rig.halt(HaltLevel.H0)
    assert len(LEGS) == len(rig.decide(intents(2, 20, LEGS)))
    assert (0, 1 + len(LEGS)) == (rig.count("signed_ahead"), rig.count("signed"))


@pytest.mark.parametrize("level", [HaltLevel.H1, HaltLevel.H2, HaltLevel.H3, HaltLevel.H4])
def test_a_halt_after_signing_ahead_keeps_the_order(rig: SignerRig, level: HaltLevel) -> None:
    """A halt between hint and intent refuses the order although its signature is there."""
    rig.hint(idea(20, LEGS))
    assert len(LEGS) == len(rig.signing.ahead_salts)
    rig.halt(level)
    records = [SIGNED.unpack(slot) for slot in rig.decide(intents(2, 20, LEGS))]

    assert {Cause.HALT_LEVEL} == {record.cause for record in records}
    assert {bytes(65)} == {record.signature for record in records}


def test_ahead_is_bounded_and_forgets_the_oldest(rig: SignerRig, plain: SignerRig) -> None:
    """At most AHEAD_MAX signatures wait; an order whose signature was forgotten is signed when asked for."""
    for order_no in range(AHEAD_MAX + 10):
        rig.signing.sign_ahead((
            int(OrderType.FAK), 0, 5_000, 2 * MICRO, 1, 0, salt_of(EPOCH, 2 + order_no), T0_NS // NS_PER_MS))

    assert AHEAD_MAX == len(rig.signing.ahead_salts)
    assert [salt_of(EPOCH, 12 + place) for place in range(AHEAD_MAX)] == rig.signing.ahead_salts
    oldest, newest = intents(2, 20, LEGS[:1]), intents(11 + AHEAD_MAX, 21, LEGS[:1])
    assert plain.decide(oldest + newest) == rig.decide(oldest + newest)
    assert 1 == rig.count("signed_ahead")


def test_what_cannot_be_said_is_not_signed_ahead(rig: SignerRig) -> None:
    """A leg off the grid, of no size or of an unknown row leaves no signature and no error."""
    rig.hint(idea(20, [Leg(1, 5_050, MICRO), Leg(1, 5_000, 1), Leg(1, 5_000, 0), Leg(77, 5_000, MICRO)]))

    assert [] == rig.signing.ahead_salts


def test_a_new_tick_step_holds_before_and_after_its_page(rig: SignerRig, plain: SignerRig) -> None:
    """What the stream tells of a row's spacing wins over the row's page, whichever comes first."""
    finer = CODECS[Kind.TICK_STEP].pack(instrument=1, old_step=100, new_step=10)
    page = rig.row_of(1)
    for learns, order in ((rig.signing, (finer, page)), (plain.signing, (page, finer))):
        for slot in order:
            learns.learn(slot)
    taken = intents(2, 20, LEGS[:1], price_ticks=5_010, maker_amount=1_002_000)
    taken += intents(3, 20, LEGS[:1], size_micro=20 * MICRO, price_ticks=5_010, maker_amount=10_020_000,
                     taker_amount=20 * MICRO)
    found = rig.decide(taken)

    assert plain.decide(taken) == found
    assert [Cause.BELOW_MINIMUM, Cause.NONE] == [SIGNED.unpack(slot).cause for slot in found]


# ---------------------------------------------------------------------------- which orders are foreseen


class Foreseer:
    """Foresight alone: what it wants signed is kept, nothing is."""

    def __init__(self) -> None:
        self.found: list[Foreseen] = []
        self.foresight = Foresight(self.found.append)

    def order_nos(self) -> list[int]:
        """Let it sign all it wants; return the order numbers in the salts."""
        while self.foresight.step():
            pass
        found = [foreseen[6] & ORDER_NO_MAX for foreseen in self.found]
        self.found.clear()
        return found


@pytest.fixture
def foreseer() -> Foreseer:
    """Order 1 was decided from stream position 10."""
    found = Foreseer()
    found.foresight.on_intent(1, salt_of(EPOCH, 1), 10)
    return found


def test_a_leg_is_foreseen_whole(foreseer: Foreseer) -> None:
    """Type, side, price, size, row, outcome, salt and time of a leg, in the order that signing takes."""
    leg = Leg(3, 410, 5 * MICRO, outcome=1, side=int(Side.SELL), order_type=int(OrderType.FOK))
    foreseer.foresight.on_hint(idea(11, [LEGS[0], leg], T0_NS + 999_999))
    while foreseer.foresight.step():
        pass

    expected = (leg.order_type, 1, 410, 5 * MICRO, 3, 1, salt_of(EPOCH, 3), T0_NS // NS_PER_MS)
    assert expected == foreseer.found[1]


def test_ideas_in_a_row_follow_each_other(foreseer: Foreseer) -> None:
    """A second idea begins where the first one, still wanted, ends; the run of a long one counts on."""
    long = [LEGS[0]] * (IDEA_LEGS + 2)
    foreseer.foresight.on_hint(idea(11, LEGS[:3]))
    foreseer.foresight.on_hint(idea(12, long))

    assert list(range(2, 5 + len(long))) == foreseer.order_nos()
    foreseer.foresight.on_hint(idea(13, LEGS[:2]))
    assert [2, 3] == foreseer.order_nos()  # nothing is wanted any more: the next package is numbered anew


def test_two_ideas_in_one_read(foreseer: Foreseer) -> None:
    """Runs that are read together are told apart by their part numbers."""
    foreseer.foresight.on_hint(idea(11, [LEGS[0]] * 7) + idea(12, LEGS[:2]))

    assert list(range(2, 11)) == foreseer.order_nos()


def test_decided_ideas_are_over(foreseer: Foreseer) -> None:
    """Hints up to the newest decided cause are ignored, and a decision drops what was wanted before."""
    foreseer.foresight.on_hint(idea(11, LEGS[:2]))
    foreseer.foresight.on_intent(2, salt_of(EPOCH, 2), 12)
    for seq in (9, 11, 12):
        foreseer.foresight.on_hint(idea(seq, LEGS))

    assert [] == foreseer.order_nos()
    foreseer.foresight.on_hint(idea(13, LEGS[:1]))
    assert [3] == foreseer.order_nos()


@pytest.mark.parametrize("epoch", [0, SALT_EPOCH_MAX + 1])
def test_without_a_salt_epoch_nothing_is_foreseen(epoch: int) -> None:
    """Before the first intent, or after one whose salt has no legal epoch, hints are ignored."""
    foreseer = Foreseer()
    if epoch:
        foreseer.foresight.on_intent(1, epoch << 32 | 1, 10)
    foreseer.foresight.on_hint(idea(20, LEGS))

    assert [] == foreseer.order_nos()


def test_wishes_are_bounded(foreseer: Foreseer) -> None:
    """At most WANTED_MAX orders wait to be signed ahead, however much is hinted, and none above the last."""
    for seq in range(11, 61):
        foreseer.foresight.on_hint(idea(seq, LEGS))
    assert list(range(2, 2 + WANTED_MAX)) == foreseer.order_nos()

    foreseer.foresight.on_intent(ORDER_NO_MAX - 1, salt_of(EPOCH, ORDER_NO_MAX - 1), 100)
    foreseer.foresight.on_hint(idea(101, LEGS))
    assert [ORDER_NO_MAX] == foreseer.order_nos()
