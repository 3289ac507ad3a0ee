"""One exchange under the venue's host names and three client processes for all tests of this folder.

The clients run side by side in their own environment; each prints what its flows found. The exchange's own
books are read when the last has ended and its dead man's switch has fired.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.sim.wallets import wallets_of
from tests.cli_runs import Exchange, until
from tests.peers.bot import KEYS
from tests.tools.peers import clean_environment, peers_python

FOLDER = Path(__file__).resolve().parent
BOT_S_MAX = 150
OWNERS = {  # of the keys in bot.py
    "anvil3": "0x90F79bf6EB2c4f870365E785982E1f101E93b906",
    "anvil4": "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65",
    "anvil5": "0x9965507D1a55bcC2695C58ba16FB37d819B0A4dc",
    "anvil6": "0x976EA74026E726554dB657fA54763abd0C3a0aa9",
    "anvil7": "0x14dC79964da2C08b23698B3D3cc7Ca32193d9955",
}
assert OWNERS.keys() == KEYS.keys()


@dataclass(frozen=True, slots=True)
class Peers:
    """What the clients found, and the exchange's own books."""

    facts: dict[str, dict[str, Any]]  # by script
    report: dict[str, Any]
    ready: dict[str, Any]

    def flow(self, script: str, name: str) -> Any:
        """Return what a flow found; one that raised fails the test with its traceback."""
        found = self.facts[script][name]
        if isinstance(found, dict) and "failed" in found:
            pytest.fail(f"{script} {name}: {found['failed']}")
        return found

    def order(self, order_id: str) -> dict[str, Any]:
        """Return an order from the exchange's books."""
        (found,) = [row for row in self.report["orders"] if row["order_id"] == order_id]
        return found

    def trades(self, order_id: str) -> list[dict[str, Any]]:
        """Return an order's trades from the exchange's books."""
        sides = ("taker_order_id", "maker_order_id")
        return [row for row in self.report["trades"] if order_id in (row[side] for side in sides)]

    def account(self, owner: str, wallet: str) -> dict[str, Any]:
        """Return the purse of one wallet: eoa, proxy, safe, deposit."""
        name = f"{OWNERS[owner].lower()}/{wallet}"
        (found,) = [row for row in self.report["accounts"] if row["name"] == name]
        return found


def wallet_words(owner: str) -> list[str]:
    """Return TYPE=ADDRESS of the wallets that are not the owner itself."""
    rows = [row for row in wallets_of(OWNERS[owner]) if row[0] in ("proxy", "safe", "deposit")]
    return [f"{kind}={address}" for _, kind, address in rows]


@pytest.fixture(scope="session")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Peers:
    """Run every client once against one exchange, which ends before the first test looks at its books."""
    python = peers_python()
    exchange = Exchange(tmp_path_factory.mktemp("peers") / "exchange", "--port", 0, "--official-hosts")
    try:
        lead = clean_environment(**exchange.ready["environment"])
        commands = {
            "clob_v2": (clean_environment(), [exchange.ready["urls"]["clob"], *wallet_words("anvil3")]),
            "unified": (lead, [OWNERS["anvil5"], *wallet_words("anvil5")]),
            "unified_sockets": (lead, [OWNERS["anvil7"]]),
        }
        started = {
            name: subprocess.Popen(
                [python, f"{name}_bot.py", *arguments], cwd=FOLDER, env=environment,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            for name, (environment, arguments) in commands.items()
        }
        facts = {name: _ended(name, process) for name, process in started.items()}
        silent = facts["clob_v2"]["heartbeats"].get("order", "")
        report = until(lambda: _after_silence(exchange.report(), silent), "the dead man's switch")
        return Peers(facts, report, exchange.ready)
    finally:
        exchange.stop()


def _ended(name: str, process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        said, errors = process.communicate(timeout=BOT_S_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        said, errors = process.communicate()
    if process.returncode != 0:
        raise AssertionError(f"{name} ended with {process.returncode}: {errors[-4000:]}")
    found: dict[str, Any] = json.loads(said)
    return found


def _after_silence(report: dict[str, Any], order_id: str) -> dict[str, Any] | None:
    """Return the report once the order of the silent key is cancelled, or was never placed."""
    rows = [row for row in report["orders"] if row["order_id"] == order_id]
    return report if all(row["status_text"] == "CANCELED" for row in rows) else None
