"""What a command needs of a wallet key, done in a process of its own that never opens a socket.

`python -m pipeline.run.keywork` reads one JSON request on stdin and writes one JSON answer on stdout: the
key's address, the headers that prove it to the venue, and orders signed for nobody's market. The key itself
never leaves that process, and its file's name is all that anybody tells it.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.config.accounts import Account
from pipeline.errors import ConfigError, EnvironmentProblem, PipelineError

if TYPE_CHECKING:
    from pipeline.venues.polymarket.auth import Secret

SECONDS_MAX = 30.0
#: An order for a token that no market has, dated 1970: good for nothing but looking at its signature.
DRY_SALT, DRY_MAKER_AMOUNT, DRY_TAKER_AMOUNT, DRY_TIME_MS = 1, 1_000_000, 2_000_000, 1
DRY_TOKEN_V1 = b"\x5a" * 32
DRY_TOKEN_V2 = b"\x01" + b"\x5a" * 18 + bytes(8) + b"\x5a" * 5


@dataclass(frozen=True, slots=True)
class DryOrder:
    """One signed order: which exchange it is for, its hash and signature in hex without 0x."""

    neg_risk: bool
    v2: bool
    order_hash: str
    signature: str = field(repr=False)  # r, s, v


@dataclass(frozen=True, slots=True)
class KeyWork:
    """What the process found: a checksummed address, L1 headers when asked for, dry orders when asked for."""

    address: str
    l1_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    orders: tuple[DryOrder, ...] = ()
    dry_problem: str = ""  # why no order was signed


def do(account: Account, chain_id: int, *, l1_time_s: int = 0, nonce: int = 0, dry: bool = False) -> KeyWork:
    """Have the work done; raises what the process would: EnvironmentProblem or ConfigError in one line.

    l1_time_s: unix second of the proof for the venue, 0 = none is made. dry: sign an order an exchange.
    """
    request = {
        "key_file": account.key_file, "address": account.address, "maker": account.maker,
        "signature_type": account.signature_type, "chain_id": chain_id, "l1_time_s": l1_time_s,
        "nonce": nonce, "dry": dry}
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.run.keywork"], input=orjson.dumps(request), capture_output=True,
        timeout=SECONDS_MAX, check=False)
    try:
        found = orjson.loads(done.stdout)
    except orjson.JSONDecodeError:
        raise EnvironmentProblem(
            f"run.keywork: the process that reads {account.key_file} ended with {done.returncode} and no "
            "answer") from None
    if "error" in found:
        kind = ConfigError if found["exit_code"] == ConfigError.exit_code else EnvironmentProblem
        raise kind(found["error"])
    return KeyWork(
        found["address"], tuple((name, value) for name, value in found["l1_headers"]),
        tuple(DryOrder(**one) for one in found["orders"]), found["dry_problem"])


def _answer(request: dict[str, Any]) -> KeyWork:
    from pipeline.venues.polymarket.auth import load_key_file, prove_l1
    from pipeline.venues.polymarket.identity import checksum
    from pipeline.venues.polymarket.keys import header_pairs
    from pipeline.venues.polymarket.sign import owner_address

    key = load_key_file(Path(request["key_file"]))
    address = checksum(owner_address(key))
    headers: tuple[tuple[str, str], ...] = ()
    if request["l1_time_s"]:
        proof = prove_l1(key, request["chain_id"], request["l1_time_s"], request["nonce"])
        headers = header_pairs(proof.headers())
    if not request["dry"]:
        return KeyWork(address, headers)
    try:
        return KeyWork(address, headers, _dry_orders(key, request))
    except ConfigError as problem:  # key, wallet and signature type do not belong together
        return KeyWork(address, headers, dry_problem=str(problem))


def _dry_orders(key: Secret, request: dict[str, Any]) -> tuple[DryOrder, ...]:
    from pipeline.venues.polymarket.identity import identify
    from pipeline.venues.polymarket.sign import OrderSigner, Signed

    signer = OrderSigner(key, identify(
        request["address"], request["maker"], request["signature_type"], request["chain_id"]))
    orders = []
    for neg_risk, v2 in ((False, False), (True, False), (False, True)):
        signed = signer.sign(
            DRY_SALT, DRY_TOKEN_V2 if v2 else DRY_TOKEN_V1, DRY_MAKER_AMOUNT, DRY_TAKER_AMOUNT, 0,
            DRY_TIME_MS, neg_risk=neg_risk, v2=v2)
        if isinstance(signed, Signed):
            orders.append(DryOrder(neg_risk, v2, signed.order_hash.hex(), signed.signature.hex()))
    return tuple(orders)


def main() -> None:
    """Answer one request; a known problem is an answer, too."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no file with the key in it
    try:
        answer = asdict(_answer(orjson.loads(sys.stdin.buffer.read())))
    except PipelineError as problem:
        answer = {"error": str(problem), "exit_code": problem.exit_code}
    sys.stdout.buffer.write(orjson.dumps(answer))


if __name__ == "__main__":
    main()
