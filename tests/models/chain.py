"""Feed, sequencer, book and trade in a row, in simulated time, behind a venue that speaks text.

The stages' own code, without lanes: `FeedMachine` with scanner and decoder, the native `Sequencer` and
`Books`, and `Trader`, whose RESYNC goes back to the feed. `rate` slows the sequencer or the book stage down.
With `samples_per_s`, refdata's `Sampler` asks the venue's REST, which answers after 20 ms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from pipeline import records as r
from pipeline.codec import KIND_OFFSET, unpack
from pipeline.core.trader import Trader, slots_of
from pipeline.native.books import Books
from pipeline.native.framescan import Scanner, TokenTable
from pipeline.native.ladder import arena_bytes, rows_bytes
from pipeline.native.sequence import Sequencer
from pipeline.native.stamps import ENTRY_BYTES, Stamps
from pipeline.net.edge import Ask, CloseSocket, OpenSocket, Outbox, SendText
from pipeline.shm.status import PAGE_BYTES, StatusPage, StatusView, format_page
from pipeline.stages.feed import FeedMachine, FeedSettings
from pipeline.stages.samples import Sampler, SampleSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.market_decode import MarketDecoder
from tests.models.fold import channel, split
from tests.models.text_venue import TextVenue
from tests.models.venue_model import Market, stamped
from tests.proxy.plan import Fate, Plan

T0_NS = 1_790_000_000 * NS_PER_S
FEED, CONTROL, SAMPLES = 3, 1, 4  # sources
REST_NS = 20 * NS_PER_MS
BLOCKS = (6, 6, 1)
ALL = 1 << 20
OPENING_NS = 2 * NS_PER_MS


class Chain:
    """`step` moves time; everything of that moment is done when it returns, unless a stage is slow."""

    def __init__(
        self, markets: list[Market], plan: Plan | None = None, *, slots: int = 1_024, lag: int = 16_384,
        sequencer_rate: float = ALL, book_rate: float = ALL, stream_slots: int = 4_096,
        blocks: tuple[int, int, int] = BLOCKS, samples_per_s: int = 0, **settings: int,
    ) -> None:
        self.now_ns = T0_NS
        self.venue = TextVenue(markets, plan or Plan(0))
        self.counts: Counter[str] = Counter()
        self.tops: dict[int, Any] = {}  # newest TOP by row
        self.on_top: Callable[[Any], None] = lambda top: None
        self.decisions: list[Any] = []
        self.passed: list[Any] = []  # control and gap records, as they reached trade
        self.rates = {"sequencer": sequencer_rate, "book": book_rate}
        self._credit = {"sequencer": 0.0, "book": 0.0}
        page = memoryview(bytearray(PAGE_BYTES))
        format_page(page, "feed")
        self._view = StatusView(page)
        self.feed_in, self.feed_out = channel(slots)
        self.control_in, control_out = channel(1_024)
        self._stream_in, self._stream = channel(stream_slots)
        self._tops_in, self._tops = channel(1_024)
        table = TokenTable()
        self.machine = FeedMachine(
            FeedSettings(ws_url="ws://x/", source=FEED, **settings), table, Scanner(table, FEED),
            MarketDecoder(table.get, FEED, self._work), self.feed_in, Counts(StatusPage(page)),
            Stamps(bytearray(ENTRY_BYTES)), lambda: self.now_ns)
        self.samples_in, samples_out = channel(256)
        self.sequencer = Sequencer(
            [control_out], [self.feed_out, samples_out], self._stream_in, instruments_max=64,
            stream_lag_records_max=lag)
        self._rest = Outbox()
        self._answers: list[tuple[int, bytes]] = []
        self.questions: list[tuple[int, list[int]]] = []  # when, and the rows asked for over REST
        self.sampler = Sampler(
            SampleSettings("http://x", samples_per_s), self._rest, Counts(StatusPage(page)), self._owe_sample)
        self._buffers = bytearray(arena_bytes(blocks)), bytearray(rows_bytes(64))
        self.books = Books(64, *self._buffers, blocks)
        self.trader = Trader()
        self._control_seq = self.book_position = self._sample_seq = 0
        self.opening_ns = OPENING_NS
        self.work_ns = 0  # what each look at the decoder's work finds spent since the last one
        self._worked_ns = 0
        self._opening: list[tuple[int, int]] = []
        self.opens: list[tuple[int, int]] = []  # (when, connection) of each socket that was asked for
        for market in markets:
            self.control(stamped(market.instrument, source=0))
            if samples_per_s:
                self.sampler.follow(self.now_ns, unpack(market.instrument, 0))
            self.machine.on_instrument(
                self.now_ns, market.row, market.shard, tuple(market.ids["tokens"]), market.ids["market"])

    # -- what happens ----------------------------------------------------------------------------------

    def control(self, slot: bytes) -> None:
        """Put a record on the control ring, as the supervisor does."""
        self._control_seq += 1
        assert self.control_in.push(stamped(
            slot, source=CONTROL, source_seq=self._control_seq, recv_ns=self.now_ns))

    def commit(self, market: Market) -> list[tuple[int, Fate]]:
        """The venue changes one book; return kind and fate of each message."""
        return self.venue.tell(market, market.commit(), self.now_ns)

    def cut(self, conn: int = 0) -> None:
        """The socket ends: what is on it is lost."""
        self.venue.close(conn)
        self._opening = [item for item in self._opening if item[1] != conn]
        self.machine.on_close(self.now_ns, conn, r.Cause.DISCONNECT)

    def step(self, ms: float = 1.0) -> None:
        """Let time pass, then let every part do what it can."""
        self.now_ns += int(ms * NS_PER_MS)
        self.machine.on_timer(self.now_ns)
        self._pump()
        self._sample()
        for line in self.venue.lines.values():
            line.release(self.now_ns)
        self._deliver()
        if self.sequencer.turn(self.now_ns, self.book_position, self._budget("sequencer", ms)) == 0:
            self.sequencer.idle_tick(self.now_ns)
        self._fold(self._budget("book", ms))
        self._pump()

    def run(self, ms: float, step_ms: float = 10.0, until: Callable[[], bool] = lambda: False) -> bool:
        """Step until `until` or the end; return whether it was so."""
        end_ns = self.now_ns + int(ms * NS_PER_MS)
        while self.now_ns < end_ns and not until():
            self.step(step_ms)
        return until()

    def feed(self, frame: bytes, conn: int = 0) -> None:
        """Hand the feed a frame out of nowhere, and let the stages do what follows at once."""
        assert self.machine.on_frame(self.now_ns, conn, frame)
        self._pump()
        self.sequencer.turn(self.now_ns, self.book_position, ALL)
        self._fold(ALL)

    @property
    def ladders(self) -> bytes:
        """Return the bytes of every book."""
        return bytes(self._buffers[0])

    # -- inside ----------------------------------------------------------------------------------------

    def _work(self) -> int:
        self._worked_ns += self.work_ns
        return self._worked_ns

    def _budget(self, stage: str, ms: float) -> int:
        rate = self.rates[stage]
        if rate >= ALL:
            return ALL
        self._credit[stage] = min(self._credit[stage] + rate * ms, 8 * rate + 64)
        budget = int(self._credit[stage])
        self._credit[stage] -= budget
        return budget

    def _deliver(self) -> None:
        for conn, line in list(self.venue.lines.items()):
            while line.queue and self.venue.lines.get(conn) is line:
                if not self.machine.on_frame(self.now_ns, conn, line.queue[0]):
                    break
                line.queue.popleft()
                self.counts["handed"] += 1
                self._pump()

    def _sample(self) -> None:
        while self._answers and self._answers[0][0] <= self.now_ns:
            self.sampler.on_answer(self.now_ns, 200, {}, self._answers.pop(0)[1])
        self.sampler.on_timer(self.now_ns)
        while (ask := self._rest.take()) is not None:
            assert isinstance(ask, Ask)
            self.questions.append((self.now_ns, self.venue.rows_of(ask.body)))
            self._answers.append((self.now_ns + REST_NS, self.venue.rest(ask.body)))

    def _owe_sample(self, record: bytearray) -> None:
        self._sample_seq += 1
        assert self.samples_in.push(stamped(bytes(record), source=SAMPLES, source_seq=self._sample_seq))

    def _pump(self) -> None:
        while True:
            for due_ns, conn in [item for item in self._opening if item[0] <= self.now_ns]:
                self._opening.remove((due_ns, conn))
                self.venue.open(conn)
                self.machine.on_open(self.now_ns, conn)
            command = self.machine.outbox.take()
            if command is None:
                return
            if isinstance(command, OpenSocket):
                self._opening.append((self.now_ns + self.opening_ns, command.conn))
                self.opens.append((self.now_ns, command.conn))
            elif isinstance(command, SendText):
                self.venue.on_text(command.conn, command.data, self.now_ns)
            elif isinstance(command, CloseSocket):
                self.counts["closed"] += 1
                self.cut(command.conn)

    def _fold(self, budget: int) -> None:
        while budget > 0:
            done = self.books.poll(self._stream, self._tops_in, min(budget, 64))
            self.book_position = self._stream.position
            budget -= done
            data = self._tops.read(1_024)
            for run in split(data):
                self._take(run)
            if not done and not data:
                return

    def _take(self, run: bytes) -> None:
        kind = run[KIND_OFFSET]
        if kind == r.Kind.TOP:
            top = unpack(run)
            self.tops[top.instrument] = top
            self.on_top(top)
            return
        if kind not in (r.Kind.TICK, r.Kind.STALE):
            self.passed.append(unpack(run))
        if kind == r.Kind.STALE:
            self.counts[f"stale_{r.Cause(unpack(run).cause).name.lower()}"] += 1
        for decided in self.trader.on_record(run):
            for slot in slots_of(decided):
                if slot[KIND_OFFSET] == r.Kind.RESYNC:
                    self.counts["resyncs"] += 1
                    self.machine.on_resync(self.now_ns, unpack(slot).instrument)

    # -- looking ---------------------------------------------------------------------------------------

    def is_believed(self, row: int) -> bool:
        """Tell whether a package could be priced from this book: neither open, stale nor crossed."""
        book = self.books.snapshot_row(row)
        return book is not None and not (book["is_stale"] or book["is_open"] or book["is_crossed"])

    def equals(self, market: Market) -> bool:
        """Tell whether our book is the venue's, level by level."""
        book = self.books.snapshot_row(market.row)
        assert book is not None
        return (book["bids"], book["asks"]) == (
            sorted(market.sides[0].items(), reverse=True), sorted(market.sides[1].items()))

    def is_settled(self) -> bool:
        """Tell whether every book is believed and the venue's."""
        return all(self.is_believed(row) and self.equals(m) for row, m in self.venue.markets.items())

    def counters(self) -> dict[str, int]:
        """Return the feed's counters."""
        return self._view.counters()
