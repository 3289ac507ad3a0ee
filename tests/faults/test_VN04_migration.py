"""VN04: the venue migrates while we run: orders of our version are refused, what was open is gone.

Trade and gateway together in simulated time; and metadata, signer and the contracts of the venue sheet, with
eth-account as the judge of what was signed for what.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.kinds import Cause, HaltLevel, Kind, OrderState, Origin, Rule
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage
from pipeline.units import NS_PER_MS, NS_PER_S
from pipeline.venues.polymarket.answers import VenueState, venue_condition
from tests.faults.test_OP01_clock import CLEAR_S, EVERY_S, World
from tests.faults.test_OR18_wrong_domain import LEG, OWNER, recovered, signer_of
from tests.models.core_rig import T0_NS, pack, report
from tests.models.desk import Desk
from tests.models.moody_venue import Arrival, MoodyVenue, Reply, reply
from tests.models.signer_rig import intents
from tests.shared import fresh_seed
from tests.sim_trader import CONTRACTS
from tests.tools.faultrows import figure
from tests.unit.test_refdata import Refdata
from tests.unit.test_universe import V2, V2_CONDITION, event

WORDS = ("order_version_mismatch", "Invalid order version")
LATE_NS = 60 * NS_PER_MS  # what was on its way when the first answer came
OFFER_EVERY_NS = 50 * NS_PER_MS
OVER = (OrderState.MATCHED, OrderState.CANCELED, OrderState.EXPIRED, OrderState.REJECTED, OrderState.UNSENT)


def refusal(arrival: Arrival, words: str, *, inside_200: bool) -> Reply:
    """Refuse orders as the venue does: 400, or an error inside 200; each leg of a batch alone."""
    if arrival.kind == "orders":
        return reply(200, [{"success": False, "errorMsg": words, "orderID": ""}] * arrival.count)
    return reply(200 if inside_200 else 400, {"error": words})


class Migration:
    """Trade, migrate, halt, resume with a venue that is back: one run."""

    def __init__(self, directory: Path, seed: int) -> None:
        directory.mkdir()
        self.draw, self.seed = random.Random(f"VN04:{seed}"), seed
        self.switch_ns = T0_NS + self.draw.randint(500, 6_000) * NS_PER_MS
        self.halted_ns = self.draw.randint(2_000, 6_000) * NS_PER_MS
        self.first_ns = self.back_ns = 1 << 62  # of the first refusal; of the end of all that
        self.words, self.inside_200 = self.draw.choice(WORDS), self.draw.random() < 0.5
        self.directory, self.venue = directory, MoodyVenue(self.mood)
        self.desk = Desk(directory, self.venue, seed)
        self.filled: dict[int, int] = {}
        self.is_wiped = self.is_resumed = False
        self.level, self.levels = 0, set[int]()

    def mood(self, now_ns: int, arrival: Arrival) -> Reply | None:
        if arrival.kind in ("order", "orders") and self.switch_ns <= now_ns < self.back_ns:
            self.first_ns = min(self.first_ns, now_ns)
            self.back_ns = self.first_ns + self.halted_ns
            return refusal(arrival, self.words, inside_200=self.inside_200)
        return None

    def play(self) -> None:
        offer_ns = T0_NS
        for now_ns in self.desk.steps(30 * NS_PER_S):
            self.follow_halt(now_ns)
            if now_ns < self.switch_ns:
                self.end_some(now_ns)
            elif not self.is_wiped:
                self.wipe()
            if now_ns >= self.back_ns and not self.is_resumed:
                self.is_resumed = True
                page = HaltPage(self.directory, "operator")
                page.put(HaltLevel.H0, now_ns=now_ns, reason="a release that signs it")
                self.desk.wire.machine.on_clear(now_ns, now_ns)
            if now_ns >= offer_ns:
                offer_ns += OFFER_EVERY_NS
                self.desk.offer()
            if now_ns > self.back_ns + 3 * NS_PER_S:
                break

    def follow_halt(self, now_ns: int) -> None:
        """Tell the level of the page as the sequencer does."""
        told = int(self.desk.wire.page.words.level())
        if told != self.level:
            self.level = told
            self.levels.add(told)
            self.desk.feed(
                pack(Kind.HALT, now_ns=now_ns, level=told, cause=int(Cause.VENUE_REJECT)))

    def end_some(self, now_ns: int) -> None:
        """While all is well the user channel tells how orders end."""
        if self.draw.random() < 0.02:
            for number in list(self.venue.open):
                self.venue.drop(number)
                self.desk.feed(report(
                    number, OrderState.CANCELED, Origin.USER_CHANNEL, now_ns, matched_micro=0))

    def wipe(self) -> None:
        """All that rests is gone without a word; some of it had matched before."""
        self.is_wiped = True
        for number in list(self.venue.open):
            is_filled = self.draw.random() < 0.3
            self.filled[number] = self.desk.intents[number].size_micro if is_filled else 0
            self.desk.end(number, OrderState.MATCHED if is_filled else OrderState.CANCELED, filled=is_filled)

    def check(self) -> None:
        """No second try, H3 until the operator came, all followed to its end, and then trading again."""
        desk, seed = self.desk, self.seed
        orders = self.venue.seen("order", "orders")
        assert not [one for one in orders if self.first_ns + LATE_NS < one.now_ns < self.back_ns], seed
        assert {1} == set(Counter(number for one in orders for number in one.numbers).values()), seed
        wanted = [one.now_ns for one in desk.decided if one.kind == Kind.PACKAGE]
        later = [one for one in wanted if one > self.first_ns + LATE_NS]
        assert later and later[0] >= self.back_ns, seed  # nothing is even wanted before
        asked = [one.now_ns for one in desk.decided if one.kind == Kind.RECONCILE]
        assert [one for one in asked if self.first_ns <= one < self.first_ns + 2 * NS_PER_S], seed
        assert HaltLevel.H3 in self.levels, seed
        for number, intent in desk.intents.items():
            order = desk.orders.by_no[number]
            assert order.filled_micro == self.filled.get(number, 0), (seed, order)
            if intent.now_ns < self.back_ns:
                assert order.is_closed and order.state in OVER, (seed, order)


def test_VN04_a_version_mismatch_halts_and_nothing_is_tried_again(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """H3 at the first refusal, in whichever form it comes; the wiped orders are asked for, not requoted."""
    seed, count, wiped = fresh_seed(), figure("VN04", "switches"), 0
    print(f"seeds 0 to {count - 2}, and {seed}")
    for one in [*range(count - 1), seed]:
        run = Migration(tmp_path / str(one), one)
        run.play()
        run.check()
        wiped += len(run.filled)
    assert wiped
    gate_record("VN04", "switches", count, seed)


@pytest.mark.parametrize(("status", "body", "state"), [
    (400, {"error": "order_version_mismatch"}, VenueState.MISVERSIONED),
    (400, {"error": "invalid order version"}, VenueState.MISVERSIONED),
    (200, {"error": "order_version_mismatch"}, VenueState.MISVERSIONED),
    (200, [{"errorMsg": ""}, {"errorMsg": "order_version_mismatch"}], VenueState.MISVERSIONED),
    (200, {"success": True, "errorMsg": "", "status": "live"}, VenueState.NORMAL),
    (400, {"error": "invalid signature"}, VenueState.NORMAL),
])
def test_VN04_the_words_count_wherever_they_stand(status: int, body: Any, state: VenueState) -> None:
    """The official client knows it inside HTTP 200, too; a batch tells it of each leg."""
    assert state == venue_condition(status, json.dumps(body).encode()).state


def test_VN04_another_default_version_halts_new_risk(tmp_path: Path) -> None:
    """While we trade the venue is asked for its version, too: H1 with the reason, until it is ours again."""
    world = World(tmp_path, random.Random(1))
    try:
        for version, level in ((2, HaltLevel.H0), (3, HaltLevel.H1), (2, HaltLevel.H0)):
            world.version = version
            world.run(2 * EVERY_S * NS_PER_S + CLEAR_S * NS_PER_S)
            assert level == world.halts.level
            assert ("version" in world.halt_page.entry("supervisor").reason) == (level == HaltLevel.H1)
    finally:
        world.close()


def test_VN04_no_signature_for_another_version(tmp_path: Path, gate_record: Callable[..., None]) -> None:
    """Metadata moves markets from v1 to v2 in the middle: each signature is for its token's own contract."""
    halt.create(tmp_path)
    seed, count = fresh_seed(), figure("VN04", "signatures")
    print(f"seed {seed}")
    draw, done, switched = random.Random(f"VN04:{seed}"), 0, 0
    while done < count:
        refdata, signing = Refdata(), signer_of(tmp_path)
        rows: dict[int, Any] = {}
        migrates = draw.randint(1, 3)
        for page in range(5):
            refdata.walk(venue_page(draw, page, migrates))
            for record in refdata.records():
                if record.kind == Kind.INSTRUMENT:
                    rows[record.instrument] = record
                    signing.learn(packed(record))
            for row, record in rows.items():
                done += 1
                changes = {"price_ticks": record.tick_step * (4_000 // record.tick_step)}
                slot, = intents(done, 1, [LEG._replace(row=row)], **changes)
                signed, intent = unpack(signing.make(slot)), unpack(slot)
                if any(signed.signature):
                    is_v2 = bool(record.rules & Rule.V2)
                    of = CONTRACTS["v2" if is_v2 else "v1", bool(record.rules & Rule.NEG_RISK)]
                    found = recovered(signed, intent, record.token_yes)
                    assert {of} == {CONTRACTS[one] for one, who in found if who == OWNER}, (seed, row)
                    switched += is_v2
        open_rows = [one for one in rows.values() if one.rules & Rule.TRADABLE]
        tokens = [token for one in open_rows for token in (one.token_yes, one.token_no)]
        assert len(tokens) == len(set(tokens)), (seed, "one token, two rows")
    assert switched
    gate_record("VN04", "signatures", done, seed)


def venue_page(draw: random.Random, page: int, migrates: int) -> dict[str, Any]:
    """Return the event as Gamma lists it: from page `migrates` on one market is v2; glitches in between.

    A glitch names other tokens or another contract for a market that is known.
    """
    found = event(3)
    if page >= migrates:
        found["markets"][0] |= {
            "acceptingOrders": False, "closed": True}
        moved = found["markets"][1] | {
            "id": "77", "version": "v2", "positionIds": V2, "conditionId": V2_CONDITION}
        found["markets"].append(moved)
    if page and draw.random() < 0.5:
        found["markets"][2] |= draw.choice((
            {"clobTokenIds": json.dumps([str(draw.getrandbits(255) | 1 << 90) for _ in range(2)])},
            {"negRisk": False}, {"acceptingOrders": False}))
    return found


def packed(record: Any) -> bytes:
    """Return an unpacked record's slot again."""
    return pack(Kind.INSTRUMENT, **{
        name: getattr(record, name) for name in record._fields if name != "kind"})
