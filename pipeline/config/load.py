"""Files and `--set` in, one checked and frozen `Config` out.

Later files override earlier ones key by key, `--set` overrides files. Every refusal is a ConfigError of one
line: which file, which key, what was expected, what was found.
"""

from __future__ import annotations

import difflib
import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import orjson
from pydantic import PrivateAttr, ValidationError, model_validator
from pydantic_core import ErrorDetails

from pipeline.config.accounts import Account
from pipeline.config.archive import Archive
from pipeline.config.books import Books
from pipeline.config.execution import Execution
from pipeline.config.lane import Lane
from pipeline.config.logging import Logging
from pipeline.config.metrics import Metrics
from pipeline.config.risk import Risk
from pipeline.config.section import Section, setting
from pipeline.config.shm import Shm
from pipeline.config.strategies import Strategies
from pipeline.config.supervision import Supervision
from pipeline.config.universe import Universe
from pipeline.config.venues import Venues
from pipeline.errors import ConfigError
from pipeline.records import SLOT_BYTES
from pipeline.units import NS_PER_MS, usd_text

FILE_BYTES_MAX = 1 << 20
NAME_PATTERN = r"^[a-z][a-z0-9_-]{0,30}$"
SET = "--set"  # origin of an override
DEFAULT = "default"  # origin of a key that nobody gave
SEGMENTS_AHEAD = 2  # files of each log that are made before they are needed
HASH_BYTES = 16  # as in the `Config` record
# Where and how fast stages run, what is told of it and who looks after them never changes a decision.
HASH_LEAVES_OUT = {"topology", "lane", "metrics", "logging", "supervision", "archive"}


class Config(Section):
    """Everything that can be set. Money in micro-USD; `origin` tells where a value came from."""

    mode: Literal["dry", "local", "live"] = setting(
        "", "dry: all but the socket write; local: loopback hosts only; live: refused until armed.", "dry"
    )
    name: str = setting("", "Name of this run's segments and logs.", "pm", pattern=NAME_PATTERN)
    state_dir: str = setting(
        "path", "Folder of logs, halt page and lane state; kept over a stop.", "state", min_length=1
    )
    topology: str = setting(
        "", "Lane layout: a file of config/topology/.", "2core", pattern=r"^[a-z0-9_-]{1,32}$"
    )
    lane: dict[str, Lane] = setting("", "Changes to single lanes.", {})
    shm: Shm = setting("", "Rings, logs and ladders.", Shm())
    venues: Venues = setting("", "Venues.", Venues())
    accounts: dict[str, Account] = setting("", "Wallets.", {})
    universe: Universe = setting("", "Markets to watch.", Universe())
    books: Books = setting("", "Proof and lag of books.", Books())
    strategies: Strategies = setting("", "Strategies.", Strategies())
    risk: Risk = setting("", "Limits.", Risk())
    execution: Execution = setting("", "Submission of orders.", Execution())
    metrics: Metrics = setting("", "Counters.", Metrics())
    supervision: Supervision = setting("", "Lanes that stall, die or are alone.", Supervision())
    archive: Archive = setting("", "Checkpoints and old log segments.", Archive())
    logging: Logging = setting("", "Event logs.", Logging())

    _origins: dict[str, str] = PrivateAttr(default_factory=dict)

    def origin(self, key: str) -> str:
        """Return the file that gave `key` ("risk.order_usd_max"), "--set", or "default"."""
        return self._origins.get(key, DEFAULT)

    @model_validator(mode="after")
    def sections_agree(self) -> Self:
        """Check what no section can see alone."""
        basket, risk, shm, universe = self.strategies.basket, self.risk, self.shm, self.universe
        if basket.package_usd_micro_max > risk.event_usd_micro_max:
            raise ValueError(
                "strategies.basket.package_usd_max must be at most risk.event_usd_max "
                f"({usd_text(risk.event_usd_micro_max)}), was {usd_text(basket.package_usd_micro_max)}"
            )
        if basket.enabled and universe.is_empty:
            raise ValueError(
                "strategies.basket.enabled needs markets; set universe.event_slugs, universe.tags or "
                "universe.include_all"
            )
        if basket.enabled and not self.accounts:
            raise ValueError("strategies.basket.enabled needs a wallet; add a table [accounts.<name>]")
        segments = 2 * (self.archive.segments_kept_min + SEGMENTS_AHEAD)
        if shm.log_bytes_max < segments * shm.log_segment_slots * SLOT_BYTES:
            raise ValueError(
                "shm.log_bytes_max must hold, of both logs, archive.segments_kept_min segments and "
                f"{SEGMENTS_AHEAD} ahead ({segments * shm.log_segment_slots * SLOT_BYTES} bytes), "
                f"was {shm.log_bytes_max}"
            )
        ladders = shm.ladders_128 + shm.ladders_1024 + shm.ladders_16384
        if 2 * self.rows_end > shm.log_segment_slots:  # a segment begins with every row, and must go on
            raise ValueError(
                "shm.log_segment_slots must be twice the rows of a run or more "
                f"({2 * self.rows_end}, see universe.rows_max), was {shm.log_segment_slots}")
        if universe.instruments_max > ladders:
            raise ValueError(
                f"universe.instruments_max must be at most the ladders of [shm] ({ladders}), "
                f"was {universe.instruments_max}"
            )
        return self

    @property
    def rows_end(self) -> int:
        """The first row number that no market of a run has; row 0 means none."""
        universe = self.universe
        room = max(universe.instruments_max, self.shm.log_segment_slots // 2 - 1)
        return (universe.rows_max or min(_ROWS_A_BOOK * universe.instruments_max, room)) + 1


_ROWS_A_BOOK = 4  # markets of a run for each that is carried at once


def parse_override(text: str) -> tuple[str, object]:
    """Return key and value of one `--set key=value`; a value that is no TOML is taken as text."""
    key, equals, value = text.partition("=")
    if not equals or not all(part for part in key.strip().split(".")):
        raise ConfigError(f'{SET}: expected key=value such as risk.order_usd_max="5", was {text!r}')
    try:
        parsed: object = tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if value.strip().startswith("0x"):  # a number to TOML; here only addresses begin so
        parsed = value.strip()
    return key.strip(), parsed


def load(paths: Sequence[Path | str] = (), overrides: Mapping[str, object] | None = None) -> Config:
    """Return the checked configuration; raises ConfigError with one line about the first thing wrong.

    overrides: dotted key to value, as `parse_override` returns them; a number for a money key counts as text.
    """
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for path in paths:
        _merge(merged, _read(Path(path)), str(path), origins)
    for key, value in (overrides or {}).items():
        _merge(merged, _nested(key, value), SET, origins)
    _check_names(merged, origins)
    try:
        config = Config.model_validate(merged)
    except ValidationError as error:
        raise ConfigError(_one_line(error, merged, origins)) from None
    config._origins.update(origins)
    return config


def config_hash(config: Config) -> bytes:
    """Return 16 bytes that name every value a decision may depend on: all but HASH_LEAVES_OUT."""
    values = config.model_dump(mode="json", exclude=HASH_LEAVES_OUT)
    return hashlib.blake2b(orjson.dumps(values, option=orjson.OPT_SORT_KEYS), digest_size=HASH_BYTES).digest()


def config_record(config: Config, salt_epoch: int) -> dict[str, int | bytes]:
    """Return the fields of the `Config` record that carries these limits into the stream."""
    basket, risk, books, execution = config.strategies.basket, config.risk, config.books, config.execution
    return {
        "config_hash": config_hash(config),
        "order_usd_micro_max": risk.order_usd_micro_max,
        "market_usd_micro_max": risk.market_usd_micro_max,
        "event_usd_micro_max": risk.event_usd_micro_max,
        "day_usd_micro_max": risk.day_usd_micro_max,
        "open_orders_max": risk.open_orders_max,
        "partial_loss_usd_micro_max": risk.partial_loss_usd_micro_max,
        "residue_usd_micro_max": risk.residue_usd_micro_max,
        "proof_age_ns_max": risk.proof_age_ms_max * NS_PER_MS,
        "edge_usd_micro_min": basket.edge_usd_micro_min,
        "edge_ppm_min": basket.edge_ppm_min,
        "intent_ttl_ns": basket.intent_ttl_ms * NS_PER_MS,
        "cooldown_ns": basket.cooldown_ms * NS_PER_MS,
        "package_usd_micro_max": basket.package_usd_micro_max,
        "levels_max": basket.levels_max,
        "package_orders_max": execution.package_orders_max,
        "submit_timeout_ns": execution.submit_timeout_ms * NS_PER_MS,
        "batch_ns_max": books.batch_ms_max * NS_PER_MS,
        "desync_ns_max": books.desync_ms_max * NS_PER_MS,
        "hash_rows_max": books.hash_rows_max,
        "fence_ns": risk.fence_ms * NS_PER_MS,
        "salt_epoch": salt_epoch,
    }


def leaves(section: Section, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield every key of the file's vocabulary with its value in the model, in declared order."""
    for name, field in type(section).model_fields.items():
        key = f"{prefix}{field.validation_alias or name}"
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from leaves(value, key + ".")
        elif isinstance(value, dict):
            for part, inner in value.items():
                yield from leaves(inner, f"{key}.{part}.")
        else:
            yield key, value


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise ConfigError(
                f"{path}: expected at most {FILE_BYTES_MAX} bytes of TOML, was {path.stat().st_size}"
            )
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; start from a copy of config/paper.toml") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {(error.strerror or 'unknown error').lower()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text at byte {error.start}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {str(error)[:1].lower()}{str(error)[1:]}") from None


def _nested(key: str, value: object) -> dict[str, Any]:
    first, dot, rest = key.partition(".")
    return {first: _nested(rest, value) if dot else value}


def _merge(
    target: dict[str, Any], source: dict[str, Any], origin: str, origins: dict[str, str], at: str = ""
) -> None:
    for name, value in source.items():
        key = f"{at}{name}"
        if isinstance(value, dict):
            origins.setdefault(key, origin)
            if not isinstance(target.get(name), dict):
                target[name] = {}
            _merge(target[name], value, origin, origins, key + ".")
        else:
            origins[key] = origin
            # `--set risk.order_usd_max=5` is a number to TOML; the shell takes the quotes away.
            is_shell_money = origin == SET and name.rpartition("_usd_")[1] and isinstance(value, int | float)
            target[name] = str(value) if is_shell_money else value


def _check_names(merged: dict[str, Any], origins: dict[str, str]) -> None:
    """Names of lanes and accounts become names of stages, files and segments."""
    for table in ("lane", "accounts"):
        names = merged.get(table, {})
        for name in names if isinstance(names, dict) else ():
            if not (
                name[:1].islower()
                and name.isascii()
                and name.replace("_", "").replace("-", "").isalnum()
                and name == name.lower()
                and len(name) <= 16
            ):
                raise ConfigError(
                    f"{origins[f'{table}.{name}']}: {table}.{name[:40]}: expected a name of 1 to 16 small "
                    "letters, digits, - and _, a letter first"
                )


def _one_line(error: ValidationError, merged: dict[str, Any], origins: dict[str, str]) -> str:
    """Return one line about the first problem; an unknown key first, as it explains a missing one."""
    details = sorted(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    first = details[0]
    key = ".".join(str(part) for part in first["loc"])
    said = _describe(first, key, merged)
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    # What is said opens with the key, also where a whole table was checked.
    return f"{_origin_of(said.split(maxsplit=1)[0].rstrip(':'), origins)}: {said}{more}"


def _describe(problem: ErrorDetails, key: str, merged: dict[str, Any]) -> str:
    kind, location = problem["type"], problem["loc"]
    if kind == "extra_forbidden":
        known = _known_keys(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), known, 1, 0.5)
        hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
        return f"{key} is not a known key; {hint}"
    if kind == "missing":
        return f"{key} is missing; config/README.md says what it means"
    said = problem["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
    said = f"{said[:1].lower()}{said[1:]}"
    value = _value_at(merged, location)
    if isinstance(value, dict) and kind == "value_error":  # a check of the whole table names its keys itself
        return f"{key}.{said}" if key else said
    if isinstance(value, dict):
        return f"{key}: {said}, was a table"
    shown = "" if "not shown" in said or key.endswith("_file") else f", was {_shown(value)}"
    return f"{key}: {said}{shown}"


def _shown(value: object) -> str:
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _origin_of(key: str, origins: dict[str, str]) -> str:
    """Return the origin of the key, else of the nearest table around it, else the last source there was."""
    while key:
        if found := origins.get(key):
            return found
        key = key.rpartition(".")[0]
    return next(reversed(origins.values()), DEFAULT)


def _value_at(merged: dict[str, Any], location: tuple[int | str, ...]) -> object:
    value: Any = merged
    for part in location:
        if isinstance(value, dict) and part in value:
            value = value[str(part)]
        elif isinstance(value, list) and isinstance(part, int):
            value = value[part]
    return value


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    section: Any = Config  # the free name of a lane or account below is no field and is passed over
    for part in location:
        field = section.model_fields.get(str(part))
        if field is None:
            continue
        inner = field.annotation
        section = inner.__args__[1] if getattr(inner, "__origin__", None) is dict else inner
    return [str(field.validation_alias or name) for name, field in section.model_fields.items()]
