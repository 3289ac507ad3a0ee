"""A feed's frames as they came, into a log of their own: `raw.<feed id>`.

Stands before a feed's machine in a run that only records; such a run has no order path. Writes RAW_FRAME
runs: a frame of more than a run holds is several, all but the last flagged MORE. A frame that the machine had
no room for comes again and is written once.
"""

from __future__ import annotations

import struct

from pipeline.codec import HEADER_STRUCT, offset_of, runs
from pipeline.errors import EnvironmentProblem
from pipeline.kinds import Cause, Flag, Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.net.edge import SocketMachine
from pipeline.records import HEADER_BYTES, RUN_SLOTS_MAX, SLOT_BYTES
from pipeline.stages.stage import Counts

NAME = "raw"  # of the logs: `raw.<feed id>`
BYTES_AT = offset_of(Kind.RAW_FRAME, "bytes")
BYTES_PER_SLOT = SLOT_BYTES - BYTES_AT
BYTES_PER_RUN = BYTES_PER_SLOT * RUN_SLOTS_MAX
_PAYLOAD = struct.Struct("<IH")  # byte_count of the whole frame, channel


def raw_runs(frame: bytes, channel: int, source: int, source_seq: int, recv_ns: int) -> list[bytes]:
    """Return the runs of one frame, 1 or more; channel: the socket that it came on."""
    found = []
    for first in range(0, max(len(frame), 1), BYTES_PER_RUN):
        part = frame[first : first + BYTES_PER_RUN]
        flags = 0 if first + BYTES_PER_RUN >= len(frame) else int(Flag.MORE)
        slots = max(1, -(-len(part) // BYTES_PER_SLOT))
        run = bytearray(slots * SLOT_BYTES)
        for index in range(slots):
            at = index * SLOT_BYTES
            HEADER_STRUCT.pack_into(
                run, at, 0, recv_ns, recv_ns, source_seq, int(Kind.RAW_FRAME), flags, 0, source, index, slots,
                0)
            _PAYLOAD.pack_into(run, at + HEADER_BYTES, len(frame), channel)
            piece = part[index * BYTES_PER_SLOT : (index + 1) * BYTES_PER_SLOT]
            run[at + BYTES_AT : at + BYTES_AT + len(piece)] = piece
        found.append(bytes(run))
    return found


class RecordingMachine:
    """A feed's machine, and each of its frames in the raw log; the frame's time is that of its records."""

    def __init__(self, machine: SocketMachine, log: LogWriter, source: int, counts: Counts) -> None:
        self.outbox = machine.outbox
        self._machine = machine
        self._log = log
        self._source = source
        self._frames = counts.counter("raw_frames")
        self._bytes = counts.counter("raw_bytes")
        self._frame_no = log.position  # rises over restarts, too
        self._is_again = False

    def on_open(self, now_ns: int, conn: int) -> None:
        """The websocket stands."""
        self._machine.on_open(now_ns, conn)

    def on_frame(self, now_ns: int, conn: int, data: memoryview | bytes) -> bool:
        """Write the frame, then hand it on; raises EnvironmentProblem when the log takes no more."""
        if not self._is_again:  # the driver keeps order: what is refused is what comes next
            self._write(now_ns, conn, bytes(data))
        self._is_again = not self._machine.on_frame(now_ns, conn, data)
        return not self._is_again

    def on_close(self, now_ns: int, conn: int, cause: Cause) -> None:
        """The websocket ended; a frame that it had refused is gone with it."""
        self._is_again = False
        self._machine.on_close(now_ns, conn, cause)

    def on_timer(self, now_ns: int) -> None:
        """Do what is due, and make the log's next file ahead."""
        self._log.prepare_next()
        self._machine.on_timer(now_ns)

    def _write(self, now_ns: int, conn: int, frame: bytes) -> None:
        self._frame_no += 1
        for run in raw_runs(frame, conn, self._source, self._frame_no, now_ns):
            if not self._log.push(run):
                self._log.check()
                raise EnvironmentProblem("stages.recorder: the raw log took no record; free its disk")
        self._frames.add(1)
        self._bytes.add(len(frame))


def read_frames(reader: LogReader) -> list[tuple[int, int, bytes]]:
    """Return (recv_ns, channel, frame) of every whole frame that the reader shows."""
    found, parts = [], bytearray()
    while data := reader.read(4_096):
        for run in runs(data):
            header = HEADER_STRUCT.unpack_from(run)
            byte_count, channel = _PAYLOAD.unpack_from(run, HEADER_BYTES)
            for at in range(0, len(run), SLOT_BYTES):
                parts += run[at + BYTES_AT : at + SLOT_BYTES]
            if not header[5] & Flag.MORE:
                found.append((header[2], channel, bytes(parts[:byte_count])))
                parts.clear()
    reader.check()
    return found
