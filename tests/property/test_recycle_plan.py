"""venues.polymarket.recycle: random portfolios, planned, done on a slow chain, valued in every outcome."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from functools import cache

import pytest

from pipeline.codec import CODECS
from pipeline.core.holdings import Holding
from pipeline.core.instruments import Instruments, Question
from pipeline.kinds import Kind, Rule
from pipeline.units import MICRO
from pipeline.venues.polymarket import recycle, settle
from pipeline.venues.polymarket.recycle import ActionKind
from tests.models.settle_chain import Chain, Market, Revert
from tests.shared import scaled, seeds

YES_WINS, NO_WINS = (Fraction(1), Fraction(0)), (Fraction(0), Fraction(1))
VOID = (Fraction(1, 2), Fraction(1, 2))
NEG_RISK = Rule.NEG_RISK | Rule.EXCLUSIVE


class Portfolio:
    """Events of every kind with random holdings; `worlds` are all outcomes of what is open."""

    def __init__(self, seed: int, fee_bips: int = 0) -> None:
        self.rng = random.Random(seed)
        self.instruments = Instruments()
        self.markets: list[Market] = []
        self.questions: dict[int, Question] = {}
        self.held: list[Holding] = []
        self.fee_bips = fee_bips
        self.choices: list[list[dict[bytes, tuple[Fraction, Fraction]] | bytes]] = []
        for event in range(1, self.rng.randint(2, 4)):
            self.rng.choice([self.v1_event, self.v1_event, self.v2_event, self.plain])(event)
        self.chain = Chain(self.markets, fee_bips)
        for one, market in zip(self.held, self.markets, strict=True):
            for outcome in (0, 1):
                self.chain.shares[market.condition, outcome] = one.free_micro(outcome)
            if one.payout_usd_micro is not None:
                self.chain.payouts[market.condition] = tuple(Fraction(p, MICRO) for p in one.payout_usd_micro)

    def v1_event(self, event: int) -> None:
        """Neg-risk, complete: one of its questions wins."""
        group, count = self.rng.randbytes(31) + b"\0", self.rng.randint(2, 5)
        rows = [self.market(event, index, count, NEG_RISK | Rule.EXHAUSTIVE, group=group)
                for index in range(count)]
        for row, index in zip(rows, range(count), strict=True):
            self.questions[row] = Question(group[:31] + bytes([index]), self.fee_bips)
        self.winner([self.markets[row - 1].condition for row in rows])

    def v2_event(self, event: int) -> None:
        """Protocol v2: one condition wins, or Other, which nobody lists."""
        group, count = bytes([2]) + self.rng.randbytes(18) + bytes(10), self.rng.randint(2, 4)
        rows = [self.market(event, index, count, NEG_RISK | Rule.V2, group=group) for index in range(count)]
        self.winner([self.markets[row - 1].condition for row in rows], other=group)

    def plain(self, event: int) -> None:
        """One condition of its own, which may be void; some are resolved."""
        is_v2 = self.rng.random() < 0.5
        payout = self.rng.choice([None, (MICRO, 0), (0, MICRO), (MICRO // 2, MICRO // 2)])
        group = bytes([1]) + self.rng.randbytes(18) + bytes(10) if is_v2 else b""
        row = self.market(event, 0, 1, Rule.V2 if is_v2 else Rule(0), group=group, payout=payout)
        condition = self.markets[row - 1].condition
        if payout is None:
            self.choices.append([{condition: pays} for pays in (YES_WINS, NO_WINS, VOID)])

    def winner(self, conditions: list[bytes], other: bytes = b"") -> None:
        losing = dict.fromkeys(conditions, NO_WINS)
        self.choices.append([losing | {condition: YES_WINS} for condition in conditions])
        if other:
            self.choices[-1].append(losing | {other: YES_WINS})

    def market(self, event: int, index: int, count: int, rules: Rule, *, group: bytes,
               payout: tuple[int, int] | None = None) -> int:
        row = len(self.markets) + 1
        is_v2 = bool(rules & Rule.V2)
        token_yes = group + index.to_bytes(2, "big") + b"\0" if is_v2 else self.rng.randbytes(32)
        token_no = token_yes[:31] + bytes([token_yes[31] ^ 1])
        condition = token_yes[:31] + b"\0" if is_v2 else self.rng.randbytes(32)
        self.instruments.apply(CODECS[Kind.INSTRUMENT].pack(
            instrument=row, condition=condition, token_yes=token_yes, token_no=token_no,
            rules=int(rules | Rule.TRADABLE), event=event, outcome_index=index, outcome_count=count, venue=1))
        self.markets.append(Market(
            condition, is_v2, bool(rules & Rule.NEG_RISK), group if rules & Rule.NEG_RISK else b"", index))
        top = self.rng.choice([3, 10**6, 10**9])
        held = (self.rng.choice([0, self.rng.randint(0, top)]), self.rng.randint(0, top))
        some = self.rng.random() < 0.3
        busy = [(self.rng.randint(0, top), self.rng.randint(0, top)) if some else (0, 0) for _ in range(2)]
        self.held.append(Holding(row, held, busy[0], busy[1], payout))
        return row

    def worlds(self):
        """Yield (condition -> payouts, events whose Other wins) for every joint outcome."""
        for choice in itertools.product(*self.choices):
            pays: dict[bytes, tuple[Fraction, Fraction]] = {}
            for part in choice:
                pays |= part
            yield pays, [key for key in pays if len(key) == 29]

    def on_chain(self, market: Market) -> tuple[int, int]:
        return self.chain.shares[market.condition, 0], self.chain.shares[market.condition, 1]

    def values(self) -> list[Fraction]:
        return [self.chain.worth(pays, others) for pays, others in self.worlds()]


@pytest.mark.parametrize("fee_bips", [0, 37])
@pytest.mark.parametrize("seed", seeds(scaled(40, 2_000)))
def test_a_plan_is_worth_what_it_burns(seed, fee_bips):
    """Done in any order on the chain: nothing reverts, exactly what was told is freed, no outcome loses more.

    The chain holds the free shares alone, so an action that used an unconfirmed or offered one would revert.
    """
    portfolio = Portfolio(seed, fee_bips)
    found = recycle.plan(portfolio.held, portfolio.instruments, portfolio.questions, least_usd_micro=1)
    actions = list(found.actions)
    assert sorted(actions, key=lambda action: -action.frees_usd_micro) == actions
    portfolio.rng.shuffle(actions)
    for action in actions:
        before, usd = portfolio.values(), portfolio.chain.usd
        for call in action.calls:
            assert settle.refusal_of(call) is None
            portfolio.chain.apply(*call)
        assert action.frees_usd_micro == portfolio.chain.usd - usd > 0
        losses = [was - now for was, now in zip(before, portfolio.values(), strict=True)]
        rounding = 2 if action.kind == ActionKind.REDEEM else 0  # half a micro-dollar a token
        assert 0 <= min(losses)
        assert max(losses) <= action.cost_usd_micro + rounding
        assert fee_bips or 0 == action.cost_usd_micro
    assert found.frees_usd_micro == portfolio.chain.usd


@pytest.mark.parametrize("seed", seeds(scaled(30, 1_000)))
def test_a_second_plan_finds_nothing(seed):
    """What is left after a plan frees nothing more: a plan is whole."""
    portfolio = Portfolio(seed)
    for action in recycle.plan(portfolio.held, portfolio.instruments, portfolio.questions, 1).actions:
        for call in action.calls:
            portfolio.chain.apply(*call)
    left = [Holding(one.row, portfolio.on_chain(market), payout_usd_micro=one.payout_usd_micro)
            for one, market in zip(portfolio.held, portfolio.markets, strict=True)]
    again = recycle.plan(left, portfolio.instruments, portfolio.questions, 1)

    assert () == again.actions
    assert any(one.held_micro for one in left)


@pytest.mark.parametrize("seed", seeds(scaled(30, 1_000)))
def test_every_share_is_used_or_explained(seed):
    """Of each open market's tokens, what actions take and what is kept with a reason are what is held."""
    portfolio = Portfolio(seed)
    found = recycle.plan(portfolio.held, portfolio.instruments, portfolio.questions, 1)
    paired = {one.rows[0]: one.size_micro for one in found.actions if one.kind == ActionKind.MERGE}
    for action in found.actions:
        for call in action.calls:
            portfolio.chain.apply(*call)
    for one, market in zip(portfolio.held, portfolio.markets, strict=True):
        kept = [sum(kept.size_micro for kept in found.kept if (kept.row, kept.outcome) == (one.row, outcome))
                for outcome in (0, 1)]
        used_no = one.free_micro(1) - portfolio.on_chain(market)[1]  # nothing makes NO
        if one.payout_usd_micro is None:
            assert one.held_micro == (kept[0] + paired.get(one.row, 0), kept[1] + used_no)
    assert all(kept.why and kept.size_micro > 0 for kept in found.kept)


def most(yes: tuple[int, ...], no: tuple[int, ...]) -> int:
    """Return the most that any sequence of merges and conversions of a v1 event frees, by trying all."""
    sets = [chosen for size in range(1, len(no) + 1)
            for chosen in itertools.combinations(range(len(no)), size)]

    @cache
    def best(yes: tuple[int, ...], no: tuple[int, ...]) -> int:
        found = 0
        for index, pair in enumerate(zip(yes, no, strict=True)):
            if min(pair):
                found = max(found, 1 + best(less(yes, (index,)), less(no, (index,))))
        for chosen in sets:
            if all(no[index] for index in chosen):
                others = tuple(index for index in range(len(no)) if index not in chosen)
                found = max(found, len(chosen) - 1 + best(less(yes, others, -1), less(no, chosen)))
        return found

    return best(yes, no)


def less(amounts: tuple[int, ...], indices: tuple[int, ...], by: int = 1) -> tuple[int, ...]:
    return tuple(amount - by * (index in indices) for index, amount in enumerate(amounts))


@pytest.mark.parametrize("seed", seeds(scaled(5, 60)))
def test_no_other_sequence_frees_more(seed):
    """A v1 event's plan frees as much as the best of all sequences of merges and conversions."""
    rng = random.Random(seed)
    for _ in range(3):
        portfolio = Portfolio(0)
        portfolio.markets, portfolio.held, portfolio.questions = [], [], {}
        portfolio.instruments, portfolio.rng = Instruments(), rng
        portfolio.v1_event(1)
        portfolio.held = [
            Holding(one.row, (rng.randint(0, 3), rng.randint(0, 3))) for one in portfolio.held[:4]]
        yes, no = zip(*(one.held_micro for one in portfolio.held), strict=True)
        if len(portfolio.markets) > 4:
            yes, no = (*yes, 0), (*no, 0)
        found = recycle.plan(portfolio.held, portfolio.instruments, portfolio.questions, 1)

        assert most(yes, no) == found.frees_usd_micro, (yes, no)


def test_the_model_reverts():
    """The slow chain refuses what it must, so that a plan that passes it says something."""
    chain = Chain([Market(b"\1" * 32, False, True, b"\2" * 31 + b"\0", 0),
                   Market(b"\3" * 32, False, True, b"\2" * 31 + b"\0", 1)])
    chain.shares = {(b"\1" * 32, 1): 5, (b"\3" * 32, 1): 5}
    for call in (settle.merge(b"\1" * 32, 1, neg_risk=True), settle.merge(b"\1" * 32, 1, neg_risk=False),
                 settle.convert(b"\2" * 31 + b"\0", 4, 1), settle.convert(b"\2" * 31 + b"\0", 3, 6),
                 settle.redeem(b"\1" * 32, neg_risk=True), settle.merge_v2(b"\1" * 31, 1)):
        with pytest.raises(Revert, match=r"missing|adapter|index set|resolved|condition"):
            chain.apply(*call)
    chain.apply(*settle.convert(b"\2" * 31 + b"\0", 3, 5))
    assert (5, 0, 0) == (chain.usd, chain.shares[b"\1" * 32, 1], chain.shares[b"\3" * 32, 1])
