"""The smallest payout of a set of holdings over every world that can happen.

Pure arithmetic over holdings; no basket trades unless this proved it. Two outcomes of a market: YES pays 1
or NO pays 1; a market that is not neg-risk may also be voided and pay 1/2 each (strategy.md section 4.3;
V1 NegRiskOperator rejects other payouts than [1,0] and [0,1], read 2026-11-20).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.kinds import Outcome

Holding = tuple[int, int, int]  # (outcome index of the event, Outcome, size_micro)


@dataclass(frozen=True, slots=True)
class Structure:
    """What is proven about the conditions of one event.

    exclusive: at most one pays YES. exhaustive: at least one of the listed ones pays YES.
    half: each condition may, on its own, be voided and pay 1/2 to both tokens.
    """

    outcome_count: int
    exclusive: bool
    exhaustive: bool
    half: bool


def guaranteed_payout(holdings: Sequence[Holding], structure: Structure) -> int | None:
    """Return the USD micro that the holdings pay in their worst world; None when they do not fit.

    Sizes are in 1e-6 share and >= 0; one token may appear several times. Half a share rounds down.
    Worlds: exclusive events have one winner, and no winner at all unless exhaustive; other events are taken
    as independent conditions, which can only lower the minimum. O(holdings).
    """
    count = structure.outcome_count
    wins: dict[int, int] = {}  # payout of a condition's tokens when it pays YES, or is voided if that is less
    loses: dict[int, int] = {}
    voided: dict[int, int] = {}
    for index, outcome, size_micro in holdings:
        if not (0 <= index < count and size_micro >= 0 and outcome in (Outcome.YES, Outcome.NO)):
            return None
        is_yes = outcome == Outcome.YES
        wins[index] = wins.get(index, 0) + (size_micro if is_yes else 0)
        loses[index] = loses.get(index, 0) + (0 if is_yes else size_micro)
        voided[index] = voided.get(index, 0) + size_micro // 2
    if structure.half:
        wins = {index: min(paid, voided[index]) for index, paid in wins.items()}
        loses = {index: min(paid, voided[index]) for index, paid in loses.items()}
    if not structure.exclusive:
        return sum(min(wins[index], loses[index]) for index in wins)
    nobody = sum(loses.values())
    gains = [wins[index] - loses[index] for index in wins]
    if len(wins) < count or not structure.exhaustive:
        gains.append(0)  # a world where a condition that we do not hold, or none at all, pays YES
    return nobody + min(gains) if gains else 0


#: One condition on its own, as two complementary tokens.
BINARY = Structure(outcome_count=1, exclusive=False, exhaustive=False, half=True)
