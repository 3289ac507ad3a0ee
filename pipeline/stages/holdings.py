"""What the venue says that our wallet holds: its list of positions once a minute, balances when trade asks.

Part of account.<id>; shares its REST driver. It compares nothing: each answer becomes a HOLDING record, and
`core/drift` judges it. One question of either sort is on its way at a time; a list that is not whole says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.net.edge import Ask, Outbox
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import account as questions
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.keys import header_pairs
from pipeline.venues.polymarket.positions import Position, PositionsWalk

LIST, BALANCE = -21, -22  # tags: below those of the venue's health
#: Between two questions about balances. A token is two, for the venue remembers its balance until it is told
#: to look anew, and takes that 50 times in 10 s (venue sheet 12 and 13, read 2026-11-20).
PAUSE_NS = 125 * NS_PER_MS
_HOLDING = CODECS[Kind.HOLDING]


@dataclass(frozen=True, slots=True)
class HoldingsSettings:
    """Whose shares, where to ask, and how often the list is read, in ns."""

    account: int
    wallet: str  # holds the shares: 0x and 40 hex digits
    signature_type: int
    data_url: str
    clob_url: str
    every_ns: int


class Shares(NamedTuple):
    """The tokens of a market: decimal ids."""

    yes: str
    no: str
    is_v2: bool


@dataclass(slots=True)
class _Balances:
    """The balances of one market on their way."""

    row: int
    begun_ns: int
    paths: deque[str]  # still to ask
    told: list[int]


class Holdings:
    """Sans-IO: wishes and answers in; questions and HOLDING records out.

    tokens: token id -> (row, outcome, market); shares: row -> its tokens. Both grow with the universe.
    """

    def __init__(
        self, settings: HoldingsSettings, tokens: Mapping[str, tuple[int, int, str]],
        shares: Mapping[int, Shares], auth: L2Auth, outbox: Outbox, owe: Callable[[bytes], None],
        counts: Counts,
    ) -> None:
        self._settings, self._auth, self._outbox, self._owe = settings, auth, outbox, owe
        self._tokens, self._shares, self._counts = tokens, shares, counts
        self._walk: PositionsWalk | None = None
        self._begun_ns = self._due_ns = 0  # of lists
        self._listed = self._elsewhere = 0  # positions of the list on its way
        self._wanted: dict[int, None] = {}  # rows whose balances trade wants, in order
        self._balances: _Balances | None = None
        self._is_asked = False  # a balance question is on its way
        self._rested_ns = 0

    def want(self, row: int) -> None:
        """Trade wants the balances of a market."""
        if row in self._shares:
            self._wanted[row] = None

    def on_timer(self, now_ns: int) -> None:
        """Begin the list that is due, and ask the next balance."""
        if self._walk is None and now_ns >= self._due_ns and self._shares:
            self._due_ns, self._begun_ns = now_ns + self._settings.every_ns, now_ns
            self._listed = self._elsewhere = 0
            self._walk = PositionsWalk(self._settings.wallet)
            self._outbox.put(Ask(LIST, "GET", self._settings.data_url, str(self._walk.path)))
        if self._balances is None and self._wanted:
            self._begin_balances(now_ns)
        work = self._balances
        if work is not None and not self._is_asked and now_ns >= self._rested_ns:
            self._is_asked, self._rested_ns = True, now_ns + PAUSE_NS
            path = work.paths[0]
            block = self._auth.headers("GET", path.partition("?")[0], b"", now_ns // NS_PER_S)
            self._outbox.put(Ask(BALANCE, "GET", self._settings.clob_url, path, header_pairs(block)))

    def on_answer(self, now_ns: int, tag: int, status: int, body: bytes) -> None:
        """Take an answer to one of our questions; status 0 = none came."""
        if tag == LIST and self._walk is not None:
            self._take_page(now_ns, self._walk, status, body)
        elif tag == BALANCE and self._balances is not None:
            self._take_balance(now_ns, self._balances, status, body)

    # ------------------------------------------------------------------ the list

    def _take_page(self, now_ns: int, walk: PositionsWalk, status: int, body: bytes) -> None:
        for position in walk.on_answer(status, body):
            self._tell_position(now_ns, position)
        if walk.path is not None:
            self._outbox.put(Ask(LIST, "GET", self._settings.data_url, walk.path))
            return
        self._walk = None
        self._owe(_HOLDING.pack(
            recv_ns=now_ns, account=self._settings.account, begun_ns=self._begun_ns, yes_micro=-1,
            no_micro=-1, ok=int(walk.is_complete), token_count=self._listed,
            elsewhere_count=self._elsewhere))
        self._counts.add("position_lists" if walk.is_complete else "position_lists_failed", 1)
        self._counts.put("positions_elsewhere", self._elsewhere)

    def _tell_position(self, now_ns: int, position: Position) -> None:
        self._listed += 1
        place = self._tokens.get(position.token)
        if place is None:  # a market that this pipeline does not carry
            self._elsewhere += 1
            return
        row, outcome, _ = place
        yes, no = (-1, position.size_micro) if outcome else (position.size_micro, -1)
        self._owe(_HOLDING.pack(
            recv_ns=now_ns, instrument=row, account=self._settings.account, begun_ns=self._begun_ns,
            yes_micro=yes, no_micro=no))

    # ------------------------------------------------------------------ balances

    def _begin_balances(self, now_ns: int) -> None:
        row = next(iter(self._wanted))
        del self._wanted[row]
        yes, no, is_v2 = self._shares[row]
        asset = questions.shares_asset(is_v2)
        paths = deque[str]()
        for token in (yes, no):
            paths.append(questions.balance_update_path(self._settings.signature_type, asset, token))
            paths.append(questions.balance_path(self._settings.signature_type, asset, token))
        self._balances = _Balances(row, now_ns, paths, [])

    def _take_balance(self, now_ns: int, work: _Balances, status: int, body: bytes) -> None:
        """Take one answer; balances are told together or not at all. Trade asks again for them."""
        self._is_asked = False
        if work.paths.popleft().startswith(wire.PATH_BALANCE_UPDATE):
            told = None if status == 200 else Refusal(Cause.BAD_ANSWER, f"http {status}")
        else:
            told = questions.token_balance(status, body)
        if isinstance(told, Refusal):  # also where it did not look anew: what it remembers proves nothing
            self._counts.add("share_balances_failed", 1)
            self._balances = None
            return
        if told is not None:
            work.told.append(told)
        if work.paths:
            return
        self._balances = None
        self._owe(_HOLDING.pack(
            recv_ns=now_ns, instrument=work.row, account=self._settings.account, begun_ns=work.begun_ns,
            yes_micro=work.told[0], no_micro=work.told[1], is_balance=1))
        self._counts.add("share_balances", 1)
