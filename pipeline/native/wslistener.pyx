# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""A short cut for the usual market frame: from picows' receive buffer into the feed ring without an object.

Reads: frames of one websocket, in place. Writes: the feed ring, the counter `frames`, the feed's stamps.
There is one way that decides, the feed machine's `on_frame`; this one does the same for the one case that
needs no decision: a whole text frame that the scanner takes and the ring has room for, with nothing
waiting before it. Every other event goes to the listener behind, untouched.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from pipeline.native.arbiter cimport Beat, Pulse
from pipeline.native.counters cimport Counter
from pipeline.native.flow cimport Sink
from pipeline.native.framescan cimport FS_OK, FS_TWIN, Scanner
from pipeline.native.stamps cimport Stamps


cdef inline int64_t _now_ns(int64_t offset_ns) noexcept nogil:
    # The run's clock (run.spec.anchored_clock): monotonic time plus the anchor's offset.
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1_000_000_000 + now.tv_nsec + offset_ns


@cython.final
cdef class ShortCut:
    """What the machine and its listeners share: the machine sets `is_held` while frames must pass by it."""

    def __init__(self, Scanner scanner not None, Sink sink not None, Counter frames not None,
                 Counter twins not None, Stamps stamps not None):
        self.scanner = scanner
        self.sink = sink
        self.frames = frames
        self.twins = twins
        self.stamps = stamps
        self.is_held = False

    cdef bint take(self, const char* data, size_t bytes, int64_t offset_ns, Beat* beat) noexcept nogil:
        # True: the frame's records are in the ring, counted and stamped, or it is a copy of one that was
        # taken. False: the machine must see it.
        cdef int64_t recv_ns
        cdef int result
        if self.is_held:
            return False
        recv_ns = _now_ns(offset_ns)
        result = self.scanner.scan(data, bytes, recv_ns, self.sink, beat)
        if result == FS_TWIN:
            self.twins.add(1)
            return True
        if result != FS_OK:
            self.scanner.uncount(result)
            return False
        self.frames.add(1)
        self.stamps.mark_one(<uint64_t>recv_ns, _now_ns(offset_ns))
        return True


@cython.final
cdef class FeedListener(WSListener):
    """Listener of one feed socket, before the driver's own (`behind`).

    offset_ns: wall minus monotonic time at the run's anchor. pulse: of the socket's place in its shard.
    backlog: the driver's frames that wait, the same object for life; while it holds any, none may overtake
    them. turn: called behind the last frame of each read, as the listener behind does for the frames that it
    gets.
    """

    cdef ShortCut short_cut
    cdef int64_t offset_ns
    cdef Pulse pulse
    cdef object behind, backlog, turn

    def __init__(self, ShortCut short_cut not None, int64_t offset_ns, Pulse pulse not None,
                 WSListener behind not None, backlog, turn):
        self.short_cut = short_cut
        self.offset_ns = offset_ns
        self.pulse = pulse
        self.behind = behind
        self.backlog = backlog
        self.turn = turn

    cpdef on_ws_connected(self, WSTransport transport):
        self.behind.on_ws_connected(transport)

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if (frame.msg_type == WSMsgType.TEXT and frame.fin and not len(self.backlog)
                and self.short_cut.take(frame.payload_ptr, <size_t>frame.payload_size, self.offset_ns,
                                        &self.pulse.beat)):
            if frame.last_in_buffer:
                self.turn()
        else:
            self.behind.on_ws_frame(transport, frame)

    cpdef on_ws_disconnected(self, WSTransport transport):
        self.behind.on_ws_disconnected(transport)
