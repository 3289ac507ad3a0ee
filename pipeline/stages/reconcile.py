"""Reconcile passes: what the venue's REST side says about our orders, trades and balance, page by page.

Part of account.<id>. One pass at a time: open orders, trades, balance, single orders that the core asked for,
then one `Reconciled` record. Rows are taken a few at a time (`work`), as the lane has other work. Where it
runs before others on its CPU (`is_gentle`), it rests in between: they have decisions to make.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import Any

import orjson

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, Origin
from pipeline.net.edge import Ask, Outbox
from pipeline.stages.health import VenueHealth
from pipeline.stages.holdings import BALANCE, LIST, Holdings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import account as questions
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.decode_common import Decoded
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.keys import header_pairs
from pipeline.venues.polymarket.own_orders import OwnOrders
from pipeline.venues.polymarket.user_decode import UserDecoder

TOLD_MAX = 65_536  # trades remembered by a digest of their row: more than the minutes that a pass lists
ROWS_PER_TURN, PAUSE_NS = 4, 2 * NS_PER_MS  # about 0.2 ms of work, as long as sending a package, in each 2 ms
ROWS_PER_TURN_ALONE = 32  # where others get the CPU from the kernel: it is the whole pass that is waited for
EVERY_NS = 60 * NS_PER_S
EVERY_NS_MIN = 250 * NS_PER_MS  # rate budget of requested passes; twice that after a failed one, and so on
BACKOFF_STEPS_MAX = 4
REFRESH_EVERY_NS = 10 * NS_PER_S  # the venue takes 50 in 10 s; a refused order asks for one
#: How far a pass lists trades back over the beginning of the last whole one: for the core, and for the
#: user channel, on time or after a connect. BACK_S: where no whole one is known.
OVERLAP_S, OVERLAP_S_CHANNEL, BACK_S = 10, 60, 300
_RECONCILED = CODECS[Kind.RECONCILED]
_REPORT = CODECS[Kind.REPORT]


def contradictions_gauge(ident: str) -> str:
    """Return the name of an account's gauge: what the venue says against itself, after its newest list."""
    return f"venue_contradictions.{ident}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """One request: of the core (request number, maybe one order), or of a new connection."""

    request_no: int = 0
    order_no: int = 0
    order_hash: bytes = b""
    is_connect: bool = False
    is_refresh: bool = False  # the venue shall look at our collateral anew before it tells it


@dataclass(slots=True)
class _Pass:
    """One reconcile on its way."""

    begun_ns: int
    request_no: int
    orders: questions.Walk
    trades: questions.Walk
    singles: deque[tuple[int, bytes]]
    step: str = "orders"  # then trades, refresh, balance, singles, rows
    is_connect: bool = False
    is_refresh: bool = False
    is_ok: bool = True
    contradictions: int = 0  # of our own orders in its rows, before this pass began
    pending: deque[dict[str, Any]] = field(default_factory=deque)  # rows read and not taken yet


class Reconcile:
    """Sans-IO: answers in, records and questions out. `wanted` may be appended to at any time.

    owe publishes a record of ours. since_s: trades from here on are asked for until a whole pass ended; 0 =
    the last minutes.
    """

    def __init__(
        self, base_url: str, account: int, signature_type: int, since_s: int, decoder: UserDecoder,
        auth: L2Auth, owe: Callable[[bytes], None], counts: Counts,
    ) -> None:
        self.base_url = base_url
        self.outbox = Outbox()
        self.wanted: list[Wanted] = []
        self.is_gentle = True
        self.unsettled_s = 0  # the core knows unsettled trades from here on; 0 = none
        self._account, self._signature_type = account, signature_type
        self._since_s = since_s
        self._decoder, self._auth, self._owe, self._counts = decoder, auth, owe, counts
        self._pass: _Pass | None = None
        self._tag = 0
        self._passed_ns = 0  # when the last pass began
        self._refreshed_ns = 0  # when the venue was last asked to look anew
        self._whole_ns = 0  # when the last one began that saw everything
        self._failed = 0  # passes in a row that did not
        self._rested_ns = 0  # when the next rows may be taken
        self.own: OwnOrders | None = None  # what was said of our orders, by the channel and by these rows
        self.listed_ns = 0  # so soon the venue lists a trade that its channel told
        self.contradictions_gauge = contradictions_gauge("")
        self.health: VenueHealth | None = None  # these two share the outbox and ask on their own account
        self.holdings: Holdings | None = None
        self._told: OrderedDict[bytes, None] = OrderedDict()  # digests of trades passed on, oldest first

    # ------------------------------------------------------------------ the driver's side

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Take the answer to the newest question; one to an older question is passed over."""
        del headers
        if tag == self._tag:
            self._take_answer(now_ns, status, body)
        elif tag in (LIST, BALANCE) and self.holdings is not None:
            self.holdings.on_answer(now_ns, tag, status, body)
        elif tag < 0 and self.health is not None:
            self.health.on_answer(now_ns, tag, status, body)

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Take that the newest question has no answer: status 0."""
        del was_sent, cause
        if tag == self._tag:
            self._take_answer(now_ns, 0, b"")
        elif tag in (LIST, BALANCE) and self.holdings is not None:
            self.holdings.on_answer(now_ns, tag, 0, b"")
        elif tag < 0 and self.health is not None:
            self.health.on_failure(now_ns, tag)

    def on_timer(self, now_ns: int) -> None:
        """Start the pass that is due."""
        wait_ns = EVERY_NS_MIN << min(self._failed, BACKOFF_STEPS_MAX) if self.wanted else EVERY_NS
        if self._pass is None and now_ns - self._passed_ns >= wait_ns:
            self._start(now_ns)
        for aside in (self.health, self.holdings):
            if aside is not None:
                aside.on_timer(now_ns)

    def on_loss(self) -> None:
        """The user channel is gone: what is asked from now on, or is on its way, begins before its return."""
        if self._pass is not None:
            self._pass.is_connect = False
        self.wanted = [replace(one, is_connect=False) for one in self.wanted]

    def refresh_balance(self, now_ns: int) -> None:
        """The venue refused an order for want of funds: its cache may be old. At most one call in 10 s."""
        if now_ns - self._refreshed_ns >= REFRESH_EVERY_NS:
            self._refreshed_ns = now_ns
            self.wanted.append(Wanted(is_refresh=True))

    @property
    def has_work(self) -> bool:
        """Tell whether rows wait: the lane should not sleep for long."""
        return self._pass is not None and bool(self._pass.pending)

    def work(self, now_ns: int) -> int:
        """Take a few rows of the page that was read, unless it is too early; return how many."""
        work = self._pass
        if work is None or not work.pending or now_ns < self._rested_ns:
            return 0
        if self._whole_ns and self.is_gentle:  # before the first whole pass nothing else can be done
            self._rested_ns = now_ns + PAUSE_NS
        count = min(ROWS_PER_TURN if self.is_gentle else ROWS_PER_TURN_ALONE, len(work.pending))
        for _ in range(count):
            row = work.pending.popleft()
            taken = self._take_trade(now_ns, row) if work.step == "trades" else self._take_row(
                self._decoder.decode_order_row(row, now_ns))
            work.is_ok = taken and work.is_ok
        if not work.pending:
            self._ask_next(now_ns)
        return count

    # ------------------------------------------------------------------ one pass

    def _start(self, now_ns: int) -> None:
        self._passed_ns = now_ns
        wanted, self.wanted = self.wanted, []
        self._pass = _Pass(
            now_ns, max((one.request_no for one in wanted), default=0), questions.open_orders_walk(),
            questions.trades_walk(self._trades_since_s(now_ns, wanted)),
            deque({one.order_no: one.order_hash for one in wanted if one.order_hash}.items()),  # each once
            is_connect=any(one.is_connect for one in wanted),
            is_refresh=any(one.is_refresh for one in wanted),
            contradictions=self.own.listed_contradictions if self.own else 0)
        self._ask_next(now_ns)

    def _trades_since_s(self, now_ns: int, wanted: list[Wanted]) -> int:
        """Whole passes overlap, so that together they list every trade, and how unsettled ones end."""
        since_s = self._overlap_s(now_ns, wanted)
        return max(1, min(since_s, self.unsettled_s)) if self.unsettled_s else since_s

    def _overlap_s(self, now_ns: int, wanted: list[Wanted]) -> int:
        if self._since_s:
            # what happened while nobody listened; a clock that was set back since hides nothing
            return max(1, min(now_ns // NS_PER_S - OVERLAP_S_CHANNEL, self._since_s))
        if not self._whole_ns:
            return max(0, now_ns // NS_PER_S - BACK_S)
        is_channel = not wanted or any(one.is_connect for one in wanted)
        return max(0, self._whole_ns // NS_PER_S - (OVERLAP_S_CHANNEL if is_channel else OVERLAP_S))

    def _ask_next(self, now_ns: int) -> None:
        work = self._pass
        if work is None:
            return
        if work.step == "orders" and work.orders.path is None:
            work.step = "trades"
        if work.step == "trades" and work.trades.path is None:
            work.step = "refresh" if work.is_refresh else "balance"
        if work.step == "orders":
            self._ask(now_ns, str(work.orders.path))
        elif work.step == "trades":
            self._ask(now_ns, str(work.trades.path))
        elif work.step == "refresh":
            self._ask(now_ns, questions.balance_update_path(self._signature_type))
        elif work.step == "balance":
            self._ask(now_ns, questions.balance_path(self._signature_type))
        elif work.singles:
            self._ask(now_ns, questions.order_path(work.singles[0][1]))
        elif work.step != "rows":
            work.step = "rows"  # behind the trades: what closes an order comes after what it bought
            work.pending.extend(work.orders.take())
            if not work.pending:
                self._end(now_ns, work)
        else:
            self._end(now_ns, work)

    def _ask(self, now_ns: int, path: str) -> None:
        """Ask this path; the L2 signature covers the path without its query."""
        self._tag += 1
        block = self._auth.headers("GET", path.partition("?")[0], b"", now_ns // NS_PER_S)
        self.outbox.put(Ask(self._tag, "GET", self.base_url, path, header_pairs(block)))

    def _take_answer(self, now_ns: int, status: int, body: bytes) -> None:
        """One page or answer of the pass arrived; status 0 = none will come."""
        work = self._pass
        if work is None:
            return
        if work.step == "orders":
            work.orders.on_answer(status, body)
        elif work.step == "trades":
            work.trades.on_answer(status, body)
            work.pending.extend(work.trades.take())
            if work.pending:
                return  # the next page is asked for when these are taken
        elif work.step == "refresh":
            self._counts.add("balance_refreshes" if status == 200 else "balance_refreshes_failed", 1)
            work.step = "balance"  # whatever came of it: what the venue tells is what it goes by
        elif work.step == "balance":
            record = questions.balance_record(status, body, self._account, recv_ns=now_ns)
            if isinstance(record, Refusal):
                work.is_ok = False
            else:
                self._owe(record)
            work.step = "singles"
        else:
            self._take_single(now_ns, work, status, body)
        self._ask_next(now_ns)

    def _take_single(self, now_ns: int, work: _Pass, status: int, body: bytes) -> None:
        order_no, order_hash = work.singles.popleft()
        row = questions.parse_order(status, body)
        if isinstance(row, Refusal):
            work.is_ok = False
        elif row is None:
            # The venue does not know it. That alone is no proof of death (it may arrive late): the core
            # counts it as evidence only after T_UNKNOWN_FINAL.
            self._owe(_REPORT.pack(
                recv_ns=now_ns, order_no=order_no, order_hash=order_hash, making_micro=-1, taking_micro=-1,
                matched_micro=-1, state=int(OrderState.UNKNOWN), origin=int(Origin.RECONCILE),
                cause=int(Cause.UNKNOWN_ORDER_OPEN), account=self._account))
        else:
            work.is_ok = self._take_row(self._decoder.decode_order_row(row, now_ns)) and work.is_ok

    def _take_row(self, decoded: Decoded) -> bool:
        """Pass a row's records on; a row that we cannot read makes the whole pass no evidence."""
        for run in decoded.records:
            self._owe(run)
        if decoded.reject is not None:
            self._counts.add("user_rejects", 1)
        return decoded.reject is None

    def _take_trade(self, now_ns: int, row: object) -> bool:
        """Pass a trade on unless this very row was before: passes overlap."""
        digest = blake2b(orjson.dumps(row), digest_size=16).digest()
        if digest in self._told:
            self._counts.add("trade_repeats", 1)
            return True
        if not self._take_row(self._decoder.decode_trade_row(row, now_ns)):
            return False
        self._told[digest] = None
        if len(self._told) > TOLD_MAX:
            self._told.popitem(last=False)
        return True

    def _end(self, now_ns: int, work: _Pass) -> None:
        self._pass = None
        is_whole = work.is_ok and work.orders.is_complete and work.trades.is_complete
        self._owe(_RECONCILED.pack(
            recv_ns=now_ns, account=self._account, request_no=work.request_no,
            open_count=work.orders.row_count, trade_count=work.trades.row_count, ok=int(is_whole),
            heard=int(is_whole and work.is_connect), begun_ns=work.begun_ns))
        self._tell_contradictions(work, is_whole)
        self._counts.add("reconciles" if is_whole else "reconciles_failed", 1)
        if is_whole:
            self._since_s, self._failed, self._whole_ns = 0, 0, work.begun_ns
        else:
            self._failed += 1
            self.wanted.append(Wanted(work.request_no, is_connect=work.is_connect))

    def _tell_contradictions(self, work: _Pass, is_whole: bool) -> None:
        """A list that says against what was told, or does not know it: nobody knows what we hold.

        The gauge is 0 again once a whole pass shows neither.
        """
        if self.own is None:
            return
        count = self.own.listed_contradictions - work.contradictions
        if is_whole:
            count += self.own.unlisted_before(work.begun_ns - self.listed_ns)
        if count or is_whole:
            self._counts.put(self.contradictions_gauge, count)
