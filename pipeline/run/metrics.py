"""Which run the metrics are of: from its description to what ui/collector looks at, and the endpoint.

Reads `<run dir>/spec.json`. A simulated run has none, and serves nothing.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import PipelineError
from pipeline.run import wiring
from pipeline.run.spec import RunSpec
from pipeline.store.events import EventLog
from pipeline.ui import looks
from pipeline.ui.collector import RunCollector
from pipeline.ui.endpoint import Endpoint
from pipeline.ui.looks import RunFacts


def facts_of(spec: RunSpec) -> RunFacts:
    """Return where the run's pages, rings and files are, and who writes each ring."""
    writers = {wiring.CONTROL: (looks.SUPERVISOR, "")}
    for lane in spec.lanes:
        for stage in lane.stages:
            for channel in wiring.writes(stage, spec.stages):
                if channel not in wiring.LOGS:
                    writers[channel] = (lane.name, stage)
    return RunFacts(
        instance=spec.instance, generation=spec.generation, state_dir=Path(spec.state_dir),
        run_dir=Path(spec.run_dir), lanes={lane.name: lane.stages for lane in spec.lanes}, rings=writers)


def serve_metrics(stage: str, port: int, run_dir: Path, log: EventLog) -> Endpoint | None:
    """Serve the run's metrics for the stage that observes; None = refused, told in one event, and no more.

    Trading does not hang on it.
    """
    path = run_dir / "spec.json"
    if not path.exists():
        return None
    try:
        spec = RunSpec.load(path)
        lane = next((lane.name for lane in spec.lanes if stage in lane.stages), "")
        endpoint = Endpoint(RunCollector(facts_of(spec), (lane, stage)), port, run_dir)
    except PipelineError as problem:
        log.warning("metrics_not_served", stage=stage, port=port, problem=str(problem))
        return None
    log.info("metrics_served", stage=stage, url=endpoint.url)
    return endpoint
