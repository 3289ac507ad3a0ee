"""The command line: `pm --help`. Every command has `--json`; exit codes are those of `pipeline.errors`.

0 ok, 1 unexpected, 2 usage, 3 config, 4 environment, 5 venue, 6 risk refusal, 7 data integrity; 130 stopped
by Ctrl-C, 143 by SIGTERM. A problem is one line on stderr. Imports stay inside the commands, so that help
appears at once.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType, TracebackType

from pipeline.errors import PipelineError

STOPPED_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
BROKEN_PIPE_CODE = 141  # as a shell shows a program that SIGPIPE ended
IMPORTING = "<frozen importlib"  # where a module is being loaded
ASK_AGAIN_S = 0.01
TRACEBACK_SWITCH = "PM_TRACEBACK"


class Stopped(BaseException):
    """A signal asks us to end; a BaseException, so that only clean-up code meets it on its way."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = STOPPED_CODES[signal.Signals(number)]


def main() -> None:
    """Run one command; a known problem is one line on stderr and its exit code, never a traceback."""
    sys.excepthook = _say_unexpected
    for number in STOPPED_CODES:
        signal.signal(number, _stop)
    try:
        code = _run()
    except Stopped as stopped:  # between two lines of the clean-up
        code = _say("stopped", stopped.exit_code)
    raise SystemExit(code)


def _run() -> int:
    from typer.exceptions import TyperException
    from typer.main import get_command

    from pipeline.cli.app import app

    try:
        code = get_command(app).main(prog_name="pm", standalone_mode=False)
        sys.stdout.flush()
    except PipelineError as problem:
        return _say(str(problem), problem.exit_code)
    except TyperException as problem:  # the command line itself is wrong
        if type(problem).__name__ == "NoArgsIsHelpError":
            print(problem.format_message())
            return problem.exit_code
        return _say(
            f"{_one_line(problem.format_message())} ({_command_of(problem)} --help says more)",
            problem.exit_code,
        )
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that the last flush at exit is silent too
        return BROKEN_PIPE_CODE
    except SystemExit:  # typer's way to say the same: nobody reads us any more
        return BROKEN_PIPE_CODE
    except Stopped as stopped:
        return _say("stopped", stopped.exit_code)
    return code if isinstance(code, int) else 0


def _say(words: str, exit_code: int) -> int:
    print(f"pm: {_one_line(words)}", file=sys.stderr)
    return exit_code


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _command_of(problem: object) -> str:
    context = getattr(problem, "ctx", None)
    return str(context.command_path) if context is not None else "pm"


def _stop(number: int, frame: FrameType | None) -> None:
    if _is_importing(frame):
        # Modules swallow what is raised while they load, or make an ImportError of it: come back a little
        # later. Whoever handles this signal by then gets it; a command may have put a handler of its own.
        signal.signal(signal.SIGALRM, lambda _alarm, _where: signal.raise_signal(number))
        signal.setitimer(signal.ITIMER_REAL, ASK_AGAIN_S)
        return
    for other in STOPPED_CODES:
        signal.signal(other, signal.SIG_IGN)  # clean-up is under way: do not break into it
    raise Stopped(number)


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORTING):
            return True
        frame = frame.f_back
    return False


def _say_unexpected(kind: type[BaseException], value: BaseException, where: TracebackType | None) -> None:
    """Say what nobody expected in one line; Python then exits with 1."""
    if os.environ.get(TRACEBACK_SWITCH):
        sys.__excepthook__(kind, value, where)
        return
    last = where
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    place = f" at {os.path.basename(last.tb_frame.f_code.co_filename)}:{last.tb_lineno}" if last else ""
    _say(
        f"unexpected {kind.__name__}: {value}{place}; this is a bug, {TRACEBACK_SWITCH}=1 shows all of it", 1
    )
