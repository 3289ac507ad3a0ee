"""The faults file: every kind is read, everything wrong is one line that says what was expected."""

from __future__ import annotations

import tomllib
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.sim import faults
from pipeline.sim.scenario import ScenarioConfig, build
from pipeline.sim.settings import ExchangeSettings, SelfTrade
from tests.shared import ROOT
from tests.sim_trader import NOW_NS

DEMO = ROOT / "config" / "faults" / "demo.toml"


def fault(**keys: Any) -> dict[str, Any]:
    return {"fault": [{"name": "x", **keys}]}


def test_the_demo_file_shows_each_of_its_six_once() -> None:
    """Freeze, restart, tick flip, ghost fills, 429 storm, cut after accept; timed, apart, within 60 s."""
    found = faults.read(DEMO).faults
    assert {"settlement", "freeze", "cut_after", "rate_limit", "tick", "restart"} == {f.kind for f in found}
    assert len(found) == 6
    starts = sorted(f.at_s for f in found if f.at_s)
    assert all(later - earlier >= 5 for earlier, later in pairwise(starts))
    assert max(starts) < 50


@pytest.mark.parametrize("kind", faults.KINDS)
def test_every_kind_can_be_written(kind: str) -> None:
    """Each kind with what it must have is read back as it was written."""
    needs: dict[str, Any] = {
        "delay": {"delay_ms": 5},
        "slow_request": {"delay_ms": 5},
        "slow_answer": {"delay_ms": 5},
        "mode": {"mode": "disabled"},
        "tick": {"step": "0.0025"},
        "settlement": {"retried_ppm": 1},
        "transfer": {"shares": "0.5", "way": "in"},
    }
    keys = {"kind": kind, "at_s": 1.5, "for_s": 2, **needs.get(kind, {})}
    (found,) = faults.parse(fault(**keys)).faults
    assert {"name": "x", **keys} == {name: getattr(found, name) for name in ("name", *keys)}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ({"sede": 1}, "unknown key, was 'sede'; did you mean seed?"),
        ({"seed": "1"}, "seed expected as int, was '1'"),
        ({"seed": True}, "seed expected as int, was True"),
        ({"fault": {}}, "tables [[fault]] expected"),
        (fault(kind="frezee"), "kind expected to be one of freeze,"),
        (fault(kind="transfer"), "shares expected like \"12.5\", was ''"),
        (fault(kind="frezee"), "did you mean freeze?"),
        (fault(), "kind expected to be one of"),
        ({"fault": [{"kind": "freeze"}]}, "a fault with a name expected, was None"),
        (fault(kind="freeze", chanel="user"), "unknown key, was 'chanel'; did you mean channel?"),
        (fault(kind="freeze", channel="all"), "channel out of market, user, both expected, was 'all'"),
        (fault(kind="freeze", retry_after_s=3), "unknown key, was 'retry_after_s'"),
        (fault(kind="drop", chance_ppm=0), "chance_ppm from 1 to 1e+06 expected, was 0"),
        (fault(kind="drop", chance_ppm=0.5), "chance_ppm expected as int, was 0.5"),
        (fault(kind="drop", at_s=float("nan")), "at_s from 0 to 86400 expected, was nan"),
        (fault(kind="drop", at_s=-1), "at_s from 0 to 86400 expected, was -1"),
        (fault(kind="drop", delay_ms=5), "delay_ms is not for this kind"),
        (fault(kind="delay"), "delay_ms above 0 expected"),
        (fault(kind="cut_after", routes=[]), 'routes like "POST /order" expected, was []'),
        (fault(kind="cut_after", routes=["/order"]), 'routes like "POST /order" expected'),
        (fault(kind="cut_after", routes="POST /order"), "routes expected as list, was 'POST /order'"),
        (fault(kind="cut_after", status=500), "status is for error_* and not_json"),
        (fault(kind="error_after", status=200), "from 400 on; was 200"),
        (fault(kind="restart", orders="lose"), "orders out of keep, wipe expected, was 'lose'"),
        (fault(kind="restart", closes=["all"]), "closes out of market, user expected, was 'all'"),
        (fault(kind="mode"), "mode expected to be one of post_only, cancel_only, disabled, was none"),
        (fault(kind="tick", step="0.003"), "step expected like \"0.001\" (0.1 to 0.0001), was '0.003'"),
        (fault(kind="tick", step=0.001), "step expected as str, was 0.001"),
        (fault(kind="settlement"), "failed_ppm or retried_ppm above 0 expected"),
        (fault(kind="resolve", winner=2), "winner from 0 to 1 expected, was 2"),
        ({"fault": [fault(kind="drop")["fault"][0]] * 2}, 'expected once, was twice: "x"'),
        ({"venue": {"itode_hold_ms": 0}}, "itode_hold_ms from 1 to 60000 expected, was 0"),
        ({"venue": {"self_trade": "never"}}, "self_trade out of match, cancel_resting, refuse expected"),
        ({"delay": [{"seconds": 3}]}, "[[delay]]: category expected, was left out"),
        ({"delay": [{"category": "sports"}]}, "either seconds or itode = true expected"),
        ({"delay": [{"category": "sports", "seconds": 3, "itode": True}]}, "either seconds or itode"),
    ],
)
def test_what_is_wrong_is_one_line(raw: dict[str, Any], text: str) -> None:
    """Unknown keys, types, ranges, choices and contradictions are refused with where and what."""
    with pytest.raises(ConfigError) as caught:
        faults.parse(raw)
    assert text in str(caught.value)
    assert "\n" not in str(caught.value)
    assert 3 == caught.value.exit_code


def test_a_file_that_is_none_names_itself(tmp_path: Path) -> None:
    """Absent and broken files are refused with their path."""
    for content in (None, "seed = ", "seed = 1\nnot_known = 2"):
        path = tmp_path / "faults.toml"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=str(path)):
            faults.read(path)


def test_every_key_that_is_a_number_has_a_range() -> None:
    """No number of a fault is unbounded."""
    kinds = {faults.Delay, faults.Venue, *faults.KINDS.values()}
    numbers = {
        item.name for kind in kinds for item in fields(kind) if str(item.type).startswith(("int", "float"))
    }
    assert set() == numbers - faults.RANGES.keys()


def test_the_venue_table_changes_the_settings() -> None:
    """What [venue] says reaches the exchange; what it leaves out stays as documented."""
    raw = {"itode_hold_ms": 50, "trade_told_after_ms": 120, "self_trade": "refuse"}
    settings = faults.parse({"venue": raw}).venue.applied(ExchangeSettings())
    assert (50_000_000, 120_000_000, SelfTrade.REFUSE) == (
        settings.itode_hold_ns,
        settings.trade_told_after_ns,
        settings.self_trade,
    )
    assert ExchangeSettings().confirmed_after_ns == settings.confirmed_after_ns


def scenario_of(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "faults.toml"
    path.write_text(text)
    tomllib.loads(text)
    config = ScenarioConfig.parse({"markets": 2, "planted_events": 1, "faults": str(path)})
    return build(config, NOW_NS, lambda *_: None, lambda: 0)


def test_delays_reach_the_markets_of_their_category(tmp_path: Path) -> None:
    """A tag gives its markets the delay, others none; a tag that nobody has is refused."""
    found = scenario_of(tmp_path, '[[delay]]\ncategory = "planted"\nseconds = 3\n')
    delays = {market.planted: market.seconds_delay for market in found.exchange.engine.markets.values()}
    assert {True: 3, False: 0} == delays
    with pytest.raises(ConfigError, match="tag or slug"):
        scenario_of(tmp_path, '[[delay]]\ncategory = "sports"\nitode = true\n')


def test_a_market_that_does_not_exist_is_refused_at_the_start(tmp_path: Path) -> None:
    """Not after half an hour, when the fault would begin."""
    with pytest.raises(ConfigError, match='fault "t": market expected'):
        scenario_of(tmp_path, '[[fault]]\nname = "t"\nkind = "tick"\nstep = "0.001"\nmarket = "no-such"\n')
