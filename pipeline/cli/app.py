"""The commands and their options; what they do lives in one module each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Trade prediction markets from one Linux server. Dry run is the default; `pm demo` needs no keys.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)
config_app = typer.Typer(help="Check and explain configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
ConfigFiles = Annotated[list[Path], typer.Option("--config", "-c", help="TOML file; a later one wins.")]
StateDir = Annotated[Path, typer.Option("--state", help="State directory of the run.")]
DEFAULT_STATE = Path("state")


def _version(is_asked: bool) -> None:
    if is_asked:
        from pipeline import __version__
        from pipeline.records import LAYOUT_HASH, LAYOUT_VERSION

        typer.echo(f"pm-pipeline {__version__}, layout {LAYOUT_VERSION} ({LAYOUT_HASH:016x})")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print version and record layout.")
    ] = False,
) -> None:
    del version


@app.command()
def demo(
    seconds: Annotated[int, typer.Option(min=2, max=86_400, help="How long to trade.")] = 60,
    feed: Annotated[list[Path] | None, typer.Option(help="Recordings (*.jsonl.zst) to play; default: generated.")] = None,
    speed: Annotated[str, typer.Option(help="Playback speed of recordings: a number, or max.")] = "1",
    topology: Annotated[str, typer.Option(help="1core, 2core or 4core.")] = "2core",
    cpus: Annotated[str, typer.Option(help="auto, or virtual: fold a bigger topology onto the CPUs present.")] = "auto",
    seed: Annotated[int, typer.Option(help="Seed of everything that is generated.")] = 1,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Keep logs and state in this (new) directory.")] = None,
    config: Annotated[list[Path] | None, typer.Option("--config", "-c", help="Settings over the demo's own.")] = None,
) -> None:
    """Trade against a local exchange with real processes, sockets and signatures; ends with a report."""
    from pipeline.run.demo import DemoOptions, run_demo

    raise typer.Exit(run_demo(DemoOptions(
        seconds=seconds, feeds=tuple(feed or ()), speed=speed, topology=topology, cpus=cpus, seed=seed,
        json_file=json_file, keep=keep, config_files=tuple(config or ()))))


@app.command()
def run(
    config: ConfigFiles,
    mode: Annotated[str | None, typer.Option(help="dry, local or live; default: the config's.")] = None,
    topology: Annotated[str | None, typer.Option(help="Overrides the config's topology.")] = None,
    cpus: Annotated[str, typer.Option(help="auto or virtual.")] = "auto",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Start the pipeline and stay in the foreground until it is stopped."""
    from pipeline.run.service import run_service

    raise typer.Exit(run_service(config, mode, topology, cpus, tuple(set_ or ()), as_json))


@config_app.command("check")
def config_check(
    files: Annotated[list[Path] | None, typer.Argument(help="TOML files; a later one wins.")] = None,
    config: Annotated[list[Path] | None, typer.Option("--config", "-c", help="The same as a plain argument.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value over the files.")] = None,
    cpus: Annotated[str, typer.Option(help="auto, or virtual: fold the topology onto the CPUs present.")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Check configuration files without starting anything; say where each limit came from."""
    from pipeline.cli.config_check import check

    check([*(files or ()), *(config or ())], tuple(set_ or ()), cpus, as_json)


@app.command()
def status(state: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Say what runs, what it did, and why nothing trades."""
    from pipeline.cli.status import show_status

    raise typer.Exit(show_status(state, as_json))


@app.command()
def halt(
    reason: Annotated[str, typer.Argument(help="Why; kept with the halt.")],
    level: Annotated[str, typer.Option(help="H1 no new risk, H2 hedge only, H3 cancels only, H4 stop.")] = "H3",
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Latch a halt; it survives restarts and reboots until `pm resume`."""
    from pipeline.cli.halt import set_halt

    set_halt(state, level, reason, as_json)


@app.command()
def resume(
    reason: Annotated[str, typer.Option(help="Why it is safe again.")],
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Clear the operator's halt."""
    from pipeline.cli.halt import clear_halt

    clear_halt(state, reason, as_json)


@app.command()
def inspect(
    log: Annotated[Path, typer.Argument(help="Directory of a log (stream or decisions).")],
    first: Annotated[int, typer.Option("--from", help="First position.")] = 0,
    count: Annotated[int, typer.Option(help="How many records; 0 = all.")] = 100,
    kind: Annotated[list[str] | None, typer.Option(help="Only these kinds.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print a log's records in words."""
    from pipeline.cli.inspect import inspect_log

    inspect_log(log, first, count, tuple(kind or ()), as_json)


@app.command()
def explain(
    ident: Annotated[str, typer.Argument(help="Package (g12), idea (i12) or order (o12); a bare number is a package.")],
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Tell the story of one package, idea or order from the logs."""
    from pipeline.cli.explain import explain_ident

    explain_ident(ident, state, as_json)
