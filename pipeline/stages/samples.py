"""Books asked for over REST, a few each second, to be compared with what the stream told (MD05, MD10).

Part of refdata.<venue>: it has a REST driver and follows the rows. At most one question a second: no answer
makes another one, so no fault of books becomes a storm. What comes back is a SAMPLE of each book in the
stream; `book` judges it there, at the state that it then has (`native/books_sample.pxi`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from pipeline.kinds import Kind, Rule
from pipeline.net.edge import Ask, Outbox
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.rest_books import books_question, parse_books

TAG = -1  # of our questions: below 0, the pages' are above
TRADED_EVERY_NS = 4 * NS_PER_S  # with the time that `book` waits, what REST shows is missed within 10 s
TRADED_FOR_NS = 600 * NS_PER_S  # since the last order
WAIT_NS_MAX = 60 * NS_PER_S
_HEADERS = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """Where to ask, and for how many books a second: 1 .. 500."""

    clob_url: str
    per_s: int


class Sampler:
    """Sans-IO: shares its stage's outbox, takes the answers with its tag; `owe` takes records to publish.

    Books with orders of the last ten minutes come first, each once in 4 s, the others in turn. One place of
    each question, if there are two, is for the others.
    """

    def __init__(
        self, settings: SampleSettings, outbox: Outbox, counts: Counts, owe: Callable[[bytearray], None],
    ) -> None:
        self._settings = settings
        self._outbox = outbox
        self._counts = counts
        self._owe = owe
        self._tokens: dict[int, str] = {}  # row -> its first outcome's token
        self._turn: deque[int] = deque()  # rows, the next one first
        self._traded: dict[int, tuple[int, int]] = {}  # row -> (until when, when it was last asked for)
        self._asked: dict[str, int] = {}  # token -> row, of the question on its way
        self._due_ns = 0
        self._failures = 0  # in a row

    def follow(self, now_ns: int, slot: Any) -> None:
        """Take a record of `stream`: a row, its end, a report on an order."""
        if slot.kind == Kind.RESOLVED or (slot.kind == Kind.INSTRUMENT and slot.rules & Rule.RETIRED):
            self._on_end(slot.instrument)
        elif slot.kind == Kind.INSTRUMENT:
            self._on_row(slot.instrument, str(int.from_bytes(slot.token_yes, "big")))
        elif slot.kind == Kind.REPORT:
            self._on_order(now_ns, slot.instrument)

    def _on_row(self, row: int, token: str) -> None:
        if row not in self._tokens:
            self._turn.append(row)
        self._tokens[row] = token

    def _on_end(self, row: int) -> None:
        if self._tokens.pop(row, None) is not None:
            self._turn.remove(row)
            self._traded.pop(row, None)

    def _on_order(self, now_ns: int, row: int) -> None:
        if row in self._tokens:
            self._traded[row] = now_ns + TRADED_FOR_NS, self._traded.get(row, (0, 0))[1]

    def on_timer(self, now_ns: int) -> None:
        """Ask when a second has passed and nothing is on its way."""
        if self._asked or now_ns < self._due_ns or not self._tokens:
            return
        self._due_ns = now_ns + NS_PER_S
        rows = self._chosen(now_ns)
        self._asked = {self._tokens[row]: row for row in rows}
        self._counts.add("samples_asked", len(rows))
        body = books_question(list(self._asked))
        self._outbox.put(Ask(TAG, "POST", self._settings.clob_url, wire.PATH_BOOKS, _HEADERS, body))

    def on_answer(self, now_ns: int, status: int, headers: dict[str, str], body: bytes) -> None:
        """Owe a SAMPLE of each book of the answer."""
        asked, self._asked = self._asked, {}
        if status != HTTPStatus.OK:
            text = headers.get("retry-after", "")
            self._fail(now_ns, int(text) * NS_PER_S if text.isascii() and text.isdigit() else 0)
            return
        samples, refused_count = parse_books(body, asked)
        for sample in samples:
            self._owe(bytearray(sample.record(now_ns)))
        self._counts.add("samples", len(samples))
        self._counts.add("samples_unreadable", refused_count)
        self._counts.add("samples_missing", len(asked) - len({sample.row for sample in samples}))
        self._failures = 0

    def on_failure(self, now_ns: int) -> None:
        """Nothing came back: ask others, later."""
        self._asked = {}
        self._fail(now_ns, 0)

    def _fail(self, now_ns: int, wait_ns: int) -> None:
        self._counts.add("samples_failed", 1)
        self._failures += 1
        doubled_ns = NS_PER_S << min(self._failures, 6)
        self._due_ns = now_ns + min(max(wait_ns, doubled_ns), WAIT_NS_MAX)

    def _chosen(self, now_ns: int) -> list[int]:
        """Return the rows of the next question, all different."""
        count = min(self._settings.per_s, len(self._tokens))
        self._traded = {row: times for row, times in self._traded.items() if now_ns < times[0]}
        waiting = sorted(
            (asked_ns, row) for row, (_, asked_ns) in self._traded.items()
            if now_ns - asked_ns >= TRADED_EVERY_NS)
        rows = dict.fromkeys(row for _, row in waiting[:max(count - 1, 1)])
        for row in rows:
            self._traded[row] = self._traded[row][0], now_ns
        for _ in range(len(self._turn)):
            if len(rows) == count:
                break
            rows[self._turn[0]] = None
            self._turn.rotate(-1)
        return list(rows)
