"""Faults at work: what they do to requests and frames, when they begin and end, what is counted and told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.sim.exchange import Exchange
from pipeline.sim.fault_frames import split
from pipeline.sim.fault_plan import FaultPlan
from pipeline.sim.faults import parse
from pipeline.sim.gamma import market_object
from pipeline.sim.http import Response
from pipeline.sim.mode import Mode
from pipeline.sim.rest_public import compact_market
from pipeline.sim.websocket import server_frame
from tests.sim_trader import NOW_NS, Trader, exchange_of, json_of, market

SHARE = 1_000_000
MS = 10**6
SECOND = 10**9


class Bench:
    """An exchange behind a fault plan, with simulated time, open sockets and everything that is told."""

    def __init__(self, *faults: dict[str, Any], seed: int = 1, **raw: Any) -> None:
        self.of = market(planted=True)
        self.client = Trader()
        self.exchange: Exchange = exchange_of([self.client], [self.of, market(2)])
        self.exchange.foreign_changes(NOW_NS, self.of, [(False, 5000, 10_000 * SHARE)])
        self.plan = FaultPlan(parse({"seed": seed, "fault": list(faults), **raw}), self.exchange)
        self.told: list[tuple[str, str, int]] = []  # (what, fault, seconds since the start)
        self.plan.tell = lambda what, run, now_ns: self.told.append(
            (what, run.fault.name, (now_ns - NOW_NS) // SECOND)
        )
        self.late: list[tuple[int, bytes]] = []  # (socket, text) past the gate
        self.plan.frames.write = lambda socket, data, frames: self.late.extend(
            (socket, text) for _, text in split(data)
        )
        self.answers: list[tuple[int, Response | None]] = []  # (ms since the start, answer)
        self.now_ns = NOW_NS
        self.plan.start(NOW_NS)

    def at(self, seconds: float) -> None:
        self.now_ns = NOW_NS + round(seconds * SECOND)
        self.exchange.on_timer(self.now_ns)

    def post(self) -> None:
        body = json.dumps(self.client.body(self.of, quantity="10"), separators=(",", ":")).encode()
        headers = self.client.headers("POST", "/order", body, self.now_ns)
        self.exchange.ask(
            self.now_ns, "clob", "POST", "/order", headers, body,
            lambda at_ns, answer: self.answers.append(((at_ns - NOW_NS) // MS, answer)),
        )  # fmt: skip

    def send(self, socket: int, *texts: bytes, channel: str = "market") -> list[bytes]:
        """Send frames of one write; return the texts that go out now."""
        data = b"".join(map(server_frame, texts))
        out, frames = self.plan.frames(self.now_ns, socket, channel, data, len(texts))
        found = [text for _, text in split(out)]
        assert frames == len(found)
        return found


def test_without_a_fault_nothing_is_touched() -> None:
    """The very same bytes go out, and the answer is the exchange's own."""
    bench = Bench({"name": "x", "kind": "drop", "at_s": 5})
    data = server_frame(b"a" * 70_000) + server_frame(b"b" * 300) + server_frame(b"c")
    assert (data, 3) == bench.plan.frames(NOW_NS, 1, "market", data, 3)
    assert [70_000, 300, 1] == [len(text) for _, text in split(data)]
    bench.post()
    assert [200] == [answer.status for _, answer in bench.answers if answer]


@pytest.mark.parametrize(
    ("kind", "keys", "status", "was_taken", "at_ms"),
    [
        ("cut_before", {}, None, False, 0),
        ("cut_after", {}, None, True, 0),
        ("error_before", {"status": 502}, 502, False, 0),
        ("error_after", {}, 500, True, 0),
        ("rate_limit", {"retry_after_s": 7}, 429, False, 0),
        ("unauthorized", {}, 401, False, 0),
        ("not_json", {}, 502, False, 0),
        ("slow_answer", {"delay_ms": 900}, 200, True, 900),
        ("slow_request", {"delay_ms": 900}, 200, True, 900),
    ],
)
def test_what_a_request_meets(
    kind: str, keys: dict[str, Any], status: int | None, was_taken: bool, at_ms: int
) -> None:
    """Each kind: was the order taken, what was answered, when. Other routes are left alone."""
    bench = Bench({"name": "x", "kind": kind, "at_s": 0, **keys})
    bench.at(0)
    bench.post()
    taken_at_once = bool(bench.exchange.engine.orders)
    bench.at(1)

    ((found_ms, answer),) = bench.answers
    assert (status, at_ms) == (answer and answer.status, found_ms)
    assert was_taken == bool(bench.exchange.engine.orders)
    assert (was_taken and kind != "slow_request") == taken_at_once
    if kind == "rate_limit":
        assert answer is not None
        assert "7" == answer.headers["retry-after"]
    if kind == "not_json":
        assert answer is not None
        assert b"<html>" in answer.body
    assert 200 == bench.client.call(bench.exchange, "GET", "/data/orders", None, bench.now_ns).status
    assert [("x", 1, "clob POST /order")] == [
        (row["name"], row["count"], row["notes"][0][1]) for row in bench.plan.rows()
    ]


@pytest.mark.parametrize("dated", ["book", "now"])
def test_ghost_books_are_shown_and_the_book_stays(dated: str) -> None:
    """/book and /books show 0.01 against 0.99 with a hash that fits; the engine's book does not change."""
    bench = Bench({"name": "x", "kind": "ghost_books", "at_s": 1, "for_s": 2, "dated": dated})
    tokens = [{"token_id": bench.of.tokens[outcome]} for outcome in (0, 1)]

    def books() -> list[dict[str, Any]]:
        one: list[Response | None] = []
        bench.exchange.ask(
            bench.now_ns, "clob", "POST", "/books", {}, json.dumps(tokens).encode(),
            lambda _, answer: one.append(answer))
        assert one[0] is not None
        target = f"/book?token_id={bench.of.tokens[0]}"
        bench.exchange.ask(bench.now_ns, "clob", "GET", target, {}, b"", lambda _, answer: one.append(answer))
        assert one[1] is not None
        return [*json_of(one[0]), json_of(one[1])]

    before = books()
    bench.at(1)
    ghosts = books()
    for ghost, book in zip(ghosts, before, strict=True):
        assert ["0.01", "0.99"] == [level["price"] for side in ("bids", "asks") for level in ghost[side]]
        text = json.dumps(ghost | {"hash": ""}, separators=(",", ":"))
        assert hashlib.sha1(text.encode()).hexdigest() == ghost["hash"] != book["hash"]
        expected = str(bench.now_ns // MS) if dated == "now" else book["timestamp"]
        assert (expected, list(book)) == (ghost["timestamp"], list(ghost))
    bench.at(4)
    assert before == books()
    assert [2] == [row["count"] for row in bench.plan.rows()]


def test_routes_end_in_a_star_for_anything() -> None:
    """A pattern hits what begins like it, of its method alone."""
    bench = Bench({"name": "x", "kind": "unauthorized", "at_s": 0, "routes": ["GET /data/*"]})
    bench.at(0)
    call = bench.client.call
    assert 401 == call(bench.exchange, "GET", "/data/orders?market=0x1").status
    assert 200 == call(bench.exchange, "DELETE", "/cancel-all").status


def test_a_window_has_a_beginning_an_end_and_a_most() -> None:
    """Two hits of five requests in the window, none outside; each step is told once."""
    bench = Bench({"name": "x", "kind": "unauthorized", "at_s": 2, "for_s": 3, "count_max": 2})
    for second in (0, 1, 2, 3, 4, 4.9, 5, 6):
        bench.at(second)
        bench.post()

    found = [answer.status for _, answer in bench.answers if answer]
    assert [200, 200, 401, 401, 200, 200, 200, 200] == found
    assert [("begins", "x", 2), ("hits", "x", 2), ("ends", "x", 5)] == bench.told


@pytest.mark.parametrize("seed", range(5))
def test_chances_follow_the_seed_and_the_name_alone(seed: int) -> None:
    """A fault of 20 % hits about one in five, the same ones again, whatever else is in the file."""

    def hit(*others: dict[str, Any]) -> list[int]:
        one = {"name": "x", "kind": "drop", "at_s": 0, "chance_ppm": 200_000}
        bench = Bench(*others, one, seed=seed)
        bench.at(0)
        return [number for number in range(1_000) if not bench.send(1, b"%d" % number)]

    found = hit()
    assert 130 <= len(found) <= 270
    assert found == hit(
        {"name": "y", "kind": "duplicate", "at_s": 0, "chance_ppm": 500_000, "channel": "user"}
    )


def frames_of(kind: str, texts: Sequence[bytes], **keys: Any) -> tuple[list[bytes], list[bytes]]:
    """Return what goes out at once and what comes later, of a fault that hits every frame."""
    bench = Bench({"name": "x", "kind": kind, "at_s": 0, "for_s": 10, **keys})
    bench.at(0)
    now = bench.send(1, *texts)
    bench.at(20)
    return now, [text for _, text in bench.late]


def test_what_a_frame_meets() -> None:
    """Dropped, doubled, late and in order, swapped with the next one, cut short; PONG always passes."""
    texts = [b"one", b"PONG", b"two", b"three"]
    assert ([b"PONG"], []) == frames_of("drop", texts)
    assert ([b"one", b"one", b"PONG", b"two", b"two", b"three", b"three"], []) == frames_of(
        "duplicate", texts
    )
    assert ([b"PONG"], [b"one", b"two", b"three"]) == frames_of("delay", texts, delay_ms=500)
    assert ([b"PONG", b"two", b"one"], [b"three"]) == frames_of("reorder", texts)
    now, later = frames_of("truncate", texts)
    assert (4, []) == (len(now), later)
    assert all(
        whole.startswith(cut) and 0 < len(cut) < len(whole)
        for whole, cut in zip(texts, now, strict=True)
        if whole != b"PONG"
    )


def test_late_frames_keep_their_order() -> None:
    """What comes behind a late frame waits for it, also when the fault has ended."""
    bench = Bench({"name": "x", "kind": "delay", "at_s": 0, "for_s": 0.2, "count_max": 1, "delay_ms": 500})
    bench.at(0)
    assert [] == bench.send(1, b"one")
    bench.at(0.3)
    assert [] == bench.send(1, b"two")
    assert [b"of another"] == bench.send(2, b"of another")
    bench.at(0.5)
    assert [(1, b"one"), (1, b"two")] == bench.late
    assert [b"three"] == bench.send(1, b"three")


@pytest.mark.parametrize("catches_new", [False, True])
def test_a_freeze_swallows_the_sockets_that_were_there(catches_new: bool) -> None:
    """Silence with PONG alive on every market socket of then; a new one works, unless told otherwise."""
    bench = Bench({"name": "x", "kind": "freeze", "at_s": 1, "for_s": 9, "catches_new": catches_new})
    old = bench.exchange.open_socket(NOW_NS, "market")
    user = bench.exchange.open_socket(NOW_NS, "user")
    assert [b"before"] == bench.send(old, b"before")
    bench.at(1)
    new = bench.exchange.open_socket(bench.now_ns, "market")

    assert [b"PONG"] == bench.send(old, b"data", b"PONG")
    assert [b"order"] == bench.send(user, b"order", channel="user")
    assert ([] if catches_new else [b"snapshot"]) == bench.send(new, b"snapshot")
    bench.at(10)
    assert [b"after"] == bench.send(old, b"after")
    assert [] == bench.late


def test_faults_of_the_venue_reach_it_and_end() -> None:
    """Mode, restart, tick, settlement, game start and resolution act at their times and are taken back."""
    bench = Bench(
        {"name": "m", "kind": "mode", "mode": "cancel_only", "at_s": 1, "for_s": 1},
        {"name": "r", "kind": "restart", "at_s": 3, "down_s": 1, "post_only_s": 1},
        {"name": "t", "kind": "tick", "step": "0.001", "market": "planted", "at_s": 6, "for_s": 1},
        {"name": "s", "kind": "settlement", "failed_ppm": 1_000_000, "at_s": 8, "for_s": 1},
        {"name": "g", "kind": "game_start", "market": "planted", "at_s": 10},
        {"name": "e", "kind": "resolve", "market": "question-2", "winner": 1, "at_s": 11},
    )
    engine, seen = bench.exchange.engine, []
    for tenths in range(5, 120, 10):
        bench.at(tenths / 10)
        seen.append((engine.mode.mode.value, bench.of.tick_step, engine.settlement.chances.failed_ppm))

    running = (Mode.RUNNING.value, 100, 0)
    assert [
        running, ("cancel_only", 100, 0), running, ("restarting", 100, 0), ("post_only", 100, 0), running,
        ("running", 10, 0), running, ("running", 100, 1_000_000), running, running, running,
    ] == seen  # fmt: skip
    assert [] == bench.exchange.levels(bench.of, False)
    assert (0, SHARE) == engine.markets[market(2).condition].payout_micro
    assert all(row["begins"] == 1 and not row["is_active"] for row in bench.plan.rows())
    assert {"begins", "ends"} <= {what for what, _, _ in bench.told}


def test_metadata_may_tell_a_new_tick_late() -> None:
    """For `late_s` after each change Gamma and the CLOB's lists say the old tick; book and orders do not."""
    bench = Bench({"name": "t", "kind": "tick", "step": "0.001", "market": "planted", "at_s": 1, "for_s": 5,
                   "late_s": 2})
    seen = []
    for tenths in range(5, 95, 10):
        bench.at(tenths / 10)
        listed = (compact_market(bench.of)["mts"], market_object(bench.of)["orderPriceMinTickSize"])
        assert 1 == len(set(listed))
        token = bench.of.tokens[0]
        book = bench.exchange.on_request(bench.now_ns, "clob", "GET", f"/book?token_id={token}", {}, b"")
        seen.append((listed[0], float(json.loads(book.body)["tick_size"]), bench.of.tick_step / 10_000))

    cent, fine = (0.01, 0.01, 0.01), (0.001, 0.001, 0.001)
    late, late_back = (0.01, 0.001, 0.001), (0.001, 0.01, 0.01)
    assert [cent, late, late, fine, fine, fine, late_back, late_back, cent] == seen


def test_a_fault_begins_by_name_and_new_ones_can_be_given() -> None:
    """Without a time a fault waits; a name that nobody has, or a taken one, is refused in one line."""
    bench = Bench({"name": "x", "kind": "unauthorized", "for_s": 1})
    bench.at(5)
    bench.post()
    bench.plan.trigger(bench.now_ns, "x")
    bench.post()
    bench.at(7)
    bench.plan.inject(bench.now_ns, {"name": "y", "kind": "error_after", "count_max": 1})
    bench.post()
    bench.post()

    assert [200, 401, 500, 200] == [answer.status for _, answer in bench.answers if answer]
    for raw in ({"name": "y", "kind": "drop"}, {"name": "z", "kind": "unknown"}):
        with pytest.raises(ConfigError):
            bench.plan.inject(bench.now_ns, raw)
    with pytest.raises(ConfigError, match=r"\(x, y\)"):
        bench.plan.trigger(bench.now_ns, "nobody")


def test_a_cut_order_is_there_when_asked_for() -> None:
    """The order behind an answer that was never sent is found by its id, with its trade."""
    bench = Bench({"name": "x", "kind": "cut_after", "at_s": 0})
    bench.at(0)
    bench.post()
    (order_id,) = bench.exchange.engine.orders
    row = json_of(bench.client.call(bench.exchange, "GET", f"/data/order/{order_id}", None, bench.now_ns))

    assert [(0, None)] == bench.answers
    assert ("MATCHED", "10") == (row["status"], row["size_matched"])
