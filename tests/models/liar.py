"""A liar: takes a true frame and returns, by one of its ways, one that is good JSON and not true."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Any

import orjson

Frame = dict[str, Any]


class Liar:
    """`next(frame)` returns (name of the way, bytes). A way is a method `_name` that changes the frame."""

    def __init__(self, seed: int | str, ways: Iterable[str]) -> None:
        """ways: names of the methods; each returns the lie, or None where it has no hold on the frame."""
        self._random = random.Random(seed)
        self.ways: dict[str, Callable[[Frame], bytes | None]] = {
            name: getattr(self, f"_{name}") for name in ways}
        self._names = tuple(self.ways)

    def next(self, text: bytes) -> tuple[str, bytes]:
        """Return what a liar makes of the frame, and the name of the lie."""
        while True:
            name = self._random.choice(self._names)
            made = self.ways[name](orjson.loads(text))
            if made is not None and made != text:
                return name, made
