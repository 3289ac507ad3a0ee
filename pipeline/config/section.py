"""The base of every section, and the value types that sections share.

A section is strict (no value is coerced), frozen, and refuses unknown keys. Every key is declared with
`setting`, which carries what config/README.md says about it; money is a decimal string in USD in the file
(`order_usd_max = "25.00"`) and integer micro-USD in the model (`order_usd_micro_max`).
"""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from pipeline.units import MICRO, decimal_to_int

USD_MICRO_MAX = 1_000_000_000 * MICRO  # more than a billion USD in a key is a slip of the hand
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "::1")


class Section(BaseModel):
    """One table of a config file."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


def setting(unit: str, meaning: str, default: Any = ..., *, key: str | None = None, **limits: Any) -> Any:
    """Declare one key.

    unit: what config/README.md shows ("ms", "USD", "" for none); meaning: one sentence; default: `...` makes
    the key required; key: the name in the file when it differs from the field's; limits: ge, le, pattern...
    """
    return Field(
        default, description=meaning, json_schema_extra={"unit": unit}, validation_alias=key, **limits
    )


def _usd_micro(value: object) -> int:
    if isinstance(value, str):
        try:
            usd_micro = decimal_to_int(value, 6)
        except ValueError as error:
            raise ValueError(f'expected a decimal string in USD such as "25.00": {error}') from None
        if usd_micro > USD_MICRO_MAX:
            raise ValueError(f"expected at most {USD_MICRO_MAX // MICRO} USD")
        return usd_micro
    raise ValueError('expected a decimal string in USD such as "25.00" (with the quotes)')


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        raise ValueError(f"expected a power of two such as {1 << (value.bit_length() - 1)}")
    return value


def _url(schemes: tuple[str, str], value: str) -> str:
    """Check scheme and host; the second scheme of `schemes` is the one without TLS, for loopback only."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"expected a URL such as {schemes[0]}://host") from None
    if parts.scheme not in schemes or not host:
        raise ValueError(f"expected a URL such as {schemes[0]}://host")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("expected a URL without user, query and fragment")
    if parts.scheme == schemes[1] and host not in LOOPBACK_HOSTS:
        raise ValueError(f"expected {schemes[0]}:// ({schemes[1]}:// is for loopback hosts only)")
    return value.rstrip("/")


def _https_url(value: str) -> str:
    return _url(("https", "http"), value)


def _wss_url(value: str) -> str:
    return _url(("wss", "ws"), value)


def _proxy_url(value: str) -> str:
    """Check the URL of a proxy; user and password stand in a file, never here."""
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "socks5") or parts.path.strip("/") or parts.query:
        raise ValueError("expected http://host:port or socks5://host:port")
    if parts.username is not None:
        raise ValueError("expected a URL without user and password; they stand in proxy_file (not shown)")
    return value.rstrip("/")


def _address(value: str) -> str:
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", value):
        raise ValueError("expected 0x and 40 hexadecimal digits")
    return value


def _secret_reference(value: str) -> str:
    """Refuse a secret where the name of its file belongs; the message never shows it."""
    if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", value.strip()) or "PRIVATE KEY" in value or len(value) > 255:
        raise ValueError("expected the path of a file, found what looks like the secret itself (not shown)")
    if not value.strip() or "\0" in value:
        raise ValueError("expected the path of a file")
    return value


Usd = Annotated[int, BeforeValidator(_usd_micro)]
UsdPositive = Annotated[int, BeforeValidator(_usd_micro), Field(gt=0)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_tuple)]
PowerOfTwo = Annotated[int, AfterValidator(_power_of_two)]
HttpsUrl = Annotated[str, AfterValidator(_https_url)]
WssUrl = Annotated[str, AfterValidator(_wss_url)]
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
Address = Annotated[str, AfterValidator(_address)]
SecretFile = Annotated[str, AfterValidator(_secret_reference)]
