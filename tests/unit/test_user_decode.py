"""Our own orders and trades: states, fills, fees and money, from the user channel and from REST rows."""

import hashlib
import json
import random
from fractions import Fraction

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Cause, Kind, OrderState, Origin, Side, TradeStatus
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket.user_decode import UserDecoder
from tests.shared import SHARED, needs_shared

OWNER, OTHER = "00000000-0000-0000-0000-000000000001", "00000000-0000-0000-0000-000000000002"
WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TOKENS = {"11": (3, 0), "12": (3, 1), "21": (4, 0)}
FEES = {3: (70_000, 1), 4: (0, 1)}
ID = "0x" + "1a" * 32
ORDER = {
    "event_type": "order", "type": "PLACEMENT", "id": ID, "owner": OWNER, "order_owner": OWNER,
    "market": "0x5f",
    "asset_id": "11", "side": "BUY", "outcome": "Yes", "original_size": "100", "size_matched": "0",
    "price": "0.5",
    "order_type": "GTC", "status": "LIVE", "maker_address": WALLET, "associate_trades": None,
    "created_at": "1790000000", "expiration": "0", "timestamp": "1790000000123"}
MAKER = {"order_id": "0x" + "2b" * 32, "owner": OTHER, "maker_address": "0x70", "matched_amount": "25",
         "price": "0.5",
         "fee_rate_bps": "0", "asset_id": "11", "side": "SELL", "outcome": "Yes", "outcome_index": 0}
TRADE = {
    "event_type": "trade", "type": "TRADE", "id": "12345678-9abc-def0-1234-56789abcdef0",
    "taker_order_id": ID,
    "market": "0x5f", "asset_id": "11", "side": "BUY", "outcome": "Yes", "size": "25", "price": "0.5",
    "fee_rate_bps": "0", "status": "MATCHED", "match_time": "1790000000", "last_update": "1790000001",
    "timestamp": "1790000000123", "owner": OWNER, "trade_owner": OWNER, "maker_address": WALLET,
    "transaction_hash": "", "bucket_index": 0, "trader_side": "TAKER", "maker_orders": [MAKER]}


def decoder() -> UserDecoder:
    return UserDecoder(
        owner=OWNER, maker_addresses=[WALLET], token_lookup=TOKENS, fee_of=FEES.__getitem__, account=2,
        source=5)


def slots(said) -> list:
    assert said.reject is None, said.text
    return [unpack(run, at) for run in said.records for at in range(0, len(run), SLOT_BYTES)]


def one(frame: object):
    (slot,) = slots(decoder().decode(json.dumps(frame).encode(), 88))
    return slot


def refused(frame: object):
    said = decoder().decode(json.dumps(frame).encode(), 88)
    assert said.reject is not None and not said.records, frame
    return said


def test_a_placement_is_a_live_report():
    """A placed order is reported by its hash, with all that the event says and -1 for what it does not."""
    slot = one(ORDER)
    assert (Kind.REPORT, 3, 5, 1, 88, 2) == (
        slot.kind, slot.instrument, slot.source, slot.source_seq, slot.recv_ns, slot.account)
    assert (0, bytes.fromhex(ID[2:]), 1_790_000_000_123_000_000) == (slot.order_no, slot.order_hash,
        slot.venue_ns)
    assert (-1, -1, 0) == (slot.making_micro, slot.taking_micro, slot.matched_micro)
    assert (OrderState.LIVE, Origin.USER_CHANNEL, Cause.NONE, b"LIVE") == (
        slot.state, slot.origin, slot.cause, slot.text)


FOK = "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed."
STATES = [
    ({"type": "UPDATE", "size_matched": "40.5"}, OrderState.LIVE, 40_500_000, Cause.NONE),
    ({"type": "UPDATE", "size_matched": "100", "status": "MATCHED"}, OrderState.MATCHED, 100_000_000,
     Cause.NONE),
    ({"type": "UPDATE", "size_matched": "99", "status": "MATCHED"}, OrderState.LIVE, 99_000_000, Cause.NONE),
    ({"order_type": "FAK", "size_matched": "99", "status": "MATCHED"}, OrderState.MATCHED, 99_000_000,
     Cause.NONE),
    ({"order_type": "FOK", "size_matched": "", "status": FOK}, OrderState.CANCELED, -1, Cause.NO_MATCH),
    ({"type": "CANCELLATION", "status": "CANCELED"}, OrderState.CANCELED, 0, Cause.NONE),
    ({"type": "CANCELLATION", "status": "LIVE"}, OrderState.CANCELED, 0, Cause.NONE),
    ({"status": "CANCELED_EXPIRED_ORDER"}, OrderState.EXPIRED, 0, Cause.DEADLINE),
    ({"type": "CANCELLATION", "status": "CANCELED_EXPIRED_ORDER"}, OrderState.EXPIRED, 0, Cause.DEADLINE),
    ({"status": "CANCELED_MARKET_RESOLVED"}, OrderState.CANCELED, 0, Cause.RESOLVED),
    ({"status": "CANCELED_NOT_ENOUGH_BALANCE"}, OrderState.CANCELED, 0, Cause.VENUE_REJECT),
    ({"status": "INVALID"}, OrderState.REJECTED, 0, Cause.VENUE_REJECT),
    ({"status": "DELAYED"}, OrderState.DELAYED, 0, Cause.NONE),
    ({"status": "UNMATCHED", "size_matched": None}, OrderState.LIVE, -1, Cause.NONE),
]


@pytest.mark.parametrize(("extra", "state", "matched", "cause"), STATES)
def test_states_of_an_order(extra, state, matched, cause):
    """Each status becomes the state that never frees exposure too early."""
    slot = one(ORDER | extra)
    assert (state, matched, cause) == (slot.state, slot.matched_micro, slot.cause)
    assert (extra.get("status") or "LIVE").encode()[:104] == slot.text


def test_an_unknown_status_is_unknown_and_counted():
    """A status that nobody described keeps full exposure."""
    subject = decoder()
    (slot,) = slots(subject.decode(json.dumps(ORDER | {"status": "SLEEPING " + "é" * 90}).encode(), 0))
    assert (OrderState.UNKNOWN, 1) == (slot.state, subject.unknown_status_count)
    assert b"SLEEPING " + "é".encode() * 47 == slot.text


def test_an_order_on_an_unknown_token_is_still_reported():
    """The hash finds the order; a missing instrument row must not hide it."""
    said = decoder().decode(json.dumps(ORDER | {"asset_id": "99"}).encode(), 0)
    assert (1, 0) == (said.unknown_count, slots(said)[0].instrument)


def test_a_taker_fill():
    """The taker pays the rounded-up cost and the floored fee; the trade's UUID is its 16 bytes."""
    slot = one(TRADE)
    assert (Kind.FILL, 3, 0, Side.BUY, 0, 2) == (
        slot.kind, slot.instrument, slot.outcome, slot.side, slot.is_maker, slot.account)
    assert (bytes.fromhex(ID[2:]), TRADE["id"].replace("-", "")) == (slot.order_hash, slot.trade_id.hex())
    assert (25_000_000, 5_000, 12_500_000, 437_500) == (
        slot.size_micro, slot.price_ticks, slot.usd_micro, slot.fee_usd_micro)
    assert (TradeStatus.MATCHED, 1_790_000_000_123_000_000) == (slot.status, slot.venue_ns)


@pytest.mark.parametrize("seed", range(50))
def test_money_and_fees_equal_exact_arithmetic(seed):
    """Cost up, proceeds down, fee floored to 10 uUSD, against rationals."""
    pick = random.Random(seed)
    ticks, size, side = pick.randrange(1, 10_000), pick.randrange(1, 10**10), pick.choice(("BUY", "SELL"))
    slot = one(TRADE | {"price": f"0.{ticks:04d}", "size": f"{size // 10**6}.{size % 10**6:06d}",
                        "side": side})
    price = Fraction(ticks, 10_000)
    usd = size * price
    fee = size * Fraction(7, 100) * price * (1 - price)
    assert (-(-usd // 1) if side == "BUY" else usd // 1) == slot.usd_micro
    assert fee // 10 * 10 == slot.fee_usd_micro


def test_maker_fills_are_ours_by_owner_or_wallet():
    """As a maker our size, price, token and side are those of our entries; no fee."""
    makers = [MAKER, MAKER | {"owner": OWNER, "matched_amount": "3", "price": "0.3333", "side": "SELL"},
              MAKER | {"maker_address": WALLET.lower(), "asset_id": "12", "side": "BUY", "price": "0.4",
                       "order_id": "0x" + "3c" * 32}]
    frame = TRADE | {"trader_side": "MAKER", "maker_orders": makers, "status": "TRADE_STATUS_CONFIRMED"}
    first, second = slots(decoder().decode(json.dumps(frame).encode(), 0))
    assert (Side.SELL, 0, 3_333, 999_900, 0, 1) == (
        first.side, first.outcome, first.price_ticks, first.usd_micro, first.fee_usd_micro, first.is_maker)
    assert (Side.BUY, 1, 25_000_000, 10_000_000, "3c" * 32) == (
        second.side, second.outcome, second.size_micro, second.usd_micro, second.order_hash.hex())
    assert TradeStatus.CONFIRMED == first.status == second.status


def test_a_trade_with_ourselves_gives_both_fills():
    """Taker and maker of one trade both ours: two fills with different order hashes."""
    found = slots(decoder().decode(json.dumps(TRADE | {"maker_orders": [MAKER | {"owner": OWNER}]}).encode(),
                                   0))
    assert [0, 1] == [slot.is_maker for slot in found]


@pytest.mark.parametrize(("asset", "side"), [("11", Side.SELL), ("12", Side.BUY)])
def test_a_silent_maker_side_follows_from_the_match(asset, side):
    """In the same token the maker is against the taker, in the sister token with it (a mint)."""
    entry = {k: v for k, v in MAKER.items() if k != "side"} | {"owner": OWNER, "asset_id": asset}
    assert side == one(TRADE | {"trader_side": "MAKER", "maker_orders": [entry]}).side


@pytest.mark.parametrize(("status", "want", "unknown"), [
    ("MATCHED", TradeStatus.MATCHED, 0), ("MINED", TradeStatus.MINED, 0), ("CONFIRMED", TradeStatus.CONFIRMED,
        0),
    ("RETRYING", TradeStatus.RETRYING, 0), ("FAILED", TradeStatus.FAILED, 0), ("TRADE_STATUS_MINED",
        TradeStatus.MINED, 0),
    ("TRADE_STATUS_MATCHED_NOT_BROADCASTED", TradeStatus.MATCHED, 0), ("SHIPPED", TradeStatus.UNKNOWN, 1)])
def test_settlement_status(status, want, unknown):
    """Known words, with and without the prefix; an unknown one stays provisional and is counted."""
    subject = decoder()
    (slot,) = slots(subject.decode(json.dumps(TRADE | {"status": status}).encode(), 0))
    assert (want, unknown) == (slot.status, subject.unknown_status_count)


def test_trade_ids_that_are_no_uuid_are_hashed():
    """Any other id becomes the head of its SHA-256, so equal ids stay equal and others differ."""
    assert hashlib.sha256(b"trade-1").digest()[:16] == one(TRADE | {"id": "trade-1"}).trade_id


@pytest.mark.parametrize(("times", "want"), [
    ({"timestamp": "1790000000"}, 1_790_000_000 * 10**9), ({"timestamp": 1790000000123},
        1_790_000_000_123 * 10**6),
    ({"timestamp": None, "x": 1}, None), ({"timestamp": "17900000001"}, None), ({"timestamp": "9790000000"},
        None)])
def test_times_are_seconds_or_milliseconds_by_length(times, want):
    """Ten digits are seconds, thirteen milliseconds, anything else is refused."""
    if want is None:
        assert "timestamp" in refused(TRADE | times).text
    else:
        assert want == one(TRADE | times).venue_ns


def test_rest_rows_use_the_same_rules():
    """Rows of /data/orders and /data/trades give the same records, marked as reconcile."""
    row = {k: v for k, v in ORDER.items() if k not in ("event_type", "type", "timestamp")} | {
        "created_at": 1703875200, "original_size": "200.0000", "size_matched": "50.0000", "expiration": None}
    (report,) = slots(decoder().decode_order_row(row, 5))
    assert (OrderState.LIVE, 50_000_000, Origin.RECONCILE, 0) == (
        report.state, report.matched_micro, report.origin, report.venue_ns)
    trade = {k: v for k, v in TRADE.items() if k not in ("event_type", "type", "timestamp")}
    (fill,) = slots(decoder().decode_trade_row(trade, 5))
    assert (1_790_000_000 * 10**9, 12_500_000) == (fill.venue_ns, fill.usd_micro)
    for wrong in (None, [], "x", {}):
        assert decoder().decode_order_row(wrong, 0).reject is Cause.DECODE
        assert decoder().decode_trade_row(wrong, 0).reject is Cause.DECODE


def test_a_fill_on_an_unknown_token_is_never_lost_quietly():
    """Without the instrument neither outcome nor fee is known: refused with its cause, then reconciled."""
    said = refused(TRADE | {"asset_id": "99"})
    assert Cause.UNKNOWN_INSTRUMENT is said.reject
    assert "reconcile needed" in said.text


@pytest.mark.parametrize("frame", [
    TRADE | {"owner": OTHER, "trade_owner": OTHER, "maker_address": "0x70"}, TRADE | {"trader_side": "MAKER"},
    TRADE | {"maker_orders": "x"}, TRADE | {"maker_orders": [1]}, TRADE | {"size": "-1"},
    TRADE | {"price": "1"},
    TRADE | {"side": "buy"}, TRADE | {"id": ""}, TRADE | {"taker_order_id": "0x12"}, TRADE | {"status": 1},
    TRADE | {"price": 0.5}, ORDER | {"id": "0x" + "zz" * 32}, ORDER | {"size_matched": 5},
    ORDER | {"status": None},
    ORDER | {"asset_id": 11}, {"event_type": 5}, {}, [1], "x", ORDER | {"status": "MATCHED",
        "original_size": None},
])
def test_bad_rows_are_refused(frame):
    """Whatever is missing, ill-typed or not ours gives a reject and no record."""
    assert refused(frame).text.startswith("polymarket.user: ")


@pytest.mark.parametrize("data", [
    json.dumps(ORDER).encode()[:-1] + b',"status":"CANCELED"}',
    json.dumps(TRADE).encode()[:-1] + b',"size":"1"}',
    json.dumps(TRADE).encode()[:-1] + b',"siz\\u0065":"1"}', b"\xff", b'{"event_type":"order"', b"[" * 5_000,
    b"<html>"])
def test_broken_and_doubled_frames_are_refused(data):
    """Repeated keys (also hidden by an escape), broken text and foreign answers are rejects (IN03)."""
    subject = decoder()
    subject.source_seq = 9
    said = subject.decode(data, 0)
    assert (Cause.DECODE, [], 9, 1) == (said.reject, said.records, subject.source_seq, subject.reject_count)


def test_one_bad_object_drops_the_whole_frame():
    """An array is taken whole or not at all, and its numbers are given back."""
    subject = decoder()
    said = subject.decode(json.dumps([ORDER, TRADE, TRADE | {"size": "x"}]).encode(), 0)
    assert ([], 0, (3,)) == (said.records, subject.source_seq, said.rows)
    assert [1, 2] == [slot.source_seq for slot in slots(subject.decode(json.dumps([ORDER, TRADE]).encode(),
        0))]


@pytest.mark.parametrize("data", [b"PONG", b"", b'{"event_type":"notice"}'])
def test_other_frames_are_ignored(data):
    """PONG, blanks and unknown events are none of our business."""
    said = decoder().decode(data, 0)
    assert (None, [], 1) == (said.reject, said.records, said.ignored_count)


@pytest.mark.parametrize("seed", range(20))
def test_mutated_frames_never_raise(seed):
    """50,000 broken order and trade frames end in records or a reject."""
    pick = random.Random(seed)
    subject, base = decoder(), [json.dumps(frame).encode() for frame in (ORDER, TRADE, [ORDER, TRADE])]
    records = 0
    for _ in range(2_500):
        frame = bytearray(pick.choice(base))
        for _ in range(pick.randrange(1, 4)):
            at = pick.randrange(len(frame))
            if pick.random() < 0.7:
                frame[at] = pick.choice(b'{}[]",:0159.x\\ \x00\xff')
            else:
                del frame[at:at + pick.randrange(1, 30)]
        said = subject.decode(bytes(frame), 0)
        assert (said.reject is None) or not said.records
        records += len(said.records)
    assert records == subject.source_seq > 100
    assert 500 < subject.reject_count


@needs_shared
def test_payload_shapes_of_other_people():
    """The documented user channel and REST fixtures decode, with their placeholder hash cut to 32 bytes."""
    folder = SHARED / "feeds/fixtures/polymarket"

    def text(name: str) -> bytes:
        return (folder / name).read_bytes().replace(b'90abcdef12"', b'90abcdef"')

    token = "71321045679252212594626385532706912750332728571942532289631379312455583992563"
    sister = "52114319501245915516055106046884209969926127482827954674443846427813813222426"
    subject = UserDecoder(owner=OWNER, maker_addresses=[], token_lookup={token: (1, 0), sister: (1, 1)},
                          fee_of=lambda row: (0, 1), account=1, source=1)
    (order,) = slots(subject.decode(text("nautilus_ws_user_order_placement.json"), 0))
    (fill,) = slots(subject.decode(text("nautilus_ws_user_trade.json"), 0))
    rows = json.loads(text("nautilus_http_open_orders_page.json"))["data"]
    reports = [slots(subject.decode_order_row(row, 0))[0] for row in rows]
    assert (OrderState.LIVE, 0) == (order.state, order.matched_micro)
    assert (TradeStatus.CONFIRMED, 12_500_000, 0) == (fill.status, fill.usd_micro, fill.is_maker)
    assert [(OrderState.LIVE, 0), (OrderState.LIVE, 50_000_000)] == [(r.state,
        r.matched_micro) for r in reports]
