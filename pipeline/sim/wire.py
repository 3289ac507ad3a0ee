"""Non-blocking sockets with optional TLS and an exact count of what the kernel took.

A `Wire` owns one accepted socket. TLS runs through memory buffers, so for every queued piece the
position of its last ciphertext byte is known and `accepted` counts only pieces whose every byte the
kernel accepted. Reads and writes never block; what the kernel refuses waits here, bounded by
`backlog_bytes_max` (a slower reader is cut off, as the venue does).
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

READ_BYTES = 64 * 1024
BACKLOG_BYTES_MAX = 64 * 1024 * 1024
SEND_BYTES_MAX = 256 * 1024  # one system call


class Poller:
    """The epoll set that wires live in, by file descriptor."""

    def __init__(self) -> None:
        self.epoll = select.epoll()
        self.handlers: dict[int, Callable[[int], None]] = {}

    def add(self, descriptor: int, handler: Callable[[int], None]) -> None:
        self.handlers[descriptor] = handler
        self.epoll.register(descriptor, select.EPOLLIN)

    def want_write(self, descriptor: int, wanted: bool) -> None:
        self.epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if wanted else 0))

    def remove(self, descriptor: int) -> None:
        if self.handlers.pop(descriptor, None) is not None:
            self.epoll.unregister(descriptor)

    def poll(self, timeout_s: float) -> int:
        """Run the handlers of what is ready; return how many ran."""
        events = self.epoll.poll(timeout_s)
        for descriptor, mask in events:
            handler = self.handlers.get(descriptor)
            if handler is not None:
                handler(mask)
        return len(events)

    def close(self) -> None:
        self.epoll.close()


class Wire:
    """One connection. `on_data` gets plaintext; `on_close` is called once."""

    def __init__(
        self,
        poller: Poller,
        connection: socket.socket,
        tls: ssl.SSLContext | None,
        on_data: Callable[[Wire, bytes], None],
        on_close: Callable[[Wire], None],
    ) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.queued = 0  # frames given to `send`
        self.accepted = 0  # frames whose bytes the kernel has in full
        self.is_open = True
        self._poller = poller
        self._socket = connection
        self._descriptor = connection.fileno()
        self._on_data = on_data
        self._on_close = on_close
        self._pending: deque[memoryview] = deque()
        self._pending_bytes = 0
        self._marks: deque[tuple[int, int]] = deque()  # (byte position, frames complete at it)
        self._made = 0  # bytes for the wire, ever
        self._taken = 0  # bytes that the kernel took, ever
        self._waits = False
        self._close_after = False
        self._in = ssl.MemoryBIO()
        self._out = ssl.MemoryBIO()
        self._tls = tls.wrap_bio(self._in, self._out, server_side=True) if tls else None
        self._greeted = tls is None
        poller.add(self._descriptor, self._on_event)

    def hand_over(self, on_data: Callable[[Wire, bytes], None], on_close: Callable[[Wire], None]) -> None:
        """Let another part have what comes from now on."""
        self._on_data, self._on_close = on_data, on_close

    def start_tls(self, tls: ssl.SSLContext, early: bytes = b"") -> None:
        """Speak TLS from here on, as the server; `early` is what was read of it already."""
        self._tls = tls.wrap_bio(self._in, self._out, server_side=True)
        self._greeted = False
        if early and self.is_open:
            self._in.write(early)
            self._decrypt()

    @property
    def backlog_bytes(self) -> int:
        """Bytes that wait for the kernel."""
        return self._pending_bytes

    def send(self, data: bytes | memoryview, frames: int = 0) -> None:
        """Queue bytes that complete `frames` frames and try to write at once."""
        if not self.is_open:
            return
        if self._tls is None:
            self._enqueue(data)
        else:
            try:
                left = memoryview(data)
                while left:  # one call takes all with today's OpenSSL; its contract allows less
                    left = left[self._tls.write(left) :]
            except ssl.SSLError:
                self.close()
                return
            self._enqueue(self._out.read())
        self.queued += frames
        if frames:
            self._marks.append((self._made, self.queued))
        self.flush()
        if self._pending_bytes > BACKLOG_BYTES_MAX:
            self.close()

    def close_after_send(self) -> None:
        """Close when everything queued is with the kernel."""
        if self.is_open and not self._pending:
            self.close()
        self._close_after = True

    def close(self) -> None:
        """Close now; what waits here is lost and stays uncounted."""
        if not self.is_open:
            return
        self.is_open = False
        self._poller.remove(self._descriptor)
        self._socket.close()
        self._pending.clear()
        self._pending_bytes = 0
        self._on_close(self)

    def flush(self) -> None:
        """Give the kernel what it takes."""
        pending = self._pending
        while pending:
            try:
                sent = self._socket.send(pending[0][:SEND_BYTES_MAX])
            except (BlockingIOError, InterruptedError):
                break
            except OSError:
                self.close()
                return
            self._taken += sent
            self._pending_bytes -= sent
            if sent == len(pending[0]):
                pending.popleft()
            else:
                pending[0] = pending[0][sent:]
        while self._marks and self._marks[0][0] <= self._taken:
            self.accepted = self._marks.popleft()[1]
        if bool(pending) != self._waits:
            self._waits = bool(pending)
            self._poller.want_write(self._descriptor, self._waits)
        if self._close_after and not pending:
            self.close()

    def _enqueue(self, data: bytes | memoryview) -> None:
        if data:
            self._pending.append(memoryview(data))
            self._pending_bytes += len(data)
            self._made += len(data)

    def _on_event(self, mask: int) -> None:
        if mask & select.EPOLLOUT:
            self.flush()
        if self.is_open and mask & (select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR):
            self._read()

    def _read(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self.close()
        elif self._tls is None:
            self._on_data(self, data)
        else:
            self._in.write(data)
            self._decrypt()

    def _decrypt(self) -> None:
        tls = self._tls
        if tls is None:
            return
        try:
            if not self._greeted:
                tls.do_handshake()
                self._greeted = True
            while self.is_open:
                plain = tls.read(READ_BYTES)
                if not plain:
                    self.close()
                    return
                self._on_data(self, plain)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            with suppress(OSError):
                self._socket.send(self._out.read())  # the alert, if the kernel takes it
            self.close()
            return
        if self.is_open:
            self._enqueue(self._out.read())
            self.flush()


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket; raises OSError when the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener
