"""core.positions and core.fills: exact money, each fill once, reversals once, PnL from the logs alone."""

from __future__ import annotations

import itertools
import random

import pytest

from pipeline.codec import unpack
from pipeline.core.fills import QUARANTINE_MAX, Change, FillIndex, Quarantine
from pipeline.core.instruments import Instruments
from pipeline.core.positions import Positions, fold_pnl
from pipeline.errors import InvariantError
from pipeline.kinds import Kind, TradeStatus
from pipeline.units import MICRO
from tests.models.core_rig import event, fill, pack
from tests.shared import seeds

T = TradeStatus


def test_positions_book_and_take_back() -> None:
    """A buy costs its notional and fee, a sale yields less its fee, a reversal restores everything."""
    ledger = Positions()
    ledger.trade(1, 0, 0, 100 * MICRO, 40 * MICRO, 20)
    ledger.trade(1, 0, 1, 30 * MICRO, 15 * MICRO, 10)
    assert (70 * MICRO, -25 * MICRO - 30, 30) == (
        ledger.held(1, 0),
        ledger.cash_usd_micro,
        ledger.fees_usd_micro,
    )
    ledger.trade(1, 0, 1, 30 * MICRO, 15 * MICRO, 10, -1)
    ledger.trade(1, 0, 0, 100 * MICRO, 40 * MICRO, 20, -1)
    assert (0, 0, 0, ()) == (
        ledger.held(1, 0),
        ledger.cash_usd_micro,
        ledger.fees_usd_micro,
        ledger.open_rows,
    )


def test_positions_redeem_once_and_follow_late_fills() -> None:
    """A resolution pays each share once; a fill told afterwards is paid too; a changed payout is an error."""
    ledger = Positions()
    ledger.trade(1, 0, 0, 10 * MICRO, 4 * MICRO, 0)
    ledger.trade(1, 1, 0, 3 * MICRO, MICRO, 0)
    assert ledger.resolve(1, MICRO, 0)
    assert not ledger.resolve(1, MICRO, 0)
    assert (5 * MICRO, 10 * MICRO) == (ledger.cash_usd_micro, ledger.redeemed_usd_micro)
    ledger.trade(1, 0, 0, 2 * MICRO, MICRO, 0)
    assert 6 * MICRO == ledger.cash_usd_micro
    ledger.trade(1, 0, 0, 2 * MICRO, MICRO, 0, -1)
    assert (5 * MICRO, 0) == (ledger.cash_usd_micro, ledger.held(1, 0))
    with pytest.raises(InvariantError, match="was resolved"):
        ledger.resolve(1, 0, MICRO)
    with pytest.raises(InvariantError, match="payouts"):
        ledger.resolve(2, MICRO, 1)


def test_positions_pay_a_void_rounded_down() -> None:
    """Half a dollar a share, each token rounded down."""
    ledger = Positions()
    ledger.trade(1, 0, 0, 3, 0, 0)
    ledger.trade(1, 1, 0, 3, 0, 0)
    ledger.resolve(1, MICRO // 2, MICRO // 2)
    assert 2 == ledger.cash_usd_micro


def test_worst_loss_knows_what_is_hedged() -> None:
    """A complete basket cannot lose more than it cost above its payout; a lone leg can lose all."""
    table = Instruments()
    for slot in event([1, 2, 3]):
        table.apply(slot)
    ledger = Positions()
    ledger.trade(1, 0, 0, 10 * MICRO, 3 * MICRO, 0)
    assert (3 * MICRO, 3 * MICRO) == (ledger.worst_loss_row(1), ledger.worst_loss_event(table, 1))
    for row in (2, 3):
        ledger.trade(row, 0, 0, 10 * MICRO, 3 * MICRO, 0)
    assert (3 * MICRO, 0) == (ledger.worst_loss_row(1), ledger.worst_loss_event(table, 1))
    ledger.trade(1, 1, 0, 10 * MICRO, 8 * MICRO, 0)
    assert MICRO == ledger.worst_loss_row(1)  # the pair pays 10 of the 11 spent
    ledger.resolve(1, 0, MICRO)
    assert 0 == ledger.worst_loss_row(1)


@pytest.mark.parametrize(
    "walk", [walk for length in range(1, 6) for walk in itertools.product(T, repeat=length)][::7]
)
def test_FL04_status_walks_end_right(walk: tuple[TradeStatus, ...]) -> None:  # noqa: N802
    """Every walk of statuses: booked once at most, reversed once at most, CONFIRMED is final."""
    index, held, booked, reversed_count = FillIndex(), 0, 0, 0
    for status in walk:
        change, _ = index.apply(b"o", b"k", status)
        held += change if change in (Change.BOOK, Change.REVERSE) else 0
        booked += change == Change.BOOK
        reversed_count += change == Change.REVERSE
    final = next((status for status in walk if status in (T.CONFIRMED, T.FAILED)), T.MATCHED)
    assert (0 if final == T.FAILED else 1) == held
    assert (booked <= 1, reversed_count <= booked) == (True, True)
    assert (held, reversed_count) == (index.applied_count, index.reversed_count)


def test_I8_one_trade_fills_several_orders_once_each() -> None:  # noqa: N802
    """FL05: several own orders share a trade id; each is booked once however often it is told."""
    index = FillIndex()
    found = [index.apply(bytes([order]), b"t", T.MATCHED)[0] for order in (1, 2, 1, 2, 2)]
    assert [1, 1, 0, 0, 0] == found
    assert (2, 3) == (index.applied_count, index.repeat_count)
    other = FillIndex()
    other.load(index.state())
    assert Change.NONE == other.apply(bytes([1]), b"t", T.MATCHED)[0]  # FL01: also after a restart
    assert index.state() != other.state()


def test_fills_live_as_long_as_their_order() -> None:
    """What is forgotten takes no room, in no checkpoint either; what was booked stays booked."""
    index = FillIndex()
    for number in range(3):
        for trade in (b"a", b"b"):
            index.apply(bytes([number]), trade, T.CONFIRMED)
    index.forget(bytes([1]))
    index.forget(b"nobody")
    other = FillIndex()
    other.load(index.state())
    assert (4, 4, 6) == (len(index), len(other), index.applied_count)
    assert Change.NONE == other.apply(bytes([2]), b"b", T.CONFIRMED)[0]
    assert Change.BOOK == other.apply(bytes([2]), b"c", T.CONFIRMED)[0]
    assert 5 == len(other)


def test_unknown_status_is_provisional() -> None:
    """A status that we do not know books the trade and never ends its walk."""
    index = FillIndex()
    assert [Change.BOOK, Change.NONE, Change.REVERSE] == [
        index.apply(b"o", b"k", status)[0] for status in (77, 1, T.FAILED)
    ]


def test_quarantine_keeps_each_fill_once_and_is_bounded() -> None:
    """FL06: kept whole, released whole; its market is known as unexplained; at the limit it says so."""
    held = Quarantine()
    slots = [pack(Kind.FILL, instrument=5, trade_id=number.to_bytes(16, "big")) for number in range(3)]
    for slot in [*slots, *slots]:
        assert held.keep(b"h", 5, slot)
    assert (3, True, False) == (held.count, 5 in held.rows, 6 in held.rows)
    other = Quarantine()
    other.load(held.state())
    assert slots == other.release(b"h") == held.release(b"h")
    assert (0, False, []) == (held.count, 5 in held.rows, held.release(b"h"))
    for number in range(QUARANTINE_MAX):
        assert held.keep(number.to_bytes(2, "big"), 5, slots[0])
    assert not held.keep(b"new", 5, slots[1])
    assert 1 == held.lost_count


@pytest.mark.parametrize("seed", seeds(200))
def test_fold_pnl_equals_a_plain_sum(seed: int) -> None:
    """PnL from FILL and RESOLVED records alone equals a sum over distinct trades, told often."""
    rng = random.Random(seed)
    records, cash, fees, held = [], 0, 0, {}
    for trade in range(rng.randint(1, 40)):
        row, outcome, side = rng.randint(1, 4), rng.randint(0, 1), rng.randint(0, 1)
        size, usd, fee = rng.randint(1, 10**9), rng.randint(1, 10**9), rng.randint(0, 10**5) * 10
        intent = unpack(pack(Kind.INTENT, order_no=trade + 1, instrument=row, outcome=outcome, side=side))
        told = [
            fill(intent, size, trade, usd_micro=usd, fee_usd_micro=fee, status=status)
            for status in rng.choice(
                [[T.MATCHED], [T.MATCHED, T.MINED, T.CONFIRMED], [T.CONFIRMED, T.CONFIRMED]]
            )
        ]
        if rng.random() < 0.2:
            told = [told[0], fill(intent, size, trade, usd_micro=usd, fee_usd_micro=fee, status=T.FAILED)]
            if unpack(told[0]).status == T.CONFIRMED:
                told = told[1:]
        else:
            sign = 1 if side == 0 else -1
            cash -= sign * usd + fee
            fees += fee
            held[row, outcome] = held.get((row, outcome), 0) + sign * size
        records += told
    for row in range(1, 5):
        paid = rng.choice([(MICRO, 0), (0, MICRO)])
        records.append(pack(Kind.RESOLVED, instrument=row, payout_micro_yes=paid[0], payout_micro_no=paid[1]))
        cash += sum(held.get((row, outcome), 0) * paid[outcome] // MICRO for outcome in (0, 1))
    pnl = fold_pnl(records)
    assert (cash, fees, ()) == (pnl.pnl_usd_micro, pnl.fees_usd_micro, pnl.open_rows)


@pytest.mark.parametrize("damage", ["drop", "fee", "side"])
def test_fold_pnl_sees_every_damage(damage: str) -> None:
    """One fill dropped, one fee changed by 10 uUSD: another PnL. One side flipped: mended, and counted."""
    intents = [
        pack(Kind.INTENT, order_no=number, instrument=number, price_ticks=4_000, outcome=0, side=0)
        for number in (1, 2)
    ]
    fills = [
        fill(unpack(intent), 10 * MICRO, number, fee_usd_micro=100) for number, intent in enumerate(intents)
    ]
    ends = [
        pack(Kind.RESOLVED, instrument=number, payout_micro_yes=MICRO, payout_micro_no=0) for number in (1, 2)
    ]
    right = fold_pnl([*intents, *fills, *ends])
    assert (12 * MICRO - 200, 0) == (right.pnl_usd_micro, right.mismatch_count)
    hurt = {
        "drop": fills[:1],
        "fee": [fills[0], fill(unpack(intents[1]), 10 * MICRO, 1, fee_usd_micro=110)],
        "side": [fills[0], fill(unpack(intents[1]), 10 * MICRO, 1, fee_usd_micro=100, side=1)],
    }[damage]
    wrong = fold_pnl([*intents, *hurt, *ends])
    assert (damage == "side") == (right.pnl_usd_micro == wrong.pnl_usd_micro)
    assert (damage == "side") == bool(wrong.mismatch_count)
