"""Integer units of money, price, size and time, and the divisions between them.

Every division names its rounding direction, always against us. Venue text becomes integers digit by
digit (`decimal_to_int`), never through `float`.
"""

from __future__ import annotations

from pipeline.errors import InvariantError

TICKS_PER_USD = 10_000  # price_ticks: 1 tick = 0.0001 USD on every venue
MICRO = 1_000_000  # size_micro: 1e-6 share; usd_micro: 1e-6 USD
PPM = 1_000_000
NS_PER_US = 1_000
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
FEE_QUANTUM_USD_MICRO = 10  # Polymarket floors fees to 10 uUSD (21 of 21 settled fills, Sept 2026)


def cost_micro(price_ticks: int, size_micro: int) -> int:
    """Return the USD micro we pay for the size; rounded up, so never flattering."""
    return -(-price_ticks * size_micro // TICKS_PER_USD)


def proceeds_micro(price_ticks: int, size_micro: int) -> int:
    """Return the USD micro we receive for the size; rounded down."""
    return price_ticks * size_micro // TICKS_PER_USD


def decimal_to_int(text: str, scale_digits: int, digits_max: int = 18) -> int:
    """Return `text` times 10**scale_digits; strict ASCII `digits[.digits]`.

    Raises ValueError for a sign, exponent, blank, other script, an empty part, more than
    `digits_max` digits in all, or digits finer than the scale that are not zero.
    """
    whole, dot, fraction = text.partition(".")
    if not (whole.isascii() and whole.isdigit()) or (dot and not (fraction.isascii() and fraction.isdigit())):
        raise ValueError(f"not a plain decimal: {text[:40]!r}")
    if len(whole) + len(fraction) > digits_max:
        raise ValueError(f"more than {digits_max} digits: {text[:40]!r}")
    if fraction[scale_digits:].strip("0"):
        raise ValueError(f"finer than 1e-{scale_digits}: {text[:40]!r}")
    return int(whole + fraction[:scale_digits].ljust(scale_digits, "0"))


def int_to_decimal(value: int, scale_digits: int) -> str:
    """Return value / 10**scale_digits as text without trailing zeros ("0.5", "634.49", "92790")."""
    if value < 0:
        raise InvariantError(f"units: expected a value >= 0, found {value}")
    whole, fraction = divmod(value, 10**scale_digits)
    return f"{whole}.{fraction:0{scale_digits}d}".rstrip("0").rstrip(".") if fraction else str(whole)


def usd_text(usd_micro: int) -> str:
    """Return money for people: "-12.345678" with all six decimals."""
    sign = "-" if usd_micro < 0 else ""
    return f"{sign}{abs(usd_micro) // MICRO}.{abs(usd_micro) % MICRO:06d}"
