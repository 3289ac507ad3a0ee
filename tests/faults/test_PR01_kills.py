"""PR01: SIGKILL of any lane at any moment under load. 11 real kills in the commit tier, 100 in the gate's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.aims import ACK, SEND, SIGN
from tests.faults.kills import AGAIN_NS_MAX, Kills
from tests.shared import fresh_seed, scaled, tier
from tests.tools.faultrows import figure

KILLS = figure("PR01", "kills")
pytestmark = pytest.mark.timeout(scaled(600, 2_400))


@pytest.fixture
def kills(tmp_path: Path) -> Iterator[Kills]:
    run = Kills(tmp_path, fresh_seed())
    yield run
    run.close()


def test_PR01_kills(kills: Kills, gate_record: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """No order twice, none lost, no fill lost, the exchange's money; every event trades again within 5 s."""
    kills.kill(KILLS)
    verdict = kills.finish(is_patient=tier() != "commit")
    run = kills.run
    with capsys.disabled():
        print("\n" + "\n".join(run.lines()))

    assert 0 == verdict.exit_code, "\n".join(verdict.problems)
    assert [] == run.late, "\n".join(run.late)
    assert 0 < run.again_max_ns <= AGAIN_NS_MAX
    assert {"core", "signer", "gateway", "account", "back"} == {moment.lane for moment in run.moments}
    assert run.share(lambda moment: moment.in_flight) >= 0.8
    for what in (SIGN, SEND, ACK):
        assert run.share(lambda moment, what=what: moment.inside == what) >= 0.1, what
    gate_record("PR01", "kills", KILLS, run.seed)
