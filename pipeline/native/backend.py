"""Builds the project for pip: setuptools, behind the C of the native modules, which is written here.

Cython puts its own utility code, most of it for memoryviews, into every module. Here it stands in one module
that the others import: half the C, and a build in half the time. C is written two files at a time, and only
where a source is newer. `python pipeline/native/backend.py` writes it without building.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks that are the same

FOLDER = Path(__file__).parent
SHARED = "pipeline.native._cyutility"
PARALLEL = 2


def write_c() -> None:
    """Write the C files that are older than their sources; run in the project's folder."""
    from Cython import __version__ as version
    from Cython.Build import cythonize

    shared = FOLDER / "_cyutility.c"
    if not shared.exists() or f"Cython {version} " not in shared.read_text(errors="replace")[:100]:
        subprocess.run([sys.executable, "-m", "cython", "-3", f"--generate-shared={shared}"], check=True)
    cythonize(
        [str(path) for path in sorted(FOLDER.glob("*.pyx"))], nthreads=PARALLEL, quiet=True,
        shared_utility_qualified_name=SHARED)


def build_wheel(*arguments: Any, **settings: Any) -> str:
    """Build a wheel."""
    write_c()
    return str(build_meta.build_wheel(*arguments, **settings))


def build_editable(*arguments: Any, **settings: Any) -> str:
    """Build what `pip install -e` installs."""
    write_c()
    return str(build_meta.build_editable(*arguments, **settings))


if __name__ == "__main__":
    write_c()
