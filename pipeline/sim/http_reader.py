"""The server's half of HTTP/1.1, sans-IO: bytes in, requests out; keep-alive and pipelining.

Bodies need Content-Length (chunked uploads are refused with 411). Heads above 32 KiB and bodies above
the limit end the connection with 431 and 413.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.sim.http import Response

HEAD_BYTES_MAX = 32 * 1024
REASONS = {
    101: "Switching Protocols",
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    422: "Unprocessable Content",
    425: "Too Early",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True, slots=True)
class Request:
    """One request; header names in lower case, `target` is path and query as sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        return self.headers.get("connection", "").lower() != "close"


class BadRequest(Exception):
    """The bytes are not a request that is served; answer `status` and close."""

    def __init__(self, status: int) -> None:
        super().__init__(f"http status {status}")
        self.status = status


class RequestReader:
    """Turns one connection's bytes into requests."""

    def __init__(self, body_bytes_max: int) -> None:
        self._max = body_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Request]:
        """Yield complete requests in order; raises BadRequest."""
        self._buffer += data
        while True:
            request = self._take()
            if request is None:
                return
            yield request

    def rest(self) -> bytes:
        """Return and forget bytes after the last request (a websocket's first frames)."""
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    def _take(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_BYTES_MAX:
                raise BadRequest(431)
            return None
        if end > HEAD_BYTES_MAX:
            raise BadRequest(431)
        lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        first = lines[0].split(" ")
        if len(first) != 3 or not first[2].startswith("HTTP/1."):
            raise BadRequest(400)
        headers: dict[str, str] = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if not colon or name != name.strip():
                raise BadRequest(400)
            headers[name.lower()] = value.strip()
        if "transfer-encoding" in headers:
            raise BadRequest(411)
        length = headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise BadRequest(400)
        size = int(length)
        if size > self._max:
            raise BadRequest(413)
        start = end + 4
        if len(self._buffer) < start + size:
            return None
        body = bytes(self._buffer[start : start + size])
        del self._buffer[: start + size]
        return Request(first[0], first[1], headers, body)


def response_bytes(response: Response, keeps_alive: bool = True) -> bytes:
    """Return the answer as it goes on the wire."""
    head = [f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Status')}"]
    head += [f"{name}: {value}" for name, value in response.headers.items()]
    head.append(f"content-length: {len(response.body)}")
    if not keeps_alive:
        head.append("connection: close")
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1") + response.body
