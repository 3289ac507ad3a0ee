"""stages.refdata and QUESTION records: what a page of the metadata becomes, now and at a later start."""

from __future__ import annotations

import json
from typing import Any

from pipeline.codec import CODECS, unpack
from pipeline.native.ring import Reader, Writer
from pipeline.net.edge import Ask
from pipeline.records import FEE_NOT_TOLD, SLOT_BYTES, Kind
from pipeline.stages.refdata import RefdataMachine, RefdataSettings
from pipeline.stages.stage import Counts
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.universe import parse_events, question_record
from tests.models.signer_rig import T0_NS, ring
from tests.unit.test_universe import V2, V2_CONDITION, event, market, read, refused

SOURCE, SOURCE_SEQ = 3, 40


class Refdata:
    """A machine over a ring of its own; `records` are what it wrote since they were last read."""

    def __init__(self, learned: list[Any] | None = None) -> None:
        memory = ring()
        self.machine = RefdataMachine(
            RefdataSettings("gamma.example", SOURCE, source_seq=SOURCE_SEQ), Writer(memory), Counts())
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
