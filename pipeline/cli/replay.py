"""`pm replay LOG`: decide a run's stream again and compare; what it prints."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import orjson

from pipeline.errors import IntegrityError
from pipeline.run.manifest import Manifest
from pipeline.run.progress import Progress
from pipeline.run.replay import Replay, Replayed, find_logs, to_dict
from pipeline.store.segments import whole_logs
from pipeline.store.words import utc_text


def replay_log(path: Path, as_json: bool) -> int:
    """Replay the logs at `path`; return 0 when every decision is the logged one, else 7."""
    with whole_logs(find_logs(path)) as logs:
        replay = Replay(logs, (lambda _done, _all: None) if as_json else _progress())
        result = replay.run()
    if as_json:
        print(orjson.dumps(to_dict(result)).decode())
    else:
        print("\n".join(lines(result)))
    return 0 if result.difference is None else IntegrityError.exit_code


def lines(result: Replayed) -> list[str]:
    """Return the manifests, what looks unlike them, the figures and the verdict, for people."""
    shown = [_manifest_line(one) for one in result.manifests]
    shown += [f"warning: {words}" for words in result.warnings]
    rate = result.records / result.seconds if result.seconds else 0.0
    starts = "1 start" if result.spans == 1 else f"{result.spans} starts"
    shown.append(
        f"replayed positions {result.stream_first:,} to {result.stream_end:,} of stream ({starts}): "
        f"{result.records:,} records in {result.seconds:.1f} s, {rate:,.0f} records/s")
    compared = f"{result.decisions:,} decisions ({result.decision_slots:,} records) compared"
    if result.difference is not None:
        return [*shown, f"{compared}, then one differs", *result.difference.lines()]
    if result.unlogged:
        shown.append(
            f"{result.unlogged:,} more decisions follow from the rest of the stream; the core ended before "
            "it logged them")
    if not result.decisions:
        return [*shown, "no decision stands in the log: nothing was compared"]
    return [*shown, f"{compared}: all are the logged ones, byte for byte"]


def _manifest_line(found: Manifest) -> str:
    lanes = " ".join(
        f"{lane['name']}@{'any' if lane['cpu'] is None else lane['cpu']}/{lane['wait']}"
        for lane in found["lanes"])
    return (
        f"start {found['generation']} at {utc_text(found['started_ns'])}: version {found['version']} build "
        f"{found['build']}, layout {found['layout_version']}, config {found['config_hash']}, lock "
        f"{found['lock_hash'] or 'none'}, topology {found['topology']} ({lanes}), python {found['python']}, "
        f"kernel {found['kernel']}, from {found['stream_seq']} of stream and {found['decisions_seq']} of "
        "decisions")


def _progress() -> Callable[[int, int], None]:
    shown, last_s = Progress(sys.stdout), [0.0]

    def tell(done: int, of_all: int) -> None:
        now_s = time.monotonic()
        if done >= of_all or now_s - last_s[0] >= 1.0:
            last_s[0] = now_s
            shown.step("replayed", done, of_all)

    return tell
