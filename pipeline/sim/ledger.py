"""The exchange's books of account: integer, double entry, one posting per match, fee, mint or payout.

Assets are "usd" (1e-6 USD) and token ids (1e-6 share). In each posting the entries of each asset sum to
zero. A share exists only against collateral in its condition's vault: the contra account of a token is
its mint, whose negative balance counts the shares outside. Payers pay ceil(size * price), receivers get
floor(size * price); what that leaves goes to `ROUNDING`, so nobody gains from a rounding. What is posted
under a held reference is provisional: it can be taken back, exactly and once.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.errors import InvariantError
from pipeline.sim.market import Market
from pipeline.units import MICRO, TICKS_PER_USD, cost_micro, proceeds_micro

USD = "usd"
OUTSIDE = "outside"  # where deposits come from
COUNTERPARTY = "counterparty"  # all other participants together; may owe without limit
FEES = "fees"
ROUNDING = "rounding"

Entry = tuple[str, str, int]  # account, asset, delta


@dataclass(frozen=True, slots=True)
class Posting:
    now_ns: int
    kind: str  # deposit, transfer, endow, split, merge, match, fee, reverse, redeem
    reference: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a match: who, which token, and whether it buys or sells that token."""

    account: str
    outcome: int
    is_buy: bool


class Ledger:
    """Balances by (account, asset). Traders may never go below zero in anything."""

    def __init__(self, kept_max: int = 200_000) -> None:
        self._balances: dict[tuple[str, str], int] = {}
        self._traders: set[str] = set()
        self._deposits_micro: dict[str, int] = {}
        self._fees_micro: dict[str, int] = {}
        self._held: dict[str, list[Posting]] = {}  # provisional, by reference
        self._unsettled: dict[tuple[str, str], int] = {}  # what held postings brought in
        self._hash = hashlib.sha256()
        self.postings: deque[Posting] = deque(maxlen=kept_max)
        self.postings_count = 0

    def open(self, trader: str) -> None:
        self._traders.add(trader)

    def deposit(self, now_ns: int, trader: str, usd_micro: int) -> None:
        self._deposits_micro[trader] = self._deposits_micro.get(trader, 0) + usd_micro
        self._post(now_ns, "deposit", trader, [(OUTSIDE, USD, -usd_micro), (trader, USD, usd_micro)])

    def transfer(self, now_ns: int, trader: str, token: str, size_micro: int) -> None:
        """Move shares between a trader (+ to it) and everybody else, without a trade."""
        entries = [(trader, token, size_micro), (COUNTERPARTY, token, -size_micro)]
        self._post(now_ns, "transfer", token, entries)

    def endow(self, now_ns: int, trader: str, market: Market, size_micro: int) -> None:
        """Deposit 1 USD a set and split it into complete sets."""
        self._deposits_micro[trader] = self._deposits_micro.get(trader, 0) + size_micro
        entries = [(OUTSIDE, USD, -size_micro), (vault(market), USD, size_micro)]
        for outcome in (0, 1):
            entries += _issue(market, outcome, trader, size_micro)
        self._post(now_ns, "endow", market.condition, entries)

    def split(self, now_ns: int, trader: str, market: Market, size_micro: int) -> None:
        """Turn collateral into complete sets; a negative size merges sets back."""
        entries = [(trader, USD, -size_micro), (vault(market), USD, size_micro)]
        for outcome in (0, 1):
            entries += _issue(market, outcome, trader, size_micro)
        self._post(now_ns, "split" if size_micro > 0 else "merge", market.condition, entries)

    def match(
        self,
        now_ns: int,
        market: Market,
        price_ticks: int,
        size_micro: int,
        bid: Side,
        ask: Side,
        reference: str,
    ) -> tuple[int, int]:
        """Post one match at the YES price; return what the bid and the ask side paid (-) or received (+).

        The bid side buys YES or sells NO, the ask side the reverse: the four pairs are a transfer of
        either token, a mint (both buy) and a merge (both sell).
        """
        if (bid.outcome == 0) != bid.is_buy or (ask.outcome == 0) == ask.is_buy:
            raise InvariantError(f"sim.ledger: sides of the YES view expected, was bid {bid}, ask {ask}")
        flows = []
        entries: list[Entry] = []
        for side in (bid, ask):
            own_ticks = price_ticks if side.outcome == 0 else TICKS_PER_USD - price_ticks
            if side.is_buy:
                flows.append(-cost_micro(own_ticks, size_micro))
                entries += _issue(market, side.outcome, side.account, size_micro)
            else:
                flows.append(proceeds_micro(own_ticks, size_micro))
                entries += _issue(market, side.outcome, side.account, -size_micro)
            entries.append((side.account, USD, flows[-1]))
        minted = size_micro * (bid.is_buy + ask.is_buy - 1)
        entries += [(vault(market), USD, minted), (ROUNDING, USD, -sum(flows) - minted)]
        self._post(now_ns, "match", reference, entries)
        return flows[0], flows[1]

    def fee(self, now_ns: int, account: str, fee_micro: int, reference: str) -> None:
        if fee_micro:
            self._fees_micro[account] = self._fees_micro.get(account, 0) + fee_micro
            self._post(now_ns, "fee", reference, [(account, USD, -fee_micro), (FEES, USD, fee_micro)])

    def hold(self, reference: str) -> None:
        """Whatever is posted under the reference from now on is provisional."""
        self._held[reference] = []

    def settle(self, reference: str) -> None:
        """Let what was posted under a held reference stand for good."""
        self._release(reference)

    def reverse(self, now_ns: int, reference: str) -> None:
        """Take back everything posted under a held reference; a second time raises InvariantError."""
        for posting in reversed(self._release(reference)):  # the fee first: it came out of the proceeds
            if posting.kind == "fee":
                (account, _, paid_micro), _ = posting.entries
                self._fees_micro[account] += paid_micro
            back = [(account, asset, -delta) for account, asset, delta in posting.entries]
            self._post(now_ns, "reverse", reference, back)

    def unsettled(self, account: str, asset: str) -> int:
        """Return how much of the account's balance may still be taken back; it cannot be spent."""
        return self._unsettled.get((account, asset), 0)

    def redeem(self, now_ns: int, market: Market, payout_micro: tuple[int, int]) -> None:
        """Pay every holder `payout_micro` USD micro per share of each outcome and void the shares.

        A fraction of a micro rounds down for the holder; what stays in the vault goes to `ROUNDING`.
        """
        if sum(payout_micro) != MICRO:
            raise InvariantError(f"sim.ledger: payouts that sum to 1 USD expected, was {payout_micro}")
        entries: list[Entry] = []
        paid = 0
        for outcome, token in enumerate(market.tokens):
            for (account, asset), size in self._balances.items():
                if asset == token and size and account != mint(market):
                    cash = size * payout_micro[outcome] // MICRO
                    paid += cash
                    entries += [*_issue(market, outcome, account, -size), (account, USD, cash)]
        left = self.balance(vault(market), USD) - paid
        entries += [(vault(market), USD, -paid - left), (ROUNDING, USD, left)]
        self._post(now_ns, "redeem", market.condition, entries)

    def balance(self, account: str, asset: str) -> int:
        return self._balances.get((account, asset), 0)

    def pnl(self, account: str) -> int:
        """Return cash minus deposits, USD micro; the profit once everything is redeemed."""
        return self.balance(account, USD) - self._deposits_micro.get(account, 0)

    def positions(self, account: str) -> dict[str, int]:
        """Return the account's shares (1e-6) by token id, without zeros."""
        held = self._balances.items()
        return {asset: size for (who, asset), size in held if who == account and asset != USD and size}

    def fees(self, account: str) -> int:
        """Return the fees that the account has paid, USD micro."""
        return self._fees_micro.get(account, 0)

    def digest(self) -> str:
        """Return the SHA-256 over every posting so far, in order, and over the balances."""
        whole = self._hash.copy()
        for (account, asset), value in sorted(self._balances.items()):
            whole.update(f"{account}|{asset}|{value}\n".encode() if value else b"")
        return whole.hexdigest()

    def check(self, markets: Iterable[Market]) -> None:
        """Raise InvariantError unless each asset sums to zero and each vault covers its shares exactly."""
        sums: dict[str, int] = {}
        for (_, asset), value in self._balances.items():
            sums[asset] = sums.get(asset, 0) + value
        _require_zero(sums, "all balances")
        for market in markets:
            held = self.balance(vault(market), USD)
            for token in market.tokens:
                if -self.balance(mint(market), token) != held:
                    raise InvariantError(
                        f"sim.ledger: {held} shares of {token} expected outside, "
                        f"was {-self.balance(mint(market), token)}"
                    )

    def _post(self, now_ns: int, kind: str, reference: str, entries: list[Entry]) -> None:
        sums: dict[str, int] = {}
        for _, asset, delta in entries:
            sums[asset] = sums.get(asset, 0) + delta
        _require_zero(sums, f"{kind} {reference}")
        for account, asset, delta in entries:
            value = self._balances.get((account, asset), 0) + delta
            self._balances[account, asset] = value
            if value < 0 and account in self._traders:
                raise InvariantError(
                    f"sim.ledger: {asset} of {account} >= 0 expected, was {value} ({kind} {reference})"
                )
        posting = Posting(now_ns, kind, reference, tuple(entries))
        if reference in self._held:
            self._held[reference].append(posting)
            self._count(posting, 1)
        self._hash.update(repr(posting).encode())
        self.postings.append(posting)
        self.postings_count += 1


    def _release(self, reference: str) -> list[Posting]:
        held = self._held.pop(reference, None)
        if held is None:
            raise InvariantError(f"sim.ledger: {reference} expected to be held, was never or is settled")
        for posting in held:
            self._count(posting, -1)
        return held

    def _count(self, posting: Posting, sign: int) -> None:
        """Count, or no longer, what a held posting brought to each trader on balance."""
        brought: dict[tuple[str, str], int] = {}
        for account, asset, delta in posting.entries:
            if account in self._traders:
                brought[account, asset] = brought.get((account, asset), 0) + delta
        for key, delta in brought.items():
            if delta > 0:
                left = self._unsettled.get(key, 0) + sign * delta
                self._unsettled[key] = left
                if not left:
                    del self._unsettled[key]


def vault(market: Market) -> str:
    return f"vault:{market.condition}"


def mint(market: Market) -> str:
    return f"mint:{market.condition}"


def _issue(market: Market, outcome: int, account: str, size_micro: int) -> list[Entry]:
    token = market.tokens[outcome]
    return [(mint(market), token, -size_micro), (account, token, size_micro)]


def _require_zero(sums: Mapping[str, int], what: str) -> None:
    for asset, total in sums.items():
        if total:
            raise InvariantError(f"sim.ledger: entries of {asset} in {what} must sum to 0, was {total}")
