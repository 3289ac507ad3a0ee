"""Which actions on chain would free collateral: merge pairs, convert NO sets, redeem what is resolved.

Pure, integers: holdings and instruments in, a plan out; `pm recycle` shows it, nothing here sends. Units:
1e-6 share, 1e-6 USD. In every outcome that can happen a plan's actions are worth what they burn, less the
fee that they name (tests/property/test_recycle_plan.py). No action uses a share of another, so any order
will do; the plan's is by what they free, one at a time: a wallet has one action in flight.
Source: venue sheet 17, read 2026-11-22.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pipeline.core.holdings import Holding
from pipeline.core.instruments import Instrument, Instruments, Question
from pipeline.kinds import Outcome, Rule
from pipeline.records import FEE_NOT_TOLD
from pipeline.units import MICRO, usd_text
from pipeline.venues.polymarket import settle, wire
from pipeline.venues.polymarket.convert import Converted, converted, index_set
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.settle import EVENT_V2_BYTES, Call
from pipeline.venues.polymarket.universe import VENUE_POLYMARKET

DUST_USD_MICRO: Final = 10_000  # an action that frees less than a cent is not worth its call
_NEG_RISK_MODULE: Final = 2  # first byte of a v2 position id; venue sheet 3.4

PAIR: Final = "a settled pair is worth 1 USD in every outcome"
ONE_WINS: Final = "at most one of them wins: all NO of a set but one are 1 USD each, other YES come back"
ONE_WINS_V2: Final = "at most one of them wins: one NO becomes YES of all others, which merge with their NO"
UNCONFIRMED: Final = "its trade is not confirmed: not yet a balance on chain"
OFFERED: Final = "offered in an open order: cancel that first"
LOST: Final = "resolved against it: worth nothing"
DUST: Final = f"frees less than {DUST_USD_MICRO / MICRO:.2f} USD"
ALONE_YES: Final = "frees nothing before its market is resolved: no call takes YES without its NO"
ALONE_NO: Final = "frees nothing before its market is resolved: it needs as many YES"
SINGLE_NO: Final = "one NO of an event alone converts into YES of the others and frees nothing"
NOT_NEG_RISK: Final = "its event is not neg-risk: NO of several markets cannot be converted"
AUGMENTED: Final = "cannot be converted: the event is augmented, its number of questions on chain is unknown"
INCOMPLETE: Final = (
    "cannot be converted: not every question of the event is listed and open, so their number is unknown")
STRANGE: Final = "its market is not in the logs, or of another venue"
NO_FEE_TOLD: Final = "; the venue tells no fee, and has taken none on any market seen"
NO_QUESTION: Final = "cannot be converted: the id of its question on chain is not known here"


class ActionKind(enum.Enum):
    """What an action does; the values are words of the command line."""

    MERGE = "merge"
    CONVERT = "convert"
    REDEEM = "redeem"


@dataclass(frozen=True, slots=True)
class Action:
    """One step that frees collateral. Its calls belong into one atomic batch."""

    kind: ActionKind
    rows: tuple[int, ...]
    size_micro: int  # of each token that it takes; of a redemption: all shares that pay
    frees_usd_micro: int
    cost_usd_micro: int  # what the contract's fee takes in the worst outcome
    calls: tuple[Call, ...]
    approvals: tuple[tuple[str, str], ...]  # pairs of `wire.APPROVALS` that it needs
    why: str


@dataclass(frozen=True, slots=True)
class Kept:
    """Shares that no action frees, and why not."""

    row: int
    outcome: int
    size_micro: int
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions, what frees most first; and all that stays locked."""

    actions: tuple[Action, ...]
    kept: tuple[Kept, ...]

    @property
    def frees_usd_micro(self) -> int:
        """What all actions free together."""
        return sum(action.frees_usd_micro for action in self.actions)


class _Rest:
    """What is left of the free shares while the plan is made: row -> [YES, NO]."""

    def __init__(self, held: Sequence[Holding]) -> None:
        self.micro = {one.row: [one.free_micro(Outcome.YES), one.free_micro(Outcome.NO)] for one in held}
        self.why_no: dict[int, str] = {}  # row -> why its NO stay


def plan(
    held: Sequence[Holding], instruments: Instruments, questions: Mapping[int, Question],
    least_usd_micro: int = DUST_USD_MICRO,
) -> Plan:
    """Return what can be freed now, and why the rest cannot.

    questions: row -> question, of v1 neg-risk markets.
    least_usd_micro: actions that free less are left out.
    """
    rows, least = instruments.rows, max(1, least_usd_micro)
    strange = [one for one in held if one.row not in rows or rows[one.row].venue != VENUE_POLYMARKET]
    held = [one for one in held if one not in strange]
    rest = _Rest(held)
    open_rows = [one.row for one in held if one.payout_usd_micro is None]
    found = [action for one in held if one.payout_usd_micro is not None
             for action in _redeem(rows[one.row], one, rest, least)]
    found += [action for row in open_rows for action in _merge(rows[row], rest, least)]
    with_no: dict[int, list[Instrument]] = {}  # event -> its markets of which NO are left
    for row in open_rows:
        if rest.micro[row][1]:
            with_no.setdefault(rows[row].event, []).append(rows[row])
    for event, members in with_no.items():
        if event and len(members) > 1:
            found += _convert(event, members, rest, instruments, questions, least)
    found.sort(key=lambda action: (-action.frees_usd_micro, action.kind.value, action.rows))
    unknown = (Kept(one.row, outcome, one.held_micro[outcome], STRANGE)
               for one in strange for outcome in Outcome if one.held_micro[outcome] > 0)
    return Plan(tuple(found), (*_kept(held, rest, instruments), *unknown))


def _approval(instrument: Instrument) -> tuple[tuple[str, str], ...]:
    if instrument.has(Rule.V2):
        return ((wire.POSITION_MANAGER, wire.ROUTER),)
    neg_risk = instrument.has(Rule.NEG_RISK)
    return ((wire.CONDITIONAL_TOKENS, wire.NEG_RISK_CTF_ADAPTER if neg_risk else wire.CTF_ADAPTER),)


def _merge_call(instrument: Instrument, size_micro: int) -> Call:
    if instrument.has(Rule.V2):
        return settle.merge_v2(instrument.condition, size_micro)
    return settle.merge(instrument.condition, size_micro, neg_risk=instrument.has(Rule.NEG_RISK))


def _merge(instrument: Instrument, rest: _Rest, least_usd_micro: int) -> Iterator[Action]:
    size_micro = min(rest.micro[instrument.row])
    if not size_micro:
        return
    if size_micro < least_usd_micro:
        rest.why_no[instrument.row] = DUST
        return
    for outcome in Outcome:
        rest.micro[instrument.row][outcome] -= size_micro
    yield Action(
        ActionKind.MERGE, (instrument.row,), size_micro, size_micro, 0,
        (_merge_call(instrument, size_micro),), _approval(instrument), PAIR)


def _redeem(instrument: Instrument, held: Holding, rest: _Rest, least_usd_micro: int) -> Iterator[Action]:
    """v1 redeems the whole balance of both tokens in one call, v2 an amount of one outcome."""
    payouts, free = held.payout_usd_micro or (0, 0), rest.micro[held.row]
    paying = [outcome for outcome in Outcome if payouts[outcome] and free[outcome]]
    frees = sum(free[outcome] * payouts[outcome] // MICRO for outcome in paying)
    if frees < least_usd_micro:
        return
    if instrument.has(Rule.V2):
        calls = tuple(settle.redeem_v2(instrument.condition, outcome, free[outcome]) for outcome in paying)
    else:
        calls = (settle.redeem(instrument.condition, neg_risk=instrument.has(Rule.NEG_RISK)),)
    words = ", ".join(f"{outcome.name} pays {payouts[outcome] / MICRO:.2f}" for outcome in paying)
    size_micro = sum(free[outcome] for outcome in paying)
    for outcome in paying:
        free[outcome] = 0
    yield Action(ActionKind.REDEEM, (held.row,), size_micro, frees, 0, calls, _approval(instrument),
                 f"resolved: {words}, once the result is final on chain")


def _convert(
    event: int, members: Sequence[Instrument], rest: _Rest, instruments: Instruments,
    questions: Mapping[int, Question], least_usd_micro: int,
) -> Iterator[Action]:
    """k NO of an exclusive event are worth k-1 USD and one YES of each other question, whoever wins."""
    why = _obstacle(event, members, instruments, questions)
    if why:
        rest.why_no.update((member.row, why) for member in members)
        return
    if members[0].has(Rule.V2):
        yield from _convert_v2(members, rest, least_usd_micro)
        return
    structure = instruments.structure(event)
    count = structure.outcome_count if structure is not None else 0
    by_index = {questions[member.row].index: member for member in members}
    first = questions[members[0].row]
    amounts = {index: rest.micro[member.row][1] for index, member in by_index.items()}
    is_told = first.fee_bips != FEE_NOT_TOLD
    for size_micro, indices in _slices(amounts):
        given = converted(count, index_set(indices), size_micro, first.fee_bips if is_told else 0)
        taken = [by_index[index] for index in indices]
        if isinstance(given, Refusal) or given.usd_micro < max(least_usd_micro, given.cost_usd_micro):
            text = given.text if isinstance(given, Refusal) else DUST
            rest.why_no.update((member.row, text) for member in taken)
            continue
        for member in taken:
            rest.micro[member.row][1] -= size_micro
        yield Action(
            ActionKind.CONVERT, tuple(member.row for member in taken), size_micro, given.usd_micro,
            given.cost_usd_micro, (settle.convert(first.market, index_set(indices), size_micro),),
            _approval(members[0]), _words(given) + ("" if is_told else NO_FEE_TOLD))


def _words(given: Converted) -> str:
    return f"{ONE_WINS}; fee {usd_text(given.fee_micro)} USD a token" if given.fee_micro else ONE_WINS


def _obstacle(
    event: int, members: Sequence[Instrument], instruments: Instruments, questions: Mapping[int, Question],
) -> str:
    """Return why NO of these markets cannot be converted together; "" when they can."""
    if not all(member.has(Rule.NEG_RISK | Rule.EXCLUSIVE) for member in members):
        return NOT_NEG_RISK
    if any(member.has(Rule.V2) for member in members):  # the id says it all, Other is always the last one
        is_one = len({member.token_yes[:EVENT_V2_BYTES] for member in members}) == 1
        is_neg_risk = all(member.token_yes[0] == _NEG_RISK_MODULE for member in members)
        return "" if is_one and is_neg_risk and all(member.has(Rule.V2) for member in members) \
            else NOT_NEG_RISK
    structure = instruments.structure(event)
    if any(member.has(Rule.AUGMENTED) for member in members):
        return AUGMENTED
    if structure is None or not (structure.exclusive and structure.exhaustive):
        return INCOMPLETE
    known = [questions[member.row] for member in members if member.row in questions]
    one_market = len({(question.market, question.fee_bips) for question in known}) == 1
    indices = {question.index for question in known}
    if len(known) != len(members) or not one_market or len(indices) != len(members):
        return NO_QUESTION
    return ""


def _slices(amounts: Mapping[int, int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield (size, indices) of the fewest conversions that leave only what no second question matches."""
    done = 0
    for level in sorted(set(amounts.values())):
        indices = tuple(sorted(index for index, amount in amounts.items() if amount >= level))
        if len(indices) < 2:
            return
        yield level - done, indices
        done = level


def _convert_v2(members: Sequence[Instrument], rest: _Rest, least_usd_micro: int) -> Iterator[Action]:
    """Convert the largest NO as far as the second goes, then merge the YES that come with the other NO."""
    largest, *others = sorted(members, key=lambda member: (-rest.micro[member.row][1], member.token_yes))
    sizes = [rest.micro[other.row][1] for other in others]
    if sum(sizes) < least_usd_micro:
        rest.why_no.update((member.row, DUST) for member in members)
        return
    token = largest.token_yes
    index = int.from_bytes(token[EVENT_V2_BYTES:settle.CONDITION_V2_BYTES], "big")
    calls = (settle.convert_v2(token[:EVENT_V2_BYTES], index, sizes[0]),
             *(_merge_call(other, size) for other, size in zip(others, sizes, strict=True)))
    rest.micro[largest.row][1] -= sizes[0]
    for other in others:
        rest.micro[other.row][1] = 0
    yield Action(
        ActionKind.CONVERT, (largest.row, *(other.row for other in others)), sizes[0], sum(sizes), 0, calls,
        _approval(largest), ONE_WINS_V2)


def _kept(held: Sequence[Holding], rest: _Rest, instruments: Instruments) -> Iterator[Kept]:
    for one in held:
        instrument = instruments.rows[one.row]
        for outcome in Outcome:
            unexplained = max(0, one.held_micro[outcome])
            for busy_micro, why in ((one.unsettled_micro[outcome], UNCONFIRMED),
                                    (one.offered_micro[outcome], OFFERED)):
                size_micro = min(busy_micro, unexplained)
                unexplained -= size_micro
                if size_micro:
                    yield Kept(one.row, outcome, size_micro, why)
            left = rest.micro[one.row][outcome]
            if left:
                yield Kept(one.row, outcome, left, _why_left(one, instrument, outcome, rest))


def _why_left(held: Holding, instrument: Instrument, outcome: int, rest: _Rest) -> str:
    if held.payout_usd_micro is not None:
        return DUST if held.payout_usd_micro[outcome] else LOST
    if min(rest.micro[held.row]):
        return DUST
    if outcome == Outcome.YES:
        return ALONE_YES
    if held.row in rest.why_no:
        return rest.why_no[held.row]
    return SINGLE_NO if instrument.has(Rule.NEG_RISK) else ALONE_NO
