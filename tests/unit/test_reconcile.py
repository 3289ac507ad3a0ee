"""stages.reconcile: passes over a venue of canned pages: what is asked, the order of records, the pace."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from pipeline.codec import CODECS, kind_of
from pipeline.kinds import Kind, Origin
from pipeline.net.edge import Ask
from pipeline.stages.reconcile import EVERY_NS, EVERY_NS_MIN, PAUSE_NS, ROWS_PER_TURN, Reconcile, Wanted
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.decode_common import Decoded

T0_NS = 1_790_000_000 * NS_PER_S
T0_S = T0_NS // NS_PER_S
ROWS_A_PAGE = 10


class _Decoder:
    """Makes a REPORT of each order row and a FILL of each trade row, numbered as the rows are."""

    def decode_order_row(self, row: dict[str, Any], now_ns: int) -> Decoded:
        return self._one(Kind.REPORT, recv_ns=now_ns, order_no=row["no"], origin=int(Origin.RECONCILE))

    def decode_trade_row(self, row: dict[str, Any], now_ns: int) -> Decoded:
        return self._one(Kind.FILL, recv_ns=now_ns, order_no=row["no"])

    def _one(self, kind: Kind, **fields: int) -> Decoded:
        return Decoded([CODECS[kind].pack(**fields)], None, "", 0, 0, (), [])


class _Auth:
    def headers(self, method: str, path: str, body: bytes, second: int) -> bytes:
        return f"POLY_PATH: {path}\r\n".encode()


class Rig:
    """A Reconcile with a venue: `trades` and `orders` by number; `is_down` answers 503."""

    def __init__(self, since_s: int = 0) -> None:
        self.now_ns = T0_NS
        self.orders: list[int] = []
        self.trades: list[int] = []
        self.is_down = False
        self.refresh_status = 200
        self.told: list[tuple[str, int]] = []
        self.asked: list[str] = []
        self.taken_ns: list[int] = []  # when rows were taken
        self.counts: Counter[str] = Counter()
        self.machine = Reconcile(
            "https://x", 0, 0, since_s, _Decoder(), _Auth(), self._owe, self)  # type: ignore[arg-type]

    def add(self, name: str, count: int) -> None:
        self.counts[name] += count

    def _owe(self, run: bytes) -> None:
        record = CODECS[Kind(kind_of(run))].unpack(run)
        self.told.append((
            Kind(record.kind).name, record.ok if record.kind == Kind.RECONCILED else
            0 if record.kind == Kind.BALANCE else record.order_no))

    def run(self, seconds: float) -> None:
        """Let time pass in steps of 1 ms."""
        until_ns = self.now_ns + int(seconds * NS_PER_S)
        while self.now_ns < until_ns:
            self.now_ns += NS_PER_MS
            self.machine.on_timer(self.now_ns)
            if self.machine.work(self.now_ns):
                self.taken_ns.append(self.now_ns)
            while (ask := self.machine.outbox.take()) is not None:
                assert isinstance(ask, Ask)
                self._answer(ask)

    def _answer(self, ask: Ask) -> None:
        parts = urlsplit(ask.target)
        self.asked.append(ask.target)
        if self.is_down:
            self.machine.on_answer(self.now_ns, ask.tag, 503, {}, b"")
        elif parts.path == "/balance-allowance/update":
            self.machine.on_answer(self.now_ns, ask.tag, self.refresh_status, {}, b"")
        elif parts.path == "/balance-allowance":
            body = {"balance": "1000000", "allowances": {"0x1": "5"}}
            self.machine.on_answer(self.now_ns, ask.tag, 200, {}, orjson.dumps(body))
        elif parts.path.startswith("/data/order/"):
            self.machine.on_answer(self.now_ns, ask.tag, 404, {}, b"")
        else:
            rows = self.orders if parts.path == "/data/orders" else self.trades
            start = int(parse_qs(parts.query).get("next_cursor", ["0"])[0])
            page = [{"no": number} for number in rows[start:start + ROWS_A_PAGE]]
            more = start + ROWS_A_PAGE < len(rows)
            body = {"data": page, "next_cursor": str(start + ROWS_A_PAGE) if more else "LTE="}
            self.machine.on_answer(self.now_ns, ask.tag, 200, {}, orjson.dumps(body))

    @property
    def since(self) -> list[int]:
        """Return the seconds from which each pass asked for trades."""
        found = [parse_qs(urlsplit(path).query) for path in self.asked if path.startswith("/data/trades")]
        return [int(query["after"][0]) for query in found if "next_cursor" not in query]


def test_a_pass_tells_trades_before_orders_and_ends_with_what_it_saw() -> None:
    """25 trades on three pages, 12 orders on two: each once, what closes an order behind what it bought."""
    rig = Rig()
    rig.trades, rig.orders = list(range(1, 26)), list(range(101, 113))
    rig.machine.wanted.append(Wanted(is_connect=True))
    rig.run(0.5)
    fills = [("FILL", number) for number in rig.trades]
    reports = [("REPORT", number) for number in rig.orders]
    assert [*fills, ("BALANCE", 0), *reports, ("RECONCILED", 1)] == rig.told
    assert 1 == rig.counts["reconciles"]


def test_whole_passes_overlap() -> None:
    """Together they list every trade: from the last whole one's beginning, and some time before it."""
    rig = Rig()
    rig.run(1)
    begun_s = [T0_S]
    for wanted in (Wanted(7), Wanted(is_connect=True)):
        rig.run(5)
        rig.machine.wanted.append(wanted)
        begun_s.append(rig.now_ns // NS_PER_S)
        rig.run(1)
    rig.run(EVERY_NS / NS_PER_S)
    assert [T0_S - 300, begun_s[0] - 10, begun_s[1] - 60, begun_s[2] - 60] == rig.since
    assert 4 == rig.counts["reconciles"]


def test_what_happened_while_nobody_listened_is_listed_until_a_pass_ends_whole() -> None:
    """A start asks from the last logged record on, again and again until it was answered."""
    rig = Rig(since_s=T0_S - 5_000)
    rig.is_down = True
    rig.run(1)
    rig.is_down = False
    rig.run(5)
    assert {T0_S - 5_000} == set(rig.since[:1])
    rig.machine.wanted.append(Wanted(3))
    rig.run(5)
    assert T0_S - 5_000 < rig.since[-1]


def test_failed_passes_come_ever_slower_and_keep_the_request() -> None:
    """A venue that is down is asked after 250 ms, 500 ms, ... 4 s; the first whole pass answers it."""
    rig = Rig()
    rig.is_down = True
    rig.machine.wanted.append(Wanted(9, is_connect=True))
    rig.run(20)
    assert 5 <= rig.counts["reconciles_failed"] <= 10  # 0.25 + 0.5 + 1 + 2, then each 4 s
    rig.is_down = False
    rig.run(5)
    assert ("RECONCILED", 1) == rig.told[-1]
    rig.machine.wanted.append(Wanted(10))
    rig.run(EVERY_NS_MIN / NS_PER_S + 0.1)
    assert 2 == rig.counts["reconciles"]


def test_a_lane_that_others_share_fairly_takes_rows_without_pauses() -> None:
    """1,000 rows on 100 pages are taken in as many turns as there are pages, not in half a second."""
    rig = Rig()
    rig.machine.is_gentle = False
    rig.run(0.1)
    rig.trades = list(range(1_000))
    rig.taken_ns.clear()
    rig.machine.wanted.append(Wanted(1))
    rig.run(1)
    assert 1_000 == sum(kind == "FILL" for kind, _ in rig.told)
    assert 100 * NS_PER_MS >= rig.taken_ns[-1] - rig.taken_ns[0]


def test_an_order_that_is_asked_for_again_and_again_is_one_question() -> None:
    """While a pass is on its way the core asks on, each second: the next pass asks once an order."""
    rig = Rig()
    rig.run(0.1)
    rig.asked.clear()
    for number in range(20):
        rig.machine.wanted.append(Wanted(10 + number, 1 + number % 2, bytes((1 + number % 2,)) * 32))
    rig.run(1)
    named = [path for path in rig.asked if path.startswith("/data/order/")]
    assert 2 == len(named) == len(set(named))


@pytest.mark.parametrize("count", [1, 1_000])
def test_rows_are_taken_with_pauses_once_the_first_pass_is_over(count: int) -> None:
    """At most 4 rows in 2 ms, all in the end; the same rows again are no news."""
    rig = Rig()
    rig.run(0.1)
    rig.trades = list(range(count))
    rig.taken_ns.clear()
    rig.machine.wanted.append(Wanted(1))
    rig.run(2 + count * PAUSE_NS / ROWS_PER_TURN / NS_PER_S)
    assert count == sum(kind == "FILL" for kind, _ in rig.told)
    gaps = [later - earlier for earlier, later in zip(rig.taken_ns, rig.taken_ns[1:], strict=False)]
    assert all(gap >= PAUSE_NS for gap in gaps)
    assert not rig.machine.has_work
    rig.machine.wanted.append(Wanted(2))
    rig.run(2 + count * PAUSE_NS / ROWS_PER_TURN / NS_PER_S)
    assert (count, count) == (sum(kind == "FILL" for kind, _ in rig.told), rig.counts["trade_repeats"])


@pytest.mark.parametrize("status", [200, 500])
def test_an_order_without_funds_renews_the_cache_once_in_ten_seconds(status: int) -> None:
    """Each refused order asks; one call in 10 s goes out, right before the balance, which is told anyway."""
    rig = Rig()
    rig.refresh_status = status
    rig.run(1)
    rig.asked.clear()
    rig.told.clear()
    for _ in range(250):
        rig.machine.refresh_balance(rig.now_ns)
        rig.run(0.1)
    asked = [urlsplit(path).path for path in rig.asked]
    places = [place for place, path in enumerate(asked) if path == "/balance-allowance/update"]
    assert 3 == len(places)  # at 0, 10 and 20 s
    assert {"/balance-allowance"} == {asked[place + 1] for place in places}
    assert all("asset_type=COLLATERAL" in rig.asked[place] for place in places)
    assert 3 == sum(kind == "BALANCE" for kind, _ in rig.told)
    assert 3 == rig.counts["balance_refreshes" if status == 200 else "balance_refreshes_failed"]
    rig.asked.clear()
    rig.machine.wanted.append(Wanted(1))
    rig.run(1)
    assert not [path for path in rig.asked if "update" in path]  # an ordinary pass leaves the cache alone
