"""The list of positions and the balances of shares: whole or no evidence; what is told is told exactly."""

from __future__ import annotations

import json
import random
from collections import deque
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Kind, Rule
from pipeline.net.edge import Ask, Outbox
from pipeline.shm.status import PAGE_BYTES, StatusPage, format_page
from pipeline.stages.account import Markets
from pipeline.stages.holdings import BALANCE, LIST, Holdings, HoldingsSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.auth import L2Auth, Secret
from pipeline.venues.polymarket.positions import PAGE_ROWS, Position, PositionsWalk
from tests.models.core_rig import instrument

WALLET = "0x" + "12" * 20
T0_NS = 1_790_000_000 * NS_PER_S


def page(rows: list[dict[str, Any]], cursor: str | None = None, **changes: Any) -> bytes:
    turn = {"limit": PAGE_ROWS, "has_more": cursor is not None, "next_cursor": cursor} | changes
    return json.dumps({"data": rows, "pagination": turn}).encode()


def row(token: object, size: object) -> dict[str, Any]:
    return {"token_id": token, "current_size": size, "title": "whatever"}


def test_a_list_is_read_page_by_page() -> None:
    """Each page names the next; sizes are doubles, rounded to a millionth."""
    walk = PositionsWalk(WALLET)
    assert f"/v2/positions?user={WALLET}&status=OPEN&limit=500" == walk.path
    found = walk.on_answer(200, page([row("7", 12.5), row("8", 0.1 + 0.2)], "a b"))
    assert [Position("7", 12_500_000), Position("8", 300_000)] == found
    assert walk.path is not None and walk.path.endswith("&cursor=a%20b") and not walk.is_complete
    assert [Position("9", 3_000_000)] == walk.on_answer(200, page([row("9", 3)]))
    assert walk.path is None and walk.is_complete


@pytest.mark.parametrize(("status", "body"), [
    (0, b""), (500, page([])), (200, b"[]"), (200, b"{"), (200, b'{"data": []}'),
    (200, b'{"data": {}, "pagination": {"has_more": false, "next_cursor": null}}'),
    (200, page([], None, has_more=True)), (200, page([], "x", has_more=False)),
    (200, page([], "", has_more=True)), (200, page([], None, has_more="no")), (200, page([], "x" * 5_000)),
    (200, page(["row"])),  # type: ignore[list-item]
    (200, page([row(7, 1.0)])), (200, page([row("0x7", 1.0)])), (200, page([row("7", "1")])),
    (200, page([row("7", True)])), (200, page([row("7", None)])), (200, page([row("7", -1)])),
    (200, page([row("7", 1e300)])), (200, page([row("7", 10**14)])), (200, b'{"data": [], "data": []}'),
    (200, page([]).replace(b"false", b"NaN")),
])
def test_half_a_list_is_no_list(status: int, body: bytes) -> None:
    """Whatever is wrong with a page or a row ends the walk with the reason, and never as complete."""
    for pages in range(3):
        walk = PositionsWalk(WALLET)
        for number in range(pages):
            assert walk.on_answer(200, page([row("7", 1.0)], f"c{number}"))
        assert [] == walk.on_answer(status, body)
        assert walk.path is None and not walk.is_complete and "/v2/positions" in str(walk.refusal)


def test_a_list_without_an_end_is_no_list() -> None:
    """A cursor that comes again, or pages without end, are refused."""
    walk = PositionsWalk(WALLET)
    walk.on_answer(200, page([], "a"))
    walk.on_answer(200, page([], "a"))
    assert walk.path is None and not walk.is_complete
    walk, count = PositionsWalk(WALLET), 0
    while walk.path is not None:
        count += 1
        walk.on_answer(200, page([], f"c{count}"))
    assert 200 == count and not walk.is_complete


class Desk:
    """A Holdings machine with two markets, the second one of protocol v2."""

    def __init__(self) -> None:
        data = memoryview(bytearray(PAGE_BYTES))
        format_page(data, "account")
        self.outbox, self.told = Outbox(), deque[Any]()
        auth = L2Auth("0x" + "34" * 20, "key", Secret(b"s" * 32), Secret(b"p"))
        settings = HoldingsSettings(2, WALLET, 3, "https://data", "https://clob", 60 * NS_PER_S)
        self.markets = Markets()
        self.machine = Holdings(
            settings, self.markets.tokens, self.markets.shares, auth, self.outbox,
            lambda slot: self.told.append(unpack(slot)), Counts(StatusPage(data)))
        self.now_ns = T0_NS

    def learn(self) -> None:
        self.markets.add(unpack(instrument(1)))
        self.markets.add(unpack(instrument(2, rules=int(Rule.V2))))

    def asks(self, seconds: float = 0.0) -> list[Ask]:
        """Let time pass; return what is asked."""
        self.now_ns += int(seconds * NS_PER_S)
        self.machine.on_timer(self.now_ns)
        return [one for one in iter(self.outbox.take, None) if isinstance(one, Ask)]

    def balance(self, micro: object, status: int = 200) -> None:
        self.machine.on_answer(self.now_ns, BALANCE, status, json.dumps({"balance": micro}).encode())


def test_a_list_is_told_position_by_position_and_then_ends() -> None:
    """Ours by row and token, others' counted; the end says whether all was read; the next a minute later."""
    desk = Desk()
    assert [] == desk.asks(), "no market is known yet"
    desk.learn()
    (asked,) = desk.asks()
    assert (LIST, "https://data") == (asked.tag, asked.base) and not asked.headers
    body = page([row("1000002", 1.5), row("1000005", 2.0), row("77", 9.0)], "more")
    desk.machine.on_answer(desk.now_ns, LIST, 200, body)
    (asked,) = desk.asks(0.5)
    desk.machine.on_answer(desk.now_ns, LIST, 200, page([]))
    yes, no, end = desk.told
    assert (Kind.HOLDING, 1, 2) == (yes.kind, yes.instrument, yes.account)
    assert (1_500_000, -1) == (yes.yes_micro, yes.no_micro)
    assert (2, -1, 2_000_000, 0) == (no.instrument, no.yes_micro, no.no_micro, no.is_balance)
    assert (0, 1, 3, 1, T0_NS) == (end.instrument, end.ok, end.token_count, end.elsewhere_count, end.begun_ns)
    assert [] == desk.asks(59) and [LIST] == [one.tag for one in desk.asks(0.6)]
    desk.machine.on_answer(desk.now_ns, LIST, 0, b"")
    assert (0, 0) == (desk.told[-1].instrument, desk.told[-1].ok)


def test_balances_are_asked_anew_one_by_one_and_told_together() -> None:
    """Update, then balance, of YES and of NO, at the pace that the venue takes; v2 by its own asset type."""
    desk = Desk()
    desk.learn()
    desk.asks()
    for wanted in (2, 1, 2, 9):
        desk.machine.want(wanted)  # a row twice is one wish, an unknown one is none
    paths = []
    for micro in ("0", "11", "0", "22", "0", "33", "0", "44"):
        (asked,) = desk.asks(0.13)
        assert [] == desk.asks(0.13), "one at a time"
        assert dict(asked.headers)
        paths.append(asked.target)
        desk.balance(micro)
    assert [] == desk.asks(1)
    routes = [path.partition("?")[0] for path in paths]
    assert ["/balance-allowance/update", "/balance-allowance"] * 4 == routes
    assert "?asset_type=CONDITIONAL-V2&token_id=1000004&signature_type=3" in paths[0]
    assert "?asset_type=CONDITIONAL&token_id=1000002" in paths[4]
    assert "1000005" in paths[3] and "1000003" in paths[7]
    told = [(one.instrument, one.yes_micro, one.no_micro, one.is_balance) for one in desk.told]
    assert [(2, 11, 22, 1), (1, 33, 44, 1)] == told
    assert desk.told[0].begun_ns < desk.told[1].begun_ns


@pytest.mark.parametrize(("micro", "status"), [
    ("x", 200), (None, 200), (-1, 200), (1.5, 200), (str(2**63), 200), ("1", 0), ("1", 429), ("1", 500)])
def test_a_balance_that_cannot_be_read_is_not_told(micro: object, status: int) -> None:
    """Nothing is told of the market; the next wish is served."""
    desk = Desk()
    desk.learn()
    desk.asks()
    desk.machine.want(1)
    for answer in ("5", micro):
        assert desk.asks(0.13)
        desk.balance(answer, status if answer is micro else 200)
    assert not desk.told
    for refusal in (0, 429, 500):  # it did not look anew
        desk.machine.want(1)
        assert desk.asks(0.13)
        desk.balance("0", refusal)
        assert not desk.asks(1) and not desk.told
    desk.machine.want(2)
    for answer in random.Random(1).sample(range(100), 4):
        assert desk.asks(0.13)
        desk.balance(answer)
    assert [2] == [one.instrument for one in desk.told]
