"""HTTP/1.1 answers on the order path: one keep-alive connection, one request in flight.

Only what the order path needs: status, headers, a body by length or in chunks. Everything else goes
through aiohttp (`net/rest.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEAD_BYTES_MAX = 32 * 1024
BODY_BYTES_MAX = 1024 * 1024
UNREAD_BYTES_MAX = HEAD_BYTES_MAX + 2 * BODY_BYTES_MAX  # chunks of one byte each would make more
CHUNK_LINE_BYTES_MAX = 256  # a size, and what may stand behind it
_STATUS = re.compile(rb"[1-5][0-9]{2}")
_LENGTH = re.compile(r"[0-9]{1,10}")
_FRAMING = ("content-length", "transfer-encoding")  # where two readers could see two answers
_CHUNK_SIZE = re.compile(rb"[0-9a-fA-F]{1,8}")  # no sign, no underscore, as int() would take


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class BadAnswer(ValueError):
    """The bytes are no HTTP/1.1 answer that we understand; what became of the request is unknown."""


class AnswerParser:
    """Feed bytes; take at most one answer at a time."""

    def __init__(self) -> None:
        self._data = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> Answer | None:
        """Add bytes and return the answer once it is whole; raises BadAnswer."""
        self._data += data
        if len(self._data) > UNREAD_BYTES_MAX:
            raise BadAnswer(f"net.http1: an answer's bytes exceed {UNREAD_BYTES_MAX}")
        while True:
            end = self._data.find(b"\r\n\r\n", 0, HEAD_BYTES_MAX)
            if end < 0:
                if len(self._data) >= HEAD_BYTES_MAX:
                    raise BadAnswer(f"net.http1: an answer's head exceeds {HEAD_BYTES_MAX} bytes")
                return None
            status, headers = self._head(bytes(self._data[:end]))
            if status >= 200:
                break
            del self._data[: end + 4]  # interim: the answer itself follows
        whole = self._body(end + 4, status, headers)
        if whole is None:
            return None
        body, used = whole
        del self._data[:used]
        return Answer(status, headers, body, headers.get("connection", "").lower() != "close")

    @staticmethod
    def _head(head: bytes) -> tuple[int, dict[str, str]]:
        lines = head.split(b"\r\n")
        first = lines[0].split(b" ", 2)
        if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not _STATUS.fullmatch(first[1]):
            raise BadAnswer(f"net.http1: expected an HTTP/1.x status line, found {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            key, text = name.strip().lower().decode("latin-1"), value.strip().decode("latin-1")
            if key in _FRAMING and headers.get(key, text) != text:
                raise BadAnswer(f"net.http1: {key} is said twice, {headers[key][:20]!r} and {text[:20]!r}")
            headers[key] = text
        return int(first[1]), headers

    def _body(self, start: int, status: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
        if status in (204, 304):
            return b"", start
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(start)
        length_text = headers.get("content-length", "")
        if not _LENGTH.fullmatch(length_text) or int(length_text) > BODY_BYTES_MAX:
            raise BadAnswer(
                f"net.http1: expected a content-length up to {BODY_BYTES_MAX}, found {length_text[:20]!r}")
        end = start + int(length_text)
        return (bytes(self._data[start:end]), end) if len(self._data) >= end else None

    def _chunks(self, at: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            line_end = self._data.find(b"\r\n", at, at + CHUNK_LINE_BYTES_MAX)
            if line_end < 0:
                if len(self._data) - at >= CHUNK_LINE_BYTES_MAX:
                    raise BadAnswer(f"net.http1: a chunk's first line exceeds {CHUNK_LINE_BYTES_MAX} bytes")
                return None
            size_text = bytes(self._data[at:line_end]).split(b";", 1)[0].strip()
            if not _CHUNK_SIZE.fullmatch(size_text):
                raise BadAnswer(f"net.http1: expected a chunk size, found {size_text[:20]!r}")
            size, at = int(size_text, 16), line_end + 2
            if len(body) + size > BODY_BYTES_MAX:
                raise BadAnswer(f"net.http1: a chunked body exceeds {BODY_BYTES_MAX} bytes")
            if len(self._data) < at + size + 2:
                return None
            if self._data[at + size : at + size + 2] != b"\r\n":
                raise BadAnswer(f"net.http1: expected the end of a chunk of {size} bytes, found other bytes")
            if size == 0:
                return bytes(body), at + 2
            body += self._data[at : at + size]
            at += size + 2
