"""What converting NO shares of a v1 neg-risk event gives: the legacy adapter's arithmetic, exactly.

Reads and writes nothing. Amounts are 1e-6 of a share or of pUSD. Source: venue sheet 17.2 (V: contract
source), read 2026-11-22; checked by tests/unit/test_vectors_settle.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pipeline.kinds import Cause
from pipeline.venues.polymarket.identity import Refusal

QUESTIONS_MAX: Final = 255  # the index is one byte of the question's id
BIPS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Converted:
    """What comes back for `amount_micro` of NO of each question in the set, which are burnt."""

    usd_micro: int  # pUSD
    yes_micro: int  # of each question in yes_indices
    yes_indices: tuple[int, ...]
    burnt_count: int  # questions in the set
    fee_micro: int  # the contract keeps so much of the amount, rounded down

    @property
    def cost_usd_micro(self) -> int:
        """What the fee takes in the worst outcome: one of yes_indices wins, or there is none and all lose."""
        return self.fee_micro * (self.burnt_count if self.yes_indices else self.burnt_count - 1)


def index_set(indices: tuple[int, ...]) -> int:
    """Return the bits of these question indices."""
    return sum(1 << index for index in dict.fromkeys(indices))


def converted(questions: int, indices: int, amount_micro: int, fee_bips: int) -> Converted | Refusal:
    """Return what a conversion gives, or why the contract would revert.

    questions: how many the event has on chain, unlisted placeholders included. indices: one bit a question.
    fee_bips: 1e-4 of the amount, rounded down; then one YES of each question outside the set for each share
    left, and pUSD for all but one of the sets' members.
    """
    if questions < 1:
        return Refusal(Cause.MISSING_VALUE, "the neg-risk market is not prepared: it has no questions")
    if questions == 1 or questions > QUESTIONS_MAX:
        return Refusal(Cause.NOT_TRADABLE, f"2..{QUESTIONS_MAX} questions expected, were {questions}")
    if indices <= 0 or indices >> questions:
        return Refusal(Cause.NOT_TRADABLE,
                       f"a set of questions 0..{questions - 1} expected, was {indices:#b}")
    if not (amount_micro >= 0 and 0 <= fee_bips <= BIPS):
        return Refusal(Cause.MISSING_VALUE,
                       f"an amount and a fee up to {BIPS} expected, were {amount_micro}, {fee_bips}")
    fee_micro = amount_micro * fee_bips // BIPS
    out_micro = amount_micro - fee_micro
    others = tuple(index for index in range(questions) if not indices >> index & 1)
    count = indices.bit_count()
    return Converted((count - 1) * out_micro, out_micro if others else 0, others, count, fee_micro)
