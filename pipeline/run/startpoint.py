"""Where a start goes on: the ends of both logs for a core, the trades not yet listed for an account.

A core's point is found while no core lane runs: read by the supervisor before it spawns the core, carried
to the lanes in the run description. Between the last logged decision and the new core's first record
nothing was decided: `RESUME` says so in the stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.codec import CODECS, HEADER_STRUCT
from pipeline.kinds import Kind
from pipeline.native.log import LogReader, LogWriter
from pipeline.native.relay import Filter
from pipeline.native.segments import segment_firsts, segments
from pipeline.records import SLOT_BYTES
from pipeline.run import wiring
from pipeline.units import NS_PER_S

PASS_S_MAX = 60  # how much before the end of a whole pass its successor begins: longer than a pass lasts
MISSED_S = 300  # how much before the last record of the old run, when its log tells of no pass
SEGMENTS_BACK = 3, 12  # how many files are searched for the last whole pass
READ_SLOTS = 4_096
_SEQ, _NOW_NS, _SOURCE_SEQ, _KIND = 0, 1, 3, 4  # places in a record's header


@dataclass(frozen=True, slots=True)
class StartPoint:
    """Positions in slots; `epoch` counts the starts of the core in this state directory, rising."""

    stream: int = 0  # book and detect begin here, empty
    decisions: int = 0
    last_seq: int = 0  # cause of the last logged decision
    since_ns: int = 0  # stream time of the last record before; 0 = a new log
    epoch: int = 1
    from_venue: bool = False  # what the venue lists of runs that these logs do not know is taken over

    def resume_record(self) -> bytes:
        """Return the record that says where deciding stopped and where it goes on."""
        return CODECS[Kind.RESUME].pack(
            last_seq=self.last_seq, live_seq=self.stream, decisions_seq=self.decisions, epoch=self.epoch,
            from_venue=int(self.from_venue))


def find(log_dir: Path, segment_slots: int, salt_epoch: int, epoch: int, *, from_venue: bool) -> StartPoint:
    """Prove the ends of both logs, cut what is torn, and return where a core begins.

    Makes a log that is not there. Raises EnvironmentProblem (disk, another writer), LayoutError (logs of
    another build) and LogCorrupt (damage in the middle).
    """
    ends = {}
    for log in wiring.LOGS:
        directory = log_dir / log
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        writer = LogWriter(directory, log, segment_slots, salt_epoch=salt_epoch)
        ends[log] = writer.position
        writer.close()
    decided = _last_header(log_dir / wiring.DECISIONS, wiring.DECISIONS, ends[wiring.DECISIONS])
    seen = _last_header(log_dir / wiring.STREAM, wiring.STREAM, ends[wiring.STREAM])
    return StartPoint(
        stream=ends[wiring.STREAM], decisions=ends[wiring.DECISIONS],
        last_seq=decided[_SOURCE_SEQ] if decided else 0, since_ns=seen[_NOW_NS] if seen else 0, epoch=epoch,
        from_venue=from_venue)


def _last_header(directory: Path, log: str, end: int) -> tuple[int, ...] | None:
    """Return the header of the last record before `end` that is no padding; None in an empty log."""
    oldest = segment_firsts(directory)[0]
    for position in range(end - 1, oldest - 1, -1):
        reader = LogReader(directory, log, position)
        data = reader.read(1)
        reader.close()
        header = HEADER_STRUCT.unpack_from(data[:SLOT_BYTES]) if data else None
        if header is not None and header[_SEQ] == position and header[_KIND] != Kind.PAD:
            return header
    return None


def log_end(directory: Path, log: str) -> int:
    """Return the position after the last visible record of a log that somebody may be writing."""
    found = segments(directory, log)
    # a file that was made ahead holds nothing yet
    return max((info.published for info in found if info.published > info.first), default=found[0].first)


def rows_start(directory: Path) -> int:
    """Return where a new follower of the stream's rows begins: each segment starts with all of them."""
    return max((info.first for info in segments(directory, wiring.STREAM) if info.published > info.first),
               default=segment_firsts(directory)[0])


def trades_since_s(stream: Path, account: int, start: StartPoint) -> int:
    """Return the unix second from which a new account stage asks for trades; 0 = the last minutes.

    stream: the log's directory. What a pass that saw everything was told stands in the stream before its
    end, so that neither a restart nor a start needs to ask for it again.
    """
    if whole_ns := _whole_pass_ns(stream, account):
        return max(1, whole_ns // NS_PER_S - PASS_S_MAX)
    if start.from_venue:
        return 1
    return max(1, start.since_ns // NS_PER_S - MISSED_S) if start.since_ns else 0


def _whole_pass_ns(stream: Path, account: int) -> int:
    """Return when the last reconcile that saw everything ended; 0 = none in the newest segments."""
    firsts = segment_firsts(stream)
    for count in SEGMENTS_BACK:
        reader = LogReader(stream, wiring.STREAM, firsts[-count:][0])
        passes, found_ns = Filter(reader, (Kind.RECONCILED,)), 0
        while data := passes.read(READ_SLOTS):
            for at in range(0, len(data), SLOT_BYTES):
                record = CODECS[Kind.RECONCILED].unpack(data, at)
                if record.account == account and record.ok:
                    found_ns = record.recv_ns
        reader.close()
        if found_ns:
            return found_ns
    return 0


def recent(directory: Path) -> int:
    """Return where the newest segment but one begins: far enough back for what a restart may have missed."""
    return segment_firsts(directory)[-3:][0]  # the newest may be one that was made ahead
