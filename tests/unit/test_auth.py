"""Credentials come from private files, sign exact bytes, and never show."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import logging
import pickle
import random
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, EnvironmentProblem, InvariantError
from pipeline.venues.polymarket.auth import (
    L2Auth,
    Secret,
    decode_secret,
    load_api_file,
    load_key_file,
    prove_l1,
)

PLANTED = "5ec3e7c0ffee5ec3e7c0ffee5ec3e7c0ffee5ec3e7c0ffee5ec3e7c0ffee1234"
SECRET_TEXT = base64.urlsafe_b64encode(bytes.fromhex(PLANTED)).decode()
GOOD_API = {"api_key": "0ad2f3a1-5b1c", "secret": SECRET_TEXT, "passphrase": "6f1d2c"}


def private(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_secret_never_prints(capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    """repr is a placeholder; text, format, bytes, copies, pickles and JSON are refused; logs show nothing."""
    secret = Secret(bytes.fromhex(PLANTED))
    for leak in (str, bytes, format, pickle.dumps, copy.copy, copy.deepcopy, json.dumps, list, "%s".__mod__,
                 "{}".format, hash):
        with pytest.raises(TypeError):
            leak(secret)  # type: ignore[operator]
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("test").warning("%r", {"key": secret})
    print([secret])
    shown = capsys.readouterr().out + caplog.text + repr(secret)

    assert "<secret>" in shown
    assert PLANTED not in shown
    assert repr(bytes.fromhex(PLANTED))[2:-1] not in shown
    assert not hasattr(secret, "__dict__")


@pytest.mark.parametrize("text", [PLANTED, "0x" + PLANTED, PLANTED.upper(), f"  0x{PLANTED}\n"])
def test_key_files(tmp_path: Path, text: str) -> None:
    """64 hex digits, with or without 0x and blanks around them."""
    path = private(tmp_path / "key", text)

    assert Secret(bytes.fromhex(PLANTED)) == load_key_file(path)


@pytest.mark.parametrize("text", ["", PLANTED[:-1], PLANTED + "00", "zz" + PLANTED[2:], "-" + PLANTED,
                                  PLANTED[:32] + " " + PLANTED[32:]])
def test_bad_key_files_do_not_show_their_content(tmp_path: Path, text: str) -> None:
    """A malformed key is a config error of one line that shows neither key nor part of it."""
    with pytest.raises(ConfigError) as caught:
        load_key_file(private(tmp_path / "key", text))

    assert "\n" not in str(caught.value)
    assert PLANTED[4:20] not in str(caught.value)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601, 0o660])
def test_readable_files_are_refused(tmp_path: Path, mode: int) -> None:
    """Any bit for group or world is refused with the command that mends it."""
    with pytest.raises(EnvironmentProblem, match="chmod 600"):
        load_key_file(private(tmp_path / "key", PLANTED, mode))
    with pytest.raises(EnvironmentProblem, match="chmod 600"):
        load_api_file(private(tmp_path / "api", json.dumps(GOOD_API), mode))


def test_missing_odd_and_large_files(tmp_path: Path) -> None:
    """A missing file, a directory and an oversized file are one-line errors."""
    for loader in (load_key_file, load_api_file):
        with pytest.raises(EnvironmentProblem, match="cannot be read"):
            loader(tmp_path / "missing")
        with pytest.raises(EnvironmentProblem):
            loader(tmp_path)
        with pytest.raises(ConfigError, match="4096"):
            loader(private(tmp_path / "large", "a" * 5000))


@pytest.mark.parametrize("text", [
    json.dumps(GOOD_API), json.dumps({"apiKey" if k == "api_key" else k: v for k, v in GOOD_API.items()}),
    "".join(f'{name} = "{value}"\n' for name, value in GOOD_API.items())])
def test_api_files(tmp_path: Path, text: str) -> None:
    """JSON, the venue's own answer and TOML name the same credentials."""
    loaded = load_api_file(private(tmp_path / "api", text))

    assert GOOD_API["api_key"] == loaded.api_key
    assert Secret(bytes.fromhex(PLANTED)) == loaded.secret
    assert Secret(b"6f1d2c") == loaded.passphrase
    assert SECRET_TEXT not in repr(loaded)


@pytest.mark.parametrize(
    "change",
    [
        {"secret": 5},
        {"secret": ""},
        {"secret": "!!!"},
        {"secret": "a"},
        {"secret": "é" * 8},
        {"passphrase": ""},
        {"passphrase": "a\r\nX: 1"},
        {"api_key": "a b"},
        {"api_key": None},
        {"extra": "1"},
        {"apiKey": "twice"},
    ],
)
def test_bad_api_files_do_not_show_their_content(tmp_path: Path, change: dict[str, object]) -> None:
    """Missing, ill-typed, unknown and doubled keys are config errors without the values."""
    for document in ({**GOOD_API, **change}, {k: v for k, v in GOOD_API.items() if k not in change}):
        if document == GOOD_API:
            continue
        with pytest.raises(ConfigError) as caught:
            load_api_file(private(tmp_path / "api", json.dumps(document)))
        assert SECRET_TEXT not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "api_key", f"secret = {SECRET_TEXT}", '["x"]', "\xff"])
def test_unparsable_api_files(tmp_path: Path, text: str) -> None:
    """Neither JSON nor TOML: one line, no content, no parser error chained to it."""
    with pytest.raises(ConfigError) as caught:
        load_api_file(private(tmp_path / "api", text))

    assert SECRET_TEXT not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize("size", [1, 2, 3, 16, 31, 32, 33])
def test_missing_padding_is_added(size: int) -> None:
    """A secret without its padding is the same secret."""
    raw = random.Random(size).randbytes(size)
    text = base64.urlsafe_b64encode(raw).decode()

    assert Secret(raw) == decode_secret(text) == decode_secret(text.rstrip("="))


@pytest.mark.parametrize("seed", range(10))
def test_hmac_covers_time_method_path_and_exact_body(seed: int) -> None:
    """The signature is the standard library's HMAC over the sent bytes; the query is left out."""
    rng = random.Random(seed)
    key, body, now = rng.randbytes(32), rng.randbytes(rng.randrange(2000)), rng.randrange(2**33)
    auth = L2Auth("0x" + "ab" * 20, "key", Secret(key), Secret(b"pass"))
    expected = base64.urlsafe_b64encode(
        hmac.new(key, f"{now}DELETE/orders".encode() + body, hashlib.sha256).digest())
    lines = auth.headers("DELETE", "/orders?x=1", body, now).decode().split("\r\n")

    assert [f"POLY_ADDRESS: 0x{'ab' * 20}", f"POLY_SIGNATURE: {expected.decode()}", f"POLY_TIMESTAMP: {now}",
            "POLY_API_KEY: key", "POLY_PASSPHRASE: pass", ""] == lines


@pytest.mark.parametrize(("address", "api_key", "passphrase"), [
    ("0xab\r\n", "key", b"pass"), ("0xab", "a b", b"pass"), ("0xab", "key", b"pa\nss"), ("0xab", "key", b""),
    ("", "key", b"p")])
def test_headers_cannot_be_broken(address: str, api_key: str, passphrase: bytes) -> None:
    """A value that could end a header line is refused when the credentials are made."""
    with pytest.raises(ConfigError):
        L2Auth(address, api_key, Secret(b"k"), Secret(passphrase))


def test_l2_auth_does_not_leak() -> None:
    """repr shows the address only; pickle and copy are refused."""
    auth = L2Auth("0xab", "key-id", Secret(bytes.fromhex(PLANTED)), Secret(b"passphrase1"))

    assert repr(auth) == "L2Auth(address=0xab)"
    for leak in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            leak(auth)


@pytest.mark.parametrize(("now", "nonce"), [(0, 0), (-1, 0), (1, -1)])
def test_l1_needs_a_time_and_a_nonce(now: int, nonce: int) -> None:
    """A proof without a time is a programming error, not a signature."""
    with pytest.raises(InvariantError):
        prove_l1(Secret(b"\1" * 32), 137, now, nonce)
