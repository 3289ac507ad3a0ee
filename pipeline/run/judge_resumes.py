"""Did each restart of the core go on where the one before had stopped, and decide nothing in between.

Reads the RESUME records of the stream and the causes of all decisions; writes findings. `last_seq`,
`live_seq` and `decisions_seq` are checked against the two logs themselves, not against each other alone.
"""

from __future__ import annotations

from bisect import bisect_left

from pipeline.run.judge_logs import Findings, Logs


def check_resumes(logs: Logs, findings: Findings) -> None:
    """Each RESUME: positions rise, and no decision has a cause between `last_seq` and `live_seq`."""
    positions = [position for position, _ in logs.causes]
    live_seq = epoch = 0
    for record in logs.resumes:
        where = f"resume at seq {record.seq}"
        if not record.last_seq <= record.live_seq <= record.seq:
            findings.broken("resumes", (
                f"{where}: last_seq <= live_seq <= its own place expected, "
                f"was {record.last_seq}, {record.live_seq}"))
        if record.live_seq < live_seq or record.epoch <= epoch:
            findings.broken("resumes", (
                f"{where}: a later start than live_seq {live_seq}, epoch {epoch} expected, "
                f"was {record.live_seq}, {record.epoch}"))
        live_seq, epoch = max(live_seq, record.live_seq), max(epoch, record.epoch)
        place = bisect_left(positions, record.decisions_seq)
        before, behind = logs.causes[:place], logs.causes[place:]
        last = max((cause for _, cause in before), default=0)
        if last != record.last_seq:
            findings.broken("resumes", (
                f"{where}: the last decision before position {record.decisions_seq} has cause {last}, "
                f"it says {record.last_seq}"))
        if behind and behind[0][1] < record.live_seq:
            findings.broken("resumes", (
                f"{where}: decision {behind[0][0]} behind it has cause {behind[0][1]}, "
                f"nothing was to be decided before {record.live_seq}"))
