"""What each account owns, told from deposits and the list of trades alone: slow, exact, no ledger.

A trade that failed never happened. A buyer pays its price rounded up to the micro, a seller receives it
rounded down, the taker pays his fee on top; after a resolution every share is worth its payout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor


@dataclass(frozen=True)
class Part:
    """One side of a trade, in its own token."""

    account: str
    token: str
    is_buy: bool
    price: Fraction
    size_micro: int
    fee_micro: int


def balances(
    deposits: Mapping[tuple[str, str], int], parts: Iterable[Part], payouts: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Return (account, "usd" or token) -> 1e-6 units, without zeros.

    deposits: likewise; payouts: 0 or 1 USD per share of each token of a resolved market.
    """
    found = dict(deposits)

    def add(account: str, asset: str, micro: int) -> None:
        found[account, asset] = found.get((account, asset), 0) + micro

    for part in parts:
        value = part.price * part.size_micro
        add(part.account, "usd", -ceil(value) if part.is_buy else floor(value))
        add(part.account, "usd", -part.fee_micro)
        add(part.account, part.token, part.size_micro if part.is_buy else -part.size_micro)
    for (account, asset), micro in list(found.items()):
        if asset in payouts:
            add(account, "usd", micro * payouts[asset])
            found[account, asset] = 0
    return {key: micro for key, micro in found.items() if micro}
