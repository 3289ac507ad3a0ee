"""Bodies, requests and batches of the gateway against their slow model: equal bytes, orders and refusals."""

from __future__ import annotations

import hashlib
import hmac
import random
from base64 import urlsafe_b64encode
from collections import Counter
from functools import cache
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, HaltLevel, Kind, OrderType, Rule, Side
from pipeline.native.submit import BATCH_ORDERS_MAX, OrderBodies, SignedBatch, glance, sent_of
from pipeline.records import SLOT_BYTES
from pipeline.stages.brake import Brake, Ceilings
from pipeline.units import MICRO, NS_PER_S
from pipeline.venues.polymarket import encode, identity, wire
from pipeline.venues.polymarket.answers import Sent
from pipeline.venues.polymarket.auth import L2Auth, Secret
from tests.models import request_model
from tests.models.request_model import Credentials, SlowBatch, SlowRenderer
from tests.models.signing_model import DAY_NS, MINUTE_NS, SlowBrake
from tests.shared import scaled, seeds

SEEDS = 64
PACKAGES = scaled(40, 400)  # of each seed
OWNER, WALLET = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266", "0x" + "cd" * 20
API_KEY = "0ad2f3a1-5b1c-4a2d-9e3f-1a2b3c4d5e6f"
HOST = "clob.polymarket.com"
T0_NS = 1_790_000_000 * NS_PER_S
ROWS, UNKNOWN_ROW = (1, 2, 3, 2**32 - 1), 99
RULES = (Rule(0), Rule.NEG_RISK, Rule.V2, Rule.V2 | Rule.NEG_RISK)
I64_MAX, U64_MAX = (1 << 63) - 1, (1 << 64) - 1
WITHOUT_BODY = (
    ("DELETE", wire.PATH_CANCEL_ALL), ("POST", wire.PATH_ORDER), ("POST", wire.PATH_HEARTBEAT),
    ("DELETE", wire.PATH_ORDER), ("GET", wire.PATH_TIME), ("GET", f"{wire.PATH_OPEN_ORDERS}?market=0x1&id=2"))
WITH_BODY = (
    ("POST", wire.PATH_ORDER), ("POST", wire.PATH_ORDERS), ("DELETE", wire.PATH_ORDER),
    ("DELETE", wire.PATH_ORDERS), ("POST", "/another/path"))


def magnitude(rng: random.Random, highest: int) -> int:
    """Return a number of any count of digits, often one of the two ends."""
    return rng.choice([0, 1, highest, rng.randint(0, highest), rng.getrandbits(rng.randint(1, 62))])


def signed_slot(rng: random.Random, **changes: int) -> bytes:
    """Return a SIGNED record with random values in every field that a body or a batch shows."""
    fields: dict[str, Any] = {
        "instrument": rng.choice(ROWS), "salt": magnitude(rng, U64_MAX), "order_no": magnitude(rng, U64_MAX),
        "group_no": magnitude(rng, U64_MAX), "source_seq": magnitude(rng, U64_MAX),
        "recv_ns": magnitude(rng, I64_MAX), "maker_amount": magnitude(rng, I64_MAX),
        "taker_amount": magnitude(rng, I64_MAX), "expiration_s": magnitude(rng, I64_MAX),
        "timestamp_ms": magnitude(rng, I64_MAX), "order_hash": rng.randbytes(32),
        "struct_hash": rng.randbytes(32), "signature": rng.randbytes(65), "outcome": rng.randrange(2),
        "side": rng.randrange(2), "order_type": rng.randrange(4), "post_only": rng.choice([0, 1, 255]),
        "account": rng.randrange(256), "batch_index": rng.randrange(16), "batch_count": rng.randrange(16)}
    return CODECS[Kind.SIGNED].pack(**fields | changes)


def renderers(rng: random.Random, kind: int) -> tuple[encode.OrderRenderer, SlowRenderer]:
    """Return a renderer and its model for an account of this kind, both with the same rows."""
    account = identity.identify(
        OWNER, OWNER if kind == 0 else WALLET, kind, builder=rng.choice([bytes(32), rng.randbytes(32)]),
        metadata=rng.choice([bytes(32), rng.randbytes(32)]))
    defer_exec = rng.random() < 0.5
    native = encode.OrderRenderer(account, API_KEY, defer_exec=defer_exec)
    slow = SlowRenderer(account, API_KEY, defer_exec)
    for row in (*ROWS, *rng.sample(ROWS, 2)):
        token_yes, token_no = (rng.randbytes(32 - zeros).rjust(32, b"\0") for zeros in (0, rng.randrange(33)))
        listed = CODECS[Kind.INSTRUMENT].pack(
            instrument=row, token_yes=token_yes, token_no=token_no, rules=int(rng.choice(RULES)))
        native.on_instrument(bytes(SLOT_BYTES) + listed, SLOT_BYTES)
        slow.on_instrument(listed)
    return native, slow


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_bodies_equal_the_slow_model(seed: int, kind: int) -> None:
    """One order is an object and 2 to 15 are an array, with every digit of the largest numbers."""
    rng = random.Random(seed)
    native, slow = renderers(rng, kind)
    for count in range(1, BATCH_ORDERS_MAX + 1):
        slots = b"".join(signed_slot(rng) for _ in range(count))
        wanted = slow.render(slots)
        assert isinstance(wanted, bytes)
        assert wanted == native.render(slots), f"seed {seed}, {count} orders"


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_one_order_that_cannot_be_said_refuses_all(seed: int, kind: int) -> None:
    """An unknown row, a number without a word or below 0: a cause and no body; the first one is told."""
    rng = random.Random(seed)
    native, slow = renderers(rng, kind)
    for case, count in enumerate([*range(1, BATCH_ORDERS_MAX + 1)] * 2):
        slots = [signed_slot(rng) for _ in range(count)]
        name, values = rng.choice([
            ("instrument", (UNKNOWN_ROW,)), ("outcome", (2, 255)), ("side", (2, 255)),
            ("order_type", (4, 255)),
            *((number, (-1, -(1 << 63))) for number in (
                "expiration_s", "maker_amount", "taker_amount", "timestamp_ms"))])
        place = rng.randrange(count)
        slots[place] = signed_slot(rng, **{name: rng.choice(values)})
        expected = Cause.NO_INSTRUMENT if name == "instrument" else Cause.MISSING_VALUE
        where = f"seed {seed}, case {case}: {name} of {place} in {count}"
        assert expected == native.render(b"".join(slots)) == slow.render(b"".join(slots)), where
        slots[rng.randrange(count)] = signed_slot(rng, instrument=UNKNOWN_ROW, outcome=rng.choice([0, 2]))
        assert slow.render(b"".join(slots)) == native.render(b"".join(slots)), where


@pytest.mark.parametrize("count", [0, 16, 17, 64])
@pytest.mark.parametrize("row", [1, UNKNOWN_ROW])
def test_other_counts_are_refused(count: int, row: int) -> None:
    """Nothing, and more than the venue takes at once, is not rendered, whatever stands in the slots."""
    rng = random.Random(count)
    native, slow = renderers(rng, 0)
    slots = b"".join(signed_slot(rng, instrument=row) for _ in range(count))

    assert Cause.TOO_MANY_ORDERS == native.render(slots) == slow.render(slots)


def test_pieces_and_rows_of_other_shapes_raise() -> None:
    """Constant text that is missing, or a separator of another width, is refused before it is used."""
    pieces = [b"x"] * 11
    for wrong in (pieces[1:], [*pieces, b"x"], [*pieces[1:], "x"]):
        with pytest.raises(InvariantError, match="11 pieces"):
            OrderBodies(wrong, b"")  # type: ignore[arg-type]
    for width in (0, 31, 33):
        with pytest.raises(InvariantError, match="32 bytes"):
            OrderBodies(pieces, b"").set_row(1, b"1", b"2", bytes(width))


def printable(rng: random.Random, count: int) -> str:
    """Return text that may stand in a header."""
    return "".join(chr(rng.randint(33, 126)) for _ in range(count))


def credentials(rng: random.Random) -> tuple[Credentials, L2Auth]:
    """Return the parts of a private request's headers and what makes them; secrets up to beyond a block."""
    secret = rng.randbytes(rng.choice([1, 32, 63, 64, 65, rng.randint(1, 200)]))
    who = Credentials(OWNER, printable(rng, rng.randint(1, 40)), secret, printable(rng, 12).encode())
    return who, L2Auth(who.address, who.api_key, Secret(secret), Secret(who.passphrase))


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_requests_equal_the_slow_model(seed: int) -> None:
    """With a body and without, on the order path and beside it, prepared or not: the same bytes."""
    rng = random.Random(seed)
    who, auth = credentials(rng)
    renderer = encode.RequestRenderer(HOST, auth)
    cases = [(*target, rng.randbytes(rng.choice([1, 2, 9, 10, 99, 100, rng.randint(1, 20_000)])))
             for target in WITH_BODY * 4]
    cases += [(*target, b"") for target in WITHOUT_BODY * 2]
    for method, path, body in rng.sample(cases, len(cases)):
        for _ in range(rng.randrange(3)):
            renderer.prepare()
        timestamp_s = magnitude(rng, I64_MAX)
        wanted = request_model.request(HOST, who, method, path, timestamp_s, body)
        where = f"seed {seed}: {method} {path}, {len(body)} bytes at {timestamp_s}"
        assert wanted == renderer.render(method, path, timestamp_s, body), where


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_signatures_equal_hmac(seed: int) -> None:
    """A signature is the HMAC of these bytes alone, whatever was prepared or signed before."""
    rng = random.Random(seed)
    who, auth = credentials(rng)
    for _ in range(30):
        method, path = rng.choice(WITH_BODY + WITHOUT_BODY)
        body = rng.randbytes(rng.choice([0, 1, 63, 64, rng.randint(0, 5_000)]))
        timestamp_s = rng.getrandbits(40)
        signed = f"{timestamp_s}{method}{path.partition('?')[0]}".encode() + body
        wanted = urlsafe_b64encode(hmac.new(who.secret, signed, hashlib.sha256).digest())
        for is_prepared in rng.choices([True, False], k=3):
            if is_prepared:
                auth.prepare()
            where = f"seed {seed}: prepared {is_prepared}, {len(body)} bytes"
            assert wanted == auth.signature(method, path, body, timestamp_s), where


def package(rng: random.Random, now_ns: int, ceilings: Ceilings) -> list[bytes]:
    """Return 1..15 orders of a package, some of which a brake or a cancel may stop."""
    first_no, count = rng.getrandbits(40), rng.randint(1, BATCH_ORDERS_MAX)
    numbers = [first_no + place for place in range(count)]
    if rng.random() < 0.2:
        rng.shuffle(numbers)
    usd_micro_max = ceilings.order_usd_micro_max
    return [signed_slot(
        rng, order_no=order_no, side=rng.randrange(2), intent_class=rng.choice([0, 0, 1, 2, 3]),
        deadline_ns=now_ns + rng.choice([-1, 0, 1, NS_PER_S, NS_PER_S, NS_PER_S, NS_PER_S]),
        maker_amount=rng.choice([
            rng.randint(0, usd_micro_max), rng.randint(0, usd_micro_max // 4), usd_micro_max,
            usd_micro_max + 1, I64_MAX, -1]),
    ) for order_no in numbers]


def compare(native: SignedBatch, slow: SlowBatch, where: str) -> None:
    """Compare everything that a batch tells of itself."""
    assert len(slow.orders) == native.count, where
    assert b"".join(slow.orders) == native.slots, where
    assert slow.order_no_max == native.order_no_max, where
    sent = native.sent(Sent)
    assert slow.sent() == sent, where
    assert all(type(one) is Sent for one in sent), where
    if slow.orders:
        assert slow.head == native.head, where


@cache
def play_batches(seed: int) -> Counter[str]:
    """Fill batches and ask brakes about them, natively and slowly; return how often each answer came."""
    rng, found = random.Random(seed), Counter[str]()
    ceilings = Ceilings(1_000 * MICRO, rng.choice([2_000, 50_000]) * MICRO, rng.choice([5, 40, 10_000]))
    native, brake, slow, slow_brake = SignedBatch(), Brake(None, ceilings), SlowBatch(), SlowBrake(ceilings)
    now_ns = T0_NS
    for number in range(PACKAGES):
        where = f"seed {seed}, package {number}"
        now_ns += rng.choice([0, 1, NS_PER_S, MINUTE_NS // 2, MINUTE_NS, DAY_NS // 4])
        slots, level = package(rng, now_ns, ceilings), rng.choice([0, 0, 0, 0, 1, 2, 3, 4])
        joined = b"".join(slots)
        for place, slot in enumerate(slots):
            native.add(joined, place * SLOT_BYTES)
            slow.orders.append(slot)
            compare(native, slow, where)
        numbers = [one.order_no for one in slow.sent()] + [rng.getrandbits(50)]
        cancels: dict[int, object] = {
            order_no: object() for order_no in numbers if rng.random() < rng.choice([0, 0, 0.3])}
        slow_cancels = dict(cancels)
        refused = native.ask(brake, now_ns, level, cancels, Sent)
        wanted = slow.ask(slow_brake, now_ns, level, slow_cancels)
        assert wanted == refused, where
        assert all(type(one) is Sent for one, _ in refused), where
        assert slow_cancels == cancels, where
        compare(native, slow, where)
        found.update(Cause(cause).name if cause else "OVERTAKEN" for _, cause in refused)
        found["kept BUY"] += sum(one.side == Side.BUY for one in slow.sent())
        found["kept SELL"] += sum(one.side == Side.SELL for one in slow.sent())
        native.clear()
        slow.orders.clear()
        compare(native, slow, where)
    return found


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_batches_equal_the_slow_model(seed: int) -> None:
    """What a batch holds, lets go and refuses, in which order, and which cancels it used up."""
    assert play_batches(seed), f"seed {seed}"


def test_every_answer_of_a_batch_is_among_the_random_ones() -> None:
    """Deadlines, halts, ceilings and cancels stop orders of both sides, and others of both sides go."""
    found = sum((play_batches(seed) for seed in range(SEEDS - 1)), Counter[str]())

    assert {"DEADLINE", "HALT_LEVEL", "CEILING", "OVERTAKEN", "kept BUY", "kept SELL"} == found.keys()
    assert min(found.values()) >= 500, found


def test_a_sell_costs_no_money() -> None:
    """What a SELL gives are shares: it passes where no dollar may be spent, and a BUY of as much does not."""
    brake = Brake(None, Ceilings(0, 0, 100))
    for side, cause in ((Side.SELL, None), (Side.BUY, Cause.CEILING)):
        batch = SignedBatch()
        slot = signed_slot(random.Random(1), side=int(side), maker_amount=I64_MAX, deadline_ns=T0_NS)
        batch.add(slot, 0)
        refused = batch.ask(brake, T0_NS, int(HaltLevel.H0), {}, Sent)
        assert ([] if cause is None else [(request_model.sent_of(slot), cause)]) == refused


def test_a_sixteenth_order_raises() -> None:
    """A batch is never longer than a request may be, and stays as it was."""
    rng, batch = random.Random(2), SignedBatch()
    slots = b"".join(signed_slot(rng) for _ in range(16))
    for place in range(15):
        batch.add(slots, place * SLOT_BYTES)
    with pytest.raises(InvariantError, match="at most 15"):
        batch.add(slots, 15 * SLOT_BYTES)
    assert slots[: 15 * SLOT_BYTES] == batch.slots
    batch.clear()
    batch.add(slots, 15 * SLOT_BYTES)
    assert slots[15 * SLOT_BYTES :] == batch.slots


@pytest.mark.parametrize("offset", [-1, -SLOT_BYTES, 1, SLOT_BYTES, 2**40])
def test_a_slot_outside_the_bytes_raises(offset: int) -> None:
    """Nothing is read beyond what was given."""
    slot, batch = signed_slot(random.Random(3)), SignedBatch()
    for look in (lambda: glance(slot, offset), lambda: sent_of(slot, offset, Sent),
                 lambda: batch.add(slot, offset)):
        with pytest.raises(InvariantError, match="no slot"):
            look()
    assert 0 == batch.count


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_a_glance_says_what_the_record_says(seed: int) -> None:
    """Package, cause, whether it is the last one, and what must be known of it later: at any place."""
    rng = random.Random(seed)
    changes = [{"cause": rng.choice(list(Cause)), "batch_index": rng.choice([0, 1, 254, 255]),
                "batch_count": rng.choice([0, 1, 2, 255])} for _ in range(20)]
    slots = b"".join(signed_slot(rng, **each) for each in changes)
    for place, slot in enumerate(request_model.split(slots)):
        record, at, where = CODECS[Kind.SIGNED].unpack(slot), place * SLOT_BYTES, f"seed {seed}, {place}"
        wanted = record.group_no, record.cause, record.batch_index + 1 >= record.batch_count
        assert wanted == glance(slots, at), where
        assert request_model.sent_of(slot) == sent_of(slots, at, Sent), where
        assert type(sent_of(slots, at, Sent)) is Sent, where


def test_words_are_those_of_the_records() -> None:
    """Every order type and side has its word in a body, by its number."""
    native, _ = renderers(random.Random(4), 0)
    for kind in OrderType:
        for side in Side:
            body = native.render(signed_slot(random.Random(5), order_type=int(kind), side=int(side)))
            assert isinstance(body, bytes)
            assert f'"orderType":"{kind.name}"'.encode() in body
            assert f'"side":"{side.name}"'.encode() in body
