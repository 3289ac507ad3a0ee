"""Which structure binds a set of legs, and what they pay at least.

Pure; detect proves every basket with it before an idea, trade once more before a package (HG03, HG04).
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.instruments import Instruments
from pipeline.core.worlds import BINARY, Holding, guaranteed_payout
from pipeline.kinds import Outcome

Leg = tuple[int, int, int]  # (row, Outcome, size_micro), all bought


def proven_payout(instruments: Instruments, legs: Sequence[Leg]) -> int | None:
    """Return the USD micro that the legs pay in every feasible world; None when nothing is proven.

    Legs of one complete event use its structure; legs of one condition (books of its two tokens) pay as that
    condition does. Legs that nothing binds are never added up: None.
    """
    if not legs:
        return None
    members = []
    for row, outcome, size_micro in legs:
        member = instruments.get(row)
        if member is None:
            return None
        members.append((member, outcome, size_micro))
    first = members[0][0]
    if first.event and all(member.event == first.event for member, _, _ in members):
        structure = instruments.structure(first.event)
        if structure is not None:
            return guaranteed_payout(
                [(member.outcome_index, outcome, size) for member, outcome, size in members], structure)
    holdings: list[Holding] = []
    for member, outcome, size_micro in members:
        token = member.token(outcome)
        if member.condition != first.condition or token not in (first.token_yes, first.token_no):
            return None
        holdings.append((0, Outcome.YES if token == first.token_yes else Outcome.NO, size_micro))
    return guaranteed_payout(holdings, BINARY)
