"""Starts of one instance in a process of their own: `salt_worker.py STATE_DIR ORDERS STARTS HASHES`.

Each start takes the supervisor's lock and a generation as the supervisor does, makes ORDERS intents at one
and the same stream time, all alike but for what the product makes different, hashes each as the signer does
and appends eight bytes of each hash to a file of its own, package by package: what a killed start had
already handed on stays counted. Ends when STARTS starts were made and all files hold HASHES hashes.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import BinaryIO

from pipeline.codec import CODECS
from pipeline.core.limits import salt_of
from pipeline.errors import EnvironmentProblem
from pipeline.kinds import Kind
from pipeline.native.packages import package_run
from pipeline.records import SLOT_BYTES
from pipeline.run.supervisor import Supervisor
from pipeline.venues.polymarket.sign import order_hasher

PACKAGE_ORDERS = 15
KEPT_BYTES = 8
NOW_NS = 1_790_000_000 * 10**9  # every start lives in the same millisecond: a clock may be set back
WALLET, TOKEN, DOMAIN = b"\x11" * 20, b"\x22" * 32, b"\x33" * 32
SALT_MAX = 2**53 - 1  # salts are JSON numbers


def make_package(hasher: object, generation: int, first_no: int) -> bytes:
    """Return the kept bytes of the hashes of one package's orders, as trade numbers them."""
    order = (1, 7, 0, 0, 0, 5_000, 10_000_000)  # leg, row, outcome, side, type, price, size
    fields = (1, 2, 3, 0, PACKAGE_ORDERS, 10_000_000, 1, 1, 0, 1, NOW_NS, (order,) * PACKAGE_ORDERS)
    costs = [5_000_000] * PACKAGE_ORDERS
    run = package_run((1, NOW_NS, NOW_NS), 0, fields, costs, costs, first_no, first_no,
                      salt_of(generation, first_no), NOW_NS + 10**9)
    kept = []
    for at in range(SLOT_BYTES, len(run), SLOT_BYTES):
        intent = CODECS[Kind.INTENT].unpack(run, at)
        if not 0 < intent.salt <= SALT_MAX:
            raise SystemExit(f"salt {intent.salt} is no JSON number")
        kept.append(hasher.hash_order(  # type: ignore[attr-defined]
            intent.salt, WALLET, WALLET, TOKEN, intent.maker_amount, intent.taker_amount, intent.side, 0,
            intent.timestamp_ms, bytes(32), bytes(32), DOMAIN)[1][:KEPT_BYTES])
    return b"".join(kept)


def one_start(state_dir: Path, orders: int, starts: int, hashes: int, kept: BinaryIO) -> bool:
    """Make one start of the instance when no other process has it; False = there are enough."""
    supervisor = Supervisor.__new__(Supervisor)
    supervisor.state_dir, supervisor._lock = state_dir, None
    try:
        supervisor._take_lock()
    except EnvironmentProblem:
        threading.Event().wait(0.002)
        return True
    else:
        begun = state_dir / "starts"
        begun.open("ab").close()
        taken = begun.stat().st_size
        made = sum(one.stat().st_size for one in state_dir.glob("*.hashes")) // KEPT_BYTES
        if taken >= starts and made >= hashes:
            return False
        with begun.open("ab") as file:
            file.write(b".")
        generation, hasher = supervisor._next_generation(), order_hasher()
        # odd starts begin a fresh journal, even ones go on in theirs
        first_no = 1 if generation % 2 else generation * orders
        for number in range(first_no, first_no + orders, PACKAGE_ORDERS):
            kept.write(make_package(hasher, generation, number))
        return True
    finally:
        if supervisor._lock is not None:
            os.close(supervisor._lock)


def main(directory: str, orders: str, starts: str, hashes: str) -> None:
    """Start again and again."""
    state_dir = Path(directory)
    with (state_dir / f"{os.getpid()}.hashes").open("ab", buffering=0) as kept:
        while one_start(state_dir, int(orders), int(starts), int(hashes), kept):
            pass


if __name__ == "__main__":
    main(*sys.argv[1:])
