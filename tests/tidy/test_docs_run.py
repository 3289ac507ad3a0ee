"""Every command block of the documents runs: a fence ```sh is run as it stands, all others are not.

Blocks of one document share an empty folder, in their order, so a later one can look at what an earlier one
kept. What takes long gets a small size: `--seconds N` becomes 5, `python -m bench X` gets `--smoke`, and
`./pm test` only collects the tests that it would run. All else is run to the letter and must end with 0.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shared import ROOT

pytestmark = pytest.mark.timeout(300)
DOCUMENTS = (
    "README.md", "pipeline/README.md", "config/README.md", "bench/README.md", "systemd/README.md")
MUST_RUN = ("README.md", "config/README.md")  # documents that must show something to type
#: sh is the only one that is run here; what needs systemd is `sh box`, run by systemd/fresh-box-check.sh
#: (tests/unit/test_systemd.py compares).
KNOWN = ("sh", "sh box", "text", "console", "toml", "json", "python", "mermaid")
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```[ ]*$", re.DOTALL | re.MULTILINE)
SECONDS = 5
COMMAND_S_MAX = 120.0
SHORT_CODE = 1  # the demo's verdict "too little was taken"
PM = """\
#!/bin/sh
if [ "$1" = test ]; then shift; cd {root} && exec {python} -m pytest --collect-only -q "$@"; fi
exec {python} -m pipeline.cli "$@"
"""
PYTHON = """\
#!/bin/sh
if [ "$1 $2" = "-m bench" ]; then exec {python} "$@" --smoke; fi
exec {python} "$@"
"""


def blocks(text: str) -> list[tuple[str, str]]:
    """Return (language, body) of every fenced block."""
    return [(match[1].strip(), match[2]) for match in FENCE.finditer(text)]


def commands(text: str) -> list[str]:
    """Return the commands of the runnable blocks: a line each, continued ones joined, comments left out."""
    found: list[str] = []
    for language, body in blocks(text):
        if language == "sh":
            lines = body.replace("\\\n", " ").splitlines()
            found += [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return found


def small(command: str) -> str:
    """Return the command at a size for a test."""
    command = re.sub(r"--seconds[ =]\d+", f"--seconds {SECONDS}", command)
    if re.match(r"(\./)?pm demo\b", command) and "--seconds" not in command:
        command += f" --seconds {SECONDS}"
    return command


def present() -> list[str]:
    return [name for name in DOCUMENTS if (ROOT / name).is_file()]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """Give a folder that looks like a checkout to a reader: ./pm, config, bench, nothing of earlier runs."""
    place = tmp_path / "desk"
    place.mkdir()
    tools = tmp_path / "bin"
    tools.mkdir()
    for path, text in (
        (place / "pm", PM),
        (tools / "pm", PM),
        (tools / "python", PYTHON),
        (tools / "python3", PYTHON),
    ):
        path.write_text(text.format(root=ROOT, python=sys.executable))
        path.chmod(0o755)
    shutil.copytree(ROOT / "config", place / "config")
    for name in ("bench", "pipeline", "tests"):
        (place / name).symlink_to(ROOT / name)
    return place


def typed(command: str, desk: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell would; one that does not end is killed with all that it started."""
    process = subprocess.Popen(
        ["sh", "-c", command], cwd=desk, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True)
    try:
        said, errors = process.communicate(timeout=COMMAND_S_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the shell alone would leave whoever holds its pipes
        said, errors = process.communicate()
        pytest.fail(f"{command}: no end within {COMMAND_S_MAX} s\n{said[-2000:]}\n{errors[-2000:]}")
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


@pytest.mark.parametrize("name", present())
def test_commands_of_a_document_run(name: str, desk: Path) -> None:
    """Whoever types what the document says gets exit 0 each time."""
    environment = {
        **os.environ,
        "PATH": f"{desk.parent / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    found = commands((ROOT / name).read_text())
    assert found or name not in MUST_RUN, (
        f"{name} shows no command; fence what a reader shall type with ```sh"
    )
    for command in found:
        done = typed(small(command), desk, environment)
        kept = re.search(r" demo .*--keep[ =](\S+)", command)
        if done.returncode == SHORT_CODE and re.search(r"\bpm demo\b", command):
            # A demo of 5 s may take too little while the machine is busy; exit 7 gets no second try.
            if kept:
                shutil.rmtree(desk / kept[1], ignore_errors=True)
            done = typed(small(command), desk, environment)
        assert 0 == done.returncode, f"{name}: {command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.parametrize("name", present())
def test_every_fence_says_what_it_is(name: str) -> None:
    """A block without a known language would be neither run nor excused."""
    text = (ROOT / name).read_text()
    assert [] == [language for language, _ in blocks(text) if language not in KNOWN]
    assert text.count("\n```") + text.startswith("```") == 2 * len(blocks(text))


def test_blocks_are_found() -> None:
    """The reader of fences joins continued lines, drops comments, and leaves other languages alone."""
    text = "a\n```sh\n# why\n./pm demo \\\n  --seconds 60\npm status\n```\n```text\nnot run\n```\n"
    assert ["./pm demo    --seconds 60", "pm status"] == commands(text)
    assert ["./pm demo    --seconds 5", "pm status"] == [small(command) for command in commands(text)]
    assert "pm demo --seconds 5" == small("pm demo")
