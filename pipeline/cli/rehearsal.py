"""The commands that need nothing but this machine: the demo, and its exchange alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, Cpus, Faults


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command(short_help="Trade against a local exchange: no keys, no network.")(demo)
    app.command(short_help="Run the demo's local exchange in the foreground.")(exchange)


def demo(
    seconds: Annotated[int, typer.Option(metavar="N", min=2, max=86_400, help="How long to trade.")] = 60,
    feed: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="Recording (*.jsonl.zst) to play, may be repeated; default: generated flow."
        ),
    ] = None,
    speed: Annotated[str, typer.Option(metavar="N|max", help="Playback speed of recordings.")] = "1",
    topology: Annotated[
        str, typer.Option(metavar="NAME", help="1core, 2core, 4core, 8core or 16core.")
    ] = "2core",
    cpus: Cpus = "auto",
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything that is generated.")] = 1,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report's figures to this file.")
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep logs and state in this new folder; `pm status --state DIR` reads it."
        ),
    ] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option("--config", "-c", metavar="FILE", help="Settings over the demo's own."),
    ] = None,
    faults: Faults = None,
) -> None:
    """Trade against a local exchange with real processes, sockets and signatures; ends with a report.

    Exit 0 only if no frame was dropped, every order is accounted for, and our books and the exchange's
    agree to the micro-dollar; 7 if they do not, or if a recording is damaged.
    """
    from pipeline.run.demo import DemoOptions, run_demo

    raise typer.Exit(
        run_demo(
            DemoOptions(
                seconds=seconds,
                feeds=tuple(feed or ()),
                speed=speed,
                topology=topology,
                cpus=cpus,
                seed=seed,
                json_file=json_file,
                keep=keep,
                config_files=tuple(config or ()),
                faults=faults,
            )
        )
    )


def exchange(
    directory: Annotated[
        Path,
        typer.Option("--dir", metavar="DIR", help="Its folder: certificate, keys, pipeline.toml, report."),
    ],
    seed: Annotated[int, typer.Option(metavar="N", help="Seed of everything that is generated.")] = 1,
    feed: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Recording (*.jsonl.zst) to play; default: generated flow."),
    ] = None,
    generate: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, max=2_000, help="Make up N binary markets instead.  [default: 20]"),
    ] = None,
    speed: Annotated[str, typer.Option(metavar="N|max", help="Playback speed.")] = "1",
    seconds: Annotated[int, typer.Option(metavar="N", min=0, help="How long; 0 = until a signal.")] = 0,
    port: Annotated[
        int,
        typer.Option(metavar="PORT", min=0, max=65_531, help="The first of five in a row. 0 = free ones."),
    ] = 8443,
    official_hosts: Annotated[
        bool, typer.Option("--official-hosts", help="Answer any bot under the venue's own host names, too.")
    ] = False,
    wallet: Annotated[
        int,
        typer.Option(
            metavar="0|1|2|3", min=0, max=3,
            help="Kind of the account's wallet: 0 EOA, 1 proxy, 2 Safe, 3 deposit wallet.",
        ),
    ] = 0,
    faults: Faults = None,
    as_json: AsJson = False,
) -> None:
    """Run the demo's local exchange until a signal ends it; a pipeline may come and go meanwhile.

    Plays a recording or makes markets up; beside them stand forty events with planted mispricings. Listens on
    this machine only, at five ports from PORT on (CLOB, metadata, control, CLOB without TLS, proxy) and free
    ones, prints them all, and writes DIR/pipeline.toml: give it to `pm run` behind config/demo.toml.

    With --official-hosts it prints HTTPS_PROXY and SSL_CERT_FILE: a bot that is started with these two trades
    here and not on the venue, without a change. Every wallet begins with 10,000 USD of play money.
    """
    from pipeline.run.exchange_service import ExchangeOptions, run_exchange

    raise typer.Exit(
        run_exchange(
            ExchangeOptions(
                directory=directory,
                seed=seed,
                feeds=tuple(feed or ()),
                generated=generate,
                speed=speed,
                seconds=seconds,
                port=port,
                official_hosts=official_hosts,
                signature_type=wallet,
                faults=faults,
                as_json=as_json,
            )
        )
    )
