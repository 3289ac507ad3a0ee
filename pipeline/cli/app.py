"""The commands and their options; what they do lives in one module each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli import rehearsal, setup
from pipeline.cli.options import DEFAULT_STATE, AsJson, ConfigFiles, Cpus, SetKeys, StateDir

EXIT_CODES = (
    "Exit codes: 0 ok, 1 unexpected, 2 usage, 3 config, 4 environment, 5 venue, "
    "6 risk refusal, 7 data integrity."
)

app = typer.Typer(
    help="Trade prediction markets from one Linux server. Dry run is the default; `pm demo` needs no keys.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
config_app = typer.Typer(help="Check configuration.", no_args_is_help=True)
app.add_typer(config_app, name="config")


def _version(is_asked: bool) -> None:
    if is_asked:
        import platform

        from pipeline import __version__
        from pipeline.records import LAYOUT_HASH, LAYOUT_VERSION
        from pipeline.shm.memory import build_id

        typer.echo(
            f"pm-pipeline {__version__}, build {build_id():016x}, "
            f"layout {LAYOUT_VERSION} ({LAYOUT_HASH:016x}), Python {platform.python_version()}"
        )
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print version, build, layout, Python."
        ),
    ] = False,
) -> None:
    del version


rehearsal.add_to(app)


@app.command(short_help="Start the pipeline in the foreground; dry run by default.")
def run(
    config: ConfigFiles,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="dry|local|live",
            help="dry: nothing is sent. local: to this machine only. live: refused until "
            "arming exists. Default: the configuration's, which is dry unless it says otherwise.",
        ),
    ] = None,
    topology: Annotated[
        str | None, typer.Option(metavar="NAME", help="Instead of the configuration's.")
    ] = None,
    cpus: Cpus = "auto",
    set_: SetKeys = None,
    recover_from_venue: Annotated[
        bool,
        typer.Option(
            "--recover-from-venue",
            help="Set the logs aside and take over what the venue says: after a change of the record layout.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start the pipeline and stay in the foreground until a signal stops it.

    Says one line when it is up. Ctrl-C and SIGTERM end it cleanly (exit 0); a lane that dies, or a halt H4,
    ends it with a line that says why.
    """
    from pipeline.run.service import run_service

    raise typer.Exit(
        run_service(config, mode, topology, cpus, tuple(set_ or ()), as_json, recover_from_venue)
    )


@config_app.command("check", short_help="Check configuration files; starts nothing.")
def config_check(
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE", hidden=True)] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", metavar="FILE", help="A FILE as an option; TOML, a later one wins."),
    ] = None,
    set_: SetKeys = None,
    cpus: Cpus = "auto",
    as_json: AsJson = False,
) -> None:
    """Check configuration files without starting anything; say where each limit came from.

    Exit 3 names the file and the key that is wrong, 4 a CPU that this machine does not have.
    """
    from pipeline.cli.config_check import check

    check([*(files or ()), *(config or ())], tuple(set_ or ()), cpus, as_json)


@app.command(short_help="Say what runs, what it did, and why nothing trades.")
def status(state: StateDir = DEFAULT_STATE, as_json: AsJson = False) -> None:
    """Say what runs, what it did, who halts it, and why nothing trades.

    Looks from outside and changes nothing. When nothing runs it shows the last run's numbers; exit 4 when
    there is no state directory.
    """
    from pipeline.cli.status import show_status

    raise typer.Exit(show_status(state, as_json))


@app.command(short_help="Stop new orders until `pm resume`; survives a reboot.")
def halt(
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why; kept with the halt.")],
    level: Annotated[
        str,
        typer.Option(
            metavar="H1|H2|H3|H4",
            help="H1 no new risk, H2 cancel all and hedge only, H3 cancels only, H4 stop the pipeline.",
        ),
    ] = "H3",
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Latch a halt, with or without a running pipeline; it survives restarts and reboots until `pm resume`.

    Never lowers a stricter halt. With several state directories right below DIR, halts them all.
    """
    from pipeline.cli.halt import set_halt

    set_halt(state, level, reason, as_json)


@app.command(short_help="Show which settled shares could be turned back into money.")
def recycle(
    plan: Annotated[
        bool, typer.Option("--plan", help="Show what would be done; nothing is sent. Must be given.")
    ] = False,
    action: Annotated[
        str | None, typer.Option(metavar="merge|convert|redeem", help="Only this kind of action.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=0, help="Lines of the table; 0 = all.")
    ] = 20,
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Show which actions on chain would free collateral, with how much each frees, and why the rest stays.

    merge: YES and NO of one market are 1 USD. convert: NO of several outcomes of a neg-risk event. redeem:
    resolved markets. Reads the newest checkpoint and the logs, beside a running pipeline too, and sends
    nothing; --json has the calldata. Exit 4 when there is no state, 7 when a log is damaged or of another
    layout.
    """
    from pipeline.cli.recycle import show_plan

    show_plan(state, plan, action, count, as_json)


@app.command("cancel-all", short_help="Cancel every open order and prove that none is left.")
def cancel_all(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why; kept with the halt.")] = "pm cancel-all",
    seconds: Annotated[int, typer.Option(metavar="N", min=1, help="How long to wait for the proof.")] = 30,
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Latch a halt H2, let the running pipeline cancel every open order, and prove that none is left.

    Exit 0 only with that proof. 4: nothing runs that could cancel. 5: the venue leaves orders open, or their
    end unknown; the line says how many. The halt stays until `pm resume`.
    """
    from pipeline.cli.cancel_all import cancel_all as cancel

    raise typer.Exit(cancel(state, reason, seconds, as_json))


@app.command(short_help="Lift the operator's halt.")
def resume(
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is safe again; kept.")],
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Lift the operator's halt and say what still holds; exit 6 when another owner still halts.

    A running pipeline goes on with the shares that the wallet holds: a difference to our fills (alarm
    shares_differ) is booked as another's.
    """
    from pipeline.cli.halt import clear_halt

    clear_halt(state, reason, as_json)


@app.command(short_help="Print a log's records in words.")
def inspect(
    log: Annotated[
        Path, typer.Argument(metavar="LOG", help="Folder of a log, such as state/logs/decisions.")
    ],
    first: Annotated[int, typer.Option("--from", metavar="N", min=0, help="First position.")] = 0,
    count: Annotated[int, typer.Option(metavar="N", min=0, help="How many records; 0 = all.")] = 100,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only this kind, such as fill or report; may be repeated."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print a log's records in words, one line each; with --json one JSON object a line."""
    from pipeline.cli.inspect import inspect_log

    inspect_log(log, first, count, tuple(kind or ()), as_json)


@app.command(short_help="Tell the story of one package, idea or order.")
def explain(
    ident: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="Package (g12), idea (i12) or order (o12); a bare number is a package."
        ),
    ],
    state: StateDir = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Tell the story of one package, idea or order from the logs: cause, price, gate, orders, fills, result.

    Times are microseconds since the first byte of the frame that caused it. Exit 2 names the ids that exist.
    """
    from pipeline.cli.explain import explain_ident

    explain_ident(ident, state, as_json)


@app.command(short_help="Show what changed in a run: the event logs of all lanes.")
def logs(
    state: StateDir = DEFAULT_STATE,
    lane: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this lane; may be repeated.")
    ] = None,
    level: Annotated[
        str, typer.Option(metavar="debug|info|warning|error", help="This level and what is graver.")
    ] = "debug",
    event: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only this event, such as lane_died; may be repeated."),
    ] = None,
    count: Annotated[
        int, typer.Option("--count", "-n", metavar="N", min=0, help="The newest N events; 0 = all.")
    ] = 50,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the event logs of all lanes, merged by time: UTC time, level, lane, event, fields.

    With --json one JSON object a line, as it stands in the file. Works with and without a running pipeline;
    exit 4 when there is no log.
    """
    from pipeline.cli.logs import show_logs

    show_logs(state, tuple(lane or ()), level, tuple(event or ()), count, follow, as_json)


@app.command(short_help="Record a venue's market data: no keys, no orders.")
def record(
    config: ConfigFiles,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the logs.")],
    seconds: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="How long; default: until Ctrl-C.")
    ] = None,
    cpus: Cpus = "auto",
    as_json: AsJson = False,
) -> None:
    """Record every frame as it came and the stream that it makes, into logs that `pm inspect` reads.

    Needs no wallet and sends nothing. Ctrl-C and SIGTERM end it cleanly; at the end every record is proven,
    exit 7 names the first that is not whole.
    """
    from pipeline.cli.record import record_feed

    raise typer.Exit(record_feed(config, out, seconds, cpus, as_json))


@app.command(short_help="Decide a run's stream again and compare with what was decided.")
def replay(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A state directory, or its folder logs.")],
    as_json: AsJson = False,
) -> None:
    """Fold a run's stream once more and compare every decision with the logged one, byte for byte.

    Prints what wrote the log and warns when this is other code. Exit 7 shows the first difference in words,
    or names the damage or the other layout; 4 when there is no log, or its older part is needed.
    """
    from pipeline.cli.replay import replay_log

    raise typer.Exit(replay_log(log, as_json))


setup.add_to(app)
