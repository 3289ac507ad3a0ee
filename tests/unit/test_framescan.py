"""The native scanner and its token table: recorded frames, room in the ring, limits, agreement of tokens."""

import json
import random

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Flag, Kind
from pipeline.native.flow import Sink
from pipeline.native.framescan import Result, Scanner, TokenTable, survey
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.records import NOT_ANNOUNCED, SLOT_BYTES
from pipeline.sim import render
from tests.models.frame_model import RECV_NS, SOURCE, Rig, tokens_of, without_fallback
from tests.shared import SHARED, needs_shared, recording, scaled
from tests.sim_trader import market

TOKEN_COUNT = scaled(50_000, 1_000_000)
MARKET, YES, NO = "0x" + "5f" * 32, "7" * 77, "8" * 76
TOKENS = {YES: (41, 0, MARKET), NO: (41, 1, MARKET), "99": (42, 0, "0x" + "a1" * 32)}
HASH = "0123456789abcdef0123456789abcdef01234567"


def book(bids: int, asks: int, asset: str = YES, **extra: object) -> dict:
    return {"market": MARKET, "asset_id": asset, "timestamp": "1790766966313", "hash": HASH,
            "event_type": "book",
            "bids": [{"price": f"0.{i + 1:04d}", "size": str(i)} for i in range(bids)],
            "asks": [{"price": f"0.{9_999 - i:04d}", "size": f"{i}.25"} for i in range(asks)], **extra}


def change(asset: str = YES, **extra: object) -> dict:
    return {"asset_id": asset, "price": "0.46", "size": "918.34", "side": "BUY", "hash": HASH, **extra}


def delta(*changes: dict, **extra: object) -> dict:
    return {"market": MARKET, "price_changes": list(changes), "timestamp": "1790766981628",
            "event_type": "price_change", **extra}


def resolved(winner: str = YES, **extra: object) -> dict:
    return {"event_type": "market_resolved", "id": "1031769", "market": MARKET, "assets_ids": [YES, NO],
            "winning_asset_id": winner, "winning_outcome": "Up", "event_message": {"id": "7"},
            "timestamp": "1790766415550", "tags": ["stocks"], **extra}


def encoded(frame: object) -> bytes:
    return json.dumps(frame).encode()


@needs_shared
def test_every_recorded_frame_equals_the_decoder():
    """Every recorded market frame gives the decoder's bytes, no fallback; the 2025 schema is ignored."""
    counts = dict.fromkeys(("frames", "ok", "legacy", "pong"), 0)
    for path in sorted((SHARED / "feeds/polymarket").glob("pm_*.jsonl.zst")):
        raw = [line["raw"].encode() for line in recording(f"polymarket/{path.name}")]
        rig = Rig(tokens_of([f for f in raw if f != b"PONG"]))
        for frame in raw:
            result, said = rig.compare(frame)
            counts["frames"] += 1
            if b'"changes"' in frame:
                assert (Result.FALLBACK, None, 1) == (result, said.reject, said.ignored_count)
                counts["legacy"] += 1
            elif frame == b"PONG":
                assert Result.IGNORED is result
                counts["pong"] += 1
            else:
                assert Result.OK is result, (path.name, frame[:200])
                counts["ok"] += 1
    assert {"frames": 3_447, "ok": 147, "legacy": 3_299, "pong": 1} == counts


def test_a_price_change_becomes_one_delta():
    """Both tokens of one condition end in one slot with hashes, best prices, sides and outcomes as sent."""
    rig = Rig(TOKENS)
    frame = delta(change(NO, side="SELL", price="0.54", best_bid="0.49", best_ask=""),
                  change(YES, hash="ff" * 20, best_bid="0"))

    assert Result.OK is rig.compare(encoded(frame))[0]
    rig.scanner.scan_bytes(encoded(frame), RECV_NS, rig.writer)
    slot = unpack(rig.drain())

    assert (Kind.DELTA, 0, 41, SOURCE, 2, RECV_NS) == (
        slot.kind, slot.flags, slot.instrument, slot.source, slot.source_seq, slot.recv_ns)
    assert (1_790_766_981_628_000_000, 2, (5_400, 4_600)) == (slot.venue_ns, slot.change_count,
        slot.price_ticks[:2])
    assert ((918_340_000, 918_340_000), b"\1\0", b"\1\0") == (slot.size_micro[:2], slot.side[:2],
        slot.outcome[:2])
    assert (b"\xff" * 20, bytes.fromhex(HASH)) == (slot.hash_yes, slot.hash_no)
    assert (0, NOT_ANNOUNCED) == (slot.best_bid_yes, slot.best_ask_yes)
    assert (4_900, 0) == (slot.best_bid_no, slot.best_ask_no)


@pytest.mark.parametrize(("bids", "asks"), [(0, 0), (1, 0), (0, 1), (14, 0), (9, 9), (14, 15), (300, 597),
    (2_000, 3_000)])
def test_snapshots_keep_every_level(bids, asks):
    """All levels arrive in order, 14 a slot, at most 64 slots a run, and all runs but the last say MORE."""
    rig = Rig(TOKENS)
    frame = book(bids, asks, NO, tick_size="0.0001", last_trade_price="0.490")

    assert Result.OK is rig.compare(encoded(frame))[0]
    rig.scanner.scan_bytes(encoded(frame), RECV_NS, rig.writer)
    data = rig.drain()
    slots = [unpack(data, at) for at in range(0, len(data), SLOT_BYTES)]
    found: list[list[tuple[int, int]]] = [[], []]
    for slot in slots:
        levels = list(zip(slot.price_ticks, slot.size_micro, strict=True))
        found[0] += levels[:slot.bid_count]
        found[1] += levels[slot.bid_count:slot.bid_count + slot.ask_count]

    assert [(i + 1, i * 10**6) for i in range(bids)] == found[0]
    assert [(9_999 - i, i * 10**6 + 250_000) for i in range(asks)] == found[1]
    assert max(1, -(-(bids + asks) // 14)) == len(slots)
    heads = [slot for slot in slots if slot.part == 0]
    assert [Flag.MORE] * (len(heads) - 1) + [0] == [slot.flags for slot in heads]
    assert all((1, 2, 4_900, 1) == (s.outcome, s.last_trade_state, s.last_trade_ticks,
                                    s.tick_step) for s in slots)


def test_no_room_publishes_nothing_and_resume_completes():
    """A frame that does not fit leaves the ring as it was; `resume` later publishes all of it, once."""
    rig = Rig(TOKENS, slots=128)
    frame = encoded([book(100, 100), book(100, 100, NO)])  # 30 slots
    want = Rig(TOKENS)
    want.scanner.scan_bytes(frame, RECV_NS, want.writer)
    expected = want.drain()

    for _ in range(4):
        assert Result.OK is rig.scanner.scan_bytes(frame, RECV_NS, rig.writer)
    position, seq = rig.writer.position, rig.scanner.source_seq
    assert Result.NO_ROOM is rig.scanner.scan_bytes(frame, RECV_NS, rig.writer)
    assert (position, seq, True) == (rig.writer.position, rig.scanner.source_seq, rig.scanner.is_waiting)
    assert Result.NO_ROOM is rig.scanner.resume_into(rig.writer)
    rig.drain()
    assert Result.OK is rig.scanner.resume_into(rig.writer)
    got = rig.drain()
    assert (8, 10) == (seq, rig.scanner.source_seq)
    assert [unpack(expected, at)[4:] for at in range(0, len(expected), SLOT_BYTES)] == [
        unpack(got, at)[4:] for at in range(0, len(got), SLOT_BYTES)]
    assert Result.OK is rig.scanner.resume_into(rig.writer)
    assert b"" == rig.drain()


def test_a_frame_larger_than_the_ring_arrives_whole():
    """More than 64 slots go out run by run as room appears; no level is lost or doubled."""
    rig, want = Rig(TOKENS, slots=128), Rig(TOKENS)
    frame = encoded([book(5_000, 4_000), book(3, 3, NO)])
    want.scanner.scan_bytes(frame, RECV_NS, want.writer)
    result, got, turns = rig.scanner.scan_bytes(frame, RECV_NS, rig.writer), b"", 0
    while result is Result.NO_ROOM and turns < 100:
        got += rig.drain()
        result, turns = rig.scanner.resume_into(rig.writer), turns + 1

    assert Result.OK is result
    assert want.drain() == got + rig.drain()
    assert 5 <= turns


def test_reset_drops_what_waits():
    """After `reset` the next frame is scanned, not the rest of the old one."""
    rig = Rig(TOKENS)
    assert Result.NO_ROOM is rig.scanner.scan_bytes(encoded(book(1, 1)), RECV_NS, Sink())
    rig.scanner.reset()
    assert not rig.scanner.is_waiting
    assert Result.OK is rig.scanner.scan_bytes(encoded(delta(change())), RECV_NS, rig.writer)
    assert Kind.DELTA == unpack(rig.drain()).kind


FALLBACKS = {
    "escape in a value": b'{"event_type":"b\\u006fok"}',
    "unknown kind": encoded(book(1, 1) | {"event_type": "tennis"}),
    "no kind": encoded({k: v for k, v in book(1, 1).items() if k != "event_type"}),
    "repeated key": encoded(book(1, 1)).replace(b'"market"', b'"hash": "", "market"', 1),
    "repeated unknown key": encoded(book(1, 1)).replace(b'"market"', b'"x": 1, "x": 1, "market"', 1),
    "nested extra": encoded(book(1, 1, extra={"a": 1})),
    "extra in a level": encoded(book(1, 1)).replace(b'"size"', b'"n": 1, "size"', 1),
    "number for a string": encoded(delta(change(price=0.46))),
    "null for a string": encoded(delta(change(best_bid=None))),
    "price 0": encoded(delta(change(price="0"))),
    "price 1": encoded(delta(change(price="1"))),
    "price too fine": encoded(delta(change(price="0.46001"))),
    "size too large": encoded(delta(change(size="1000000000.000001"))),
    "hash of 39 digits": encoded(delta(change(hash=HASH[1:]))),
    "hash in capitals": encoded(delta(change(hash=HASH.upper()))),
    "side in small letters": encoded(delta(change(side="buy"))),
    "no changes": encoded(delta()),
    "two instruments": encoded(delta(change(), change("99"))),
    "two hashes of one token": encoded(delta(change(), change(hash="ff" * 20))),
    "two best bids of one token": encoded(delta(change(best_bid="0.1"), change(best_bid="0.2"))),
    "known and unknown token": encoded(delta(change(), change("123"))),
    "another market's token": encoded(delta(change(), market="0x" + "00" * 32)),
    "token with a sign": encoded(delta(change("-1"))),
    "seconds for milliseconds": encoded(delta(change(), timestamp="1790766981")),
    "a decimal of 13 characters for milliseconds": encoded(delta(change(), timestamp="17907669816.0")),
    "tick that does not divide 1": encoded(book(1, 1, tick_size="0.003")),
    "winner that is no asset": encoded(resolved(assets_ids=[NO])),
    "winner among no assets": encoded(resolved(assets_ids=[])),
    "void without a winner": encoded(resolved("")),
    "three assets": encoded(resolved(assets_ids=[YES, NO, "99"])),
    "asset that is a number": encoded(resolved(assets_ids=[YES, 7])),
    "assets that are text": encoded(resolved(assets_ids=YES)),
    "winner of another market": encoded(resolved("99", assets_ids=["99", NO])),
    "message that repeats a key": encoded(resolved()).replace(b'{"id": "7"}', b'{"id": "7", "id": "7"}'),
    "message nested too deep": encoded(resolved(event_message=[[[[[]]]]])),
    "message of too many values": encoded(resolved(tags=[1] * 4_096)),
    "message with an escape": encoded(resolved(event_message={"title": 'the "one"'})),
    "levels in a resolution": encoded(resolved(bids=[])),
    "new market": encoded(resolved(event_type="new_market")),
    "text": b"<html>", "byte order mark": b"\xef\xbb\xbf{}",
    "trailing bytes": encoded(delta(change())) + b"x",
    "empty object": b"{}", "nested arrays": b"[[]]", "array of text": b'["book"]', "PING": b"PING",
    "513 changes": encoded(delta(*[change(price=f"0.{i + 1:04d}") for i in range(513)])),
    "over a mebibyte": b" " * (1 << 20) + b"PONG",
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_what_is_not_fully_recognised_is_left_to_the_decoder(name):
    """Each oddity falls back with nothing published (the rig checks) and nothing counted as understood."""
    rig = Rig(TOKENS)
    assert Result.FALLBACK is rig.compare(FALLBACKS[name])[0]
    assert (1, 0, 0) == (rig.scanner.fallback_count, rig.scanner.ok_count, rig.scanner.source_seq)


@pytest.mark.parametrize(("winner", "payouts"), [(YES, (1_000_000, 0)), (NO, (0, 1_000_000))])
def test_a_resolution_pays_the_winner(winner, payouts):
    """The exchange's own `market_resolved` becomes one Resolved record, and costs no fallback."""
    rig = Rig(TOKENS)
    frame = render.market_resolved_frame(
        market(condition=MARKET, tokens=(YES, NO), tags=("stocks", "up"), event_id="31"),
        "1031769", (YES, NO).index(winner), 1_790_766_415_550)

    assert Result.OK is rig.compare(frame)[0]
    rig.scanner.scan_bytes(frame, RECV_NS, rig.writer)
    slot = unpack(rig.drain())

    assert (Kind.RESOLVED, 0, 41, 1_790_766_415_550_000_000) == (
        slot.kind, slot.flags, slot.instrument, slot.venue_ns)
    assert payouts == (slot.payout_micro_yes, slot.payout_micro_no)
    assert 0 == rig.scanner.fallback_count


@pytest.mark.parametrize("extra", [
    {"tags": []}, {"tags": None}, {"event_message": [[[[1]]]]}, {"tags": [1] * 4_000}, {"assets_ids": [YES]},
    {"question": "up?", "slug": "up", "outcomes": ["Up", "Down"]}, {"event_message": {}, "asset_id": "none"},
])
def test_a_resolution_may_say_more(extra):
    """Unused values of a resolution, nested ones too, are stepped over with the decoder's meaning."""
    assert Result.OK is Rig(TOKENS).compare(encoded(resolved(YES, **extra)))[0]


@pytest.mark.parametrize("frame", [
    encoded(resolved("123", assets_ids=["123", "124"])), encoded(delta(change("123"))),
    encoded(book(1, 1, "123")), encoded([book(1, 1, "123"), book(1, 1,
        "456")])])
def test_frames_of_unknown_markets_are_counted(frame):
    """A good frame with no token of the table publishes nothing and is counted apart from fallbacks."""
    rig = Rig(TOKENS)
    assert Result.UNKNOWN is rig.compare(frame)[0]
    assert (1, 0) == (rig.scanner.unknown_count, rig.scanner.fallback_count)


@pytest.mark.parametrize("frame", [b"", b" \r\n\t", b"PONG", b"PONG\n", b" PONG", b"[]", b" [ ] \n"])
def test_frames_without_content_are_ignored(frame):
    """PONG, blanks and an empty array are nothing, and nothing is published."""
    assert Result.IGNORED is Rig(TOKENS).compare(frame)[0]


def test_token_ids_survive_a_round_trip():
    """Random 256-bit ids come back with their own row and outcome; near misses do not (fault MD15)."""
    pick = random.Random(15)
    table = TokenTable()
    ids = list({pick.getrandbits(256) >> pick.choice((0, 0, 1, 200, 240)) for _ in range(TOKEN_COUNT)})
    for row, number in enumerate(ids, 1):
        table.add(str(number), row, row & 1)

    assert len(ids) == len(table)
    assert all((row, row & 1, "") == table.get(str(number)) for row, number in enumerate(ids, 1))
    known = set(ids)
    near = [n for number in pick.sample(ids, 20_000) for n in (number ^ 1, int(float(number)))]
    misses = [n for n in near if n not in known]
    assert 10_000 < len(misses)
    assert all(table.get(str(number)) is None for number in misses)


@pytest.mark.parametrize("seed", range(10))
def test_the_table_behaves_like_a_dict(seed):
    """Any order of adds, replacements and removals leaves what a dict would hold."""
    pick = random.Random(seed)
    table, model = TokenTable(), {}
    names = [str(10**76 + number) for number in range(1_500)] + [str(n) for n in range(500)]
    for step in range(6_000):
        name = pick.choice(names)
        if pick.random() < 0.55:
            table.add(name, step + 1, step & 1, MARKET)
            model[name] = (step + 1, step & 1, MARKET)
        else:
            assert (model.pop(name, None) is not None) == table.remove(name)
    assert len(model) == len(table)
    assert {name: model.get(name) for name in names} == {name: table.get(name) for name in names}


@pytest.mark.parametrize("bad", [("", 1, 0), ("12a", 1, 0), ("٣", 1, 0), ("9" * 79, 1, 0), ("1", 0, 0), ("1",
    1, 2)])
def test_the_table_refuses_what_is_no_token(bad):
    """A token is 1..78 ASCII digits with a row and an outcome."""
    with pytest.raises(ValueError, match=r"native\.framescan"):
        TokenTable().add(*bad)


def test_the_table_may_change_between_frames():
    """A token added after a frame is known to the next, a removed one is not."""
    table = TokenTable()
    buffer = bytearray(Ring.bytes_for(128))
    Ring.format(buffer, 128)
    scanner, writer, reader = Scanner(table, 1), Writer(buffer), Reader(buffer)
    frame = encoded(delta(change()))

    assert Result.UNKNOWN is scanner.scan_bytes(frame, 0, writer)
    table.add(YES, 5, 0)
    assert Result.OK is scanner.scan_bytes(frame, 0, writer)
    assert 5 == unpack(reader.read()).instrument
    table.remove(YES)
    assert Result.UNKNOWN is scanner.scan_bytes(frame, 0, writer)


@pytest.mark.parametrize(("text", "wrong"), [
    (b"", ""), (b"[{}]", ""), (b'{"a":1,"b":{"a":1},"c":[{"a":1},{"a":2}]}', ""), (b'{"a":1,"a" :2}',
        "repeats a key"),
    (b'[{"a":{"b":1,"b":1}}]', "repeats a key"), (b'{"\\u0061":1}', "has an escape in a key"),
    (b'{"a":"x\\"a\\":"}', ""),
    (b"[" * 17, "is nested deeper than 16"), (b"[1" + b",1" * 100, "holds too many values"), (b'{"a', ""),
    (b'"\\', ""),
    (b"{" + b",".join(b'"%d":1' % n for n in range(513)) + b"}", "holds too many values"),
    (b"]}" * 40 + b"[]", ""),
])
def test_survey_finds_what_a_parser_would_hide(text, wrong):
    """Depth, count and repeated keys are found in any JSON; text that is no JSON passes to the parser."""
    assert wrong == survey(text, 100)


def test_equal_records_means_the_whole_slot():
    """The comparison of the proofs is not blind: one changed byte of a record is a difference."""
    rig = Rig(TOKENS)
    said = rig.decoder.decode(encoded(delta(change())), RECV_NS)
    rig.scanner.scan_bytes(encoded(delta(change(size="918.35"))), RECV_NS, rig.writer)
    assert without_fallback(said.records) != rig.drain()
