"""What was learnt before trading, as plain values: the conditions judge them, the surveys gather them.

A fact that could not be learnt is a `Missing` with the reason; a condition never takes a default for one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.run.keywork import KeyWork
from pipeline.venues.polymarket.health import Geo, Money, Rate


@dataclass(frozen=True, slots=True)
class Missing:
    """A fact that nobody could tell: why, and which exit code that reason has (see `pipeline.errors`)."""

    words: str
    exit_code: int = 5


@dataclass(frozen=True, slots=True)
class Host:
    """One URL of the configuration and why it cannot be used; "" = it answered over verified TLS."""

    key: str
    url: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Clock:
    """Venue time minus ours, and how far that can be off, in ns."""

    offset_ns: int
    error_ns: int


@dataclass(frozen=True, slots=True)
class Fees:
    """Markets of the universe that were looked at, and those of them whose fee is not known."""

    sampled: int
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VenueFacts:
    """What one look at the venue found."""

    hosts: tuple[Host, ...]
    clock: Clock | Missing
    version: int | Missing
    geo: Geo | Missing
    events: int | Missing  # on Gamma's first page
    fees: Fees | Missing


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What one look at a wallet found; the first fields repeat the configuration."""

    name: str
    address: str
    maker: str
    signature_type: int
    chain_id: int
    orders_per_s: int
    key_file: str
    api_file: str
    key: KeyWork | Missing
    dry_signers: tuple[str, ...] | Missing  # who signed each dry order, found by recovery
    api_key: bool | Missing  # whether the venue takes the key of api_file
    closed_only: bool | Missing
    money: Money | Missing
    refreshed: bool | Missing  # the venue's cache of balance and allowances was renewed before they were read
    approvals: Mapping[tuple[str, str], bool] | Missing
    rate: Rate | Missing
    open_orders: int | Missing
    foreign_orders: tuple[str, ...] | Missing  # open at the venue, unknown to the state directory
