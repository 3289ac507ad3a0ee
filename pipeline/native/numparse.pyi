DIGITS_MAX: int
SCALE_MAX: int

def parse(text: bytes | bytearray | memoryview, scale: int) -> int: ...
