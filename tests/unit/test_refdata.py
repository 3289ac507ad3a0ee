"""stages.refdata and QUESTION records: what a page of the metadata becomes, now and at a later start."""

from __future__ import annotations

import json
from typing import Any

from pipeline.codec import CODECS, unpack
from pipeline.kinds import Kind, Rule
from pipeline.native.ring import Reader, Writer
from pipeline.net.edge import Ask
from pipeline.records import FEE_NOT_TOLD, SLOT_BYTES
from pipeline.stages.refdata import RefdataMachine, RefdataSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.universe import parse_events, question_record
from tests.models.signer_rig import T0_NS, ring
from tests.unit.test_universe import V2, V2_CONDITION, event, market, read, refused

SOURCE, SOURCE_SEQ = 3, 40


class Refdata:
    """A machine over a ring of its own; `records` are what it wrote since they were last read."""

    def __init__(self, learned: list[Any] | None = None, **settings: Any) -> None:
        memory = ring()
        self.machine = RefdataMachine(
            RefdataSettings("gamma.example", SOURCE, source_seq=SOURCE_SEQ, **settings), Writer(memory),
            Counts())
        for record in learned or []:
            self.machine.learn(record)
        self._reader = Reader(memory)
        self.now_ns = T0_NS

    def walk(self, *events: dict[str, Any]) -> None:
        """Answer one whole walk: a page of events, then an empty one of markets."""
        self.now_ns += 120 * NS_PER_S
        self.machine.on_timer(self.now_ns)
        for body in ({"events": list(events)}, {"markets": []}):
            ask = self.machine.outbox.take()
            assert isinstance(ask, Ask)
            self.machine.on_answer(self.now_ns, ask.tag, 200, {}, json.dumps(body).encode())

    def records(self) -> list[Any]:
        data = self._reader.read(64)
        assert all(SOURCE == unpack(data, at).source for at in range(0, len(data), SLOT_BYTES))
        return [unpack(data, at) for at in range(0, len(data), SLOT_BYTES)]


def kinds(records: list[Any]) -> list[Kind]:
    return [Kind(record.kind) for record in records]


def test_a_question_follows_its_market():
    """Each neg-risk market's question on chain stands behind its row; the same page again writes nothing."""
    refdata = Refdata()
    refdata.walk(event(3, negRiskFeeBips=25))
    found = refdata.records()

    assert [Kind.INSTRUMENT, Kind.QUESTION] * 3 == kinds(found)
    assert [1, 1, 2, 2, 3, 3] == [record.instrument for record in found]
    assert list(range(SOURCE_SEQ + 1, SOURCE_SEQ + 7)) == [record.source_seq for record in found]
    assert [(b"\xcd" * 31 + bytes([index]), 25) for index in range(3)] == [
        (record.question_id, record.fee_bips) for record in found[1::2]]
    refdata.walk(event(3, negRiskFeeBips=25))
    assert [] == refdata.records()


def test_only_what_changed_is_written_again():
    """A market that closes is one row again and no question; a fee that is told writes both."""
    refdata = Refdata()
    refdata.walk(event(2))
    assert [FEE_NOT_TOLD] * 2 == [record.fee_bips for record in refdata.records()[1::2]]

    refdata.walk(event(2, {"acceptingOrders": False}))
    assert [Kind.INSTRUMENT] * 2 == kinds(refdata.records())
    refdata.walk(event(2, {"acceptingOrders": False}, negRiskFeeBips=0))
    assert [Kind.INSTRUMENT, Kind.QUESTION] * 2 == kinds(refdata.records())


def test_a_later_start_tells_questions_once_more():
    """Rows that stand in the stream are learned and not written; their questions are, once a start."""
    first = Refdata()
    first.walk(event(2))
    rows = [record for record in first.records() if record.kind == Kind.INSTRUMENT]
    later = Refdata(rows)
    later.walk(event(2))

    assert [Kind.QUESTION] * 2 == kinds(found := later.records())
    assert [row.instrument for row in rows] == [record.instrument for record in found]


def test_other_markets_have_no_question():
    """A plain market and one without a question id write their row alone."""
    refdata = Refdata()
    refdata.walk(event(2, {"negRisk": False}, negRisk=False))
    plain = event(2)
    for index, obj in enumerate(plain["markets"]):
        obj |= {"questionID": None, "conditionId": f"0x{index + 1:064x}"}
    refdata.walk(plain)

    assert {Kind.INSTRUMENT} == set(kinds(refdata.records()))


def test_the_question_on_chain() -> None:
    """A v1 neg-risk market's QUESTION has the venue's id and fee; a fee that nobody tells is told as such."""
    record = CODECS[Kind.QUESTION].unpack(question_record(read(market()), 7))
    assert (7, b"\xcd" * 31 + b"\0", FEE_NOT_TOLD) == (record.instrument, record.question_id, record.fee_bips)
    [told, *_] = parse_events(json.dumps(event(3, negRiskFeeBips=30)).encode()).markets
    assert 30 == CODECS[Kind.QUESTION].unpack(question_record(told, 1)).fee_bips

    for change in ({"negRisk": False}, {"questionID": None},
                   {"version": "v2", "positionIds": V2, "conditionId": V2_CONDITION}):
        assert b"" == question_record(read(market(**change)), 7)


def test_a_question_belongs_to_its_neg_risk_market() -> None:
    """A named neg-risk market must be the question's: an index out of another id would convert other NO."""
    named = "0x" + "cd" * 31 + "00"
    fourth = read(market(questionID=named[:-2] + "03", negRiskMarketID=named))
    assert b"\xcd" * 31 + b"\x03" == fourth.question_id
    for wrong in ("0x" + "ce" * 31 + "00", "0x" + "cd" * 31 + "01", "0x12"):
        assert refused(market(negRiskMarketID=wrong)).field in ("questionID", "negRiskMarketID")
    assert read(market(negRisk=False, negRiskMarketID="0x" + "ce" * 32)).question_id
    for bips in (-1, 10_001, "x"):
        assert parse_events(json.dumps([event(3, negRiskFeeBips=bips)]).encode()).refused


def lone(number: int, volume: int, **changes: Any) -> dict[str, Any]:
    """Return an event of one plain market with tokens and condition of its own."""
    obj = event(1, {"negRisk": False}, id=str(number), slug=f"e{number}", negRisk=False)
    obj["markets"][0] |= {
        "id": str(number), "slug": f"m{number}", "conditionId": f"0x{number:064x}", "questionID": None,
        "clobTokenIds": json.dumps([str((5 << 250) + (3 << 100) + 2 * number + side) for side in (1, 2)]),
        "volume24hr": volume, **changes}
    return obj


def ids(records: list[Any]) -> list[tuple[int, int, bool]]:
    """Return (condition, row, whether it is retired) of INSTRUMENTs."""
    return [(int.from_bytes(one.condition, "big"), one.instrument, bool(one.rules & Rule.RETIRED))
            for one in records if one.kind == Kind.INSTRUMENT]


def test_the_best_markets_have_the_places_and_keep_them():
    """Two places, three markets: by volume; a far better one takes a place after three walks."""
    refdata = Refdata(places_max=2, rows_max=8, replace_percent=200)
    refdata.walk(lone(1, 10), lone(2, 30), lone(3, 20))
    assert [(2, 1, False), (3, 2, False)] == ids(refdata.records())
    for _ in range(3):
        assert [] == refdata.records()
        refdata.walk(lone(1, 40), lone(2, 30), lone(3, 20))
    assert [(3, 2, True), (1, 3, False)] == ids(refdata.records())
    for _ in range(3):
        refdata.walk(lone(1, 40), lone(2, 30), lone(3, 100))
    assert [(2, 1, True), (3, 2, False)] == ids(refdata.records())  # it has its own row again


def test_what_we_traded_and_what_has_no_other_row_stays():
    """A row with a fill of ours is not replaced; a run whose rows are used up takes nothing new."""
    refdata = Refdata(places_max=1, rows_max=1, replace_percent=200)
    refdata.walk(lone(1, 10))
    (row,) = refdata.records()
    refdata.machine.on_record(refdata.now_ns, unpack(CODECS[Kind.FILL].pack(instrument=row.instrument)))
    for _ in range(6):
        refdata.walk(lone(1, 10), lone(2, 9_000))
    assert [] == refdata.records()
    refdata.machine.on_record(refdata.now_ns, unpack(CODECS[Kind.RESOLVED].pack(instrument=row.instrument)))
    refdata.walk(lone(2, 9_000))
    assert [] == refdata.records()


def test_a_later_start_goes_on_with_rows_places_and_retirements():
    """Rows learned from the stream, a retired one among them: nothing is written anew, no place is lost."""
    first = Refdata(places_max=2, rows_max=8, replace_percent=200)
    first.walk(lone(1, 10), lone(2, 30))
    for _ in range(3):
        first.walk(lone(1, 10), lone(2, 30), lone(3, 90))
    newest = {one.instrument: one for one in first.records()}
    later = Refdata(list(newest.values()), places_max=2, rows_max=8, replace_percent=200)
    later.walk(lone(1, 10), lone(2, 30), lone(3, 90))
    assert [] == later.records()
    later.machine.on_record(later.now_ns, unpack(CODECS[Kind.RESOLVED].pack(instrument=3)))
    later.walk(lone(1, 10), lone(2, 30))
    assert [(1, 2, False)] == ids(later.records())


def announce(refdata: Refdata, number: int, event_id: bytes) -> None:
    refdata.machine.on_record(refdata.now_ns, unpack(CODECS[Kind.ANNOUNCED].pack(
        condition=number.to_bytes(32, "big"), event_id=event_id)))


def answer(refdata: Refdata, status: int, body: Any) -> str:
    """Answer the only question that is on its way; return what was asked."""
    ask = refdata.machine.outbox.take()
    assert isinstance(ask, Ask)
    assert refdata.machine.outbox.take() is None
    refdata.machine.on_answer(refdata.now_ns, ask.tag, status, {}, json.dumps(body).encode())
    return ask.target


def test_an_announced_market_is_looked_up_at_once_and_again_until_it_is_there():
    """Asked in the turn that tells of it, by its event; 404, or an event without it: asked again, later."""
    refdata = Refdata()
    refdata.walk(lone(1, 10))
    refdata.records()
    announce(refdata, 7, b"7")
    announce(refdata, 7, b"7")
    assert "/events/7" == answer(refdata, 404, {})
    assert refdata.machine.outbox.take() is None
    refdata.now_ns += NS_PER_S
    refdata.machine.on_timer(refdata.now_ns)
    assert "/events/7" == answer(refdata, 200, lone(8, 0))
    refdata.now_ns += 2 * NS_PER_S
    refdata.machine.on_timer(refdata.now_ns)
    assert "/events/7" == answer(refdata, 200, lone(7, 0, events=[{"id": "7"}]))
    assert [(7, 2, False)] == ids(refdata.records())
    announce(refdata, 7, b"7")
    assert refdata.machine.outbox.take() is None
    announce(refdata, 9, b"")
    assert f"/markets/keyset?condition_ids=0x{9:064x}" == answer(
        refdata, 200, {"markets": lone(9, 0)["markets"]})
    assert [(9, 3, False)] == ids(refdata.records())


def test_an_announced_market_passes_the_filters():
    """Not its event's slug, or no place left: no row; the next walk finds it a place when there is one."""
    refdata = Refdata(event_slugs=("e1", "e7"), places_max=1)
    refdata.now_ns += 120 * NS_PER_S
    refdata.machine.on_timer(refdata.now_ns)
    assert "/events/keyset?closed=false&limit=100&slug=e1&slug=e7" == answer(
        refdata, 200, {"events": [lone(1, 10)]})
    refdata.records()
    announce(refdata, 5, b"5")
    assert "/events/5" == answer(refdata, 200, lone(5, 10))
    announce(refdata, 7, b"7")
    assert "/events/7" == answer(refdata, 200, lone(7, 10))
    assert [] == refdata.records()
    refdata.machine.on_record(refdata.now_ns, unpack(CODECS[Kind.RESOLVED].pack(instrument=1)))
    refdata.now_ns += 120 * NS_PER_S
    refdata.machine.on_timer(refdata.now_ns)
    answer(refdata, 200, {"events": [lone(7, 10)]})
    assert [(7, 2, False)] == ids(refdata.records())
