"""Which markets are carried when the universe has more than there are places: same pages, same choice.

Events with a preferred tag come first, in the order of the configuration, then by volume of a day. An event
is taken whole or not at all: half of its outcomes prove nothing. What is carried stays unless another is
better by far in several walks in a row: each change costs a snapshot and a book's history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

WINS_MIN = 3  # walks in a row in which a challenger must be better by far


@dataclass(frozen=True, slots=True)
class Unit:
    """What is taken together: the markets of an event, or one market without an event."""

    ident: str
    rank: int  # place of its best tag among the preferred ones, 0 first
    volume_micro: int  # USD of a day, of all its markets
    conditions: tuple[bytes, ...]  # that accept orders, or stand beside one that does

    @property
    def priority(self) -> tuple[int, int, str]:
        """Sorts the best first; no two units are equal."""
        return self.rank, -self.volume_micro, self.ident

    def beats(self, other: Unit, percent: int) -> bool:
        """Tell whether this one is better by far: a better tag, or `percent` of the other's volume."""
        if self.rank != other.rank:
            return self.rank < other.rank
        return self.volume_micro > 0 and self.volume_micro * 100 >= other.volume_micro * percent


@dataclass(frozen=True, slots=True)
class Chosen:
    """What changes: units to carry from now on, best first, units to leave, and how many found no place."""

    taken: tuple[Unit, ...]
    left: tuple[str, ...]
    waiting_count: int


class Choice:
    """Chooses at the end of each walk. percent: how much better a challenger must be; 0 = never replace."""

    def __init__(self, places_max: int, percent: int) -> None:
        self._places_max = places_max
        self._percent = percent
        self._wins: dict[str, int] = {}  # challenger -> walks in a row in which it would have won

    def choose(
        self, listed: Mapping[str, Unit], held: Mapping[str, int], kept: Iterable[str] = (), *,
        is_first: bool = False,
    ) -> Chosen:
        """Return what to change.

        listed: every unit that the venue lists and the filters let in, without the conditions that are
        carried. held: places of each unit that is carried. kept: units that no other may replace. is_first:
        what is carried was taken as it came, so that whatever is better takes its place at once.
        """
        free = self._places_max - sum(held.values())
        taken, left, wins, waiting = list[Unit](), list[str](), dict[str, int](), 0
        fixed = frozenset(kept)
        over = [ident for ident in held if ident not in listed and ident not in fixed]  # ended: they go first
        # worst first, and the better ones only for who beats them
        weak = sorted((listed[ident] for ident in held if ident in listed and ident not in fixed),
                      key=lambda unit: unit.priority, reverse=True)
        grown = [unit for ident, unit in listed.items() if ident in held and unit.conditions]
        fresh = [unit for ident, unit in listed.items() if ident not in held and unit.conditions]
        for unit in (*sorted(grown, key=_priority), *sorted(fresh, key=_priority)):
            need = len(unit.conditions)
            while need > free and over:
                left.append(over.pop())
                free += held[left[-1]]
            if need > free and unit.ident not in held:
                losers = self._losers(unit, weak, held, need - free, is_first)
                if losers:
                    wins[unit.ident] = self._wins.get(unit.ident, 0) + 1
                    if is_first or wins[unit.ident] >= WINS_MIN:
                        weak = [one for one in weak if one not in losers]
                        left += [one.ident for one in losers]
                        free += sum(held[one.ident] for one in losers)
            if need <= free:
                free -= need
                taken.append(unit)
            else:
                waiting += 1
        self._wins = wins
        return Chosen(tuple(taken), tuple(left), waiting)

    def _losers(
        self, unit: Unit, weak: list[Unit], held: Mapping[str, int], need: int, is_first: bool,
    ) -> list[Unit]:
        """Return the weakest units that this one beats and that leave enough room; none when too few do."""
        found, room = list[Unit](), 0
        for other in weak:
            is_better = unit.priority < other.priority if is_first else (
                self._percent > 0 and unit.beats(other, self._percent))
            if room >= need or not is_better:
                break
            found.append(other)
            room += held[other.ident]
        return found if room >= need else []


def _priority(unit: Unit) -> tuple[int, int, str]:
    return unit.priority
