from dataclasses import dataclass

from pipeline.native.flow import Sink, Source
from pipeline.native.ring import Observer, Reader, Writer

STOP_NEVER: int
STOP_BEGUN: int
STOP_HALF: int
STOP_FILLED: int
STOP_CLOSED: int
STOP_SHOWN: int

@dataclass(frozen=True, slots=True)
class Produced:
    sent: int
    full_count: int
    elapsed_ns: int

@dataclass(frozen=True, slots=True)
class Consumed:
    received: int
    wrong_order: int
    wrong_bytes: int
    broken_runs: int
    empty_count: int
    lost: int
    elapsed_ns: int
    retries_max: int = 0

def produce(
    sink: Sink,
    first: int,
    count: int,
    seed: int,
    run_max: int = 1,
    pause_every: int = 0,
    stop_step: int = 0,
    stop_at: int = 0,
    deadline_s: float = 60.0,
    batch: int = 1,
) -> Produced: ...
def consume(
    source: Source, first: int, count: int, seed: int, pause_every: int = 0, deadline_s: float = 60.0
) -> Consumed: ...
def churn(
    writer: Writer, reader: Reader, first: int, count: int, seed: int, run_max: int = 1
) -> Produced: ...
def observe(
    observer: Observer,
    last: int,
    seed: int,
    slots_max: int = 64,
    deadline_s: float = 60.0,
    pause_every: int = 0,
) -> Consumed: ...
