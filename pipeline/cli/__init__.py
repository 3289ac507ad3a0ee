"""The command line: `pm --help`. Every command has `--json`; exit codes are those of `pipeline.errors`.

0 ok, 1 unexpected, 2 usage, 3 config, 4 environment, 5 venue, 6 risk refusal, 7 data integrity.
Imports stay inside the commands, so that help appears at once.
"""

from __future__ import annotations

import sys

from pipeline.errors import PipelineError


def main() -> None:
    """Run one command; a known problem is one line on stderr and its exit code, never a traceback."""
    from pipeline.cli.app import app

    try:
        app(prog_name="pm")
    except PipelineError as problem:
        print(f"pm: {problem}", file=sys.stderr)
        raise SystemExit(problem.exit_code) from None
    except KeyboardInterrupt:
        print("pm: stopped by you", file=sys.stderr)
        raise SystemExit(130) from None
