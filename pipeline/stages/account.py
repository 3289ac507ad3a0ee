"""account.<id>: what the venue says about our orders, fills and money.

Reads the user websocket, REST answers, `stream` (Instrument rows) and `decisions` (Reconcile); writes
its ring. Nothing is replayed by the venue, so every (re)connect and every request of the core ends in a
reconcile: open orders, trades, balance, then one `Reconciled` record. Drops byte-equal repeats only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.net.edge import Ask, CloseSocket, OpenSocket, Outbox, SendText
from pipeline.records import CODECS, SLOT_BYTES, Cause, Kind, OrderState, Origin, kind_of
from pipeline.stages.stage import Clock, Counts, push_owed
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket import account as questions
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.decode_common import Decoded
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.user_decode import UserDecoder

CONN = 0
TOLD_MAX = 65_536  # trades remembered by a digest of their row: more than the minutes that a pass lists
_PONG = b"PONG"
_RECONCILED = CODECS[Kind.RECONCILED]
_REPORT = CODECS[Kind.REPORT]


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """One account's edge; times in ns, `account` is its place in the config, 0 first."""

    user_ws_url: str
    clob_url: str
    source: int
    account: int
    signature_type: int
    source_seq: int  # our count of records goes on from here
    since_s: int  # trades from here on are asked for until a whole pass ended; 0 = the last minutes
    login: bytes  # the first text on the user channel; it holds the secret, so it is never logged
    ping_ns: int = 10 * NS_PER_S
    pong_ns_max: int = 30 * NS_PER_S
    reconcile_ns: int = 60 * NS_PER_S
    reconcile_ns_min: int = 250 * NS_PER_MS  # rate budget of requested passes
    trades_back_s: int = 300
    backoff_ns_min: int = 250 * NS_PER_MS
    backoff_ns_max: int = 30 * NS_PER_S

    def __repr__(self) -> str:
        return f"AccountSettings(account={self.account}, source={self.source})"


@dataclass(slots=True)
class Pass:
    """One reconcile on its way: orders, trades, balance, then single orders that the core asked for."""

    request_no: int
    orders: questions.Walk
    trades: questions.Walk
    singles: deque[tuple[int, bytes]]
    step: str = "orders"
    is_ok: bool = True


class Markets:
    """Tokens and fee schedules by row, as the stream's Instrument records say."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[int, int, str]] = {}  # token id -> row, outcome, market
        self._fees: dict[int, tuple[int, int]] = {}

    def add(self, record: Any) -> None:
        """Learn one Instrument record; a repeat changes nothing."""
        market = "0x" + record.condition.hex()
        for outcome, token in enumerate((record.token_yes, record.token_no)):
            self.tokens[str(int.from_bytes(token, "big"))] = (record.instrument, outcome, market)
        self._fees[record.instrument] = (record.fee_rate_ppm, record.fee_exponent)

    def fee_of(self, row: int) -> tuple[int, int]:
        """Return (rate in ppm, exponent) of a row's taker fee."""
        return self._fees[row]


class AccountMachine:
    """Sans-IO: user channel frames and REST answers in, reports and questions out."""

    def __init__(
        self, settings: AccountSettings, owner: str, wallets: tuple[str, ...], auth: L2Auth, sink: Sink,
        counts: Counts,
    ) -> None:
        self.outbox = Outbox()
        self.rest = _RestSide(self)
        self._settings = settings
        self.markets = Markets()
        self._decoder = UserDecoder(
            owner=owner, maker_addresses=wallets, token_lookup=self.markets.tokens,
            fee_of=self.markets.fee_of, account=settings.account, source=settings.source)
        self._auth = auth
        self._sink = sink
        self._counts = counts
        self._owed: deque[bytes] = deque()
        self._source_seq = settings.source_seq
        self._since_s = settings.since_s
        self._is_open = self._is_opening = False
        self._attempts = 0
        self._retry_ns = 0
        self._pinged_ns = self._ponged_ns = 0
        self._pass: Pass | None = None
        self._wanted: deque[tuple[int, int, bytes]] = deque()  # request, order number, order hash
        self._passed_ns = 0
        self._last_frame = b""
        self._told: dict[bytes, None] = {}  # digests of trades passed on, oldest first

    # ------------------------------------------------------------------ user channel

    def on_open(self, now_ns: int, conn: int) -> None:
        """Log in, and reconcile: the channel does not replay what was missed."""
        del conn
        self._is_open, self._is_opening, self._attempts = True, False, 0
        self._pinged_ns = self._ponged_ns = now_ns
        self.outbox.put(SendText(CONN, self._settings.login))
        self._wanted.append((0, 0, b""))

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        """Set the next attempt: exponential, capped, spread by attempt."""
        del conn, cause
        self._is_open = self._is_opening = False
        self._attempts += 1
        step = min(self._settings.backoff_ns_min << min(self._attempts, 10), self._settings.backoff_ns_max)
        self._retry_ns = now_ns + step // 2 + step * (self._attempts * 7_919 % 1_000) // 2_000
        self._counts.add("user_disconnects", 1)

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Decode orders and trades; reports are never dropped, so they wait in order for room."""
        del conn
        frame = bytes(data)
        if frame == _PONG:
            self._ponged_ns = now_ns
            self._counts.add("user_pongs", 1)
            return True
        if not self.flush():
            return False
        if frame == self._last_frame:
            self._counts.add("user_repeats", 1)
            return True
        self._last_frame = frame
        decoded = self._decoder.decode(frame, now_ns)
        self._counts.add("user_frames", 1)
        if decoded.reject is not None:
            # A report that we cannot read may be a fill: ask the venue for everything.
            self._counts.add("user_rejects", 1)
            self._wanted.append((0, 0, b""))
            if decoded.is_breach:
                self._counts.add("user_breaches", 1)
                self.outbox.put(CloseSocket(CONN))
        for run in decoded.records:
            self._owe(run)
        return True

    def on_timer(self, now_ns: int) -> None:
        """Keep the socket alive and start the reconcile that is due."""
        self.flush()
        settings = self._settings
        if self._is_open:
            if now_ns - self._pinged_ns >= settings.ping_ns:
                self._pinged_ns = now_ns
                self.outbox.put(SendText(CONN, b"PING"))
            if now_ns - self._ponged_ns > settings.pong_ns_max:
                self._ponged_ns = now_ns
                self.outbox.put(CloseSocket(CONN))
        elif not self._is_opening and now_ns >= self._retry_ns:
            self._is_opening = True
            self.outbox.put(OpenSocket(CONN, settings.user_ws_url))
        is_due = self._wanted and now_ns - self._passed_ns >= settings.reconcile_ns_min
        if self._pass is None and (is_due or now_ns - self._passed_ns >= settings.reconcile_ns):
            self._start_pass(now_ns)

    # ------------------------------------------------------------------ inputs from the core

    def on_reconcile(self, request: Any) -> None:
        """The core wants evidence: about everything, or about one order."""
        order_hash = request.order_hash if any(request.order_hash) else b""
        self._wanted.append((request.request_no, request.order_no, order_hash))

    def on_instrument(self, record: Any) -> None:
        """Learn a row's tokens and fee schedule."""
        self.markets.add(record)

    def flush(self) -> bool:
        """Publish owed records; True when none is left."""
        return push_owed(self._sink, self._owed)

    # ------------------------------------------------------------------ reconcile

    def _start_pass(self, now_ns: int) -> None:
        self._passed_ns = now_ns
        singles = deque((order_no, order_hash) for _, order_no, order_hash in self._wanted if order_hash)
        request_no = max((request_no for request_no, _, _ in self._wanted), default=0)
        self._wanted.clear()
        since_s = max(0, now_ns // NS_PER_S - self._settings.trades_back_s)
        if self._since_s:
            since_s = min(since_s, self._since_s)  # what happened while nobody listened
        self._pass = Pass(request_no, questions.open_orders_walk(), questions.trades_walk(since_s), singles)
        self._ask_next(now_ns)

    def _ask_next(self, now_ns: int) -> None:
        work = self._pass
        if work is None:
            return
        if work.step == "orders" and work.orders.path is None:
            work.step = "trades"
        if work.step == "trades" and work.trades.path is None:
            work.step = "balance"
        if work.step == "orders":
            self.rest.ask(now_ns, str(work.orders.path))
        elif work.step == "trades":
            self.rest.ask(now_ns, str(work.trades.path))
        elif work.step == "balance":
            self.rest.ask(now_ns, questions.balance_path(self._settings.signature_type))
        elif work.singles:
            self.rest.ask(now_ns, questions.order_path(work.singles[0][1]))
        else:
            self._end_pass(now_ns, work)

    def take_answer(self, now_ns: int, status: int, body: bytes) -> None:
        """One page or answer of the pass arrived; status 0 = none will come."""
        work = self._pass
        if work is None:
            return
        if work.step == "orders":
            work.orders.on_answer(status, body)
        elif work.step == "trades":
            work.trades.on_answer(status, body)
            for row in work.trades.take():
                work.is_ok = self._take_trade(now_ns, row) and work.is_ok
        elif work.step == "balance":
            record = questions.balance_record(status, body, self._settings.account, recv_ns=now_ns)
            if isinstance(record, Refusal):
                work.is_ok = False
            else:
                self._owe(record)
            work.step = "singles"
        else:
            self._take_single(now_ns, work, status, body)
        self._ask_next(now_ns)

    def _take_single(self, now_ns: int, work: Pass, status: int, body: bytes) -> None:
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
                cause=int(Cause.UNKNOWN_ORDER_OPEN), account=self._settings.account))
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
        """Pass a trade on unless this very row was before: each pass lists the last minutes anew."""
        digest = blake2b(orjson.dumps(row), digest_size=16).digest()
        if digest in self._told:
            self._counts.add("trade_repeats", 1)
            return True
        if not self._take_row(self._decoder.decode_trade_row(row, now_ns)):
            return False
        self._told[digest] = None
        if len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        return True

    def _end_pass(self, now_ns: int, work: Pass) -> None:
        self._pass = None
        for row in work.orders.take():  # behind the trades: what closes an order comes after what it bought
            work.is_ok = self._take_row(self._decoder.decode_order_row(row, now_ns)) and work.is_ok
        is_whole = work.is_ok and work.orders.is_complete and work.trades.is_complete
        self._owe(_RECONCILED.pack(
            recv_ns=now_ns, account=self._settings.account, request_no=work.request_no,
            open_count=work.orders.row_count, trade_count=work.trades.row_count, ok=int(is_whole)))
        self._counts.add("reconciles" if is_whole else "reconciles_failed", 1)
        if is_whole:
            self._since_s = 0
        if not is_whole:
            self._wanted.append((work.request_no, 0, b""))

    def _owe(self, run: bytes) -> None:
        self._source_seq += 1
        stamped = bytearray(run)
        for at in range(0, len(stamped), SLOT_BYTES):
            stamped[at + 24 : at + 32] = self._source_seq.to_bytes(8, "little")
            stamped[at + 40 : at + 42] = self._settings.source.to_bytes(2, "little")
        self._owed.append(bytes(stamped))
        self.flush()

    def headers(self, now_ns: int, path: str) -> tuple[tuple[str, str], ...]:
        """Return the L2 headers of a GET; the signature covers the path without its query."""
        block = self._auth.headers("GET", path.partition("?")[0], b"", now_ns // NS_PER_S)
        lines = block.decode().split("\r\n")
        return tuple((name, value) for name, _, value in (line.partition(": ") for line in lines if line))

    @property
    def base_url(self) -> str:
        """Scheme and host of the REST questions."""
        return self._settings.clob_url


class _RestSide:
    """The machine's REST face: one question at a time."""

    def __init__(self, machine: AccountMachine) -> None:
        self.outbox = Outbox()
        self._machine = machine
        self._tag = 0

    def ask(self, now_ns: int, path: str) -> None:
        """Ask this path; an answer to an older question is passed over from now on."""
        self._tag += 1
        headers = self._machine.headers(now_ns, path)
        self.outbox.put(Ask(self._tag, "GET", self._machine.base_url, path, headers))

    def on_answer(self, now_ns: int, tag: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Pass on the answer to the newest question."""
        del headers
        if tag == self._tag:
            self._machine.take_answer(now_ns, status, body)

    def on_failure(self, now_ns: int, tag: int, was_sent: bool, cause: Cause) -> None:
        """Pass on that the newest question has no answer: status 0."""
        del was_sent, cause
        if tag == self._tag:
            self._machine.take_answer(now_ns, 0, b"")

    def on_timer(self, now_ns: int) -> None:
        """Nothing is timed here: the driver bounds each question."""


class AccountStage:
    """Follows its channels for the machine; the drivers carry frames and questions."""

    def __init__(
        self, name: str, machine: AccountMachine, rows: Filter, requests: Filter, clock: Clock,
    ) -> None:
        self.name = name
        self.machine = machine
        self._rows = rows
        self._requests = requests
        self._clock = clock

    def poll(self, budget: int) -> int:
        """Serve new rows and reconcile requests."""
        data = self._rows.read(budget) + self._requests.read(budget)
        for at in range(0, len(data), SLOT_BYTES):
            record = CODECS[Kind(kind_of(data, at))].unpack(data, at)
            if record.kind == Kind.INSTRUMENT:
                self.machine.on_instrument(record)
            else:
                self.machine.on_reconcile(record)
        self.machine.on_timer(self._clock())
        return len(data) // SLOT_BYTES

    def close(self) -> None:
        """Nothing is held here."""
