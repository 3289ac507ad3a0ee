"""The commands before trading: connect a wallet, examine. What they do lives in one module each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.options import AsJson, ConfigFiles, Cpus, SetKeys

AccountName = Annotated[
    str | None, typer.Option("--account", metavar="NAME", help="Which wallet; needed when there are several.")
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this file."""
    app.command(short_help="Make or find a wallet's API key and write its file.")(connect)
    app.command(short_help="Examine machine, wallet and venue; says what to do.")(doctor)


def connect(
    config: ConfigFiles,
    account: AccountName = None,
    nonce: Annotated[
        int, typer.Option(metavar="N", min=0, help="Which of the wallet's keys; 0 is every client's.")
    ] = 0,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite an api_file that holds another key.")
    ] = False,
    set_: SetKeys = None,
    as_json: AsJson = False,
) -> None:
    """Make or find the venue's API key of a wallet and write it to accounts.<name>.api_file, mode 0600.

    The wallet key signs one fixed sentence and is not sent; no money moves, no order is placed. Says which
    kind of wallet `maker` is, and exit 3 which signature_type belongs to it when another is configured.
    """
    from pipeline.cli.connect import connect_account

    raise typer.Exit(connect_account(config, tuple(set_ or ()), account, nonce, replace, as_json))


def doctor(
    topics: Annotated[list[str] | None, typer.Argument(metavar="TOPIC", hidden=True)] = None,
    config: Annotated[
        list[Path] | None,
        typer.Option(
            "--config", "-c", metavar="FILE", help="TOML file; wallet and venue need it. A later one wins."
        ),
    ] = None,
    set_: SetKeys = None,
    cpus: Cpus = "auto",
    as_json: AsJson = False,
) -> None:
    """Examine machine, wallet and venue: a verdict a line, and where it is not ok, why and what to do.

    TOPIC is machine, wallet or venue, or several; without one it looks at all that it can.
    Places no order and cancels none; machine needs no network. The same lines of wallet and venue must hold
    before mode live may trade. Exit 0 unless a line fails; then 3 config, 4 environment, 5 venue.
    """
    from pipeline.cli.doctor import doctor as examine

    raise typer.Exit(
        examine(tuple(topics or ()), tuple(config or ()), tuple(set_ or ()), cpus, as_json))
