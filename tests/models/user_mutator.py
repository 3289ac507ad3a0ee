"""User-channel frames that are good JSON of the venue's shape and tell of our orders what did not happen.

`Words` takes a true order or trade event and returns a liar's: other orders, tokens, sides, sizes, prices,
statuses, roles, ids. Seeded; every way has a name.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from tests.models.liar import Frame, Liar

ORDER_STATUSES = (
    "LIVE", "MATCHED", "DELAYED", "UNMATCHED", "CANCELED", "CANCELED_EXPIRED_ORDER", "INVALID", "", "DONE",
    "CANCELED_order couldn't be fully filled. FOK orders are fully filled or killed.")
TRADE_STATUSES = ("MATCHED", "MINED", "CONFIRMED", "RETRYING", "FAILED", "TRADE_STATUS_FAILED",
                  "MATCHED_NOT_BROADCASTED", "SETTLED", "")
TYPES = ("PLACEMENT", "UPDATE", "CANCELLATION", "TRADE", "")
PRICES = ("0.01", "0.99", "0.5", "0.2", "0", "1", "1.5", "-0.1", "0.00005", "")
SIZES = ("0", "0.000001", "1", "5", "7.5", "1000000", "18446744073709551616", "-5", "1e3", "")
OTHER_TYPES: tuple[Any, ...] = (None, True, 0, 17, 0.5, [], {}, ["5"], 1 << 63)


class Words(Liar):
    """`next(frame)` returns (name of the way, bytes). tokens: of all markets; own: hashes of our orders."""

    def __init__(self, seed: str, tokens: Sequence[str], own: Sequence[str], owner: str) -> None:
        self._tokens, self.own, self._owner = list(tokens), own, owner
        super().__init__(seed, (
            "order_foreign", "order_other", "token_sister", "token_other", "token_unknown", "market_other",
            "side_other", "price_other", "price_mirrored", "size_larger", "size_smaller", "size_other",
            "status_other", "type_other", "trade_invented", "trade_repeated_larger", "role_other",
            "owner_other", "makers_gone", "maker_twice", "missing", "other_type", "time_other",
            "matched_more", "kind_other"))

    # -- whose -----------------------------------------------------------------------------------

    def _ids(self, frame: Frame) -> list[tuple[Frame, str]]:
        """Return where the frame names orders."""
        if frame["event_type"] == "order":
            return [(frame, "id")]
        return [(frame, "taker_order_id"), *((maker, "order_id") for maker in frame["maker_orders"])]

    def _order_foreign(self, frame: Frame) -> bytes:
        one, key = self._random.choice(self._ids(frame))
        one[key] = "0x" + self._random.randbytes(32).hex()
        return orjson.dumps(frame)

    def _order_other(self, frame: Frame) -> bytes | None:
        """Another order of ours: true of one, told of the other."""
        places = [(one, key) for one, key in self._ids(frame) if one[key] in self.own]
        if not places or len(self.own) < 2:
            return None
        one, key = self._random.choice(places)
        one[key] = self._random.choice(self.own)
        return orjson.dumps(frame)

    def _owner_other(self, frame: Frame) -> bytes:
        for one in (frame, *frame.get("maker_orders", ())):
            for key in ("owner", "trade_owner", "order_owner"):
                if key in one and self._random.random() < 0.5:
                    one[key] = self._random.choice((self._owner, str(uuid.UUID(int=7))))
        return orjson.dumps(frame)

    def _role_other(self, frame: Frame) -> bytes | None:
        if "trader_side" not in frame:
            return None
        frame["trader_side"] = {"MAKER": "TAKER", "TAKER": "MAKER"}[frame["trader_side"]]
        return orjson.dumps(frame)

    # -- what --------------------------------------------------------------------------------------

    def _objects(self, frame: Frame) -> list[Frame]:
        return [frame, *frame.get("maker_orders", ())]

    def _each(self, frame: Frame, keys: tuple[str, ...], change: Callable[[str], str]) -> bytes:
        """Change every value of these keys: a whole story that fits together."""
        for one in self._objects(frame):
            for key in keys:
                if one.get(key):
                    one[key] = change(one[key])
        return orjson.dumps(frame)

    def _one(self, frame: Frame, keys: tuple[str, ...], values: Sequence[Any]) -> bytes | None:
        places = [(one, key) for one in self._objects(frame) for key in keys if key in one]
        if not places:
            return None
        one, key = self._random.choice(places)
        one[key] = self._random.choice(values)
        return orjson.dumps(frame)

    def _token_sister(self, frame: Frame) -> bytes:
        def sister(token: str) -> str:
            return self._tokens[self._tokens.index(token) ^ 1] if token in self._tokens else token

        return self._each(frame, ("asset_id",), sister)

    def _token_other(self, frame: Frame) -> bytes:
        other = self._random.choice(self._tokens)
        return self._each(frame, ("asset_id",), lambda token: other)

    def _token_unknown(self, frame: Frame) -> bytes:
        unknown = str(self._random.getrandbits(250))
        return self._each(frame, ("asset_id",), lambda token: unknown)

    def _market_other(self, frame: Frame) -> bytes | None:
        return self._one(frame, ("market",), ("0x" + "5f" * 32, "", frame["market"].upper()))

    def _side_other(self, frame: Frame) -> bytes:
        return self._each(frame, ("side",), lambda side: {"BUY": "SELL", "SELL": "BUY"}[side])

    def _price_other(self, frame: Frame) -> bytes:
        price = self._random.choice(PRICES)
        return self._each(frame, ("price",), lambda text: price)

    def _price_mirrored(self, frame: Frame) -> bytes:
        return self._each(frame, ("price",), lambda text: f"{1 - float(text):.4f}")

    def _size_larger(self, frame: Frame) -> bytes:
        by = self._random.choice((2, 3, 10, 1_000))
        return self._sizes(frame, lambda size: size * by)

    def _size_smaller(self, frame: Frame) -> bytes:
        by = self._random.choice((2, 3, 10))
        return self._sizes(frame, lambda size: size / by)

    def _sizes(self, frame: Frame, change: Callable[[float], float]) -> bytes:
        return self._each(
            frame, ("size", "matched_amount", "original_size", "size_matched"),
            lambda text: f"{change(float(text)):.6f}")

    def _size_other(self, frame: Frame) -> bytes | None:
        keys = ("size", "matched_amount", "original_size", "size_matched")
        return self._one(frame, keys, SIZES)

    def _matched_more(self, frame: Frame) -> bytes | None:
        if "size_matched" not in frame:
            return None
        frame["size_matched"] = f"{float(frame['original_size']) * self._random.choice((0.5, 1, 1.5, 9)):.6f}"
        return orjson.dumps(frame)

    # -- how far it is ---------------------------------------------------------------------------

    def _status_other(self, frame: Frame) -> bytes:
        words = ORDER_STATUSES if frame["event_type"] == "order" else TRADE_STATUSES
        frame["status"] = self._random.choice(words)
        return orjson.dumps(frame)

    def _type_other(self, frame: Frame) -> bytes | None:
        return self._one(frame, ("type",), TYPES)

    def _trade_invented(self, frame: Frame) -> bytes | None:
        """Another id: a match more than there was."""
        if frame["event_type"] != "trade":
            return None
        frame["id"] = str(uuid.UUID(bytes=self._random.randbytes(16), version=4))
        return orjson.dumps(frame)

    def _trade_repeated_larger(self, frame: Frame) -> bytes | None:
        """The same trade once more, grown: its words change between two statuses."""
        if frame["event_type"] != "trade":
            return None
        frame["status"] = self._random.choice(TRADE_STATUSES[:5])
        return self._sizes(frame, lambda size: size + 1)

    # -- shape -------------------------------------------------------------------------------------

    def _makers_gone(self, frame: Frame) -> bytes | None:
        return self._one(frame, ("maker_orders",), ([], None)) if "maker_orders" in frame else None

    def _maker_twice(self, frame: Frame) -> bytes | None:
        if not frame.get("maker_orders"):
            return None
        frame["maker_orders"] *= 2
        return orjson.dumps(frame)

    def _missing(self, frame: Frame) -> bytes:
        one = self._random.choice(self._objects(frame))
        del one[self._random.choice(sorted(one))]
        return orjson.dumps(frame)

    def _other_type(self, frame: Frame) -> bytes:
        one = self._random.choice(self._objects(frame))
        one[self._random.choice(sorted(one))] = self._random.choice(OTHER_TYPES)
        return orjson.dumps(frame)

    def _time_other(self, frame: Frame) -> bytes | None:
        return self._one(
            frame, ("timestamp", "match_time", "last_update", "created_at", "expiration"),
            ("0", "1", "1790000000", "1790000000000", "9999999999999", ""))

    def _kind_other(self, frame: Frame) -> bytes:
        frame["event_type"] = {"order": "trade", "trade": "order"}[frame["event_type"]]
        return orjson.dumps(frame)
