from typing import Any

Order = tuple[int, int, int, int, int, int, int]
Fields = tuple[int, int, int, int, int, int, int, int, int, int, int, tuple[Order, ...]]

def idea_run(
    idea: tuple[int, int, int, int, int, tuple[Any, ...]], idea_no: int,
    cause: bytes | bytearray | memoryview, offset: int = 0,
) -> bytes: ...
def read_idea(run: bytes, offset: int, parts: int) -> tuple[Fields, tuple[int, int, int], int]: ...
def package_run(
    causing: tuple[int, int, int], venue_ns: int, fields: Fields, paid: list[int], worst: list[int],
    group_no: int, order_no: int, salt: int, deadline_ns: int,
) -> bytes: ...
