"""Slow side of the scanner's proofs: what the decoder says of the same bytes, and a seeded frame mutator.

`Rig` runs one frame through the native scanner (into a real ring) and through the orjson decoder and
checks the contract between them. `Mutator` makes hostile and odd frames out of good ones.
"""

import json
import random
from collections import Counter
from collections.abc import Sequence

from pipeline.kinds import Flag
from pipeline.native.framescan import Result, Scanner, TokenTable
from pipeline.native.ring import Reader, Ring, Writer
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket.decode_common import Decoded
from pipeline.venues.polymarket.market_decode import MarketDecoder

FLAGS_OFFSET = 34
RECV_NS = 1_790_000_000_123_456_789
SOURCE = 7


def without_fallback(runs: Sequence[bytes]) -> bytes:
    """Return the slots with the FALLBACK bit cleared; it must have been set on every one."""
    slots = bytearray(b"".join(runs))
    flags = slots[FLAGS_OFFSET::SLOT_BYTES]
    assert all(value & Flag.FALLBACK for value in flags)
    slots[FLAGS_OFFSET::SLOT_BYTES] = bytes(value & ~int(Flag.FALLBACK) for value in flags)
    return bytes(slots)


class Rig:
    """One scanner, one decoder, one table; `tokens` maps token -> (row, outcome, market)."""

    def __init__(self, tokens: dict[str, tuple[int, int, str]], slots: int = 2_048) -> None:
        self.table = TokenTable()
        for token, (row, outcome, market) in tokens.items():
            self.table.add(token, row, outcome, market)
        self.scanner = Scanner(self.table, SOURCE)
        self.decoder = MarketDecoder(self.table.get, SOURCE)
        self._buffer = bytearray(Ring.bytes_for(slots))
        Ring.format(self._buffer, slots)
        self.writer = Writer(self._buffer)
        self.reader = Reader(self._buffer)

    def drain(self) -> bytes:
        """Return all slots that are visible in the ring."""
        parts = []
        while part := self.reader.read(1_024):
            parts.append(part)
        return b"".join(parts)

    def compare(self, frame: bytes) -> tuple[Result, Decoded]:
        """Run both over the frame; AssertionError when the scanner says anything the decoder does not."""
        scanner, decoder = self.scanner, self.decoder
        seq_before, position = scanner.source_seq, self.writer.position
        decoder.source_seq = seq_before
        result = scanner.scan_bytes(frame, RECV_NS, self.writer)
        said = decoder.decode(frame, RECV_NS)
        if result is Result.OK:
            assert said.reject is None, (said.text, frame)
            assert (0, 0) == (said.unknown_count, said.ignored_count), frame
            assert without_fallback(said.records) == self.drain(), frame
            assert decoder.source_seq == scanner.source_seq
            return result, said
        assert position == self.writer.position, frame  # nothing was published
        assert seq_before == scanner.source_seq
        if result is Result.UNKNOWN:
            assert said.reject is None and not said.records and said.unknown_count, frame
        elif result is Result.IGNORED:
            assert said.reject is None and not said.records and said.ignored_count, frame
        else:
            assert result is Result.FALLBACK
        assert said.reject is None or (said.text and not said.records)
        return result, said


def tokens_of(frames: Sequence[bytes]) -> dict[str, tuple[int, int, str]]:
    """Return a table of every token in the frames: a row a market, outcomes in order of appearance."""
    rows: dict[str, int] = {}
    seen: Counter[str] = Counter()
    tokens: dict[str, tuple[int, int, str]] = {}
    for frame in frames:
        parsed = json.loads(frame)
        for obj in parsed if isinstance(parsed, list) else [parsed]:
            market = obj["market"]
            row = rows.setdefault(market, len(rows) + 1)
            for item in (obj, *obj.get("price_changes", ())):
                token = item.get("asset_id")
                if token is not None and token not in tokens:
                    tokens[token] = (row, seen[market], market)
                    seen[market] += 1
    return tokens


SPELLINGS = [
    b"0", b"1", b"0.5", b"0.50", b"00.5", b"0.5000", b"0.12345", b"0.12340", b"0.0001", b"0.9999", b"0.00001",
    b"",
    b"0.5000000000000000000000", b"1.0", b"10000", b"0.99990", b"-0.5", b"+0.5", b".5", b"5.", b"1e-1",
    b"1E2", b"NaN",
    b"Infinity", b"0x1", b"0_5", b" 0.5", b"0.5 ", b"\xd9\xa0.5", b"1000000000", b"1000000000.000001",
    b"999999999.999999",
    b"0.0000001", b"100000000000000000", b"9999999999999999999", b"9" * 5_000, b"0.25", b"0.001", b"0.333",
    b"146.37",
    b"1790766981628", b"BUY", b"SELL", b"buy", b"0.000", b"1.0000", b"0.6.1", b"5,5",
]
VALUES = [b"null", b"true", b"false", b"1", b"0.5", b"-1", b"1e400", b"[]", b"{}", b'{"a":1}',
          b'["1","1"]', b'{"a":{"b":[1,{"c":[]}]}}', b'{"a":1,"a":2}', b'{"a":[[[[0]]]]}', b"[[[[1]]]]",
          b"01", b"-", b"1.", b'"x"', b'"\\u0041"', b'"\\ud800"', b"12345678901234567890",
          b"123456789012345", b'"caf\xc3\xa9"', b'"\xff"']
KEYS = [b"market", b"asset_id", b"timestamp", b"hash", b"bids", b"asks", b"tick_size", b"event_type",
        b"price", b"size",
        b"side", b"best_bid", b"best_ask", b"price_changes", b"last_trade_price", b"changes", b"spread",
        b"extra", b"",
        b"assets_ids", b"winning_asset_id", b"event_message", b"tags", b"old_tick_size", b"new_tick_size",
        b"hash ", b"\\u0068ash"]
KINDS = [b"book", b"price_change", b"best_bid_ask", b"last_trade_price", b"tick_size_change",
         b"market_resolved", b"new_market", b"other"]
BYTES = b'{}[]",:\\ \n\r\t0123456789.eE+-tfn_\x00\x1f\x7f\x80\xc3\xff'
BLANKS = [b" ", b"\n", b"\t", b"\r\n", b"  ", b"\x0b", b"\xa0", b"\xef\xbb\xbf"]


class Mutator:
    """Seeded: `next()` returns a frame made from one of `frames` by 0..3 changes."""

    def __init__(self, seed: int, frames: Sequence[bytes], tokens: Sequence[str],
                 keys: Sequence[bytes] = KEYS) -> None:
        self._random = random.Random(seed)
        self._frames = frames
        self._keys = keys
        self._tokens = [token.encode() for token in tokens] + [b"1", b"9" * 77, b"9" * 80, b"0123"]
        self._ways = (
            self._byte, self._byte, self._delete, self._repeat, self._truncate, self._splice, self._key,
            self._key,
            self._spelling, self._spelling, self._value, self._blank, self._blank, self._token, self._array,
            self._pair, self._kind,
        )

    def next(self) -> bytes:
        pick = self._random
        frame = pick.choice(self._frames)
        for _ in range(pick.choice((0, 1, 1, 1, 1, 2, 3))):
            frame = pick.choice(self._ways)(frame)
        return frame

    def _place(self, frame: bytes) -> int:
        return int(self._random.random() * (len(frame) + 1))

    def _around(self, frame: bytes, what: bytes) -> int:
        """Return a place of `what`, looked for from a random byte on; -1 when there is none."""
        at = frame.find(what, self._place(frame))
        return at if at >= 0 else frame.find(what)

    def _byte(self, frame: bytes) -> bytes:
        at = self._place(frame)
        value = self._random.choice(BYTES) if self._random.random() < 0.8 else self._random.getrandbits(8)
        return frame[:at] + bytes((value,)) + frame[at + 1:]

    def _delete(self, frame: bytes) -> bytes:
        at = self._place(frame)
        return frame[:at] + frame[at + int(self._random.random() ** 3 * 40) + 1:]

    def _repeat(self, frame: bytes) -> bytes:
        at = self._place(frame)
        count = int(self._random.random() ** 2 * 60)
        return frame[:at] + frame[at:at + count] * 2 + frame[at + count:]

    def _truncate(self, frame: bytes) -> bytes:
        return frame[:self._place(frame)]

    def _splice(self, frame: bytes) -> bytes:
        other = self._random.choice(self._frames)
        return frame[:self._place(frame)] + other[self._place(other):]

    def _string(self, frame: bytes) -> tuple[int, int]:
        """Return the span of a string value with its quotes; (-1, -1) when none is found."""
        at = self._around(frame, b'":')
        start = frame.find(b'"', at + 2)
        end = frame.find(b'"', start + 1)
        return (start, end + 1) if 0 <= at < start < end else (-1, -1)

    def _replace(self, frame: bytes, new: bytes) -> bytes:
        start, end = self._string(frame)
        return frame if start < 0 else frame[:start] + new + frame[end:]

    def _key(self, frame: bytes) -> bytes:
        at = self._around(frame, b'":')
        start = frame.rfind(b'"', 0, max(at, 0))
        if at < 0 or start < 0:
            return frame
        return frame[:start + 1] + self._random.choice(self._keys) + frame[at:]

    def _spelling(self, frame: bytes) -> bytes:
        return self._replace(frame, b'"' + self._random.choice(SPELLINGS) + b'"')

    def _value(self, frame: bytes) -> bytes:
        return self._replace(frame, self._random.choice(VALUES))

    def _kind(self, frame: bytes) -> bytes:
        key = frame.find(b'"event_type"')
        start = frame.find(b'"', key + 12)
        end = frame.find(b'"', start + 1)
        is_found = 0 <= key < start < end
        return frame[:start + 1] + self._random.choice(KINDS) + frame[end:] if is_found else frame

    def _blank(self, frame: bytes) -> bytes:
        near = self._random.choice((b",", b":", b"{", b"[", b"]", b"}"))
        at = self._around(frame, near) + self._random.getrandbits(1)
        blank = self._random.choice(BLANKS if self._random.random() < 0.2 else BLANKS[:5])
        return frame[:at] + blank + frame[at:] if at >= 0 else blank + frame

    def _token(self, frame: bytes) -> bytes:
        key = self._random.choice((b'"asset_id"', b'"winning_asset_id"', b'"assets_ids"'))
        if key not in frame:
            key = b'"asset_id"'
        at = self._around(frame, key)
        start = frame.find(b'"', at + len(key) + 1)
        end = frame.find(b'"', start + 1)
        if not 0 <= at < start < end:
            return frame
        return frame[:start + 1] + self._random.choice(self._tokens) + frame[end:]

    def _array(self, frame: bytes) -> bytes:
        body = frame.strip()
        other = self._random.choice((b"", b"," + body, b"," + self._random.choice(self._frames), b",{}",
                                     b","))
        return b"[" + body + other + b"]" if not body.startswith(b"[") else body[1:-1]

    def _pair(self, frame: bytes) -> bytes:
        """Add a pair, often of a key that is there already, before some key."""
        at = self._around(frame, b'"')
        value = self._random.choice((*VALUES, b'"0.5"', b'"v2"'))
        extra = b'"' + self._random.choice(self._keys) + b'":' + value
        return frame[:at] + extra + b"," + frame[at:] if at >= 0 else frame


def spelled(frame: bytes, seed: int) -> bytes:
    """Return the same frame with shuffled keys and other separators."""
    pick = random.Random(seed)

    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            keys = list(value)
            pick.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    comma, colon = pick.choice(((",", ":"), (", ", ":"), (" ,\n", " : "), (",\t", ":\r\n")))
    return json.dumps(shuffled(json.loads(frame)), separators=(comma, colon)).encode() + pick.choice((b"",
        b"\n", b" \n"))
