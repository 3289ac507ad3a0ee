"""Market frames that are good JSON of the venue's shape and mean something else than what happened.

`Meanings` takes a true frame and returns a liar's: renamed, missing and repeated keys, values of another
type, swapped sides and tokens, shifted prices, other sizes, times and hashes. Seeded; every way has a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import orjson

from tests.models.liar import Frame, Liar

LISTS = ("price_changes", "bids", "asks")
RENAMED = {
    "price": "Price", "size": "amount", "asset_id": "assetId", "price_changes": "changes",
    "side": "direction", "timestamp": "ts", "hash": "digest", "market": "condition_id",
    "bids": "buys", "asks": "sells",
    "event_type": "type", "tick_size": "tickSize", "best_bid": "bestBid", "best_ask": "bestAsk",
    "new_tick_size": "tick_size", "old_tick_size": "previous_tick_size", "last_trade_price": "last"}
NUMBERS = ("price", "size", "best_bid", "best_ask", "tick_size", "new_tick_size", "old_tick_size",
           "last_trade_price")
SPELLED = (
    "0", "1", "0.5", "0.50", "1.5", "-0.5", "0.00005", "0.333333", "5e-1", "50", "", "NaN", "0.9999",
    "0.0001")
SIZES = (
    "0", "0.000001", "0.0000001", "1000000000", "1000000000.000001", "18446744073709551616", "-5", "5,0",
    "1e3")
TICKS = ("0.1", "0.01", "0.001", "0.0001", "0.005", "0.0025", "0.02", "0.3", "0", "1", "0.00001")
OTHER_TYPES: tuple[Any, ...] = (None, True, 0, 17, 0.5, [], {}, ["0.5"], {"a": "0.5"}, 1 << 63)
KINDS = ("book", "price_change", "best_bid_ask", "last_trade_price", "tick_size_change", "trade", "")


class Meanings(Liar):
    """`next(frame)` returns (name of the way, bytes); `tokens` and `markets` are all that the venue has."""

    def __init__(self, seed: int, tokens: Sequence[str], markets: Sequence[str]) -> None:
        self._tokens, self._markets = list(tokens), list(markets)
        super().__init__(seed, (
            "renamed", "missing", "other_type", "repeated_key", "sides_swapped", "one_side",
            "prices_shifted", "one_price", "price_mirrored", "number_respelled", "size_other",
            "sizes_scaled", "tokens_swapped", "token_other", "token_unknown", "market_other",
            "id_as_number", "id_respelled", "time_other", "time_unit", "hash_other", "hashes_swapped",
            "item_dropped", "item_repeated", "item_invented", "lists_swapped", "list_emptied",
            "best_swapped", "tick_other", "kind_other", "twice_with_other_sizes"))

    # -- finding a place -------------------------------------------------------------------------------

    def _items(self, frame: Frame) -> list[Frame]:
        return [item for name in LISTS for item in frame.get(name, ())]

    def _any(self, frame: Frame, *keys: str) -> tuple[Frame, str] | None:
        """Return an object of the frame with one of the keys (all keys without any), and the key."""
        items = self._items(frame)
        for _ in range(6):
            one = self._random.choice(items) if items and self._random.random() < 0.7 else frame
            found = [key for key in one if key in keys or not keys]
            if found:
                return one, self._random.choice(found)
        return None

    def _put(self, frame: Frame, keys: tuple[str, ...], values: Sequence[Any]) -> bytes | None:
        place = self._any(frame, *keys)
        if place is None:
            return None
        place[0][place[1]] = self._random.choice(values)
        return orjson.dumps(frame)

    def _each(self, frame: Frame, key: str, change: Callable[[str], str]) -> bytes | None:
        """Change the value of a key in every object of the frame."""
        count = 0
        for item in (frame, *self._items(frame)):
            if isinstance(item.get(key), str):
                item[key] = change(item[key])
                count += 1
        return orjson.dumps(frame) if count else None

    # -- shape -----------------------------------------------------------------------------------------

    def _renamed(self, frame: Frame) -> bytes | None:
        place = self._any(frame, *RENAMED)
        if place is None:
            return None
        one, key = place
        one[RENAMED[key]] = one.pop(key)
        return orjson.dumps(frame)

    def _missing(self, frame: Frame) -> bytes | None:
        place = self._any(frame)
        if place is not None:
            del place[0][place[1]]
        return orjson.dumps(frame)

    def _other_type(self, frame: Frame) -> bytes | None:
        return self._put(frame, (), OTHER_TYPES)

    def _repeated_key(self, frame: Frame) -> bytes | None:
        """Say a key of some object twice, with another value, in front or behind."""
        place = self._any(frame, *NUMBERS, "side", "asset_id", "timestamp", "hash", "event_type")
        if place is None:
            return None
        one, key = place
        text, own = orjson.dumps(frame), orjson.dumps(one)
        value = self._random.choice((*SPELLED, one[key], self._tokens[0]))
        pair = orjson.dumps(key) + b":" + orjson.dumps(value)
        two = own[:-1] + b"," + pair + b"}" if self._random.random() < 0.5 else b"{" + pair + b"," + own[1:]
        return text.replace(own, two, 1)

    def _kind_other(self, frame: Frame) -> bytes | None:
        frame["event_type"] = self._random.choice(KINDS)
        return orjson.dumps(frame)

    # -- prices, sizes, sides --------------------------------------------------------------------------

    def _sides_swapped(self, frame: Frame) -> bytes | None:
        return self._each(frame, "side", {"BUY": "SELL", "SELL": "BUY"}.__getitem__)

    def _one_side(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("side",), ("BUY", "SELL", "buy", "BID", "ASK", ""))

    def _prices_shifted(self, frame: Frame) -> bytes | None:
        """Move every price by some ticks, the sister's the other way: the mirror still agrees."""
        by = self._random.choice((1, -1, 10, -10, 100, -100, 5))
        first = (self._items(frame) or [frame])[0].get("asset_id")
        for item in (frame, *self._items(frame)):
            if isinstance(item.get("price"), str):
                item["price"] = _moved(item["price"], by if item.get("asset_id") == first else -by)
        return orjson.dumps(frame)

    def _one_price(self, frame: Frame) -> bytes | None:
        place = self._any(frame, "price", "best_bid", "best_ask")
        if place is None:
            return None
        one, key = place
        one[key] = _moved(one[key], self._random.choice((1, -1, 100, -100, 1_000)))
        return orjson.dumps(frame)

    def _price_mirrored(self, frame: Frame) -> bytes | None:
        return self._each(frame, "price", lambda text: _text(10_000 - _ticks(text)))

    def _number_respelled(self, frame: Frame) -> bytes | None:
        return self._put(frame, NUMBERS, SPELLED)

    def _size_other(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("size",), SIZES)

    def _sizes_scaled(self, frame: Frame) -> bytes | None:
        """Every size times ten: shares taken for tenths."""
        return self._each(frame, "size", lambda text: text.replace(".", "") if "." in text else text + "0")

    def _tick_other(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("tick_size", "new_tick_size", "old_tick_size"), TICKS)

    # -- whose -----------------------------------------------------------------------------------------

    def _tokens_swapped(self, frame: Frame) -> bytes | None:
        """YES for NO everywhere: labels taken by position."""
        pairs = [(self._tokens[at], self._tokens[at + 1]) for at in range(0, len(self._tokens), 2)]
        other = {**dict(pairs), **{second: first for first, second in pairs}}
        return self._each(frame, "asset_id", lambda text: other.get(text, text))

    def _token_other(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("asset_id",), self._tokens)

    def _token_unknown(self, frame: Frame) -> bytes | None:
        unknown = str(self._random.getrandbits(250))
        return self._each(frame, "asset_id", lambda text: unknown)

    def _market_other(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("market",), [*self._markets, "0x" + "5f" * 32, "", "0X" + "5F" * 32])

    def _id_as_number(self, frame: Frame) -> bytes | None:
        """The id without its quotes: 256 bits that a float would round."""
        place = self._any(frame, "asset_id")
        if place is None:
            return None
        token = place[0]["asset_id"].encode()
        return orjson.dumps(frame).replace(b'"' + token + b'"', token, 1)

    def _id_respelled(self, frame: Frame) -> bytes | None:
        place = self._any(frame, "asset_id")
        if place is None:
            return None
        token = place[0]["asset_id"]
        place[0]["asset_id"] = self._random.choice((
            "0" + token, hex(int(token)), f"{float(token):.17e}", str(int(float(token))), token + " ",
            token[:-1]))
        return orjson.dumps(frame)

    # -- when, and its proof ---------------------------------------------------------------------------

    def _time_other(self, frame: Frame) -> bytes | None:
        by = self._random.choice((-1, 1, -40, 40, -60_000, 3_600_000, -10**9))
        return self._each(frame, "timestamp", lambda text: str(int(text) + by))

    def _time_unit(self, frame: Frame) -> bytes | None:
        unit = self._random.choice(("000000", "000"))
        return self._each(frame, "timestamp", lambda text: text[:-3] if unit == "000" else text + unit)

    def _hash_other(self, frame: Frame) -> bytes | None:
        return self._put(frame, ("hash",), ("00" * 20, "0a" * 20, "0A" * 20, "0a" * 32, "", "0x" + "0a" * 19))

    def _hashes_swapped(self, frame: Frame) -> bytes | None:
        found = list(dict.fromkeys(item["hash"] for item in self._items(frame) if "hash" in item))
        if len(found) < 2:
            return None
        other = {found[0]: found[1], found[1]: found[0]}
        return self._each(frame, "hash", lambda text: other.get(text, text))

    def _best_swapped(self, frame: Frame) -> bytes | None:
        for item in (frame, *self._items(frame)):
            if "best_bid" in item and "best_ask" in item:
                item["best_bid"], item["best_ask"] = item["best_ask"], item["best_bid"]
        return orjson.dumps(frame)

    # -- lists -----------------------------------------------------------------------------------------

    def _list(self, frame: Frame) -> list[Frame] | None:
        found = [frame[name] for name in LISTS if frame.get(name)]
        return self._random.choice(found) if found else None

    def _item_dropped(self, frame: Frame) -> bytes | None:
        items = self._list(frame)
        if items is None:
            return None
        del items[self._random.randrange(len(items))]
        return orjson.dumps(frame)

    def _item_repeated(self, frame: Frame) -> bytes | None:
        items = self._list(frame)
        if items is None:
            return None
        items.insert(self._random.randrange(len(items) + 1), self._random.choice(items))
        return orjson.dumps(frame)

    def _item_invented(self, frame: Frame) -> bytes | None:
        """A level or change that nobody made, on the grid, with its mirror where there is one."""
        items = self._list(frame)
        if items is None:
            return None
        items.append(items[0] | {"price": _text(100 * self._random.randrange(1, 100)), "size": "77"})
        return orjson.dumps(frame)

    def _twice_with_other_sizes(self, frame: Frame) -> bytes | None:
        items = self._list(frame)
        if items is None:
            return None
        items.append(self._random.choice(items) | {"size": str(self._random.randrange(10**6))})
        return orjson.dumps(frame)

    def _lists_swapped(self, frame: Frame) -> bytes | None:
        """Bids for asks."""
        if "bids" not in frame:
            return None
        frame["bids"], frame["asks"] = frame["asks"], frame["bids"]
        return orjson.dumps(frame)

    def _list_emptied(self, frame: Frame) -> bytes | None:
        found = [name for name in LISTS if frame.get(name)]
        if not found:
            return None
        frame[self._random.choice(found)] = []
        return orjson.dumps(frame)


def _ticks(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole or "0") * 10_000 + int((fraction + "0000")[:4])


def _text(ticks: int) -> str:
    return f"{ticks // 10_000}.{ticks % 10_000:04d}".rstrip("0").rstrip(".")


def _moved(text: str, by: int) -> str:
    """Return a price some ticks further, round the corner where it would leave 0..1."""
    return _text((_ticks(text) + by) % 10_000) if text else text
