"""The orjson decoder of the market channel: hand-made truth, refusals, caps (faults IN01, IN03, MD11)."""

import json
import resource

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Cause, Flag, Kind
from pipeline.records import NOT_ANNOUNCED, SLOT_BYTES
from pipeline.venues.polymarket.market_decode import MarketDecoder
from tests.shared import SHARED, needs_shared

MARKET, OTHER = "0x" + "5f" * 31 + "a1", "0x" + "7b" * 32
TOKENS = {"11": (3, 0, MARKET), "12": (3, 1, MARKET), "21": (4, 0, OTHER), "22": (4, 1, OTHER)}
HASH = "0a" * 20
MS = 1_790_766_981_628
BOOK = {
    "market": MARKET, "asset_id": "11", "timestamp": str(MS), "hash": HASH, "event_type": "book",
    "bids": [{"price": "0.01", "size": "92790"}, {"price": "0.49", "size": "634.49"}],
    "asks": [{"price": "0.5", "size": "45.2"}], "tick_size": "0.01", "last_trade_price": "0.490"}
CHANGE = {"asset_id": "11", "price": "0.46", "size": "918.34", "side": "BUY", "hash": HASH,
          "best_bid": "0.5", "best_ask": "0.51"}
DELTA = {"market": MARKET, "price_changes": [CHANGE], "timestamp": str(MS), "event_type": "price_change"}
TRADE = {"market": MARKET, "asset_id": "12", "price": "0.51", "size": "20", "fee_rate_bps": "",
         "side": "SELL",
         "timestamp": str(MS), "event_type": "last_trade_price"}
STEP = {"event_type": "tick_size_change", "market": MARKET, "asset_id": "11", "old_tick_size": "0.01",
        "new_tick_size": "0.001", "timestamp": str(MS)}
BBO = {"event_type": "best_bid_ask", "market": MARKET, "asset_id": "11", "best_bid": "0.73", "best_ask": "",
       "spread": "0.04", "timestamp": str(MS)}
RESOLVED = {"event_type": "market_resolved", "id": "1", "market": MARKET, "assets_ids": ["11", "12"],
            "winning_asset_id": "12", "winning_outcome": "Down", "timestamp": str(MS), "tags": ["x"]}
ALL = {"book": BOOK, "price_change": DELTA, "last_trade_price": TRADE, "tick_size_change": STEP,
       "best_bid_ask": BBO, "market_resolved": RESOLVED}


def decoder() -> MarketDecoder:
    return MarketDecoder(TOKENS, 9)


def decoded(frame: object, recv_ns: int = 77):
    return decoder().decode(json.dumps(frame).encode(), recv_ns)


def slots(records: list[bytes]) -> list:
    return [unpack(run, at) for run in records for at in range(0, len(run), SLOT_BYTES)]


def test_book():
    """A book is one snapshot run with its hash, tick and last trade price."""
    said = decoded(BOOK)
    (slot,) = slots(said.records)

    assert (None, "", 0, 0) == said[1:5]
    assert (Kind.SNAPSHOT, Flag.FALLBACK, 3, 9, 1, 77) == (
        slot.kind, slot.flags, slot.instrument, slot.source, slot.source_seq, slot.recv_ns)
    assert (MS * 10**6, bytes.fromhex(HASH), 0) == (slot.venue_ns, slot.hash, slot.outcome)
    assert (2, 1, 100, 2, 4_900) == (
        slot.bid_count, slot.ask_count, slot.tick_step, slot.last_trade_state, slot.last_trade_ticks)
    assert (100, 4_900, 5_000) == slot.price_ticks[:3]
    assert (92_790_000_000, 634_490_000, 45_200_000) == slot.size_micro[:3]


@pytest.mark.parametrize(("extra", "state", "ticks", "step"), [
    ({}, 0, 0, 0), ({"last_trade_price": ""}, 1, 0, 0), ({"tick_size": "", "last_trade_price": "1"}, 2,
        10_000, 0),
    ({"tick_size": "0.0025"}, 0, 0, 25)])
def test_optional_fields_of_a_book(extra, state, ticks, step):
    """Absent, empty and given values of the optional fields stay three different things."""
    bare = {k: v for k, v in BOOK.items() if k not in ("tick_size", "last_trade_price", "hash")}
    (slot,) = slots(decoded(bare | extra).records)
    assert (state, ticks, step, bytes(20)) == (
        slot.last_trade_state, slot.last_trade_ticks, slot.tick_step, slot.hash)


def test_trade_step_and_bbo():
    """The one-slot kinds carry their values, sides and outcomes."""
    trade, step, bbo = slots(decoded([TRADE, STEP, BBO]).records)
    assert (Kind.TRADE_PRINT, 5_100, 20_000_000, 1, 1) == (
        trade.kind, trade.price_ticks, trade.size_micro, trade.side, trade.outcome)
    assert (Kind.TICK_STEP, 100, 10, 0) == (step.kind, step.old_step, step.new_step, step.outcome)
    assert (Kind.BBO, 7_300, 0, 0) == (bbo.kind, bbo.bid_ticks, bbo.ask_ticks, bbo.outcome)
    assert [1, 2, 3] == [trade.source_seq, step.source_seq, bbo.source_seq]


@pytest.mark.parametrize(("winner", "payouts"), [("11", (1_000_000, 0)), ("12", (0, 1_000_000))])
def test_resolution_pays_the_winning_token(winner, payouts):
    """The winner is named by its token, not by the label."""
    (slot,) = slots(decoded(RESOLVED | {"winning_asset_id": winner}).records)
    assert (Kind.RESOLVED, 3, payouts) == (
        slot.kind, slot.instrument, (slot.payout_micro_yes, slot.payout_micro_no))


def test_a_resolution_without_a_winner_is_not_guessed():
    """A void (no winner among the tokens) is refused, for refdata to settle."""
    for winner in ("", "21", "999"):
        said = decoded(RESOLVED | {"winning_asset_id": winner})
        assert (Cause.DECODE, []) == (said.reject, said.records)


def test_changes_of_several_instruments_become_several_records():
    """A record holds one instrument; the order of the frame stays."""
    items = [CHANGE, CHANGE | {"asset_id": "12", "hash": "0b" * 20}, CHANGE | {"asset_id": "21"}, CHANGE]
    frame = DELTA | {"price_changes": items}
    found = MarketDecoder({t: v[:2] for t, v in TOKENS.items()}, 9).decode(json.dumps(frame).encode(), 0)
    assert [(3, 2), (4, 1), (3, 1)] == [(s.instrument, s.change_count) for s in slots(found.records)]


def test_changes_with_two_hashes_of_one_token_become_two_records():
    """One record never says two hashes or two best prices of a token."""
    items = [CHANGE, CHANGE | {"price": "0.45"}, CHANGE | {"hash": "0b" * 20}, CHANGE | {"hash": "0b" * 20,
        "best_bid": "0"}]
    found = slots(decoded(DELTA | {"price_changes": items}).records)
    assert [(2, "0a" * 20, 5_000), (1, "0b" * 20, 5_000), (1, "0b" * 20, 0)] == [
        (s.change_count, s.hash_yes.hex(), s.best_bid_yes) for s in found]
    assert all((bytes(20), NOT_ANNOUNCED) == (s.hash_no, s.best_ask_no) for s in found)


def test_many_changes_fill_runs_of_at_most_64_slots():
    """1,100 changes become three runs, eight changes a slot, each slot with the head."""
    items = [CHANGE | {"price": f"0.{i + 1:04d}"} for i in range(1_100)]
    said = decoded(DELTA | {"price_changes": items})
    found = slots(said.records)
    assert [64, 64, 10] == [len(run) // SLOT_BYTES for run in said.records]
    assert list(range(1, 1_101)) == [p for s in found for p in s.price_ticks[:s.change_count]]
    assert all((5_000, HASH) == (s.best_bid_yes, s.hash_yes.hex()) for s in found)
    assert [(i, 64) for i in range(64)] == [(s.part, s.parts) for s in found[:64]]


def test_unknown_tokens_are_counted_beside_known_ones():
    """An unknown token takes nothing from what is known in the same frame."""
    items = [CHANGE | {"asset_id": "77"}, CHANGE]
    said = decoded([DELTA | {"price_changes": items}, BOOK | {"asset_id": "78"}, TRADE])
    assert ([Kind.DELTA, Kind.TRADE_PRINT], 2, None) == (
        [s.kind for s in slots(said.records)], said.unknown_count, said.reject)


def test_what_is_none_of_our_business_is_ignored():
    """PONG, blanks, unknown events, the 2025 schema and new markets give no record and no reject."""
    legacy = {"asset_id": "11", "changes": [{"price": "0.23", "side": "SELL", "size": "300"}],
              "market": MARKET,
              "event_type": "price_change", "hash": HASH, "timestamp": str(MS)}
    new = {"event_type": "new_market", "market": MARKET, "assets_ids": ["1", "2"],
           "fee_schedule": {"rate": "0.04"}}
    subject = decoder()
    for data in (b"PONG", b" \n", b"[]", json.dumps({"event_type": "tennis", "x": [None]}).encode(),
                 json.dumps(legacy).encode(), json.dumps(new).encode()):
        said = subject.decode(data, 0)
        assert ([], None, "", 0, 1) == said[:5], data
    assert (6, 6, 1, 0) == (subject.frame_count, subject.ignored_count, subject.legacy_count,
                            subject.reject_count)
    assert [new] == said.announced


def test_a_refusal_says_where_what_and_what_to_do():
    """The message names path, value and market; the reject names the instruments that are now unsure."""
    bad = DELTA | {"price_changes": [CHANGE, CHANGE, CHANGE | {"asset_id": "12", "price": "0.5x"}]}
    said = decoded(bad)
    assert ('polymarket.decode: price "0.5x" at $.price_changes[2].price is not a decimal (market 0x5f…a1); '
            "frame dropped, book marked stale") == said.text
    assert ([], Cause.DECODE, (3,)) == (said.records, said.reject, said.rows)


def test_foreign_text_cannot_forge_a_log_line():
    """Control characters and quotes of the venue never reach the message."""
    said = decoded(DELTA | {"price_changes": [CHANGE | {"price": '1"\n\x1b[31mfake\u202e' + "9" * 5_000}]})
    assert said.text.isprintable() and len(said.text) < 250


def test_a_reject_takes_the_whole_frame():
    """One bad object of an array drops all of it and gives its numbers back."""
    subject = decoder()
    subject.source_seq = 50
    said = subject.decode(json.dumps([BOOK, TRADE, BBO | {"best_bid": "2"}]).encode(), 0)
    assert ([], 50, 1) == (said.records, subject.source_seq, subject.reject_count)
    assert "$[2].best_bid" in said.text


def test_a_token_of_another_market_is_refused():
    """A frame whose market is not the token's market is not trusted."""
    said = decoded(BOOK | {"market": OTHER})
    assert Cause.DECODE is said.reject
    assert "token 11 at $.asset_id belongs to market 0x5f…a1" in said.text


REQUIRED = {
    "book": ["market", "asset_id", "timestamp", "bids", "asks", "event_type"],
    "price_change": ["market", "timestamp", "price_changes", "event_type"],
    "last_trade_price": ["market", "asset_id", "timestamp", "price", "size", "side", "event_type"],
    "tick_size_change": ["market", "asset_id", "timestamp", "old_tick_size", "new_tick_size", "event_type"],
    "best_bid_ask": ["market", "asset_id", "timestamp", "best_bid", "best_ask", "event_type"],
    "market_resolved": ["market", "timestamp", "assets_ids", "winning_asset_id", "event_type"],
}
WRONG = [None, 1, 0.5, True, [], {}, "", "x", "-1"]


def schema_mutants() -> list[dict]:
    """Return over 200 frames with a required field removed, renamed or of a wrong type or value."""
    mutants = []
    for kind, keys in REQUIRED.items():
        for key in keys:
            without = {k: v for k, v in ALL[kind].items() if k != key}
            mutants += [without, without | {f"{key}_": ALL[kind][key]}]
            mutants += [ALL[kind] | {key: value} for value in WRONG if not (
                (value == "" and key in ("best_bid", "best_ask")) or (key == "market" and value in ("x",
                    "-1"))
                or (key == "event_type" and isinstance(value,
                    str)) or (value == [] and isinstance(ALL[kind][key], list)))]
    for key in ("asset_id", "price", "size", "side", "hash"):
        without = {k: v for k, v in CHANGE.items() if k != key}
        mutants += [DELTA | {"price_changes": [CHANGE, item]} for item in (
            without, without | {f"{key}_": CHANGE[key]}, *(CHANGE | {key: value} for value in WRONG))]
    return mutants


def test_schema_drift_is_refused_and_nothing_is_defaulted():
    """A missing, renamed or ill-typed required field gives a reject and no record (fault MD11)."""
    mutants = schema_mutants()
    subject = decoder()
    for frame in mutants:
        said = subject.decode(json.dumps(frame).encode(), 0)
        assert said.reject is not None and not said.records, frame
    assert 200 <= len(mutants) == subject.reject_count


HOSTILE = {
    "html": b"<html><body>502</body></html>", "bad utf-8": b'{"event_type":"\xff\xfe"}',
    "bom": b"\xef\xbb\xbf{}",
    "lone surrogate": b'{"event_type":"book","market":"\\ud800"}', "nan": b'{"event_type":NaN}',
    "trailing": b'{"event_type":"x"} 1', "half": b'{"event_type":"boo', "empty object": b"{}",
    "array of numbers": b"[1]",
    "repeated key": json.dumps(BOOK).encode()[:-1] + b', "hash": ""}', "nul": b"\x00", "PING": b"PING",
    "deep array": b"[" * 100_000, "deep object": b'{"a":' * 100_000, "1e400": b'{"event_type":1e400}',
    "5,000 digits": b'{"event_type":' + b"9" * 5_000 + b"}",
    "huge text": b'{"event_type":"' + b"x" * (1 << 20) + b'"}', "huge array": b"[" + b" " * (16 << 20) + b"]",
    "endless numbers": b"[" + b"1," * 8_000_000 + b"1]",
    "endless objects": b"[" + b'{"a":1},' * 1_900_000 + b"{}]",
    "endless keys": b"{" + b",".join(b'"%d":1' % n for n in range(60_000)) + b"}",
    "endless levels": json.dumps(BOOK | {"bids": [{"price": "0.5", "size": "1"}] * 10_000}).encode(),
    "endless changes": json.dumps(DELTA | {"price_changes": [{}] * 20_000}).encode(),
    "endless frames": json.dumps([{"event_type": "x"}] * 5_000).encode(),
}


def test_hostile_frames_are_rejects_in_bounded_memory():
    """Huge, deep, endless and broken frames: a reject each, resident memory + at most 32 MiB (IN01)."""
    subject = decoder()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in HOSTILE.items():
        said = subject.decode(data, 0)
        assert said.reject is Cause.DECODE and not said.records, name
        assert said.text.startswith("polymarket.decode: ") and "\n" not in said.text and len(said.text) < 300
    assert len(HOSTILE) == subject.reject_count
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before <= 32 * 1_024


def test_memoryviews_are_read_without_a_copy_by_the_caller():
    """A frame may be a view into the socket's buffer."""
    data = bytearray(b"__" + json.dumps(DELTA).encode() + b"__")
    assert 1 == len(decoder().decode(memoryview(data)[2:-2], 0).records)


@needs_shared
def test_payload_shapes_of_other_people():
    """The fixtures of the market channel decode to their kinds; a placeholder for a hash is refused."""
    market = "0xdd22472e552920b8438158ea7238bfadfa4f736aa4cee91a6b86c39ead110917"
    token = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
    subject = MarketDecoder({token: (1, 0, market)}, 1)
    folder = SHARED / "feeds/fixtures/polymarket"
    kinds = {}
    for name in ("book", "last_trade", "tick_size", "price_change", "best_bid_ask", "resolved", "new_market"):
        said = subject.decode((folder / f"nautilus_ws_market_{name}_msg.json").read_bytes(), 0)
        kinds[name] = (
            [s.kind for s in slots(said.records)] or said.unknown_count or said.ignored_count or said.reject)
    new = json.loads((folder / "20260728_ws_new_market_elided.json").read_bytes())["frame"]
    assert {"book": [Kind.SNAPSHOT], "last_trade": [Kind.TRADE_PRINT], "tick_size": [Kind.TICK_STEP],
            "price_change": Cause.DECODE, "best_bid_ask": 1, "resolved": 1, "new_market": 1} == kinds
    assert [new] == subject.decode(json.dumps(new).encode(), 0).announced
