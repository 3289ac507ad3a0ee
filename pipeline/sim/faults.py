"""What goes wrong on purpose: the faults file, read strictly.

A file has `seed`, a table `[venue]` (what the venue may do on its best day), tables `[[delay]]` (which
markets hold takers) and tables `[[fault]]`, each with a `name`, a `kind` and the keys of that kind. Times
count from the start of the flow; without `at_s` a fault waits until the control port triggers it by name.
An unknown key or a bad value is a ConfigError of one line. config/faults/demo.toml explains every kind.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.sim.orders import AMOUNT_DECIMALS
from pipeline.sim.settings import ExchangeSettings, SelfTrade
from pipeline.units import NS_PER_MS, PPM, decimal_to_int

FAULTS_MAX = 200
_ROUTE = re.compile(r"(GET|POST|DELETE) (/[^* ]*\*?|\*)")
FRAME_KINDS = ("freeze", "drop", "delay", "duplicate", "reorder", "truncate")
HTTP_KINDS = (
    "cut_before",
    "cut_after",
    "error_before",
    "error_after",
    "slow_request",
    "slow_answer",
    "rate_limit",
    "unauthorized",
    "not_json",
    "ghost_books",
)
ORDER_ROUTES = ("POST /order", "POST /orders")
BOOK_ROUTES = ("GET /book", "POST /books")
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Fault:
    """Keys of every fault. `at_s` None = only when triggered; `for_s` 0 = until the end of the run."""

    name: str
    kind: str
    at_s: float | None = None
    for_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FrameFault(Fault):
    """Spoils websocket frames; PONG always passes.

    freeze swallows all of a socket's frames (chance_ppm: of each socket), also of ones that come later if
    `catches_new`; the others hit single frames. delay_ms keeps the order: what comes behind waits too.
    """

    channel: str = "market"
    chance_ppm: int = PPM
    count_max: int = 0  # 0 = no limit
    delay_ms: int = 0
    catches_new: bool = False


@dataclass(frozen=True, slots=True)
class HttpFault(Fault):
    """Spoils requests of `routes` ("POST /order"; a * at the end stands for anything).

    ghost_books shows each book of an answer as 0.01 against 0.99, with a hash that fits; its routes are those
    of books, and its time is the book's or, `dated` so, now.
    """

    routes: tuple[str, ...] = ORDER_ROUTES
    chance_ppm: int = PPM
    count_max: int = 0
    delay_ms: int = 0  # slow_request, slow_answer
    status: int = 0  # error_*: 500, not_json: 502 when not said
    retry_after_s: int = 1  # rate_limit
    dated: str = "book"  # ghost_books


@dataclass(frozen=True, slots=True)
class Restart(Fault):
    """The engine stops for `down_s`, then takes only what rests for `post_only_s`; for_s is not used."""

    down_s: float = 90.0
    post_only_s: float = 120.0
    orders: str = "keep"
    closes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModeChange(Fault):
    """The venue takes less for a while."""

    mode: str = ""


@dataclass(frozen=True, slots=True)
class TickChange(Fault):
    """A market's tick becomes `step` and, after `for_s`, what it was; metadata says so `late_s` later."""

    market: str = "generated"
    step: str = ""
    late_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Unsettled(Fault):
    """Matches fail on the chain, or are sent again, at these rates."""

    failed_ppm: int = 0
    retried_ppm: int = 0


@dataclass(frozen=True, slots=True)
class MarketEvent(Fault):
    """`resolve` (winner 0 or 1) or `game_start` (its book is cleared) of one market."""

    market: str = "generated"
    winner: int = 0


@dataclass(frozen=True, slots=True)
class Transfer(Fault):
    """Shares leave a wallet, or come to it, without a trade: of the token of which somebody holds most."""

    shares: str = ""
    way: str = "out"


KINDS: dict[str, type[Fault]] = {
    **dict.fromkeys(FRAME_KINDS, FrameFault),
    **dict.fromkeys(HTTP_KINDS, HttpFault),
    "restart": Restart,
    "mode": ModeChange,
    "tick": TickChange,
    "settlement": Unsettled,
    "resolve": MarketEvent,
    "game_start": MarketEvent,
    "transfer": Transfer,
}


@dataclass(frozen=True, slots=True)
class Delay:
    """Markets with the tag, or of the slug, hold takers: for seconds (`sd`) or a moment (`itode`)."""

    category: str
    seconds: int = 0
    itode: bool = False


@dataclass(frozen=True, slots=True)
class Venue:
    """How the venue behaves without any fault; None = as documented."""

    itode_hold_ms: int | None = None
    trade_told_after_ms: int | None = None
    mined_after_ms: int | None = None
    confirmed_after_ms: int | None = None
    self_trade: str | None = None

    def applied(self, settings: ExchangeSettings) -> ExchangeSettings:
        """Return the settings with what is said here."""
        names = {
            "itode_hold_ms": "itode_hold_ns",
            "trade_told_after_ms": "trade_told_after_ns",
            "mined_after_ms": "mined_after_ns",
            "confirmed_after_ms": "confirmed_after_ns",
        }
        changes: dict[str, Any] = {
            target: getattr(self, source) * NS_PER_MS
            for source, target in names.items()
            if getattr(self, source) is not None
        }
        if self.self_trade is not None:
            changes["self_trade"] = SelfTrade(self.self_trade)
        return replace(settings, **changes)


@dataclass(frozen=True, slots=True)
class FaultsFile:
    """A whole file. The same seed and the same requests meet the same faults."""

    seed: int = 1
    venue: Venue = Venue()
    delays: tuple[Delay, ...] = ()
    faults: tuple[Fault, ...] = ()


# Of each number: least and most, both allowed.
RANGES: dict[str, tuple[float, float]] = {
    "at_s": (0, DAY_S),
    "for_s": (0, DAY_S),
    "down_s": (0.1, DAY_S),
    "post_only_s": (0, DAY_S),
    "late_s": (0, DAY_S),
    "chance_ppm": (1, PPM),
    "failed_ppm": (0, PPM),
    "retried_ppm": (0, PPM),
    "count_max": (0, 1_000_000),
    "delay_ms": (0, 600_000),
    "status": (0, 599),
    "retry_after_s": (1, 3_600),
    "winner": (0, 1),
    "seconds": (0, 3_600),
    "seed": (0, (1 << 63) - 1),
    "itode_hold_ms": (1, 60_000),
    "trade_told_after_ms": (0, 60_000),
    "mined_after_ms": (1, 600_000),
    "confirmed_after_ms": (1, 600_000),
}
CHOICES: dict[str, tuple[str, ...]] = {
    "channel": ("market", "user", "both"),
    "orders": ("keep", "wipe"),
    "way": ("out", "in"),
    "closes": ("market", "user"),
    "dated": ("book", "now"),
    "mode": ("post_only", "cancel_only", "disabled"),
    "self_trade": tuple(rule.value for rule in SelfTrade),
}
TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "tuple[str, ...]": (list,),
}


def read(path: Path) -> FaultsFile:
    """Return the file; raises ConfigError in one line."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"faults {path}: cannot be read ({error.strerror}); check --faults") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"faults {path}: TOML expected, found {error}") from error
    try:
        return parse(raw)
    except ConfigError as problem:
        raise ConfigError(f"faults {path}: {problem}") from problem


def parse(raw: Mapping[str, Any]) -> FaultsFile:
    """Return the checked form of a decoded file."""
    _require_known("the file", raw, ("seed", "venue", "delay", "fault"))
    faults = tuple(parse_fault(item) for item in _tables(raw, "fault"))
    names = [fault.name for fault in faults]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f'name of a fault expected once, was twice: "{twice}"')
    if len(faults) > FAULTS_MAX:
        raise ConfigError(f"at most {FAULTS_MAX} faults expected, was {len(faults)}")
    delays = tuple(_make(Delay, "[[delay]]", item) for item in _tables(raw, "delay"))
    for delay in delays:
        if bool(delay.seconds) == delay.itode:
            raise ConfigError(f'delay of "{delay.category}": either seconds or itode = true expected')
    venue = raw.get("venue", {})
    if not isinstance(venue, dict):
        raise ConfigError(f"a table [venue] expected, was {venue!r}")
    seed = _value("the file", "seed", "int", raw.get("seed", 1))
    return FaultsFile(seed, _make(Venue, "[venue]", venue), delays, faults)


def parse_fault(raw: Any) -> Fault:
    """Return one checked fault."""
    if not isinstance(raw, dict):
        raise ConfigError(f"a fault as a table expected, was {raw!r}")
    kind, name = raw.get("kind"), raw.get("name")
    where = f'fault "{name}"'
    if not isinstance(name, str) or not name:
        raise ConfigError(f"a fault with a name expected, was {name!r}")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(f"{where}: kind expected to be one of {', '.join(KINDS)}{_near(kind, KINDS)}")
    if kind == "ghost_books":
        raw = {"routes": list(BOOK_ROUTES), **raw}
    fault: Fault = _make(KINDS[kind], where, raw)
    _check(where, fault)
    return fault


def _check(where: str, fault: Fault) -> None:
    """Refuse values that fit their keys but not each other."""
    is_slow = fault.kind in ("delay", "slow_request", "slow_answer")
    if isinstance(fault, FrameFault | HttpFault) and is_slow != bool(fault.delay_ms):
        raise ConfigError(f"{where}: delay_ms {'above 0 expected' if is_slow else 'is not for this kind'}")
    if isinstance(fault, HttpFault):
        if not fault.routes or not all(map(_ROUTE.fullmatch, fault.routes)):
            raise ConfigError(f'{where}: routes like "POST /order" expected, was {list(fault.routes)}')
        if fault.kind != "ghost_books" and fault.dated != "book":
            raise ConfigError(f"{where}: dated is not for this kind")
        says_status = fault.kind in ("error_before", "error_after", "not_json")
        if fault.status and (not says_status or fault.status < 400):
            raise ConfigError(f"{where}: status is for error_* and not_json, from 400 on; was {fault.status}")
    if isinstance(fault, ModeChange) and not fault.mode:
        raise ConfigError(f"{where}: mode expected to be one of {', '.join(CHOICES['mode'])}, was none")
    if isinstance(fault, TickChange) and step_ticks(fault) not in AMOUNT_DECIMALS:
        raise ConfigError(f'{where}: step expected like "0.001" (0.1 to 0.0001), was {fault.step!r}')
    if isinstance(fault, Transfer) and not shares_micro(fault):
        raise ConfigError(f'{where}: shares expected like "12.5", was {fault.shares!r}')
    if isinstance(fault, Unsettled) and not (fault.failed_ppm or fault.retried_ppm):
        raise ConfigError(f"{where}: failed_ppm or retried_ppm above 0 expected")


def step_ticks(fault: TickChange) -> int:
    """Return the new tick in units of 0.0001 USD; 0 when it is no number of them."""
    return _scaled(fault.step, 4)


def shares_micro(fault: Transfer) -> int:
    """Return the shares that move, 1e-6; 0 when it is no number of them."""
    return _scaled(fault.shares, 6)


def _scaled(text: str, digits: int) -> int:
    try:
        return decimal_to_int(text, digits)
    except ValueError:
        return 0


def _make(kind: type[Any], where: str, raw: Mapping[str, Any]) -> Any:
    """Return the dataclass of a table; every key known, typed and in range."""
    known = {item.name: item for item in fields(kind)}
    _require_known(where, raw, known)
    missing = [n for n, item in known.items() if item.default is MISSING and n not in raw]
    if missing:
        raise ConfigError(f"{where}: {missing[0]} expected, was left out")
    return kind(**{name: _value(where, name, str(known[name].type), value) for name, value in raw.items()})


def _value(where: str, name: str, annotation: str, value: Any) -> Any:
    types = TYPES[annotation.removesuffix(" | None")]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ConfigError(f"{where}: {name} expected as {types[-1].__name__}, was {value!r}")
    if isinstance(value, list):
        if not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{where}: {name} expected as a list of text, was {value!r}")
        value = tuple(value)
    low, high = RANGES.get(name, (None, None))
    if low is not None and high is not None and not low <= value <= high:
        raise ConfigError(f"{where}: {name} from {low:g} to {high:g} expected, was {value!r}")
    wanted = CHOICES.get(name)
    for item in value if isinstance(value, tuple) else (value,):
        if wanted is not None and item not in wanted:
            raise ConfigError(f"{where}: {name} out of {', '.join(wanted)} expected, was {item!r}")
    return value


def _tables(raw: Mapping[str, Any], name: str) -> list[Any]:
    found = raw.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise ConfigError(f"tables [[{name}]] expected, was {found!r}")
    return found


def _require_known(where: str, raw: Mapping[str, Any], known: Iterable[str]) -> None:
    names = list(known)
    for name in raw:
        if name not in names:
            raise ConfigError(f"{where}: unknown key{_near(name, names)}")


def _near(name: Any, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(name), list(known), 1, 0.5)
    return f", was {name!r}; did you mean {near[0]}?" if near else f", was {name!r}"
