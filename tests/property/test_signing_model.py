"""`Signing` against its slow model: equal records, causes, order numbers and use of what was signed ahead."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import CODECS
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, HaltLevel, IntentClass, Kind, OrderType, Rule, Side
from pipeline.native.signing import AHEAD_MAX
from pipeline.records import SLOT_BYTES
from pipeline.shm import halt
from pipeline.sim.wallets import deposit_wallet
from pipeline.stages.brake import Brake, Ceilings
from pipeline.stages.signer import Signing
from pipeline.units import MICRO, NS_PER_MS, NS_PER_S, TICKS_PER_USD
from pipeline.venues.polymarket import identity, wire
from pipeline.venues.polymarket.amounts import Amounts, order_amounts, size_step_micro
from pipeline.venues.polymarket.sign import OrderSigner
from tests.models.signer_rig import EPOCH, KEY, PLENTY, STEP, T0_NS, Leg, account_of, intents, token
from tests.models.signing_model import DAY_NS, MINUTE_NS, SlowBrake, SlowSigning
from tests.shared import scaled, seeds

SEEDS = 64
ORDERS = scaled(300, 1_500)  # of each seed
FORESEEN_MAX = AHEAD_MAX - 1  # of each seed: none has to make room, which is a test of its own
ROWS = range(1, 6)  # of row 6 nothing but steps is told, of row 7 nothing
I64_MAX, U64_MAX, SALT_MAX = (1 << 63) - 1, (1 << 64) - 1, (1 << 53) - 1
LEGAL_STEPS = tuple(wire.ROUNDING)
ILLEGAL_STEPS = (0, 2, 5, 99, 250, 500, 5_000, 65_535)
RULES = (Rule(0), Rule.NEG_RISK, Rule.V2, Rule.V2 | Rule.NEG_RISK)
OWNER = identity.checksum(account_of(KEY).owner)
WALLET = deposit_wallet(OWNER)
PAUSES_NS = (0, 0, 1, NS_PER_MS, NS_PER_S, NS_PER_S, MINUTE_NS // 4, MINUTE_NS, DAY_NS // 5)
FOREVER_NS = T0_NS + 400 * DAY_NS
CAUSES = {
    Cause.NONE, Cause.NO_INSTRUMENT, Cause.OFF_GRID, Cause.BELOW_MINIMUM, Cause.MISSING_VALUE,
    Cause.NOT_TRADABLE, Cause.DEADLINE, Cause.HALT_LEVEL, Cause.CEILING}
Fields = dict[str, Any]
Foreseen = tuple[int, int, int, int, int, int, int, int]


class Pair:
    """The native signer and its slow model with one key, one clock and one halt page."""

    def __init__(self, directory: Path, ceilings: Ceilings = PLENTY, wallet: bool = False) -> None:
        halt.create(directory)
        self.now_ns = T0_NS
        self.page = halt.HaltPage(directory, "trade")
        signer = OrderSigner(KEY, identity.identify(OWNER, WALLET if wallet else OWNER, 3 if wallet else 0))
        self.native = Signing(signer, Brake(None, ceilings), self.page, self.clock)
        self.slow = SlowSigning(signer, SlowBrake(ceilings), self.page.words.level, self.clock)

    def clock(self) -> int:
        """Return the time that the test set."""
        return self.now_ns

    def halt(self, level: int) -> None:
        """Put a halt level."""
        self.page.put(HaltLevel(level), now_ns=self.now_ns, reason="a test", durable=False)

    def learn(self, slot: bytes) -> None:
        """Tell both what the stream says of a row."""
        self.native.learn(bytes(SLOT_BYTES) + slot, SLOT_BYTES)
        self.slow.learn(slot)

    def sign_ahead(self, foreseen: Foreseen) -> bool:
        """Let both sign an order that may be asked for; tell whether there is one signature more."""
        before = len(self.slow.ahead_salts)
        self.native.sign_ahead(foreseen)
        self.slow.sign_ahead(foreseen)
        return len(self.slow.ahead_salts) > before

    def check(self, slot: bytes, where: str) -> tuple[Cause, bool]:
        """Let both sign an INTENT, compare everything that can be seen; return cause and `was_ahead`."""
        wanted, cause = self.slow.make(slot)
        native = self.native
        found = native.make(slot * 2, SLOT_BYTES)
        intent = CODECS[Kind.INTENT].unpack(slot)
        assert (cause, self.slow.was_ahead) == (native.cause, native.was_ahead), where
        assert wanted == found, where
        assert self.slow.brake.order_no == native.brake.order_no, where
        assert self.slow.ahead_salts == native.ahead_salts, where
        assert (intent.order_no, intent.group_no, intent.cause_seq, intent.salt) == (
            native.order_no, native.group_no, native.cause_seq, native.salt), where
        assert (intent.batch_index + 1 >= intent.batch_count) == native.is_last, where
        return cause, self.slow.was_ahead


def token_of(rng: random.Random, v2: bool) -> bytes:
    """Return a token id: mostly of the market's form, sometimes of the other one, sometimes zero."""
    kind, raw = rng.random(), rng.randbytes(32)
    if kind < 0.05:
        return bytes(32)
    return raw[:19] + bytes(8) + raw[27:] if v2 != (kind < 0.1) else raw


def step_of(rng: random.Random) -> int:
    """Return the spacing of a row, mostly one that the venue has."""
    return rng.choice(LEGAL_STEPS if rng.random() < 0.9 else ILLEGAL_STEPS)


def listed(rng: random.Random, row: int) -> Fields:
    """Return the fields of an INSTRUMENT."""
    rules = rng.choice(RULES)
    v2 = bool(rules & Rule.V2)
    return {
        "instrument": row, "token_yes": token_of(rng, v2), "token_no": token_of(rng, v2), "rules": int(rules),
        "tick_step": step_of(rng)}


def change_rows(rng: random.Random, pair: Pair, known: dict[int, Fields]) -> None:
    """Tell of another spacing, a new page of a row, or one that contradicts the page before."""
    kind, row = rng.random(), rng.choice([each for each in ROWS if each not in known] or ROWS)
    if kind < 0.3:
        row = rng.choice([*ROWS, 6])
        pair.learn(CODECS[Kind.TICK_STEP].pack(instrument=row, new_step=step_of(rng)))
        return
    if row not in known:
        known[row] = listed(rng, row)
    fields = known[row] = known[row] | {"tick_step": step_of(rng)}
    if kind > 0.96:
        flag = int(rng.choice((Rule.V2, Rule.NEG_RISK)))
        fields = fields | rng.choice(({"rules": fields["rules"] ^ flag}, {"token_no": rng.randbytes(32)}))
    pair.learn(CODECS[Kind.INSTRUMENT].pack(**fields))


def size_of(rng: random.Random, order_type: int, side: int, price_ticks: int, step: int) -> int:
    """Return a size: mostly one that can be said exactly, of any magnitude up to the largest."""
    unit = 10_000
    if step in LEGAL_STEPS and 0 < price_ticks < TICKS_PER_USD:
        unit = size_step_micro(order_type, side, price_ticks, step)
    kind = rng.random()
    if kind < 0.04:
        return rng.choice([0, -1, -unit, 1, I64_MAX, -I64_MAX - 1, rng.getrandbits(62)])
    size_micro = unit * rng.choice([rng.randint(1, 50), rng.randint(1, I64_MAX // unit), I64_MAX // unit])
    return size_micro - rng.choice([1, unit // 2, unit - 1]) if kind < 0.1 else size_micro


def amounts_of(rng: random.Random, said: tuple[int, int, int, int, int]) -> tuple[int, int]:
    """Return what price and size give; sometimes it is wrong by little, or the wrong way round."""
    amounts = order_amounts(*said)
    if not isinstance(amounts, Amounts):
        return rng.choice([(0, 0), (rng.getrandbits(63), rng.getrandbits(40)), (-1, I64_MAX)])
    if rng.random() < 0.95:
        return amounts
    maker, taker = amounts
    return rng.choice([(maker - 1, taker), (maker, taker - 1), (taker, maker), (-maker, -taker), (0, 0)])


def intent_of(rng: random.Random, pair: Pair, order_no: int) -> Fields:
    """Return the fields of a random INTENT; mostly one that is signed."""
    def rarely(value: int, *others: int) -> int:
        return value if rng.random() < 0.97 else rng.choice(others)

    row = rarely(rng.choice(ROWS), 6, 7, 2**32 - 1)
    market = pair.slow.markets.get(row)
    step = (market.tick_step if market is not None else STEP) or STEP
    side, order_type = rarely(rng.randrange(2), 2, 3, 255), rarely(rng.randrange(4), 4, 255)
    price_ticks = step * rng.randrange(1, max(2, TICKS_PER_USD // step))
    price_ticks = rarely(price_ticks, 0, price_ticks + 1, 1, 9_999, 10_000, 2**32 - 1)
    size_micro = size_of(rng, order_type, side, price_ticks, step)
    maker, taker = amounts_of(rng, (order_type, side, price_ticks, size_micro, step))
    order_usd_max = pair.slow.brake.ceilings.order_usd_micro_max
    count, now_ns = rng.randrange(1, 16), pair.now_ns
    return {
        "recv_ns": now_ns - rng.randrange(9_999), "instrument": row,
        "order_no": rarely(order_no, 1, order_no - 1),
        "group_no": rng.getrandbits(40), "cause_seq": rng.getrandbits(64), "timestamp_ms": rarely(
            now_ns // NS_PER_MS + rng.randrange(3), 0, -1, -I64_MAX - 1, 1, I64_MAX),
        "deadline_ns": rarely(rng.choice([now_ns, FOREVER_NS, FOREVER_NS]), now_ns - 1, -I64_MAX, I64_MAX),
        "salt": rarely(rng.getrandbits(53), 0, SALT_MAX, SALT_MAX + 1, U64_MAX),
        "maker_amount": maker, "taker_amount": taker, "size_micro": size_micro,
        "expiration_s": rng.choice([0, 0, rng.getrandbits(31)]), "worst_usd_micro": rarely(
            rng.randrange(order_usd_max // 10), order_usd_max, order_usd_max + 1, -1, I64_MAX),
        "price_ticks": price_ticks, "batch_index": rng.randrange(count), "batch_count": count,
        "outcome": rarely(rng.randrange(2), 2, 3, 255), "side": side, "order_type": order_type,
        "intent_class": rarely(rng.choice([IntentClass.NEW_RISK, *IntentClass]), 4, 255),
        "post_only": rng.randrange(2), "account": rng.randrange(4), "leg_no": rng.randrange(8),
        "cancel_rest": rng.randrange(2)}


def foreseen_of(rng: random.Random, fields: Fields) -> Foreseen:
    """Return the intent's order as detect foresees it: the same, or with one field changed."""
    order_type, side, price_ticks, size_micro, row, outcome, salt, timestamp_ms = found = (
        fields["order_type"], fields["side"], fields["price_ticks"], fields["size_micro"],
        fields["instrument"], fields["outcome"], fields["salt"], fields["timestamp_ms"])
    if rng.random() < 0.6:
        return found
    changed = list(found)
    place = rng.randrange(len(found))
    changed[place] = (
        order_type ^ 1, side ^ 1, max(0, price_ticks + rng.choice([-1, 1]) * STEP), size_micro // 2,
        row % 7 + 1, outcome ^ 1, salt ^ 1, timestamp_ms ^ 1)[place]
    return tuple(changed)  # type: ignore[return-value]


@cache
def play(seed: int) -> Counter[str]:
    """Let both sign what a seed makes up, and compare; return how often each cause and `was_ahead` came."""
    rng, found, known = random.Random(seed), Counter[str](), dict[int, Fields]()
    ceilings = Ceilings(
        1_000 * MICRO, rng.choice([1_000_000, 5_000]) * MICRO,
        rng.choice([10_000, 10_000, rng.randint(2, 8)]))
    waiting: list[Fields] = []  # signed ahead, perhaps asked for later
    foreseen = 0  # kept so far
    with tempfile.TemporaryDirectory() as directory:
        pair = Pair(Path(directory), ceilings, wallet=seed % 2 == 1)
        for order_no in range(1, ORDERS + 1):
            if order_no < 8 or rng.random() < 0.05:
                change_rows(rng, pair, known)
            if rng.random() < 0.12:
                pair.halt(rng.choice([0, 0, 0, 0, 0, 0, 1, 2, 3, 4]))
            pair.now_ns += rng.choice(PAUSES_NS)
            fields = intent_of(rng, pair, order_no)
            if foreseen < FORESEEN_MAX and rng.random() < 0.5:
                foreseen += pair.sign_ahead(foreseen_of(rng, fields))
                if rng.random() < 0.4:
                    waiting.append(fields)
                    continue
            if waiting and rng.random() < 0.2:
                fields = rng.choice(waiting)
            cause, was_ahead = pair.check(
                CODECS[Kind.INTENT].pack(**fields), f"seed {seed}, order {order_no}: {fields}")
            found[cause.name] += 1
            found[f"was_ahead {was_ahead}"] += 1
            found[f"ahead {was_ahead}, {OrderType(fields['order_type'] & 3).name} {fields['side'] & 1}"] += 1
    return found


@pytest.mark.parametrize("seed", seeds(SEEDS))
def test_records_equal_the_slow_model(seed: int) -> None:
    """Any rows, intents, ceilings, halts and foresight: the same bytes, cause, order number and reuse."""
    assert play(seed), f"seed {seed}"


def test_every_answer_is_among_the_random_ones() -> None:
    """What the seeds make up is refused for each cause there is, and reused for each kind of order."""
    found = sum((play(seed) for seed in range(SEEDS - 1)), Counter[str]())
    causes = {cause: found[cause.name] for cause in Cause if found[cause.name]}
    kinds = [f"ahead {was_ahead}, {kind.name} {int(side)}" for was_ahead in (True, False)
             for kind in OrderType for side in Side]

    assert causes.keys() == CAUSES
    assert min(causes.values()) >= 50, causes
    assert min(found["was_ahead True"], found["was_ahead False"]) >= 500, found
    assert min(found[kind] for kind in kinds) >= 20, found


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A signer and its model, which know rows 1 to 3."""
    found = Pair(tmp_path)
    for row in (1, 2, 3):
        found.learn(CODECS[Kind.INSTRUMENT].pack(
            instrument=row, token_yes=token(row, 0), token_no=token(row, 1), tick_step=STEP))
    return found


ORDER = Leg(1, 5_000, 2 * MICRO)


def foreseen_leg(salt: int, leg: Leg = ORDER) -> Foreseen:
    """Return this order as it is foreseen, with a salt."""
    return (leg.order_type, leg.side, leg.price_ticks, leg.size_micro, leg.row, leg.outcome, salt,
            T0_NS // NS_PER_MS)


@pytest.mark.parametrize("seed", seeds(8))
def test_the_oldest_signature_makes_room(pair: Pair, seed: int) -> None:
    """At most 64 signatures wait; the newest 64 are used, older ones are signed again and the same."""
    rng = random.Random(seed)
    salts = rng.sample(range(1, SALT_MAX), AHEAD_MAX + rng.randint(1, 2 * AHEAD_MAX))
    for done, salt in enumerate(salts, 1):
        pair.sign_ahead(foreseen_leg(salt))
        assert salts[max(0, done - AHEAD_MAX) : done] == pair.native.ahead_salts, f"seed {seed}, {done}"
    kept = set(salts[-AHEAD_MAX:])
    for salt in rng.sample(salts, len(salts)):
        where = f"seed {seed}, salt {salt}"
        assert (Cause.NONE, salt in kept) == pair.check(intents(1, 10, [ORDER], salt=salt)[0], where), where
    assert [] == pair.native.ahead_salts


def test_a_signature_waits_until_the_brake_lets_it_go(pair: Pair) -> None:
    """A refusal does not use up what is there; what is asked for a second time is signed anew."""
    pair.sign_ahead(foreseen_leg(9))
    late, taken = (intents(1, 10, [ORDER], salt=9, **changes)[0] for changes in ({"deadline_ns": 1}, {}))
    answers = [pair.check(slot, "by hand") for slot in (late, taken, taken)]

    assert [(Cause.DEADLINE, False), (Cause.NONE, True), (Cause.NONE, False)] == answers


@pytest.mark.parametrize("outcome", [2, 3, 255])
def test_an_outcome_that_no_market_has_is_refused(pair: Pair, outcome: int) -> None:
    """There are two tokens; a third is never read, neither for an intent nor for an idea."""
    pair.sign_ahead(foreseen_leg(9, ORDER._replace(outcome=outcome)))
    slot = intents(1, 10, [ORDER._replace(outcome=outcome)], salt=9)[0]

    assert [] == pair.native.ahead_salts
    assert (Cause.MISSING_VALUE, False) == pair.check(slot, f"outcome {outcome}")


@pytest.mark.parametrize("level", list(HaltLevel))
def test_nothing_is_signed_ahead_while_new_risk_is_halted(pair: Pair, level: HaltLevel) -> None:
    """An idea is new risk: from H1 on none is signed."""
    pair.halt(level)
    pair.sign_ahead(foreseen_leg(9))

    assert ([9] if level == HaltLevel.H0 else []) == pair.native.ahead_salts == pair.slow.ahead_salts


@pytest.mark.parametrize("offset", [-1, 1, SLOT_BYTES])
def test_a_slot_outside_the_bytes_raises(pair: Pair, offset: int) -> None:
    """Nothing is read beyond what was given, and no order number is stored for it."""
    with pytest.raises(InvariantError, match="no slot"):
        pair.native.make(intents(1, EPOCH, [ORDER])[0], offset)
    assert 0 == pair.native.brake.order_no


@pytest.mark.parametrize("place", [1, 2, 5])
def test_a_row_of_other_widths_raises(pair: Pair, place: int) -> None:
    """Tokens and domain separators are 32 bytes; others would be read beyond their end."""
    row: list[Any] = [4, token(4, 0), token(4, 1), 0, 0, bytes(32), STEP, 100]
    row[place] = bytes(31)
    with pytest.raises(InvariantError, match="32 bytes"):
        pair.native.set_market(*row)
