"""The examination behind `pm doctor` and behind a start in mode live: topics in, lines out.

`python -m pipeline.run.doctor` does it in a process of its own: the supervisor must neither hold an API key
nor open a socket. It reads {"files", "overrides", "topics"} as JSON on stdin and writes its lines to stdout.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import orjson

from pipeline.config.load import Config, load
from pipeline.errors import EnvironmentProblem, PipelineError
from pipeline.run import conditions
from pipeline.run.conditions import Line, Verdict

MACHINE, WALLET, VENUE = "machine", "wallet", "venue"
TOPICS = (MACHINE, WALLET, VENUE)
SECONDS_MAX = 120.0


def examine(config: Config | None, topics: Sequence[str], *, is_virtual: bool = False) -> list[Line]:
    """Return the lines of these topics, in the order of TOPICS; without a configuration machine's alone."""
    lines: list[Line] = []
    if MACHINE in topics:
        from pipeline.run.machine import look_at_machine

        lines += look_at_machine(config, is_virtual=is_virtual)
    if config is None or not set(topics) & {WALLET, VENUE}:
        return lines
    from pipeline.run import survey

    if WALLET in topics:
        for name in config.accounts:
            lines += conditions.judge_account(survey.look_at_account(config, name))
    if VENUE in topics:
        lines += conditions.judge_venue(survey.look_at_venue(config))
    return lines


def examine_apart(
    files: Sequence[Path], overrides: Mapping[str, object], topics: Sequence[str],
) -> list[Line]:
    """Return the lines of an examination in another process; raises EnvironmentProblem when it has none."""
    request = {"files": [str(path) for path in files], "overrides": dict(overrides), "topics": list(topics)}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.run.doctor"], input=orjson.dumps(request), capture_output=True,
            timeout=SECONDS_MAX, check=False)
        found = orjson.loads(done.stdout)
        return [Line(**{**one, "verdict": Verdict(one["verdict"])}) for one in found]
    except (subprocess.TimeoutExpired, orjson.JSONDecodeError, TypeError, KeyError, ValueError):
        raise EnvironmentProblem(
            "run.doctor: the examination before live trading did not end; pm doctor wallet venue shows why"
        ) from None


def main() -> None:
    """Answer one request; an error of the configuration is a line, too."""
    request = orjson.loads(sys.stdin.buffer.read())
    try:
        lines = examine(load(request["files"], request["overrides"]), request["topics"])
    except PipelineError as problem:
        lines = [Line("run", "examination", Verdict.FAIL, str(problem), "without it nothing is known",
                      "correct what is named here", problem.exit_code)]
    sys.stdout.buffer.write(orjson.dumps([asdict(line) for line in lines]))


if __name__ == "__main__":
    main()
