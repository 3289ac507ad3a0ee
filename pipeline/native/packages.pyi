Order = tuple[int, int, int, int, int, int, int]
Fields = tuple[int, int, int, int, int, int, int, int, int, int, int, tuple[Order, ...]]

def read_idea(run: bytes, offset: int, parts: int) -> tuple[Fields, tuple[int, int, int], int]: ...
def package_run(
    causing: tuple[int, int, int], venue_ns: int, fields: Fields, paid: list[int], worst: list[int],
    group_no: int, order_no: int, salt: int, deadline_ns: int,
) -> bytes: ...
