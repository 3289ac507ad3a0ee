import os
from dataclasses import dataclass

@dataclass(frozen=True, slots=True)
class Recovery:
    position: int
    cut_count: int
    reason: str

@dataclass(frozen=True, slots=True)
class Verified:
    first: int
    good_position: int
    position: int
    segment_count: int
    problem: str

def lock_directory(path: bytes, where: str) -> int: ...
def drop_unused(path: bytes, name: str, firsts: list[int]) -> list[int]: ...
def find_active(where: str, path: bytes, name: str, firsts: list[int]) -> int: ...
def verify(directory: str | os.PathLike[str], name: str) -> Verified: ...
