"""A process that listens to a hostile venue over a real websocket and says what it cost; for test_IN01_caps.

Usage: python -m tests.faults.hostile_socket ATTACK. Prints one JSON object: counters, records by kind,
and how much the largest resident memory grew from the moment before the attack.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress

from pipeline.codec import unpack
from pipeline.kinds import Kind
from pipeline.records import SLOT_BYTES
from pipeline.sim.websocket import accept_key, server_frame
from tests.models.feed_socket import NO, YES, Heard, Rig, change

MIB = 1 << 20
SLOTS = 1 << 13
CHUNK = b"x" * 65_536


def _book(levels: int, filler: int = 0) -> bytes:
    """Return a book of many levels that the native scanner leaves to the decoder."""
    level = {"price": "0.5", "size": "1"}
    return json.dumps({
        "market": "0x" + "5f" * 32, "asset_id": YES, "timestamp": "1790766981628", "hash": "0a" * 20,
        "event_type": "book", "bids": [level] * levels, "asks": [], "why": {"a": "x" * filler}}).encode()


def _pieces(first: int, count: int) -> Iterator[bytes]:
    """Yield a text message in endless fragments."""
    yield bytes((first, 127)) + len(CHUNK).to_bytes(8, "big") + CHUNK
    for _ in range(count):
        yield bytes((0x00, 127)) + len(CHUNK).to_bytes(8, "big") + CHUNK


def _bomb() -> bytes:
    """Return a compressed frame that nobody negotiated: 64 MiB of blanks in 64 KiB."""
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(squeeze.compress(b" " * MIB) for _ in range(64)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    return bytes((0xC1, 127)) + len(packed).to_bytes(8, "big") + packed


#: What the venue sends behind a few good frames: pieces of bytes.
ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "a frame that says it is a TiB": lambda: iter([bytes((0x81, 127)) + (1 << 40).to_bytes(8, "big"), CHUNK]),
    "a frame beyond the cap": lambda: iter([server_frame(b"[" + b" " * (17 * MIB) + b"]")]),
    "endless fragments": lambda: _pieces(0x01, 600),
    "compression bomb": lambda: iter([_bomb()]),
    "object beyond its cap": lambda: iter([server_frame(_book(1, 2 * MIB))]),
    "array at its cap": lambda: iter([server_frame(b"[" + b" " * (8 * MIB - 2) + b"]")]),
    "array of endless values": lambda: iter([server_frame(b"[" + b"1," * (7 * MIB) + b"1]")]),
    "deep": lambda: iter([server_frame(b"[" * MIB)]),
    "endless levels": lambda: iter([server_frame(_book(10_500))]),
    "endless objects": lambda: iter([server_frame(b"[" + b'{"a":1},' * 60_000 + b"{}]")]),
    "endless keys": lambda: iter([
        server_frame(b"{" + b",".join(b'"%d":1' % n for n in range(60_000)) + b"}")]),
    "garbage": lambda: iter([server_frame(b"x" * (2 * MIB))]),
    "many good books": lambda: iter([server_frame(b"[" + b",".join([_book(600)] * 100) + b"]")]),
}


async def serve(attack: str) -> Heard:
    """Play: good frames, the attack, and on every further line good frames again."""
    heard, lines = Heard(), Counter[str]()
    pieces = list(ATTACKS[attack]())  # made before memory is measured

    async def on_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines["count"] += 1
        is_first = lines["count"] == 1
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        key = next(line.split(": ")[1] for line in head.split("\r\n")
                   if line.lower().startswith("sec-websocket-key"))
        writer.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      f"Sec-WebSocket-Accept: {accept_key(key)}\r\n\r\n").encode())
        await reader.read(65_536)  # the subscription
        writer.transport.set_write_buffer_limits(0)
        with suppress(ConnectionError, asyncio.CancelledError):
            for number in range(1, 11):
                writer.write(server_frame(change(str(number), (YES, NO)[number % 2])))
            for piece in pieces if is_first else []:
                for at in range(0, len(piece), len(CHUNK)):  # what our end buffers must not count
                    writer.write(piece[at:at + len(CHUNK)])
                    await writer.drain()
            while await reader.read(65_536):
                pass
        writer.close()

    server = await asyncio.start_server(on_line, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    needed = {"many good books": ("frames", 11), "array at its cap": ("frames_ignored", 1)}.get(
        attack, ("frames", 20))
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        await Rig(f"ws://127.0.0.1:{port}/", True, SLOTS, heard).play(
            lambda counts: counts.get(needed[0], 0) >= needed[1], False)
    finally:
        server.close()
    heard.counts["grown_kib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib
    heard.counts["lines"] = lines["count"]
    return heard


def main() -> None:
    heard = asyncio.run(serve(sys.argv[1]))
    kinds = Counter(
        Kind(unpack(heard.records, at).kind).name for at in range(0, len(heard.records), SLOT_BYTES))
    print(json.dumps({**heard.counts, "kinds": kinds}))


if __name__ == "__main__":
    main()
