"""Questions of a command that runs for seconds: one session, every answer or why there is none.

As `net/rest.py` for lanes: redirects are not followed, the environment's proxies are ignored, TLS is
verified, sizes and times are bounded. What fails is a value with words for a person, never an exception.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType

import aiohttp

from pipeline.net.rest import read_bounded

BODY_BYTES_MAX = 4 * 1024 * 1024
TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are lower case, times are wall time of this machine."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    sent_ns: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why nothing came back, in words; `is_trust` tells that the other side is not who it should be."""

    words: str
    is_trust: bool = False


class Asker:
    """Use it as `async with Asker(tls) as asker`; tls: None trusts the system's authorities."""

    def __init__(self, tls: ssl.SSLContext | None) -> None:
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Asker:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), trust_env=False,
            connector=aiohttp.TCPConnector(ssl=self._tls if self._tls else True))
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(
        self, method: str, url: str, headers: tuple[tuple[str, str], ...] = (), body: bytes = b"",
    ) -> Answer | NoAnswer:
        """Send one request; return its answer, whatever the status, or why there is none."""
        if self._session is None:
            return NoAnswer("the session is not open")
        sent_ns = time.time_ns()
        try:
            async with self._session.request(
                method, url, data=body or None, headers=dict(headers), allow_redirects=False,
            ) as answer:
                data = await read_bounded(answer, BODY_BYTES_MAX)
                if data is None:
                    return NoAnswer(f"its answer exceeds {BODY_BYTES_MAX} bytes")
                lower = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, lower, data, sent_ns, time.time_ns())
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return _why(error)

    async def open_socket(self, url: str) -> NoAnswer | None:
        """Open a websocket and close it again; None when the other side took it."""
        if self._session is None:
            return NoAnswer("the session is not open")
        try:
            async with self._session.ws_connect(url, timeout=aiohttp.ClientWSTimeout(ws_close=TIMEOUT_S)):
                return None
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            return _why(error)


def _why(error: Exception) -> NoAnswer:
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientConnectorSSLError):
        inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", error)
        reason = getattr(inner, "verify_message", "") or getattr(inner, "reason", "") or str(inner)
        return NoAnswer(f"its certificate is not trusted ({reason})", is_trust=True)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return NoAnswer("its name has no address")
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno
        return NoAnswer(f"no connection ({os.strerror(code).lower() if code else error.os_error})")
    if isinstance(error, TimeoutError):
        return NoAnswer(f"no answer within {TIMEOUT_S:g} s")
    if isinstance(error, aiohttp.WSServerHandshakeError):
        return NoAnswer(f"no websocket there (http {error.status})")
    return NoAnswer(f"the connection broke ({type(error).__name__})")
