"""Which state directory a command means, and what stands in it about the last run."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import EnvironmentProblem, UsageError
from pipeline.run.spec import RunSpec
from pipeline.shm import halt


def is_state(directory: Path) -> bool:
    """Tell whether a run or a halt was ever here."""
    return (directory / "generation").is_file() or (directory / halt.FILE_NAME).exists()


def states_in(directory: Path) -> list[Path]:
    """Return the directory itself when it is a state directory, else those right below it, by name."""
    if is_state(directory) or not directory.is_dir():
        return [directory] if is_state(directory) else []
    return sorted(child for child in directory.iterdir() if child.is_dir() and is_state(child))


def one_state(directory: Path) -> Path:
    """Return the one state directory that is meant; EnvironmentProblem for none, UsageError for several."""
    found = states_in(directory)
    if not found:
        why = "holds no run" if directory.is_dir() else "does not exist"
        raise EnvironmentProblem(
            f"state directory {directory} {why}; give --state DIR, the state_dir of the configuration"
        )
    if len(found) > 1:
        names = ", ".join(str(path) for path in found)
        raise UsageError(
            f"{directory} holds several state directories ({names}); choose one with --state DIR"
        )
    return found[0]


def latest_run(state: Path) -> RunSpec | None:
    """Return the description of the newest run, None when there was none yet."""
    path = state / "run" / "latest" / "spec.json"
    return RunSpec.load(path) if path.exists() else None
