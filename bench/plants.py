"""Frames of planted events: quiet books, then mispricings that come and go, as the exchange generates them.

Reads `pipeline.sim.planted`; the frames are rendered by the exchange's own renderer. Writes nothing.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.sim import render
from pipeline.sim.flow import Delta, LevelBook
from pipeline.sim.market import Commit, LevelChange, Market
from pipeline.sim.market_channel import render_commit
from pipeline.sim.planted import Leg, PlantedEvent, make_events
from pipeline.sim.render import BookText
from pipeline.units import NS_PER_MS

TRIES_MAX = 50


@dataclass(frozen=True, slots=True)
class PlantFrames:
    """One mispricing: the frames that make it, leg by leg, and those that take it away."""

    event_id: str
    legs: int
    clears_fees: bool
    appear: tuple[tuple[Market, bytes], ...]
    vanish: tuple[tuple[Market, bytes], ...]


class PlantedFeed:
    """Some events, their opening snapshots, and plants for as long as one asks; same seed, same bytes."""

    def __init__(self, seed: int, events_count: int, opening_ms: int) -> None:
        self.events = make_events(seed, events_count)
        self.markets = [market for event in self.events for market in event.markets]
        self._draw = random.Random(f"bench plants:{seed}")
        self._books: dict[str, tuple[BookText, LevelBook]] = {}
        self.opening: list[tuple[Market, bytes]] = []
        for event in self.events:
            for market, base in zip(event.markets, event.base, strict=True):
                text = BookText(market, (LevelChange(*delta) for delta in base), opening_ms)
                self._books[market.condition] = (text, LevelBook(base))
                objects = [render.snapshot_object(text, 0), render.snapshot_object(text, 1)]
                self.opening.append((market, render.snapshot_array(objects)))
        self.count = 0
        self.legs: Counter[int] = Counter()

    def plants(self, count: int, first_ms: int, spacing_ms: int) -> Iterator[PlantFrames]:
        """Yield `count` plants, one event after the other; times are venue times."""
        made, turn, now_ms = 0, 0, first_ms
        while made < count:
            event = self.events[turn % len(self.events)]
            turn += 1
            drawn = (event.next_plant(made + 1) for _ in range(TRIES_MAX))
            plant = next((found for found in drawn if found), None)
            if plant is None:
                continue
            legs = list(plant.legs)
            event.draw.shuffle(legs)
            appear = self._frames(event, legs, 1, now_ms)
            vanish = self._frames(event, legs, -1, now_ms + spacing_ms // 2)
            made += 1
            self.legs[len(legs)] += 1
            yield PlantFrames(event.event_id, len(legs), plant.net_per_share > 0, appear, vanish)
            now_ms += spacing_ms

    def _frames(
        self, event: PlantedEvent, legs: list[Leg], sign: int, now_ms: int,
    ) -> tuple[tuple[Market, bytes], ...]:
        """Return one commit's frames a leg; `sign` -1 removes what 1 has added."""
        found = []
        for leg in legs:
            market = event.markets[leg.outcome_index]
            text, book = self._books[market.condition]
            changes = [book.apply(Delta(leg.is_bid, price, sign * size)) for price, size in leg.levels]
            real = tuple(change for change in changes if change is not None)
            commit = Commit(market, now_ms * NS_PER_MS, real)
            out = render_commit(text, commit, self._draw)
            found += [(market, frame) for frame in (*out.bbo, *out.changes)]
        return tuple(found)
