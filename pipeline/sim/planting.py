"""Runs planted events at wall-clock rate and keeps the journal of what was planted and what was taken.

Reads: the exchange's commits and the time. Writes: other participants' orders into the exchange. An
event carries one plant at a time; after it ended and a settle time the next one comes, so every taken
share belongs to one plant. Quiet quotes breathe (and are put back when our account took them).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InvariantError
from pipeline.sim.book import MatchedBook
from pipeline.sim.exchange import Exchange
from pipeline.sim.market import Commit
from pipeline.sim.planted import Plant, PlantedEvent
from pipeline.sim.timers import Timers
from pipeline.units import MICRO, NS_PER_MS

PLANTS_MAX = 200_000  # of one run
TRIES_MAX = 20  # draws until one fits


@dataclass(frozen=True, slots=True)
class Pace:
    """How often an event is planted; spacing is exponential after the settle time."""

    settle_ms: int = 250
    spacing_ms: int = 450
    breath_ms: int = 400  # mean time between changes of an event's quiet quotes
    tidy_ms: tuple[int, int] = (20, 150)  # what is left of a taken plant goes after this


class Planting:
    """All planted events of one exchange."""

    def __init__(self, exchange: Exchange, events: Sequence[PlantedEvent], seed: int, pace: Pace) -> None:
        self.events = tuple(events)
        self.journal: list[Plant] = []
        self.opening: dict[str, tuple[tuple[bool, int, int], ...]] = {}
        self.is_running = False
        self._exchange = exchange
        self._pace = pace
        self._draw = random.Random(f"planting:{seed}")
        self._current: dict[str, tuple[PlantedEvent, Plant]] = {}  # by event id
        self._event_of = {market.condition: event for event in events for market in event.markets}
        self._timers = Timers()
        self._now_ns = 0
        exchange.commit_hooks.append(self._on_commit)
        exchange.lifecycle.on_down.append(self.pause)

    def open(self, now_ns: int) -> None:
        """Put the quiet quotes into the books."""
        for event in self.events:
            for market, base in zip(event.markets, event.base, strict=True):
                self._exchange.foreign_changes(now_ns, market, base)
                self.opening[market.condition] = tuple(base)

    def pump(self, now_ns: int) -> int | None:
        """Do what is due, at the time it really happens; return when the next thing is."""
        self._now_ns = now_ns
        self._timers.run(now_ns)
        return self._timers.next_ns()

    def _at(self, when_ns: int, action: Callable[[int], None]) -> None:
        """A late turn makes a plant late, never antedated: the journal holds what subscribers could see."""
        self._timers.at(when_ns, lambda _: action(self._now_ns))

    def start(self, now_ns: int) -> None:
        """Begin to plant; each event's first plant comes after its own delay."""
        self.is_running = True
        for event in self.events:
            self._plan_next(now_ns, event)
            self._plan_breath(now_ns, event)

    def stop(self, now_ns: int) -> None:
        """Withdraw every plant and begin no other."""
        self.is_running = False
        self.pause(now_ns)

    def pause(self, now_ns: int) -> None:
        """Withdraw every plant: the venue goes down. The next ones wait until it is up again."""
        for event, plant in list(self._current.values()):
            self._withdraw(now_ns, event, plant, "stopped")

    # -- one plant ----------------------------------------------------------------------------

    def _plan_next(self, now_ns: int, event: PlantedEvent) -> None:
        delay_ms = self._pace.settle_ms + int(event.draw.expovariate(1 / self._pace.spacing_ms))
        self._at(now_ns + delay_ms * NS_PER_MS, lambda at_ns: self._plant(at_ns, event))

    def _plant(self, now_ns: int, event: PlantedEvent) -> None:
        if not self.is_running or len(self.journal) >= PLANTS_MAX or event.event_id in self._current:
            return
        if event.markets[0].payout_micro is not None:  # an event resolves as a whole
            return
        if not self._exchange.engine.mode.is_resting:
            self._plan_next(now_ns, event)
            return
        plant = None
        for _ in range(TRIES_MAX):
            plant = event.next_plant(len(self.journal) + 1)
            if plant is not None:
                break
        if plant is None:
            self._plan_next(now_ns, event)
            return
        plant.t_start_ns = now_ns
        plant.consumed_micro = [0] * len(plant.legs)
        self.journal.append(plant)
        self._current[event.event_id] = (event, plant)
        legs = list(plant.legs)
        event.draw.shuffle(legs)
        for leg in legs:
            changes = [(leg.is_bid, price, size) for price, size in leg.levels]
            self._exchange.foreign_changes(now_ns, event.markets[leg.outcome_index], changes)
        self._at(now_ns + plant.life_ns, lambda at_ns: self._withdraw(at_ns, event, plant, "withdrawn"))

    def _withdraw(self, now_ns: int, event: PlantedEvent, plant: Plant, reason: str) -> None:
        current = self._current.get(event.event_id)
        if current is None or current[1] is not plant:
            return
        del self._current[event.event_id]
        if not plant.end:
            plant.end, plant.t_end_ns = reason, now_ns
        for place, leg in enumerate(plant.legs):
            market = event.markets[leg.outcome_index]
            book = self._book(market.condition)
            left = [(price, min(size, book.anonymous_micro(leg.is_bid, price))) for price, size in leg.levels]
            plant.consumed_micro[place] = sum(size for _, size in leg.levels) - sum(size for _, size in left)
            changes = [(leg.is_bid, price, -size) for price, size in left if size]
            if changes and market.payout_micro is None:
                self._exchange.foreign_changes(now_ns, market, changes)
        if self.is_running:
            self._plan_next(now_ns, event)

    def _on_commit(self, commit: Commit) -> None:
        """See whether a match emptied a planted leg; the rest of that plant is withdrawn soon."""
        event = self._event_of.get(commit.market.condition)
        if event is None or not commit.traded:
            return
        current = self._current.get(event.event_id)
        if current is None or current[1].end:
            return
        plant = current[1]
        book = self._book(commit.market.condition)
        for leg in plant.legs:
            if leg.outcome_index != commit.market.outcome_index:
                continue
            if not any(book.anonymous_micro(leg.is_bid, price) for price, _ in leg.levels):
                plant.end, plant.t_end_ns = "taken", commit.now_ns
                tidy_ns = event.draw.randint(*self._pace.tidy_ms) * NS_PER_MS
                self._at(commit.now_ns + tidy_ns, lambda at_ns: self._withdraw(at_ns, event, plant, "taken"))

    def _book(self, condition: str) -> MatchedBook:
        book = self._exchange.engine.books[condition]
        if not isinstance(book, MatchedBook):
            raise InvariantError(
                f"sim.planting: a matched book expected for {condition}, was {type(book).__name__}"
            )
        return book

    # -- quiet quotes -------------------------------------------------------------------------

    def _plan_breath(self, now_ns: int, event: PlantedEvent) -> None:
        delay_ms = 20 + int(self._draw.expovariate(1 / self._pace.breath_ms))
        self._at(now_ns + delay_ms * NS_PER_MS, lambda at_ns: self._breathe(at_ns, event))

    def _breathe(self, now_ns: int, event: PlantedEvent) -> None:
        """Resize one quiet quote, by less than half of what it began with."""
        if not self.is_running:
            return
        index = self._draw.randrange(len(event.markets))
        market, quotes = event.markets[index], event.base[index]
        quote = self._draw.choice(quotes)
        have = self._book(market.condition).anonymous_micro(quote.is_bid, quote.price_ticks)
        wanted = quote.size_micro * self._draw.randint(60, 140) // 100 // MICRO * MICRO
        is_open = market.payout_micro is None and self._exchange.engine.mode.is_resting
        if wanted != have and is_open:
            self._exchange.foreign_change(now_ns, market, quote.is_bid, quote.price_ticks, wanted - have)
        self._plan_breath(now_ns, event)

    # -- report -------------------------------------------------------------------------------

    def report(self) -> list[dict[str, Any]]:
        """Return the journal, oldest first, as plain data."""
        running = {plant.plant_id for _, plant in self._current.values()}
        return [plant_row(plant, plant.plant_id in running) for plant in self.journal]


def plant_row(plant: Plant, is_current: bool) -> dict[str, Any]:
    """Return one plant; prices in ticks of the YES view, sizes 1e-6 share, edge in USD micro."""
    return {
        "id": plant.plant_id,
        "event_id": plant.event_id,
        "kind": plant.kind.value,
        "t_start_ns": plant.t_start_ns,
        "t_end_ns": plant.t_end_ns,
        "end": "running" if is_current and not plant.end else plant.end,
        "life_ns": plant.life_ns,
        "tick_step": plant.tick_step,
        "edge_usd_micro": plant.edge_usd_micro,
        "clears_fees_by_ticks": plant.clears_fees_by_ticks,
        "legs": [
            {
                "condition": plant.conditions[place],
                "outcome_index": leg.outcome_index,
                "is_bid": leg.is_bid,
                "levels": [list(level) for level in leg.levels],
                "consumed_micro": plant.consumed_micro[place] if plant.consumed_micro else 0,
            }
            for place, leg in enumerate(plant.legs)
        ],
    }
