"""Proves who we are: L1 wallet signature for API keys, L2 HMAC headers for every private request.

Place in the stream: the gateway and account stages put `L2Auth.headers` on each request; `l1_headers`
is for `pm` commands that create or derive API keys. Reads key files, writes nothing.
Source: venue sheet section 9; docs /api-reference/authentication, read 2026-11-20.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
import re
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn

import coincurve

from pipeline.errors import ConfigError, EnvironmentProblem, InvariantError
from pipeline.native.orderhash import keccak256
from pipeline.native.submit import hmac_text, signed_request
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.identity import checksum

_FILE_BYTES_MAX: Final = 4096
_TIME_HEADER: Final = b"\r\nPOLY_TIMESTAMP: "
_HMAC_BLOCK: Final = 64  # bytes of a SHA-256 block
_HEX_KEY = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_HEADER_TEXT = re.compile(r"[!-~]{1,200}")  # printable ASCII without blanks: cannot end a header line
_API_NAMES: Final = {
    "api_key": "api_key", "apiKey": "api_key", "secret": "secret", "passphrase": "passphrase",
}


class Secret:
    """Bytes that never print. Only `reveal()` gives them out; repr shows a placeholder, the rest refuses."""

    __slots__ = ("_bytes",)

    def __init__(self, value: bytes) -> None:
        self._bytes = bytes(value)

    def reveal(self) -> bytes:
        """Return the bytes; call it where they are used and keep no copy."""
        return self._bytes

    def __repr__(self) -> str:
        return "<secret>"

    def _refuse(self, *_: object) -> NoReturn:
        raise TypeError("polymarket.auth: a secret is never printed, formatted, copied or pickled")

    __str__ = __format__ = __bytes__ = __reduce__ = __reduce_ex__ = _refuse
    __copy__ = __deepcopy__ = __iter__ = _refuse

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._bytes, other._bytes)

    __hash__ = None  # type: ignore[assignment]


def _read_private(path: Path, what: str) -> bytes:
    """Return a file's bytes after checking that it is a small regular file for its owner's eyes only."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise EnvironmentProblem(f"{what} file {path} cannot be read ({error.strerror}); create it with mode "
                                 "0600 or correct the path") from None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise EnvironmentProblem(f"{what} file {path}: expected a regular file, was something else")
        if status.st_mode & 0o077:
            raise EnvironmentProblem(f"{what} file {path}: expected mode 0600 or 0400, was "
                                     f"{stat.S_IMODE(status.st_mode):04o}; run chmod 600 {path}")
        data = os.read(descriptor, _FILE_BYTES_MAX + 1)
    finally:
        os.close(descriptor)
    if len(data) > _FILE_BYTES_MAX:
        raise ConfigError(f"{what} file {path}: expected at most {_FILE_BYTES_MAX} bytes, was larger")
    return data


def load_key_file(path: Path) -> Secret:
    """Return the wallet key of a file that holds 64 hex digits, with or without 0x.

    Raises EnvironmentProblem when the file is missing or others may read it, ConfigError for its content.
    """
    found = _HEX_KEY.fullmatch(_read_private(path, "wallet key").decode("latin-1").strip())
    if found is None:
        raise ConfigError(f"wallet key file {path}: expected 64 hex digits, was something else (not shown)")
    return Secret(bytes.fromhex(found[1]))


def is_header_text(text: str) -> bool:
    """Tell whether a text may stand in a header: printable, no blanks, at most 200 characters."""
    return _HEADER_TEXT.fullmatch(text) is not None
def load_login_file(path: Path) -> str:
    """Return `user:password` of a proxy, one line of printable ASCII; errors as for the other files."""
    text = _read_private(path, "proxy login").decode("latin-1").strip("\r\n")
    user, colon, password = text.partition(":")
    is_text = text.isascii() and text.isprintable() and max(len(user), len(password)) <= 255
    if not (colon and user and is_text):
        raise ConfigError(
            f"proxy login file {path}: expected one line user:password, was something else (not shown)")
    return text


@dataclass(frozen=True, slots=True)
class ApiKey:
    """API credentials of one owner; `secret` is already decoded."""

    api_key: str
    secret: Secret
    passphrase: Secret


def decode_secret(text: str) -> Secret:
    """Return the HMAC key of a base64url text; missing padding is added. Raises ConfigError."""
    padded = text + "=" * (-len(text) % 4)
    try:
        raw = base64.b64decode(padded.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ConfigError("api secret: expected base64url text, was something else (not shown)") from None
    if not raw:
        raise ConfigError("api secret: expected base64url text, was empty")
    return Secret(raw)


def load_api_file(path: Path) -> ApiKey:
    """Return the credentials of a JSON or TOML file with api_key, secret, passphrase.

    The venue's own answer (`apiKey`, `secret`, `passphrase`) may be stored as it came. Raises
    EnvironmentProblem (missing, readable by others) or ConfigError (content, never shown).
    """
    data = _read_private(path, "api key")
    try:
        text = data.decode("utf-8")
        parsed = json.loads(text) if text.lstrip().startswith("{") else tomllib.loads(text)
    except ValueError:  # both parsers' errors, and bad UTF-8, are ValueErrors; they may quote the content
        raise ConfigError(f"api key file {path}: expected JSON or TOML, was neither") from None
    unknown = sorted(set(parsed) - set(_API_NAMES))
    values = {_API_NAMES[name]: value for name, value in parsed.items() if name in _API_NAMES}
    if unknown or set(values) != {"api_key", "secret", "passphrase"} or len(values) != len(parsed):
        raise ConfigError(f"api key file {path}: expected exactly api_key, secret, passphrase, "
                          f"was {sorted(parsed)}")
    for name, value in values.items():
        if not isinstance(value, str) or not _HEADER_TEXT.fullmatch(value):
            raise ConfigError(f"api key file {path}: {name} expected as printable text without blanks, "
                              "was something else (not shown)")
    return ApiKey(values["api_key"], decode_secret(values["secret"]), Secret(values["passphrase"].encode()))


def _keyed(key: bytes) -> tuple[Any, Any]:
    """Return the two SHA-256 states of an HMAC after its key (RFC 2104).

    Copies of them save what `hmac` does anew for each message: four times as fast on cold caches.
    """
    block = (key if len(key) <= _HMAC_BLOCK else hashlib.sha256(key).digest()).ljust(_HMAC_BLOCK, b"\0")
    return (
        hashlib.sha256(bytes(byte ^ 0x36 for byte in block)),
        hashlib.sha256(bytes(byte ^ 0x5C for byte in block)))


class L2Auth:
    """Makes the five POLY_ headers of a private request."""

    __slots__ = ("_head", "_inner", "_outer", "_ready", "_tail", "_tail_json", "address", "api_key")

    def __init__(self, address: str, api_key: str, secret: Secret, passphrase: Secret) -> None:
        """address: checksummed EOA that owns the key, also for deposit wallets. secret: decoded bytes."""
        for name, text in (("address", address), ("api key", api_key),
                           ("passphrase", passphrase.reveal().decode("latin-1"))):
            if not _HEADER_TEXT.fullmatch(text):
                raise ConfigError(f"polymarket.auth: {name} expected as printable text without blanks, "
                                  "was something else (not shown)")
        self.address = address
        self.api_key = api_key
        self._inner, self._outer = _keyed(secret.reveal())
        self._ready: tuple[Any, Any] | None = None  # copies for the next signature
        self._head = f"POLY_ADDRESS: {address}\r\nPOLY_SIGNATURE: ".encode()
        self._tail = b"\r\nPOLY_API_KEY: %b\r\nPOLY_PASSPHRASE: %b\r\n" % (
            api_key.encode(), passphrase.reveal())
        self._tail_json = self._tail + b"Content-Type: application/json\r\nContent-Length: "

    def __repr__(self) -> str:
        return f"L2Auth(address={self.address})"

    def __reduce__(self) -> str:
        raise TypeError("polymarket.auth: credentials are never pickled or copied")

    def signature(self, method: str, path: str, body: bytes, timestamp_s: int) -> bytes:
        """Return the padded base64url HMAC-SHA256 of time, METHOD, path without query, exact body."""
        signed = f"{timestamp_s}{method}{path.partition('?')[0]}".encode()
        return hmac_text(*self._states(), signed, body)

    def prepare(self) -> None:
        """Have the hash states of the next signature ready: copying them takes as long as using them."""
        if self._ready is None:
            self._ready = self._copies()

    def request(self, head: bytes, target: bytes, body: bytes, timestamp_s: int) -> bytes:
        """Return a whole request with a JSON body: what `headers` says, in one piece for the order path.

        head: ended by CRLF. target: METHOD and path without query, one behind the other.
        """
        return signed_request(
            head, self._head, _TIME_HEADER, self._tail_json, target, timestamp_s, *self._states(), body)

    def _states(self) -> tuple[Any, Any]:
        states, self._ready = self._ready or self._copies(), None
        return states

    def _copies(self) -> tuple[Any, Any]:
        return self._inner.copy(), self._outer.copy()

    def headers(self, method: str, path: str, body: bytes, timestamp_s: int) -> bytes:
        """Return the five header lines, each ended by CRLF; `body` must be the bytes that are sent."""
        signature = self.signature(method, path, body, timestamp_s)
        return b"%b%b%b%d%b" % (self._head, signature, _TIME_HEADER, timestamp_s, self._tail)


@dataclass(frozen=True, slots=True)
class L1Proof:
    """A ClobAuth signature with what it covers; all hashes 32 bytes, signature 65."""

    address: str
    timestamp_s: int
    nonce: int
    struct_hash: bytes
    digest: bytes
    signature: bytes

    def headers(self) -> bytes:
        """Return the four header lines of an L1 request, each ended by CRLF."""
        return (f"POLY_ADDRESS: {self.address}\r\nPOLY_SIGNATURE: 0x{self.signature.hex()}\r\n"
                f"POLY_TIMESTAMP: {self.timestamp_s}\r\nPOLY_NONCE: {self.nonce}\r\n").encode()


def auth_domain(chain_id: int) -> bytes:
    """Return the domain separator of ClobAuth; it has no verifying contract."""
    name, version = wire.AUTH_DOMAIN
    return keccak256(keccak256(wire.AUTH_DOMAIN_TYPE) + keccak256(name) + keccak256(version)
                     + chain_id.to_bytes(32, "big"))


def prove_l1(key: Secret, chain_id: int, timestamp_s: int, nonce: int = 0) -> L1Proof:
    """Sign the venue's fixed attestation with the wallet key, to create or derive an API key."""
    if timestamp_s <= 0 or nonce < 0:
        raise InvariantError("polymarket.auth: expected a time > 0 and a nonce >= 0, "
                             f"were {timestamp_s}, {nonce}")
    try:
        signer = coincurve.PrivateKey(key.reveal())
    except ValueError:
        raise ConfigError("polymarket.auth: the wallet key is not a secp256k1 private key") from None
    address = keccak256(signer.public_key.format(compressed=False)[1:])[12:]
    struct_hash = keccak256(
        keccak256(wire.AUTH_TYPE) + bytes(12) + address + keccak256(str(timestamp_s).encode())
        + nonce.to_bytes(32, "big") + keccak256(wire.AUTH_MESSAGE))
    digest = keccak256(b"\x19\x01" + auth_domain(chain_id) + struct_hash)
    raw = signer.sign_recoverable(digest, hasher=None)
    signature = raw[:64] + bytes((27 + raw[64],))
    return L1Proof(checksum(address), timestamp_s, nonce, struct_hash, digest, signature)
