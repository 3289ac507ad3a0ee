"""HTTP/1.1 answers on the order path: one keep-alive connection, one request in flight.

Only what the order path needs: status, headers, a body by length or in chunks. Everything else goes
through aiohttp (`net/rest.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES_MAX = 32 * 1024
BODY_BYTES_MAX = 1024 * 1024


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
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            if len(self._data) > HEAD_BYTES_MAX:
                raise BadAnswer(f"net.http1: an answer's head exceeds {HEAD_BYTES_MAX} bytes")
            return None
        status, headers = self._head(bytes(self._data[:end]))
        if 100 <= status < 200:
            del self._data[: end + 4]
            return self.feed(b"")
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
        if len(first) < 2 or not first[0].startswith(b"HTTP/1.") or not first[1].isdigit():
            raise BadAnswer(f"net.http1: expected an HTTP/1.x status line, found {lines[0][:80]!r}")
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            headers[name.strip().lower().decode("latin-1")] = value.strip().decode("latin-1")
        return int(first[1]), headers

    def _body(self, start: int, status: int, headers: dict[str, str]) -> tuple[bytes, int] | None:
        if status in (204, 304):
            return b"", start
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks(start)
        length_text = headers.get("content-length", "")
        if not (length_text.isascii() and length_text.isdigit()) or int(length_text) > BODY_BYTES_MAX:
            raise BadAnswer(
                f"net.http1: expected a content-length up to {BODY_BYTES_MAX}, found {length_text[:20]!r}")
        end = start + int(length_text)
        return (bytes(self._data[start:end]), end) if len(self._data) >= end else None

    def _chunks(self, at: int) -> tuple[bytes, int] | None:
        body = bytearray()
        while True:
            line_end = self._data.find(b"\r\n", at)
            if line_end < 0:
                return None
            size_text = bytes(self._data[at:line_end]).split(b";", 1)[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError as error:
                raise BadAnswer(f"net.http1: expected a chunk size, found {size_text[:20]!r}") from error
            at = line_end + 2
            if len(body) + size > BODY_BYTES_MAX:
                raise BadAnswer(f"net.http1: a chunked body exceeds {BODY_BYTES_MAX} bytes")
            if len(self._data) < at + size + 2:
                return None
            if size == 0:
                return bytes(body), at + 2
            body += self._data[at : at + size]
            at += size + 2
