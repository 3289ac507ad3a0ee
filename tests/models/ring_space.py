"""Every interleaving of the ring's algorithm on a CPU that reorders: a small machine, its whole state space.

The writer's stores wait in a buffer and become visible in any order that the C11 orders of `native/ring`
allow: a release store after all stores before it, stores after a release fence after those before it, one
word's stores in order. A load that nothing holds back may be early: a weakened reader loads payload before
`tail`, or gives a slot back before its last load. Slots have two halves, so that a torn copy shows. Runs are
one slot long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

TAIL, HEAD, FIRST = 0, 1, 2  # places in memory; then two halves a slot
FENCE = -1  # in the store buffer: no word
BUFFER_MAX = 5
EMPTY_LOOK, LOADING, LOADED = 0, 1, 2


@dataclass(frozen=True)
class Orders:
    """What the code asks for; each False weakens one of it."""

    tail_release: bool = True  # Writer.flush
    overwrite_release: bool = True  # the fence of Writer.begin
    tail_acquire: bool = True  # Reader.available, Observer.copy
    head_release: bool = True  # Reader.advance
    overwrite_acquire: bool = True  # the fence of Observer.copy
    has_second_look: bool = True  # Observer.copy reads the tail again


class Store(NamedTuple):
    """One waiting store."""

    word: int
    value: int
    is_release: bool


class Writing(NamedTuple):
    """Where the writer is: the next of its four steps, position, last head that it saw."""

    step: int = 0
    position: int = 0
    head_seen: int = 0


class Reading(NamedTuple):
    """Where a reader or observer is; halves: what it loaded, 0 = not yet."""

    step: int = EMPTY_LOOK
    position: int = 0
    first_half: int = 0
    second_half: int = 0
    tail_seen: int = 0
    kept_count: int = 0


class State(NamedTuple):
    """The whole machine."""

    memory: tuple[int, ...]
    buffer: tuple[Store, ...]
    writing: Writing
    reading: Reading


class WrongRecordError(Exception):
    """A reader took what no writer had published there."""


class Space:
    """One ring of `slots`, `messages` through it, one kind of reading end."""

    def __init__(self, orders: Orders, slots: int, messages: int, *, is_observer: bool) -> None:
        self.orders, self.slots, self.messages, self.is_observer = orders, slots, messages, is_observer

    def explore(self) -> tuple[int, list[State]]:
        """Return (states seen, those in which nothing can happen any more); raises WrongRecordError."""
        first = State((0,) * (FIRST + 2 * self.slots), (), Writing(), Reading())
        seen, open_ones, ends = {first}, [first], []
        while open_ones:
            state = open_ones.pop()
            is_end = True
            for following in self.following(state):
                is_end = False
                if following not in seen:
                    seen.add(following)
                    open_ones.append(following)
            if is_end:
                ends.append(state)
        return len(seen), ends

    def following(self, state: State) -> Iterator[State]:
        """Yield what may come next: a store becomes visible, or an end makes one step."""
        for place in range(len(state.buffer)):
            if self._may_leave(state.buffer, place):
                yield self._drain(state, place)
        yield from self._write(state)
        yield from (self._observe if self.is_observer else self._read)(state)

    @staticmethod
    def _may_leave(buffer: tuple[Store, ...], place: int) -> bool:
        store, before = buffer[place], buffer[:place]
        if store.word == FENCE or store.is_release:
            return not before
        return all(one.word not in (FENCE, store.word) for one in before)

    @staticmethod
    def _drain(state: State, place: int) -> State:
        store = state.buffer[place]
        memory = list(state.memory)
        if store.word != FENCE:
            memory[store.word] = store.value
        return state._replace(memory=tuple(memory), buffer=state.buffer[:place] + state.buffer[place + 1:])

    def _half(self, position: int, half: int) -> int:
        return FIRST + 2 * (position % self.slots) + half

    def _write(self, state: State) -> Iterator[State]:
        at, buffer = state.writing, state.buffer
        if at.position == self.messages or len(buffer) >= BUFFER_MAX:
            return
        if at.step == 0 and at.position + 1 - at.head_seen > self.slots:
            if state.memory[HEAD] != at.head_seen:
                yield state._replace(writing=at._replace(head_seen=state.memory[HEAD]))
            return
        value = at.position + 1
        if at.step == 0:
            fence = (Store(FENCE, 0, True),) if self.orders.overwrite_release else ()
            yield state._replace(buffer=buffer + fence, writing=at._replace(step=1))
        elif at.step < 3:
            store = Store(self._half(at.position, at.step - 1), value, False)
            yield state._replace(buffer=(*buffer, store), writing=at._replace(step=at.step + 1))
        else:
            store = Store(TAIL, value, self.orders.tail_release)
            yield state._replace(
                buffer=(*buffer, store), writing=Writing(0, value, at.head_seen))

    def _load(self, state: State, half: int) -> State:
        at = state.reading
        value = state.memory[self._half(at.position, half)] or -1  # -1: nothing was ever there
        return state._replace(reading=at._replace(**{("first_half", "second_half")[half]: value}))

    def _check(self, at: Reading) -> None:
        if not at.first_half == at.second_half == at.position + 1:
            raise WrongRecordError(f"position {at.position}: halves {at.first_half} and {at.second_half}")

    def _read(self, state: State) -> Iterator[State]:
        """The gating reader: look, load both halves, give back."""
        at, orders = state.reading, self.orders
        if at.position == self.messages:
            return
        if at.step == EMPTY_LOOK:
            if not orders.tail_acquire and not at.first_half:
                yield self._load(state, 0)  # early
            if state.memory[TAIL] > at.position:
                yield state._replace(reading=at._replace(step=LOADING))
            return
        if at.step == LOADING:
            if not at.first_half:
                yield self._load(state, 0)
            elif not at.second_half:
                yield self._load(state, 1)
                if not orders.head_release:
                    yield self._give_back(state)._replace(reading=at._replace(step=LOADED))
            else:
                self._check(at)
                yield self._give_back(state)._replace(
                    reading=Reading(position=at.position + 1, kept_count=at.kept_count + 1))
            return
        if not at.second_half:
            yield self._load(state, 1)  # late: the slot was given back already
        else:
            self._check(at)
            yield state._replace(reading=Reading(position=at.position + 1, kept_count=at.kept_count + 1))

    @staticmethod
    def _give_back(state: State) -> State:
        memory = list(state.memory)
        memory[HEAD] = state.reading.position + 1
        return state._replace(memory=tuple(memory))

    def _observe(self, state: State) -> Iterator[State]:
        """Somebody takes all at once; the observer copies the newest that should be safe, and looks again."""
        at, memory, safe = state.reading, state.memory, self.slots - 1
        if memory[HEAD] != memory[TAIL]:
            yield state._replace(memory=(memory[TAIL], memory[TAIL], *memory[FIRST:]))
        if at.step == EMPTY_LOOK:
            if not self.orders.tail_acquire and not at.first_half:
                yield self._load(state, 0)  # early
            if memory[TAIL] > at.position:
                position = max(at.position, memory[TAIL] - safe)
                half = at.first_half if position == at.position else 0
                yield state._replace(reading=at._replace(step=LOADING, position=position, first_half=half))
            return
        if at.step == LOADING:
            if not at.first_half:
                yield self._load(state, 0)
            elif not at.second_half:
                yield self._load(state, 1)
                if not self.orders.overwrite_acquire and not at.tail_seen:
                    yield state._replace(reading=at._replace(tail_seen=memory[TAIL]))  # early
            else:
                seen = at.tail_seen or memory[TAIL]
                yield state._replace(reading=at._replace(step=LOADED, tail_seen=seen))
            return
        is_kept = at.tail_seen - at.position <= safe or not self.orders.has_second_look
        if is_kept:
            self._check(at)
        yield state._replace(reading=Reading(position=at.position + 1, kept_count=at.kept_count + is_kept))


def first_error(orders: Orders, slots: int, messages: int, *, is_observer: bool) -> str:
    """Return the first wrong record that the state space holds; "" for none."""
    try:
        Space(orders, slots, messages, is_observer=is_observer).explore()
    except WrongRecordError as error:
        return str(error)
    return ""
