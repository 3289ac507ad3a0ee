"""The server's half of RFC 6455, sans-IO: handshake, client frames in, server frames out.

No extensions (permessage-deflate is declined by leaving it out). Client frames must be masked;
messages above the limit, unknown opcodes and unmasked frames end the connection with the RFC's code.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
CONTROL_BYTES_MAX = 125


def accept_key(client_key: str) -> str:
    """Return Sec-WebSocket-Accept for the client's key."""
    raw = hashlib.sha1(client_key.encode() + GUID, usedforsecurity=False).digest()
    return base64.b64encode(raw).decode()


def server_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return one final, unmasked frame."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int) -> bytes:
    return server_frame(code.to_bytes(2, "big"), CLOSE)


def unmask(payload: bytes, key: bytes) -> bytes:
    """Return the payload XOR the repeated 4-byte key."""
    size = len(payload)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


class ProtocolViolation(Exception):
    """The client broke the protocol; close with `code`."""

    def __init__(self, code: int) -> None:
        super().__init__(f"websocket close {code}")
        self.code = code


class FrameReader:
    """Turns a client's bytes into (opcode, payload) messages; fragments are joined."""

    def __init__(self, message_bytes_max: int) -> None:
        self._max = message_bytes_max
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._opcode = 0

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield every complete message; raises ProtocolViolation."""
        self._buffer += data
        while True:
            frame = self._take()
            if frame is None:
                return
            final, opcode, payload = frame
            if opcode >= CLOSE:
                if not final or len(payload) > CONTROL_BYTES_MAX:
                    raise ProtocolViolation(1002)
                yield opcode, payload
                continue
            if (opcode == 0) != bool(self._opcode) or opcode > BINARY:
                raise ProtocolViolation(1002)
            self._opcode = self._opcode or opcode
            self._parts.append(payload)
            self._parts_bytes += len(payload)
            if self._parts_bytes > self._max:
                raise ProtocolViolation(1009)
            if final:
                message, opcode = b"".join(self._parts), self._opcode
                self._parts, self._parts_bytes, self._opcode = [], 0, 0
                yield opcode, message

    def _take(self) -> tuple[bool, int, bytes] | None:
        """Return the next frame, or None when it has not arrived in full."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        if buffer[0] & 0x70 or not buffer[1] & 0x80:
            raise ProtocolViolation(1002)
        size, start = buffer[1] & 0x7F, 2
        if size >= 126:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start], "big")
        if size > self._max:
            raise ProtocolViolation(1009)
        end = start + 4 + size
        if len(buffer) < end:
            return None
        payload = unmask(bytes(buffer[start + 4 : end]), bytes(buffer[start : start + 4]))
        final, opcode = bool(buffer[0] & 0x80), buffer[0] & 0x0F
        del buffer[:end]
        return final, opcode, payload
