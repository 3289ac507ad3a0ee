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

@dataclass(frozen=True, slots=True)
class Recovery:
    position: int
    cut_count: int
    reason: str

def segments(directory: str | os.PathLike[str], name: str) -> list[SegmentInfo]: ...
def segment_firsts(directory: str | os.PathLike[str]) -> list[int]: ...
def allocate_segment(
    directory: str | os.PathLike[str], name: str, first: int, slots: int, salt_epoch: int = 0
) -> bool: ...
def problem_error(where: str, problem: int, position: int) -> PipelineError: ...
def lock_directory(path: bytes, where: str) -> int: ...
def drop_unused(path: bytes, name: str, firsts: list[int]) -> list[int]: ...
def find_active(where: str, path: bytes, name: str, firsts: list[int]) -> int: ...
