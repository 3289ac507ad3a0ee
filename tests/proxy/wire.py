"""Cuts bytes into the messages that a fault proxy acts on: HTTP/1.1 heads and bodies, websocket messages.

Whatever passes is sent on as the very bytes that came.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

TEXT, CONTINUATION, CLOSE = 1, 0, 8


@dataclass(slots=True)
class Message:
    """One websocket message with the bytes of all its frames; control frames are messages of their own."""

    opcode: int
    payload: bytes
    raw: bytes

    @property
    def is_data(self) -> bool:
        """Tell market data from what keeps a line alive (PONG) or ends it."""
        return self.opcode < CLOSE and self.payload.strip() not in (b"PONG", b"PING")


@dataclass(slots=True)
class MessageReader:
    """Turns one direction's bytes into messages; masked (client) and plain (server) frames alike."""

    _buffer: bytearray = field(default_factory=bytearray)
    _open: list[tuple[int, bytes, bytes]] = field(default_factory=list)  # fragments: opcode, payload, raw

    def feed(self, data: bytes) -> list[Message]:
        """Return every message that is whole now."""
        self._buffer += data
        found = []
        while (frame := self._frame()) is not None:
            is_final, opcode, payload, raw = frame
            if opcode >= CLOSE:
                found.append(Message(opcode, payload, raw))
                continue
            self._open.append((opcode, payload, raw))
            if is_final:
                opcodes, payloads, raws = zip(*self._open, strict=True)
                found.append(Message(opcodes[0], b"".join(payloads), b"".join(raws)))
                self._open = []
        return found

    def _frame(self) -> tuple[bool, int, bytes, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        key_bytes = 4 if buffer[1] & 0x80 else 0
        end = start + key_bytes + size
        if len(buffer) < end:
            return None
        raw = bytes(buffer[:end])
        payload = raw[start + key_bytes:]
        if key_bytes:
            key = raw[start:start + 4]
            payload = bytes(byte ^ key[at & 3] for at, byte in enumerate(payload))
        del buffer[:end]
        return bool(raw[0] & 0x80), raw[0] & 0x0F, payload, raw


@dataclass(slots=True)
class Http:
    """One request or answer, as it came."""

    first: str
    headers: dict[str, str]
    raw: bytes

    @property
    def status(self) -> int:
        """Return the status of an answer."""
        return int(self.first.split(" ")[1])


async def read_http(reader: asyncio.StreamReader, method: str = "") -> Http | None:
    """Return the next request, or with `method` the answer to such a request; None = the line ended."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    found = Http(first, headers, head)
    is_bare = bool(method) and (method == "HEAD" or found.status in (101, 204, 304))
    if is_bare:
        return found
    if "content-length" in headers:
        found.raw += await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding", "").lower() == "chunked":
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            found.raw += line + await reader.readexactly(size + 2)
    elif method:
        found.raw += await reader.read()
    return found
