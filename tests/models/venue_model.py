"""A truthful venue in Python: one book per condition, commits that become frames as Polymarket sends them.

Used to make random streams with right hashes, and as the truth that a proven book must equal. Frames are
records (bytes), one run each, with `now_ns` left for the caller.
"""

from __future__ import annotations

import random
from typing import Any

from pipeline import records as r
from pipeline.codec import CODECS, HEADER_STRUCT, unpack
from tests.models.book_state import FULL, announced_hash, identity, mix_of, trade_text

Frame = bytes


class Market:
    def __init__(self, row: int, rng: random.Random, tick_step: int, rules: int, shard: int = 0) -> None:
        self.row, self.rng, self.tick_step, self.rules, self.shard = row, rng, tick_step, rules, shard
        self.instrument = CODECS[r.Kind.INSTRUMENT].pack(
            instrument=row,
            condition=rng.randbytes(32),
            token_yes=rng.randbytes(32),
            token_no=rng.randbytes(32),
            rules=rules,
            tick_step=tick_step,
            tick_step_finest=tick_step,
            shard=shard,
            size_micro_min=5_000_000,
            source=1,
        )
        self.ids: dict[str, Any] = identity(unpack(self.instrument))
        self.sides: list[dict[int, int]] = [{}, {}]
        self.venue_ns = 1_790_000_000_000 * 10**6
        self.trade = (0, 0)
        self.true_hashes: set[bytes] = set()
        for _ in range(rng.randrange(4, 30)):
            self.place(*self.quiet_order())

    def best(self, side: int) -> int:
        return (max(self.sides[0], default=0), min(self.sides[1], default=0))[side]

    def quiet_order(self) -> tuple[int, int, int]:
        """Return (side, price, size) that does not cross the other side."""
        side = self.rng.randrange(2)
        bid, ask = self.best(0), self.best(1) or FULL
        low, high = (
            (1, (ask - 1) // self.tick_step)
            if side == 0
            else (bid // self.tick_step + 1, (FULL - 1) // self.tick_step)
        )
        if low > high:
            return side, 0, 0
        near = self.rng.random() < 0.7
        place = (
            self.rng.randint(max(low, high - 6), high)
            if near and side == 0
            else self.rng.randint(low, min(high, low + 6))
            if near
            else self.rng.randint(low, high)
        )
        size = self.rng.choice(
            (0, 5_000_000, 634_490_000, self.rng.randrange(1, 10**9), 10**6 * self.rng.randrange(1, 10**6))
        )
        return side, place * self.tick_step, size

    def place(self, side: int, price: int, size: int) -> tuple[int, int, int] | None:
        if not 0 < price < FULL or self.sides[side].get(price, 0) == size:
            return None
        if size:
            self.sides[side][price] = size
        else:
            del self.sides[side][price]
        return price, size, side

    def hashes(self) -> tuple[bytes, bytes]:
        if not self.rules & r.Rule.HASHED:
            return bytes(20), bytes(20)
        pair = tuple(
            announced_hash(self.ids, o, self.venue_ns, *self.sides, self.tick_step, trade_text(*self.trade))
            for o in (0, 1)
        )
        self.true_hashes.update(pair)
        return pair  # type: ignore[return-value]

    def tops(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        return sorted(self.sides[0].items(), reverse=True)[:8], sorted(self.sides[1].items())[:8]

    def header(self) -> dict[str, Any]:
        return {"instrument": self.row, "venue_ns": self.venue_ns, "source": 1}

    def step_time(self) -> None:
        self.venue_ns += 10**6 * self.rng.choice((0, 1, 1, 3, 40))

    def commit(self) -> list[Frame]:
        """Change the book once; return its frames: same timestamp, same hashes, final best prices in each."""
        self.step_time()
        if self.rng.random() < 0.15:
            return self.fill()
        changes = [
            c
            for c in (self.place(*self.quiet_order()) for _ in range(self.rng.choice((1, 1, 1, 2, 3, 9))))
            if c
        ]
        return self.frames(changes)

    def fill(self) -> list[Frame]:
        """A taker sweeps the best levels: remainder first, then removals, then fresh books and the print."""
        side = self.rng.randrange(2)
        levels = sorted(self.sides[side], reverse=side == 0)[: self.rng.randrange(1, 4)]
        if not levels:
            return []
        last = levels[-1]
        changes = [c for c in [self.place(side, p, 0) for p in levels] if c]
        rest = self.place(1 - side, last, 45_830_000) if self.rng.random() < 0.5 else None
        self.trade = (
            last if self.rng.random() < 0.5 else FULL - last,
            3 if last % 10 == 0 and self.tick_step >= 10 else 4,
        )
        frames = self.frames(([rest] if rest else []) + changes, per_frame=1)
        frames += [self.snapshot(0, False), self.snapshot(1, False)] if self.rng.random() < 0.5 else []
        price = self.trade[0] if self.rng.random() < 0.5 else FULL - self.trade[0]
        frames.append(
            CODECS[r.Kind.TRADE_PRINT].pack(
                **self.header(),
                price_ticks=price,
                size_micro=10**6,
                side=self.rng.randrange(2),
                outcome=self.rng.randrange(2),
            )
        )
        return frames

    def frames(self, changes: list[tuple[int, int, int]], per_frame: int | None = None) -> list[Frame]:
        found, yes_no = [], self.hashes()
        while changes:
            count = per_frame or self.rng.randrange(1, 5)
            found.append(self.delta(changes[:count], yes_no))
            changes = changes[count:]
        return found

    def delta(self, changes: list[tuple[int, int, int]], hashes: tuple[bytes, bytes]) -> Frame:
        pairs = [[(p, s, side, 0), (FULL - p, s, side ^ 1, 1)] for p, s, side in changes]
        flat = [c for pair in pairs for c in (pair if self.rng.random() < 0.5 else pair[::-1])]
        bid, ask = self.best(0), self.best(1)
        slots = []
        for at in range(0, len(flat), 8):
            part = flat[at : at + 8]
            prices, sizes, sides, tokens = zip(*part, strict=True)
            slots.append(
                CODECS[r.Kind.DELTA].pack(
                    **self.header(),
                    part=at // 8,
                    parts=(len(flat) + 7) // 8,
                    hash_yes=hashes[0],
                    hash_no=hashes[1],
                    best_bid_yes=bid,
                    best_ask_yes=ask,
                    best_bid_no=FULL - ask if ask else 0,
                    best_ask_no=FULL - bid if bid else 0,
                    change_count=len(part),
                    price_ticks=prices,
                    size_micro=sizes,
                    side=bytes(sides),
                    outcome=bytes(tokens),
                )
            )
        return b"".join(slots)

    def snapshot(self, outcome: int = 0, is_first: bool = True, levels_per_run: int = 896) -> Frame:
        """The whole book as one token sees it; a list of runs joined, cut by `runs_of`."""
        sides = (
            self.sides
            if outcome == 0
            else [
                {FULL - p: s for p, s in self.sides[1].items()},
                {FULL - p: s for p, s in self.sides[0].items()},
            ]
        )
        levels = [(p, s, side) for side in (0, 1) for p, s in sides[side].items()]
        tick = self.tick_step if is_first else 0
        state = (1 if self.trade[1] == 0 else 2) if is_first else 0
        hashes = self.hashes()
        found, runs = (
            [],
            [levels[at : at + levels_per_run] for at in range(0, len(levels), levels_per_run)] or [[]],
        )
        for number, run in enumerate(runs):
            parts = [run[at : at + 14] for at in range(0, len(run), 14)] or [[]]
            for place, part in enumerate(parts):
                bids = sum(1 for level in part if level[2] == 0)
                found.append(
                    CODECS[r.Kind.SNAPSHOT].pack(
                        **self.header(),
                        flags=r.Flag.MORE if number + 1 < len(runs) else 0,
                        part=place,
                        parts=len(parts),
                        hash=hashes[outcome],
                        outcome=outcome,
                        tick_step=tick,
                        last_trade_state=state,
                        last_trade_ticks=self.trade[0] if state == 2 else 0,
                        bid_count=bids,
                        ask_count=len(part) - bids,
                        price_ticks=tuple(p for p, _, _ in part),
                        size_micro=tuple(s for _, s, _ in part),
                    )
                )
        return b"".join(found)

    def sample(self, **said: Any) -> Frame:
        """What REST shows of the first outcome, as a SAMPLE; `said` replaces fields."""
        fields = {
            "bid_ticks": self.best(0), "ask_ticks": self.best(1), "hash": self.hashes()[0],
            "level_count": len(self.sides[0]) + len(self.sides[1]), "levels_mix": mix_of(self.sides)}
        return CODECS[r.Kind.SAMPLE].pack(**(self.header() | fields | said))

    def bbo(self, outcome: int) -> Frame:
        bid, ask = self.best(0), self.best(1)
        if outcome:
            bid, ask = FULL - ask if ask else 0, FULL - bid if bid else 0
        return CODECS[r.Kind.BBO].pack(**self.header(), outcome=outcome, bid_ticks=bid, ask_ticks=ask)

    def change_tick(self, new_step: int) -> list[Frame]:
        self.step_time()
        old, self.tick_step = self.tick_step, new_step
        return [
            CODECS[r.Kind.TICK_STEP].pack(**self.header(), old_step=old, new_step=new_step, outcome=o)
            for o in (0, 1)
        ]


def runs_of(data: bytes) -> list[bytes]:
    """Cut joined runs apart by their `parts`."""
    found, at = [], 0
    while at < len(data):
        parts = unpack(data, at).parts
        found.append(data[at : at + parts * r.SLOT_BYTES])
        at += parts * r.SLOT_BYTES
    return found


def stamped(run: bytes, **header: int) -> bytes:
    """Return the run with header fields replaced in each slot."""
    data = bytearray(run)
    names = [field[0] for field in r.HEADER]
    for at in range(0, len(data), r.SLOT_BYTES):
        values = list(HEADER_STRUCT.unpack_from(data, at))
        for name, value in header.items():
            values[names.index(name)] = value
        HEADER_STRUCT.pack_into(data, at, *values)
    return bytes(data)
