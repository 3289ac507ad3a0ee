"""Websocket driver: opens what a machine asks to open and hands it every frame; decides nothing.

picows gives each frame as a view of its receive buffer; the view is only valid inside the callback, so
a frame that finds no room is copied into a bounded backlog while reading is paused.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sized

from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from pipeline.kinds import Cause
from pipeline.net.edge import CloseSocket, OpenSocket, PauseSocket, SendText, SocketMachine

FRAME_BYTES_MAX = 8 * 1024 * 1024  # IN01: snapshot arrays; anything larger closes the socket
BACKLOG_BYTES_MAX = 32 * 1024 * 1024
CONNECT_S_MAX = 10.0
HANDSHAKE_S_MAX = 5.0  # from the connection to the end of the handshake


#: Returns what stands before the driver's listener of a socket: takes its number, it, the backlog, the turn.
Wrap = Callable[[int, WSListener, Sized, Callable[[], object]], WSListener]


class _Listener(WSListener):  # type: ignore[misc]
    """One connection's frames, in order, into the machine.

    The library makes a disconnect of whatever is raised here, so what broke is told to the driver first.
    """

    def __init__(self, driver: SocketDriver, conn: int) -> None:
        self._driver = driver
        self._conn = conn
        self._parts = bytearray()  # a fragmented message under assembly

    def on_ws_connected(self, transport: WSTransport) -> None:
        with self._driver.telling:
            self._driver.connected(self._conn, transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        with self._driver.telling:
            self._take(transport, frame)

    def _take(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == WSMsgType.TEXT and frame.fin:
            self._driver.arrived(self._conn, frame.get_payload_as_memoryview())
        elif kind in (WSMsgType.TEXT, WSMsgType.CONTINUATION):
            self._parts += frame.get_payload_as_memoryview()
            if len(self._parts) > FRAME_BYTES_MAX:
                transport.disconnect()
            elif frame.fin:
                whole, self._parts = bytes(self._parts), bytearray()
                self._driver.arrived(self._conn, whole)
        elif kind == WSMsgType.CLOSE:
            transport.disconnect()
        if frame.last_in_buffer:
            self._driver.turn()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        with self._driver.telling:
            self._driver.lost(self._conn, transport)


class _Telling:
    """Tells of what is raised inside it, and lets it go on."""

    def __init__(self, tell: Callable[[BaseException], object]) -> None:
        self._tell = tell

    def __enter__(self) -> None:
        """Nothing to prepare."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is not None:
            self._tell(error)


class SocketDriver:
    """Serves one machine inside a lane's event loop.

    `turn` runs the lane's stages: it is called behind the last frame of each read, so that a frame
    is decided on before the loop goes back to the kernel. `wrap` may put a native listener before ours;
    `tell` hears of every error of a listener. A try that the machine gives up may hold its socket until
    `handshake_s_max` is over: picows closes it then.
    """

    def __init__(
        self, machine: SocketMachine, clock: Callable[[], int], turn: Callable[[], None],
        tls: ssl.SSLContext | None, wrap: Wrap | None = None,
        tell: Callable[[BaseException], object] = lambda error: None,
        handshake_s_max: float = HANDSHAKE_S_MAX,
    ) -> None:
        self.telling = _Telling(tell)
        self._machine = machine
        self._clock = clock
        self._tls = tls
        self._handshake_s_max = handshake_s_max
        self._transports: dict[int, WSTransport] = {}
        self._wrap = wrap
        self._backlog: deque[tuple[int, bytes]] = deque()  # the same object for life: listeners hold it
        self._backlog_bytes = 0
        self._tasks: dict[int, asyncio.Task[None]] = {}  # sockets that are being opened
        self.turn = turn

    def pump(self) -> int:
        """Carry out the machine's commands and retry the backlog; return how much was done."""
        done = 0
        while self._backlog:
            conn, data = self._backlog[0]
            if not self._machine.on_frame(self._clock(), conn, data):
                break
            self._backlog.popleft()
            self._backlog_bytes -= len(data)
            done += 1
        while (command := self._machine.outbox.take()) is not None:
            done += 1
            if isinstance(command, SendText):
                transport = self._transports.get(command.conn)
                if transport is not None:
                    transport.send(WSMsgType.TEXT, command.data)
            elif isinstance(command, OpenSocket):
                self._tasks[command.conn] = asyncio.get_running_loop().create_task(self._open(command))
            elif isinstance(command, CloseSocket):
                self._disconnect(command.conn)
            elif isinstance(command, PauseSocket):
                self._pause(command)
            else:
                raise TypeError(f"net.websocket: expected a socket command, found {command}")
        return done

    def arrived(self, conn: int, data: memoryview | bytes) -> None:
        """Hand a frame in, or keep a copy in order behind the backlog."""
        if not self._backlog and self._machine.on_frame(self._clock(), conn, data):
            return
        kept = bytes(data)
        self._backlog.append((conn, kept))
        self._backlog_bytes += len(kept)
        if self._backlog_bytes > BACKLOG_BYTES_MAX:
            self._disconnect(conn)

    def connected(self, conn: int, transport: WSTransport) -> None:
        self._transports[conn] = transport
        self._machine.on_open(self._clock(), conn)
        self.pump()

    def lost(self, conn: int, transport: WSTransport) -> None:
        if self._transports.get(conn) is transport:
            del self._transports[conn]
        kept = [entry for entry in self._backlog if entry[0] != conn]
        self._backlog.clear()
        self._backlog.extend(kept)
        self._backlog_bytes = sum(len(data) for _, data in self._backlog)
        self._machine.on_close(self._clock(), conn, Cause.DISCONNECT)

    async def close(self) -> None:
        """Disconnect everything; used once, when the lane ends."""
        for task in list(self._tasks.values()):
            task.cancel()
        for conn in list(self._transports):
            self._disconnect(conn)
        await asyncio.sleep(0)

    def listener(self, conn: int) -> WSListener:
        """Return a listener for a new connection."""
        own = _Listener(self, conn)
        return own if self._wrap is None else self._wrap(conn, own, self._backlog, self.turn)

    async def _open(self, command: OpenSocket) -> None:
        try:
            await asyncio.wait_for(
                ws_connect(
                    lambda: self.listener(command.conn), command.url,
                    ssl_context=self._tls if command.url.startswith("wss:") else None,
                    max_frame_size=FRAME_BYTES_MAX, max_redirects=0, proxy=None,
                    websocket_handshake_timeout=self._handshake_s_max,
                ),
                CONNECT_S_MAX,
            )
        except (TimeoutError, OSError, WSError):
            self._machine.on_close(self._clock(), command.conn, Cause.NO_CONNECTION)
        finally:
            if self._tasks.get(command.conn) is asyncio.current_task():  # else the next one is under way
                del self._tasks[command.conn]

    def _disconnect(self, conn: int) -> None:
        transport = self._transports.get(conn)
        if transport is not None:
            transport.disconnect(graceful=False)
        elif conn in self._tasks:
            self._tasks.pop(conn).cancel()
            self._machine.on_close(self._clock(), conn, Cause.NO_CONNECTION)

    def _pause(self, command: PauseSocket) -> None:
        transport = self._transports.get(command.conn)
        if transport is None:
            return
        if command.paused:
            transport.underlying_transport.pause_reading()
        else:
            transport.underlying_transport.resume_reading()
