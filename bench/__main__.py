"""`python -m bench <name> [--smoke]`: one benchmark, its figures and its result file."""

from __future__ import annotations

import argparse
import importlib

NAMES = ("ring", "log", "framescan", "book", "sign", "chain", "loopback", "listener", "idle", "universe")


def main() -> int:
    """Run one benchmark by name."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--smoke", action="store_true", help="a size for the tests; writes no result file")
    arguments = parser.parse_args()
    module = importlib.import_module(f"bench.bench_{arguments.name}")
    module.run(is_smoke=arguments.smoke)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
