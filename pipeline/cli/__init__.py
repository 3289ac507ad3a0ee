"""The command line: `pm-pipeline COMMAND`. Words in, exit code out; each command imports what it needs.

Exit codes: 0 ok, 1 unexpected, 2 usage, 3 config, 4 environment, 5 venue, 6 risk refusal, 7 data integrity.
"""

from __future__ import annotations

import sys

import typer

from pipeline.errors import PipelineError

app = typer.Typer(
    name="pm-pipeline", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
    help="Trades prediction markets from one Linux server. Dry run unless told otherwise.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from pipeline import __version__, records

        layout = f"layout {records.LAYOUT_VERSION}, layout hash {records.LAYOUT_HASH:016x}"
        typer.echo(f"pm-pipeline {__version__}, {layout}")
        raise typer.Exit


@app.callback()
def common(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Show version and record layout."),
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; an expected failure is one line and its exit code, never a traceback."""
    try:
        app()
    except PipelineError as error:
        print(f"pm: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
