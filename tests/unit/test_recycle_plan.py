"""venues.polymarket.recycle and core.holdings: what is planned, in which order, and the words of every no."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.core.holdings import Holding, holdings
from pipeline.core.instruments import Instruments, Question
from pipeline.core.state import TraderState
from pipeline.kinds import Kind, OrderState, OrderType, Origin, Outcome, Rule, Side, TradeStatus
from pipeline.records import FEE_NOT_TOLD
from pipeline.units import MICRO
from pipeline.venues.polymarket import recycle, settle, wire
from pipeline.venues.polymarket.recycle import ActionKind

NEG_RISK = Rule.NEG_RISK | Rule.EXCLUSIVE
COMPLETE = NEG_RISK | Rule.EXHAUSTIVE
MARKET = b"\x77" * 31
SHARES = 10 * MICRO


def instrument(row: int, rules: int, event: int = 0, index: int = 0, count: int = 1, **changes: Any) -> bytes:
    is_v2 = bool(rules & Rule.V2)
    token = (bytes([2]) + b"\x31" * 18 + bytes(10) + bytes([0, row, 0])) if is_v2 else bytes([row]) * 32
    return CODECS[Kind.INSTRUMENT].pack(**({
        "instrument": row, "rules": int(rules | Rule.TRADABLE), "event": event, "outcome_index": index,
        "outcome_count": count, "venue": 1, "token_yes": token,
        "token_no": token[:31] + bytes([token[31] ^ 1]),
        "condition": token[:31] + b"\0" if is_v2 else bytes([0x80 + row]) * 32} | changes))


def event(rules: int, count: int, listed: int | None = None) -> Instruments:
    """Return the markets 1..listed of an event of `count`, event row 5."""
    made = Instruments()
    for row in range(1, (listed or count) + 1):
        made.apply(instrument(row, rules, 5, row - 1, count))
    return made


def kalshi() -> Instruments:
    made = Instruments()
    made.apply(instrument(1, 0, venue=2))
    return made


def questions(*rows: int) -> dict[int, Question]:
    return {row: Question(MARKET + bytes([row - 1]), 0) for row in rows}


def no_of(*rows: int) -> list[Holding]:
    return [Holding(row, (0, SHARES)) for row in rows]


def one(
    instruments: Instruments, held: list[Holding], asked: dict[int, Question] | None = None,
) -> recycle.Action:
    """Return the one action of a plan."""
    [action] = recycle.plan(held, instruments, asked or {}).actions
    return action


def why(instruments: Instruments, held: list[Holding], asked: dict[int, Question] | None = None) -> set[str]:
    """Return the reasons of a plan without actions."""
    found = recycle.plan(held, instruments, asked or {})
    assert not found.actions
    return {kept.why for kept in found.kept}


@pytest.mark.parametrize(("rules", "call", "approval"), [
    (0, settle.merge(b"\x81" * 32, SHARES, neg_risk=False), (wire.CONDITIONAL_TOKENS, wire.CTF_ADAPTER)),
    (NEG_RISK, settle.merge(b"\x81" * 32, SHARES, neg_risk=True),
     (wire.CONDITIONAL_TOKENS, wire.NEG_RISK_CTF_ADAPTER)),
    (Rule.V2, settle.merge_v2(bytes([2]) + b"\x31" * 18 + bytes(10) + bytes([0, 1]), SHARES),
     (wire.POSITION_MANAGER, wire.ROUTER))])
def test_a_pair_is_merged(rules, call, approval):
    """A pair goes to the contract of its kind of market; the approval named is one of the 17."""
    instruments = Instruments()
    instruments.apply(instrument(1, rules))
    action = one(instruments, [Holding(1, (SHARES, SHARES + 1))])

    assert (ActionKind.MERGE, (1,), SHARES, SHARES, 0) == (
        action.kind, action.rows, action.size_micro, action.frees_usd_micro, action.cost_usd_micro)
    assert (call,) == action.calls
    assert (approval,) == action.approvals
    assert approval in wire.APPROVALS


def test_a_basket_of_no_is_converted():
    """NO of every outcome of a complete event pay now: n-1 for each set, in one call."""
    action = one(event(COMPLETE, 3), no_of(1, 2, 3), questions(1, 2, 3))

    assert (ActionKind.CONVERT, (1, 2, 3), SHARES, 2 * SHARES) == (
        action.kind, action.rows, action.size_micro, action.frees_usd_micro)
    assert (settle.convert(MARKET + b"\0", 0b111, SHARES),) == action.calls


@pytest.mark.parametrize(("bips", "frees", "cost", "words"), [
    (0, 10 * MICRO, 0, recycle.ONE_WINS), (FEE_NOT_TOLD, 10 * MICRO, 0, recycle.NO_FEE_TOLD),
    (100, 99 * MICRO // 10, 2 * MICRO // 10, "fee 0.100000 USD a token")])
def test_a_conversion_names_its_fee(bips, frees, cost, words):
    """What a fee takes is not told as freed, its worst cost stands beside; an untold fee is said to be so."""
    asked = {row: Question(one.question_id, bips) for row, one in questions(1, 2).items()}
    action = one(event(COMPLETE, 3), no_of(1, 2), asked)

    assert (frees, cost) == (action.frees_usd_micro, action.cost_usd_micro)
    assert words in action.why


def test_a_v2_set_converts_and_merges_in_one_batch():
    """One NO becomes YES of the others, each merges with its own NO; Other stays."""
    held = [Holding(1, (0, SHARES)), Holding(2, (0, 4 * MICRO)), Holding(3, (0, 6 * MICRO))]
    action = one(event(NEG_RISK | Rule.V2, 4, listed=3), held)

    assert 10 * MICRO == action.frees_usd_micro
    assert ["convert of Router", "merge of Router", "merge of Router"] == [
        settle.words_of(call) for call in action.calls]


@pytest.mark.parametrize(("rules", "frees", "calls"), [
    (0, 7 * MICRO, ["redeemPositions of CtfCollateralAdapter"]),
    (NEG_RISK, 7 * MICRO, ["redeemPositions of NegRiskCtfCollateralAdapter"]),
    (Rule.V2, 7 * MICRO, ["redeem of Router"])])
def test_a_resolved_market_is_redeemed(rules, frees, calls):
    """What a resolution pays is redeemed, whatever else could be done; the losing side is named as lost."""
    instruments = Instruments()
    instruments.apply(instrument(1, rules))
    held = Holding(1, (7 * MICRO, 2 * MICRO), payout_usd_micro=(MICRO, 0))
    found = recycle.plan([held], instruments, {})

    assert frees == found.frees_usd_micro
    assert calls == [settle.words_of(call) for action in found.actions for call in action.calls]
    assert [(1, Outcome.NO, 2 * MICRO, recycle.LOST)] == [
        (kept.row, kept.outcome, kept.size_micro, kept.why) for kept in found.kept]


def test_a_void_market_redeems_both_sides():
    """Half a dollar for each token, each rounded down as the contract does."""
    instruments = Instruments()
    instruments.apply(instrument(1, Rule.V2))
    half = MICRO // 2
    action = one(instruments, [Holding(1, (MICRO + 1, MICRO + 1), payout_usd_micro=(half, half))])

    assert MICRO == action.frees_usd_micro
    assert 2 == len(action.calls)


def test_only_settled_and_unpromised_shares_are_used():
    """Unconfirmed and offered shares stay, each with its reason; the rest of the pair is merged."""
    instruments = Instruments()
    instruments.apply(instrument(1, 0))
    held = Holding(1, (SHARES, SHARES), (4 * MICRO, 0), (1 * MICRO, 2 * MICRO))
    found = recycle.plan([held], instruments, {})

    assert [5 * MICRO] == [action.size_micro for action in found.actions]
    assert [(Outcome.YES, 4 * MICRO, recycle.UNCONFIRMED), (Outcome.YES, MICRO, recycle.OFFERED),
            (Outcome.NO, 2 * MICRO, recycle.OFFERED), (Outcome.NO, 3 * MICRO, recycle.ALONE_NO)] == [
        (kept.outcome, kept.size_micro, kept.why) for kept in found.kept]


@pytest.mark.parametrize(("instruments", "held", "asked", "reason"), [
    (event(COMPLETE, 3), [Holding(1, (SHARES, 0))], {}, recycle.ALONE_YES),
    (event(0, 3), [Holding(1, (0, SHARES))], {}, recycle.ALONE_NO),
    (event(0, 3), no_of(1, 2), {}, recycle.NOT_NEG_RISK),
    (event(Rule.EXCLUSIVE, 3), no_of(1, 2), questions(1, 2), recycle.NOT_NEG_RISK),
    (event(COMPLETE, 3), no_of(1), questions(1), recycle.SINGLE_NO),
    (event(NEG_RISK | Rule.AUGMENTED, 3), no_of(1, 2), questions(1, 2), recycle.AUGMENTED),
    (event(NEG_RISK, 3), no_of(1, 2), questions(1, 2), recycle.INCOMPLETE),
    (event(COMPLETE, 3, listed=2), no_of(1, 2), questions(1, 2), recycle.INCOMPLETE),
    (event(COMPLETE, 3), no_of(1, 2), questions(1), recycle.NO_QUESTION),
    (event(COMPLETE, 3), no_of(1, 2), {1: Question(MARKET + b"\0", 0), 2: Question(MARKET + b"\0", 0)},
     recycle.NO_QUESTION),
    (event(COMPLETE, 3), no_of(1, 2),
     {1: Question(MARKET + b"\0", 0), 2: Question(b"\x66" * 31 + b"\1", 0)}, recycle.NO_QUESTION),
    (event(COMPLETE, 3), [Holding(1, (5_000, 5_000))], {}, recycle.DUST),
    (event(COMPLETE, 3), [Holding(1, (0, 5_000)), Holding(2, (0, 5_000))], questions(1, 2), recycle.DUST),
    (event(NEG_RISK | Rule.V2, 3), [Holding(1, (0, 9_999)), Holding(2, (0, 9_999))], {}, recycle.DUST),
    (event(COMPLETE, 3), [Holding(1, (SHARES, 0), payout_usd_micro=(0, MICRO))], {}, recycle.LOST),
    (event(COMPLETE, 3), [Holding(1, (5_000, 0), payout_usd_micro=(MICRO, 0))], {}, recycle.DUST),
    (event(COMPLETE, 3), [Holding(1, (SHARES, SHARES), (SHARES, SHARES))], {}, recycle.UNCONFIRMED),
    (event(COMPLETE, 3), [Holding(9, (SHARES, SHARES))], {}, recycle.STRANGE),
    (kalshi(), [Holding(1, (SHARES, SHARES))], {}, recycle.STRANGE)])
def test_every_no_says_why(instruments, held, asked, reason):
    """What cannot be freed is kept with the one reason that holds."""
    assert {reason} == why(instruments, held, asked)


def test_a_question_beyond_the_listed_ones_is_refused():
    """An index that the event cannot have on chain would revert: not planned, with the contract's reason."""
    asked = questions(1) | {2: Question(MARKET + b"\x07", 0)}

    assert any("a set of questions 0..2" in text for text in why(event(COMPLETE, 3), no_of(1, 2), asked))


def test_what_frees_most_comes_first():
    """Actions are ordered by what they free; a short position takes part in nothing."""
    instruments = Instruments()
    for row in (1, 2, 3):
        instruments.apply(instrument(row, 0))
    held = [Holding(1, (MICRO, MICRO)), Holding(2, (3 * MICRO, 3 * MICRO)), Holding(3, (-MICRO, 9 * MICRO))]
    found = recycle.plan(held, instruments, {})

    assert [(2,), (1,)] == [action.rows for action in found.actions]
    assert 4 * MICRO == found.frees_usd_micro


def facts(*fills: tuple[int, int, int, int]) -> TraderState:
    """Return facts: order 1 buys YES of row 1, order 2 sells it; fills: order, trade, size, status."""
    state = TraderState()
    state.fold(instrument(1, 0))
    for order_no, side in ((1, Side.BUY), (2, Side.SELL)):
        state.apply_decision(CODECS[Kind.INTENT].pack(
            order_no=order_no, instrument=1, side=side, outcome=Outcome.YES, order_type=OrderType.GTC,
            price_ticks=5_000, size_micro=SHARES, worst_usd_micro=SHARES))
        state.fold(CODECS[Kind.REPORT].pack(
            order_no=order_no, instrument=1, state=int(OrderState.LIVE), origin=int(Origin.HTTP),
            order_hash=bytes([order_no]) * 32, matched_micro=-1, making_micro=-1, taking_micro=-1))
    for order_no, trade, size_micro, status in fills:
        state.fold(CODECS[Kind.FILL].pack(
            order_no=order_no, instrument=1, trade_id=bytes([trade]) * 16, size_micro=size_micro,
            usd_micro=size_micro // 2, status=status, side=Side.BUY if order_no == 1 else Side.SELL))
    return state


def test_holdings_follow_settlement():
    """Shares wait until their trade is confirmed; what an open order sells is offered."""
    matched = facts((1, 1, 6 * MICRO, TradeStatus.CONFIRMED), (1, 2, 3 * MICRO, TradeStatus.MATCHED))
    [found] = holdings(matched)
    assert ((9 * MICRO, 0), (3 * MICRO, 0), (SHARES, 0), 0) == (
        found.held_micro, found.unsettled_micro, found.offered_micro, found.free_micro(Outcome.YES))

    for status in (TradeStatus.MINED, TradeStatus.RETRYING):
        [found] = holdings(facts((1, 1, MICRO, status)))
        assert (MICRO, 0) == found.unsettled_micro
    [found] = holdings(facts((1, 1, 6 * MICRO, TradeStatus.MATCHED), (1, 1, 6 * MICRO, TradeStatus.CONFIRMED),
                             (2, 3, 2 * MICRO, TradeStatus.MATCHED)))
    assert ((4 * MICRO, 0), (0, 0), (8 * MICRO, 0)) == (
        found.held_micro, found.unsettled_micro, found.offered_micro)
    assert () == holdings(facts((1, 1, MICRO, TradeStatus.MATCHED), (1, 1, MICRO, TradeStatus.FAILED)))


def test_holdings_of_resolved_markets():
    """What was bought in a trade that is not confirmed is not free; a resolved market is still held."""
    state = facts((1, 1, 5 * MICRO, TradeStatus.CONFIRMED), (1, 2, MICRO, TradeStatus.MATCHED))
    state.fold(CODECS[Kind.RESOLVED].pack(instrument=1, payout_micro_yes=MICRO))
    [found] = holdings(state)

    assert ((6 * MICRO, 0), (MICRO, 0), (MICRO, 0)) == (
        found.held_micro, found.unsettled_micro, found.payout_usd_micro)
