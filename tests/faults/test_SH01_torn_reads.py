"""SH01: a reader beside a writer that never waits gets whole records or none."""

from __future__ import annotations

import pytest

from tests.faults import channels
from tests.faults.rings import FIXED_SEED, ring_segments
from tests.shared import fresh_seed
from tests.tools.faultrows import figure

READS = figure("SH01", "reads")
BURST = 10_000_000  # messages of one writer process
RETRIES_MAX = 8


@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("seed", [FIXED_SEED, fresh_seed()])
def test_SH01_observers_return_no_torn_slot(seed, capsys, gate_record):
    """Copies beside a saturating writer: 0 torn, 0 out of order, losses told exactly, no reader starved."""
    wanted, read, lost, first, retries = READS // 2, 0, 0, 0, 0
    observer_cpu, writer_cpu = channels.cpus()
    with ring_segments() as segment:
        name = segment(256).name
        while read < wanted:
            common = {"name": name, "first": first, "seed": seed}
            looking = {"end": "observe", "count": first + BURST, "more": {"deadline_s": 120}}
            observer = channels.start(common | looking | {"cpu": observer_cpu})
            assert observer.stdout is not None
            assert "ready\n" == observer.stdout.readline()
            writing = {"end": "churn", "count": BURST, "cpu": writer_cpu, "more": {"run_max": 9}}
            writer = channels.start(common | writing)
            seen, sent = channels.answers([observer, writer], 240)
            assert BURST == sent["sent"]
            assert (0, 0) == (seen["wrong_bytes"], seen["wrong_order"]), f"seed {seed}"
            assert BURST == seen["received"] + seen["lost"]
            read, lost, first = read + seen["received"], lost + seen["lost"], first + BURST
            retries = max(retries, seen["retries_max"])
    with capsys.disabled():
        print(f"\nSH01 {seed}: {read} copied, {lost} overtaken, 0 torn, {retries} copies in vain at most")
    assert lost > 0
    assert retries <= RETRIES_MAX
    gate_record("SH01", "reads", read, seed)
