"""pm doctor against the local exchange over real TLS: its lines follow what the exchange is made to say."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.load import load
from pipeline.errors import RiskRefusal
from pipeline.run import survey
from pipeline.run.checks import check_start
from pipeline.run.conditions import Line, judge_account
from pipeline.run.exchange import GEOBLOCK
from pipeline.sim.accounts import Credentials
from tests.cli_runs import one_line, pm
from tests.e2e.test_connect import Venue
from tests.e2e.test_sim_server import market_of
from tests.sim_trader import Trader

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def venue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Venue]:
    """Give an exchange with a deposit wallet and a configuration that is ready to trade."""
    found = Venue(tmp_path_factory.mktemp("venue"), 3)
    text = found.config.read_text().replace(str(found.api_file), str(found.exchange.api_file))
    here = found.exchange.urls["clob_tls"]
    more = f'[venues.polymarket]\ngeoblock_url = "{here}{GEOBLOCK}"\ndata_url = "{here}"\n'
    found.config.write_text(text.replace("[venues.polymarket]\n", more))
    yield found
    found.exchange.stop()


def lines_of(venue: Venue, *arguments: object) -> tuple[int, dict[str, dict[str, Any]]]:
    """Run pm doctor --json; return its exit code and its lines by name."""
    done = pm("doctor", *arguments, "--config", venue.config, "--json")
    assert "" == done.stderr
    key = json.loads(venue.exchange.api_file.read_text())
    for secret in (venue.exchange.key_file.read_text(), key["secret"], key["passphrase"]):
        assert secret not in done.stdout
    found = json.loads(done.stdout)
    assert done.returncode == found["exit_code"]
    return done.returncode, {line["name"]: line for line in found["lines"]}


def wallet_lines(venue: Venue, **overrides: object) -> dict[str, Line]:
    config = load([venue.config], overrides)
    return {line.name: line for line in judge_account(survey.look_at_account(config, "main"))}


def test_a_ready_wallet_and_venue_are_all_well(venue: Venue) -> None:
    """Nothing fails; the one thing that this exchange does not tell is a warning and no guess."""
    code, lines = lines_of(venue, "wallet", "venue")
    assert 0 == code, lines
    assert {"approvals"} == {name for name, line in lines.items() if line["verdict"] != "ok"}
    assert "deposit wallet (beacon), signature_type 3" == lines["wallet"]["found"]
    assert "signed for 3 exchanges" in lines["dry order"]["found"]
    assert "10000000.000000 pUSD" == lines["balance"]["found"]
    assert "tier Elite" in lines["rate"]["found"]
    assert "4 addresses answer over verified TLS" == lines["hosts"]["found"]
    offset_ms = float(lines["clock"]["found"].split()[0])
    assert abs(offset_ms) < 250  # one machine, one clock


def test_what_the_venue_says_against_us_fails_its_line(venue: Venue) -> None:
    """Closed-only and a blocked country, set at the exchange: exit 5, and live refuses with a line."""
    told = {"closed_only": True, "geoblocked": True}
    venue.exchange.control("POST", "/control/account", told)
    try:
        code, lines = lines_of(venue, "wallet", "venue")
        assert 5 == code
        assert {"closed-only", "geo"} == {name for name, line in lines.items() if line["verdict"] == "fail"}
        assert "does not work around it" in lines["geo"]["fix"]
        with pytest.raises(RiskRefusal, match="wallet main: closed-only: the account may only") as caught:
            check_start(load([venue.config]), "live", [venue.config])
        assert "1 more" in str(caught.value)
    finally:
        venue.exchange.control("POST", "/control/account", dict.fromkeys(told, False))
    with pytest.raises(RiskRefusal, match="ready, but live trading is not armed"):
        check_start(load([venue.config]), "live", [venue.config])


def test_foreign_orders_are_told_and_left_alone(venue: Venue) -> None:
    """An order placed by hand is named as not ours, and it still rests afterwards."""
    trader = Trader(
        key="0x" + venue.exchange.key_file.read_text(), signature_type=3, wallet=venue.account["wallet"])
    key = json.loads(venue.exchange.api_file.read_text())
    trader.credentials = Credentials(key["api_key"], key["secret"], key["passphrase"])
    _, page = venue.ask("gamma_tls", "GET", "/markets/keyset?limit=1", b"", {})
    order = trader.body(market_of(page["markets"][0]), price="0.01")
    body = json.dumps(order, separators=(",", ":")).encode()
    _, placed = venue.ask(
        "clob_tls", "POST", "/order", body, trader.headers("POST", "/order", body, time.time_ns()))
    line = wallet_lines(venue)["foreign orders"]
    assert ("WARN", True) == (line.verdict.name, placed["orderID"][:10] in line.found), line
    assert "1 of 1 open" in line.found
    assert 1 == venue.exchange.control("GET", "/control/status")["open_orders"]


def test_broken_files_are_told_by_the_lines_they_break(venue: Venue, tmp_path: Path) -> None:
    """A missing wallet key and an open API file each fail their lines with the reason; nothing is raised."""
    lines = wallet_lines(venue, **{"accounts.main.key_file": str(tmp_path / "none")})
    assert ["key", "dry order"] == [name for name, line in lines.items() if line.verdict.name == "FAIL"]
    assert 4 == lines["key"].exit_code
    api = tmp_path / "api.json"
    api.write_bytes(venue.exchange.api_file.read_bytes())
    api.chmod(0o644)
    lines = wallet_lines(venue, **{"accounts.main.api_file": str(api)})
    assert f"chmod 600 {api}" in lines["api key"].found
    asked = ("api key", "closed-only", "balance", "allowances")
    assert {"FAIL"} == {lines[name].verdict.name for name in asked}
    assert "OK" == lines["key"].verdict.name


def test_without_a_network_the_machine_is_still_examined(tmp_path: Path) -> None:
    """No topic and no configuration: machine alone, exit 0 or 4; a topic without one is a usage error."""
    done = pm("doctor", "--json", cwd=tmp_path)
    names = [line["name"] for line in json.loads(done.stdout)["lines"]]
    assert ["python", "cpus", "shared memory", "clock", "disk", "state", "limits"] == names
    refused = pm("doctor", "wallet")
    assert 2 == refused.returncode
    assert "--config FILE" in one_line(refused)
