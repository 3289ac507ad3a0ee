import os
from dataclasses import dataclass

from pipeline.errors import PipelineError

@dataclass(frozen=True, slots=True)
class SegmentInfo:
    path: str
    first: int
    slots: int
    published: int
    salt_epoch: int

def segments(directory: str | os.PathLike[str], name: str) -> list[SegmentInfo]: ...
def segment_firsts(directory: str | os.PathLike[str]) -> list[int]: ...
def allocate_segment(
    directory: str | os.PathLike[str], name: str, first: int, slots: int, salt_epoch: int = 0
) -> bool: ...
def problem_error(where: str, problem: int, position: int) -> PipelineError: ...
