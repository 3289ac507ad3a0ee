"""account.<id>: what the venue says about our orders, fills and money.

Reads the user websocket, REST answers, `stream` (Instrument, Report) and `decisions` (Intent, Reconcile);
writes its ring. Nothing is replayed by the venue, so every (re)connect and every request of the core ends in
a reconcile: open orders, trades, balance, then one `Reconciled` record. Drops byte-equal repeats only.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from pipeline.codec import CODECS, kind_of
from pipeline.kinds import Cause, Kind, OrderState, Rule
from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.net.edge import CloseSocket, OpenSocket, Outbox, SendText
from pipeline.records import SLOT_BYTES
from pipeline.stages.holdings import Holdings, HoldingsSettings, Shares
from pipeline.stages.reconcile import Reconcile, Wanted
from pipeline.stages.stage import Clock, Counts, backoff_ns, push_owed
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.auth import L2Auth
from pipeline.venues.polymarket.own_orders import OwnOrders
from pipeline.venues.polymarket.user_decode import UserDecoder
from pipeline.venues.polymarket.wire import TEXTS_UNFUNDED

CONN = 0
FRESH_NS = 10 * NS_PER_S
_UNFUNDED = tuple(text.encode() for text in TEXTS_UNFUNDED)
_PONG = b"PONG"
_RECONCILED = CODECS[Kind.RECONCILED]


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
    is_gentle: bool  # the lane runs before others on its CPU: a reconcile leaves them pauses
    is_dry: bool = False  # nothing is sent: nobody waits for what the channel tells
    listed_ns: int = 5 * NS_PER_S  # so soon the venue lists a trade that its channel told
    login: bytes = b""  # the first text on the user channel; it holds the secret, so it is never logged
    ping_ns: int = 10 * NS_PER_S
    pong_ns_max: int = 30 * NS_PER_S
    backoff_ns_min: int = 250 * NS_PER_MS
    backoff_ns_max: int = 30 * NS_PER_S

    def __repr__(self) -> str:
        return f"AccountSettings(account={self.account}, source={self.source})"


class Markets:
    """Tokens and fee schedules by row, as the stream's Instrument records say."""

    def __init__(self) -> None:
        self.tokens: dict[str, tuple[int, int, str]] = {}  # token id -> row, outcome, market
        self.shares: dict[int, Shares] = {}
        self._fees: dict[int, tuple[int, int]] = {}

    def add(self, record: Any) -> None:
        """Learn one Instrument record; a repeat changes nothing."""
        market = "0x" + record.condition.hex()
        yes, no = (str(int.from_bytes(token, "big")) for token in (record.token_yes, record.token_no))
        self.tokens[yes], self.tokens[no] = (record.instrument, 0, market), (record.instrument, 1, market)
        self.shares[record.instrument] = Shares(yes, no, bool(record.rules & Rule.V2))
        # A market whose fee is not known any more is not tradable and names none: the last known one stays.
        if record.fee_rate_ppm or record.rules & Rule.TRADABLE or record.instrument not in self._fees:
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
        self._settings = settings
        self.markets, self.own = Markets(), OwnOrders()
        self._decoder = UserDecoder(
            owner=owner, maker_addresses=wallets, token_lookup=self.markets.tokens,
            fee_of=self.markets.fee_of, account=settings.account, source=settings.source, own=self.own)
        self.rest = Reconcile(
            settings.clob_url, settings.account, settings.signature_type, settings.since_s, self._decoder,
            auth, self._owe, counts)
        self.rest.is_gentle, self.rest.own = settings.is_gentle, self.own
        self.rest.listed_ns = settings.listed_ns
        self._sink = sink
        self._counts = counts
        self._owed: deque[bytes] = deque()
        self._is_loss_told = settings.is_dry
        self._source_seq = settings.source_seq
        self._is_open = self._is_opening = False
        self._attempts = 0
        self._retry_ns = 0
        self._pinged_ns = self._ponged_ns = 0
        self._last_frame = b""

    # ------------------------------------------------------------------ user channel

    def on_open(self, now_ns: int, conn: int) -> None:
        """Log in, and reconcile: the channel does not replay what was missed."""
        del conn
        self._is_open, self._is_opening, self._attempts = True, False, 0
        self._is_loss_told = self._settings.is_dry
        self._pinged_ns = self._ponged_ns = now_ns
        self.outbox.put(SendText(CONN, self._settings.login))
        self.rest.wanted.append(Wanted(is_connect=True))

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        """Set the next attempt: exponential, capped, spread by attempt."""
        del conn, cause
        self._tell_loss(now_ns)
        self._is_open = self._is_opening = False
        self._attempts += 1
        self._retry_ns = now_ns + backoff_ns(
            self._attempts, self._settings.backoff_ns_min, self._settings.backoff_ns_max,
            self._attempts * 7_919 % 1_000)
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
        before = self.own.contradictions
        decoded = self._decoder.decode(frame, now_ns)
        self._counts.add("user_frames", 1)
        if decoded.reject is not None:
            # A report that we cannot read may be a fill: ask the venue for everything.
            self._counts.add("user_rejects", 1)
            self._counts.add("user_contradictions", self.own.contradictions - before)
            self.rest.wanted.append(Wanted(is_connect=True))
            if decoded.is_breach:
                self._counts.add("user_breaches", 1)
                self.outbox.put(CloseSocket(CONN))
        for run in decoded.records:
            self._owe(run)
        return True

    def on_timer(self, now_ns: int) -> None:
        """Keep the socket alive, and start the reconcile that is due."""
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
            self._tell_loss(now_ns)
            self._is_opening = True
            self.outbox.put(OpenSocket(CONN, settings.user_ws_url))
        self.rest.on_timer(now_ns)

    def _tell_loss(self, now_ns: int) -> None:
        """Nobody hears the channel: no new risk until a pass behind its return is whole (FL02)."""
        self.rest.on_loss()
        if not self._is_loss_told:
            self._is_loss_told = True
            self._owe(_RECONCILED.pack(recv_ns=now_ns, account=self._settings.account, lost=1))

    # ------------------------------------------------------------------ inputs from the core

    def on_reconcile(self, request: Any) -> None:
        """The core wants evidence: about everything, one order, or the shares of one market."""
        if request.instrument:
            if self.rest.holdings is not None:
                self.rest.holdings.want(request.instrument)
            return
        order_hash = request.order_hash if any(request.order_hash) else b""
        self.rest.unsettled_s = request.since_ns // NS_PER_S
        self.rest.wanted.append(Wanted(request.request_no, request.order_no, order_hash))

    def on_report(self, now_ns: int, record: Any) -> None:
        """Learn an order's hash; a fresh refusal for want of funds has the venue's cache of them renewed."""
        if record.account == self._settings.account:
            self.own.on_report(record)
        is_fresh = now_ns - record.now_ns < FRESH_NS  # a start reads old ones, too
        if record.state == OrderState.REJECTED and record.account == self._settings.account and is_fresh and (
                any(text in record.text.lower() for text in _UNFUNDED)):
            self.rest.refresh_balance(now_ns)

    def on_instrument(self, record: Any) -> None:
        """Learn a row's tokens and fee schedule."""
        self.markets.add(record)

    def watch_holdings(self, settings: HoldingsSettings, auth: L2Auth) -> None:
        """Compare shares, too: ask what the wallet holds (FL09)."""
        rest, markets = self.rest, self.markets
        rest.holdings = Holdings(
            settings, markets.tokens, markets.shares, auth, rest.outbox, self._owe, self._counts)

    def flush(self) -> bool:
        """Publish owed records; True when none is left."""
        return push_owed(self._sink, self._owed)

    def _owe(self, run: bytes) -> None:
        self._source_seq += 1
        stamped = bytearray(run)
        for at in range(0, len(stamped), SLOT_BYTES):
            stamped[at + 24 : at + 32] = self._source_seq.to_bytes(8, "little")
            stamped[at + 40 : at + 42] = self._settings.source.to_bytes(2, "little")
        self._owed.append(bytes(stamped))
        self.flush()


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
        """Serve new rows, reconcile requests, and some rows of the pass that is on its way."""
        now_ns = self._clock()
        data = self._requests.read(budget) + self._rows.read(budget)  # an intent before its hash
        for at in range(0, len(data), SLOT_BYTES):
            record = CODECS[Kind(kind_of(data, at))].unpack(data, at)
            if record.kind == Kind.INSTRUMENT:
                self.machine.on_instrument(record)
            elif record.kind == Kind.REPORT:
                self.machine.on_report(now_ns, record)
            elif record.kind == Kind.INTENT:
                self.machine.own.on_intent(record)
            else:
                self.machine.on_reconcile(record)
        self.machine.on_timer(now_ns)
        return len(data) // SLOT_BYTES + self.machine.rest.work(now_ns)

    def close(self) -> None:
        """Nothing is held here."""
