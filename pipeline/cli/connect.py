"""`pm connect`: says what it will do, does it, says what it did; no secret is ever shown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson
import typer

from pipeline.config.load import load, parse_override
from pipeline.errors import ConfigError
from pipeline.run.connect import Connected, Origin, choose_account, connect, look_at_wallet

_WORDS = {
    Origin.MADE: "made by the venue just now",
    Origin.DERIVED: "the venue had one for this wallet; it gave it again",
    Origin.KEPT: "the one in the file works; nothing was changed",
}


def connect_account(
    config_files: Sequence[Path], set_: Sequence[str], account_name: str | None, nonce: int, replace: bool,
    as_json: bool,
) -> int:
    """Connect one account; return 0, or raise ConfigError behind it when the wallet is set up wrongly."""
    config = load(config_files, dict(parse_override(text) for text in set_))
    name, account = choose_account(config, account_name)
    venue = config.venues.polymarket
    if not as_json:
        typer.echo(f"will do   ask {venue.clob_url} for the API key of {account.address} (account {name}), "
                   f"proven by a signature of {account.key_file}; write it to {account.api_file}, mode 0600")
        typer.echo("          no money moves, no order is placed, the wallet key is not sent")
    look_at_wallet(name, account, venue.chain_id)  # a mistyped address is told before anything is asked
    done = connect(config, name, nonce, replace=replace)
    _say(done, as_json)
    if done.wallet.advice:
        raise ConfigError(f"connect: the API key is there, but {done.wallet.advice}")
    return 0


def _say(done: Connected, as_json: bool) -> None:
    kind = done.wallet.kind
    if as_json:
        typer.echo(orjson.dumps({
            "account": done.account, "address": done.address, "api_key": done.origin.value,
            "api_file": str(done.api_file), "written": done.is_written,
            "wallet": kind.name.lower() if kind else "", "advice": done.wallet.advice,
            "wallets": done.wallet.all_of_key}).decode())
        return
    typer.echo(f"API key   {_WORDS[done.origin]}")
    if done.is_written:
        typer.echo(f"written   {done.api_file}, mode 0600; gateway and account stage read it")
    typer.echo(f"wallet    {kind.words if kind else 'none of this key'}"
               + ("" if done.wallet.advice else "; maker and signature_type are right"))
    if done.wallet.advice:
        for words, address in done.wallet.all_of_key.items():
            typer.echo(f"          {words:<24} {address}")
    else:
        typer.echo("next      pm doctor wallet venue")
