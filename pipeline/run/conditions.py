"""What must hold before trading with money: one list, judged by `pm doctor` and by a start in mode live.

Pure functions over facts: no socket, no file, no clock. Each gives a line with a verdict, what was found and
the exact way out. A fact that is missing fails its condition: no value, no trade (RK05).
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.run.facts import AccountFacts, Missing, VenueFacts
from pipeline.units import NS_PER_MS, usd_text
from pipeline.venues.polymarket import approvals, clock, wire
from pipeline.venues.polymarket.health import VERSION, Money
from pipeline.venues.polymarket.identity import address_bytes
from pipeline.venues.polymarket.wallets import classify

CONFIG, ENVIRONMENT, VENUE, RISK = 3, 4, 5, 6  # exit codes of `pipeline.errors`
SHOWN_MAX = 3  # names in one line


class Verdict(enum.IntEnum):
    """How a condition stands; graver is higher."""

    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True, slots=True)
class Finding:
    """What a condition found, and the way out; the exit code counts for a failure only."""

    verdict: Verdict
    found: str
    fix: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """One condition's result for people and for scripts."""

    topic: str
    name: str
    verdict: Verdict
    found: str
    why: str
    fix: str
    exit_code: int


F = TypeVar("F")


@dataclass(frozen=True, slots=True)
class Condition(Generic[F]):
    """One thing that must hold: its name, why it matters, and who judges it."""

    name: str
    why: str
    judge: Callable[[F], Finding]


def ok(found: str) -> Finding:
    """Return that it holds."""
    return Finding(Verdict.OK, found)


def warn(found: str, fix: str) -> Finding:
    """Return that trading may go on, but somebody should look."""
    return Finding(Verdict.WARN, found, fix)


def fail(found: str, fix: str, exit_code: int) -> Finding:
    """Return that nothing may trade."""
    return Finding(Verdict.FAIL, found, fix, exit_code)


def unknown(missing: Missing, fix: str = "") -> Finding:
    """Return that nobody could tell, which is a failure."""
    fix = fix or "mend what is named here and run pm doctor again"
    return fail(f"not known: {missing.words}", fix, missing.exit_code)


# ---------------------------------------------------------------------- the venue


def _hosts(facts: VenueFacts) -> Finding:
    broken = [host for host in facts.hosts if host.problem]
    if broken:
        named = "; ".join(f"{host.key} {host.url}: {host.problem}" for host in broken[:SHOWN_MAX])
        return fail(named, "check the network, the address in [venues.polymarket] and tls_ca_file", VENUE)
    return ok(f"{len(facts.hosts)} addresses answer over verified TLS")


def _clock(facts: VenueFacts) -> Finding:
    found = facts.clock
    if isinstance(found, Missing):
        return unknown(found)
    words = f"{found.offset_ns / NS_PER_MS:+.0f} ms (to {found.error_ns / NS_PER_MS:.0f} ms)"
    fix = "let chrony or systemd-timesyncd set this machine's clock; chronyc tracking shows it"
    skew_ns = abs(found.offset_ns)
    if skew_ns >= clock.SKEW_NS_H1:
        level = "H3" if skew_ns >= clock.SKEW_NS_H3 else "H1"
        return fail(f"{words}: a run would halt {level}", fix, ENVIRONMENT)
    if skew_ns >= clock.SKEW_NS_WARN:
        return warn(words, fix)
    return ok(words)


def _version(facts: VenueFacts) -> Finding:
    if isinstance(facts.version, Missing):
        return unknown(facts.version)
    if facts.version != VERSION:
        return fail(
            f"{facts.version}, expected {VERSION}",
            "the venue changed its orders: do not trade before a release that signs them", VENUE)
    return ok(str(facts.version))


def _geo(facts: VenueFacts) -> Finding:
    if isinstance(facts.geo, Missing):
        return unknown(facts.geo, "venues.polymarket.geoblock_url must answer before anything trades")
    place = f"{facts.geo.country}-{facts.geo.region}"
    if facts.geo.is_blocked:
        return fail(
            f"blocked in {place}", "trading from here is not permitted; this program does not work around it",
            VENUE)
    return ok(f"not blocked in {place}")


def _gamma(facts: VenueFacts) -> Finding:
    if isinstance(facts.events, Missing):
        return unknown(facts.events)
    if not facts.events:
        return fail("no open event listed", "check venues.polymarket.gamma_url and [universe]", VENUE)
    return ok(f"{facts.events} open events on its first page")


def _fees(facts: VenueFacts) -> Finding:
    if isinstance(facts.fees, Missing):
        return unknown(facts.fees)
    unknown_count = len(facts.fees.unknown)
    names = ", ".join(facts.fees.unknown[:SHOWN_MAX])
    if not facts.fees.sampled:
        return fail("no market of the universe was found", "check [universe]: event_slugs, tags", CONFIG)
    if unknown_count == facts.fees.sampled:
        return fail(
            f"unknown in all {unknown_count} markets looked at ({names})", "choose other markets", VENUE)
    if unknown_count:
        return warn(
            f"unknown in {unknown_count} of {facts.fees.sampled} markets ({names})",
            "those markets are not traded; no action needed")
    return ok(f"known in {facts.fees.sampled} of {facts.fees.sampled} markets looked at")


VENUE_CONDITIONS: tuple[Condition[VenueFacts], ...] = (
    Condition("hosts", "an order that cannot be sent or cancelled is a risk without a brake", _hosts),
    Condition("clock", "requests are signed with the time; books and deadlines are judged by it", _clock),
    Condition("version", "orders of another version are refused, all of them", _version),
    Condition("geo", "the venue decides who may trade from where", _geo),
    Condition("gamma", "markets, their ticks and their fees come from there", _gamma),
    Condition("fees", "a profit is only one after fees; an unknown fee is not traded", _fees),
)


# ---------------------------------------------------------------------- a wallet


def _key(facts: AccountFacts) -> Finding:
    if isinstance(facts.key, Missing):
        return unknown(facts.key, f"make {facts.key_file} as config/secrets.example/README.md shows")
    if facts.key.address.lower() != facts.address.lower():
        return fail(
            f"{facts.key_file} is the key of {facts.key.address}, configured is {facts.address}",
            f"set accounts.{facts.name}.address = \"{facts.key.address}\" or name the right file", CONFIG)
    return ok(f"{facts.key_file} is private and is the key of {facts.key.address}")


def _kind(facts: AccountFacts) -> Finding:
    owner, maker = address_bytes(facts.address), address_bytes(facts.maker)
    if facts.chain_id != wire.POLYGON:
        return warn(f"not known on chain {facts.chain_id}", "compare maker with the wallet that you deployed")
    kind = classify(owner, maker)
    if kind is None:
        return fail(
            f"maker {facts.maker} is no wallet of {facts.address} that the venue makes",
            "pm connect lists this key's wallets; set maker and signature_type to one of them", CONFIG)
    if kind.signature_type != facts.signature_type:
        return fail(
            f"maker is the key's {kind.words}, signature_type is {facts.signature_type}",
            f"set accounts.{facts.name}.signature_type = {kind.signature_type.value}", CONFIG)
    return ok(f"{kind.words}, signature_type {kind.signature_type.value}")


def _dry_order(facts: AccountFacts) -> Finding:
    if isinstance(facts.dry_signers, Missing):
        return unknown(facts.dry_signers)
    wrong = [signer for signer in facts.dry_signers if signer.lower() != facts.address.lower()]
    if wrong or not facts.dry_signers:
        return fail(
            f"recovered {', '.join(wrong) or 'nothing'}, expected {facts.address}",
            "do not trade: report this as a bug with the version of coincurve", ENVIRONMENT)
    return ok(f"signed for {len(facts.dry_signers)} exchanges, recovered as {facts.address}; not sent")


def _api_key(facts: AccountFacts) -> Finding:
    fix = f"pm connect --account {facts.name} makes it"
    if isinstance(facts.api_key, Missing):
        is_silent = facts.api_key.exit_code == VENUE
        return unknown(facts.api_key, "the venue must answer first: pm doctor venue" if is_silent else fix)
    if not facts.api_key:
        return fail(f"the venue does not take the key in {facts.api_file}", f"{fix} (--replace)", VENUE)
    return ok(f"the venue takes the key in {facts.api_file}")


def _closed_only(facts: AccountFacts) -> Finding:
    if isinstance(facts.closed_only, Missing):
        return unknown(facts.closed_only)
    if facts.closed_only:
        return fail("the account may only close positions", "ask the venue's support why", VENUE)
    return ok("the account may open positions")


def _balance(facts: AccountFacts) -> Finding:
    if isinstance(facts.money, Missing):
        return unknown(facts.money)
    if not facts.money.balance_micro:
        return warn("0 pUSD", f"deposit pUSD to {facts.maker}; nothing is bought without it")
    return ok(f"{usd_text(facts.money.balance_micro)} pUSD")


def _allowances(facts: AccountFacts) -> Finding:
    if isinstance(facts.money, Missing):
        return unknown(facts.money)
    money: Money = facts.money
    needed = {address.lower(): name for name, address in approvals.spenders_of(facts.chain_id).items()}
    strange = [name for spender, name in needed.items() if spender not in money.allowances_micro]
    if strange:
        return fail(
            f"none for {', '.join(strange)}: on chain {facts.chain_id}, not among the venue's own spenders",
            "check venues.polymarket: chain_id and clob_url; if both are right, its contracts changed: do "
            "not trade before a release that knows them", VENUE)
    named = needed | {spender: needed.get(spender, spender) for spender in money.allowances_micro}
    none = [name for spender, name in named.items() if not money.allowances_micro.get(spender)]
    small = [name for spender, name in named.items()
             if 0 < money.allowances_micro.get(spender, 0) < money.balance_micro]
    fix = "approve pUSD for them with the venue's page or client, then run pm doctor wallet again"
    if none:
        return fail(f"none for {', '.join(none[:SHOWN_MAX])} of {len(named)} spenders", fix, VENUE)
    if small:
        return warn(f"below the balance for {', '.join(small[:SHOWN_MAX])}", fix)
    return ok(f"{len(named)} spenders may take the whole balance")


def _approvals(facts: AccountFacts) -> Finding:
    if isinstance(facts.approvals, Missing):
        return warn(
            f"not known: {facts.approvals.words}",
            "venues.polymarket.data_url would tell; trading goes by the allowances above")
    given = {pair for pair, is_given in facts.approvals.items() if is_given}
    trading = [words for pair, words in approvals.TRADING.items() if pair not in given]
    settling = [words for pair, words in approvals.SETTLING.items() if pair not in given]
    fix = "approve them with the venue's page or client"
    if trading:
        return fail(
            f"missing: {', '.join(trading[:SHOWN_MAX])}", f"{fix}; orders would fail in settlement", VENUE)
    if settling:
        return warn(
            f"missing: {', '.join(settling[:SHOWN_MAX])}", f"{fix}; needed to merge, convert, redeem")
    return ok(f"all {len(approvals.TRADING) + len(approvals.SETTLING)} pairs are approved")


def _refreshed(facts: AccountFacts) -> Finding:
    if isinstance(facts.refreshed, Missing):
        return warn(f"not renewed: {facts.refreshed.words}", "balance and allowances below may be old")
    return ok("renewed: balance and allowances below are of now")


def _rate(facts: AccountFacts) -> Finding:
    if isinstance(facts.rate, Missing):
        return warn(f"not named: {facts.rate.words}", "orders_per_s and the like stay as configured")
    tier, left = facts.rate.tier, facts.rate.remaining
    words = f"tier {tier or 'not named'}, {left} cancels left"
    words += f", {facts.rate.warning}" if facts.rate.warning else ""
    known = wire.TIERS.get(tier.lower())
    if known is None:
        return warn(words, "orders_per_s and the like stay as configured")
    if facts.orders_per_s > known[0]:
        return fail(
            f"{words}: {known[0]} orders/s, configured {facts.orders_per_s}",
            "set orders_per_s, orders_burst, cancels_per_s, cancels_burst of accounts."
            f"{facts.name} to {', '.join(str(one) for one in known)}", CONFIG)
    return ok(f"{words}: {known[0]} orders/s, configured {facts.orders_per_s}")


def _foreign(facts: AccountFacts) -> Finding:
    if isinstance(facts.foreign_orders, Missing):
        return unknown(facts.foreign_orders)
    if facts.foreign_orders:
        shown = ", ".join(order[:10] + "…" for order in facts.foreign_orders[:SHOWN_MAX])
        return warn(
            f"{len(facts.foreign_orders)} of {facts.open_orders} open are not this pipeline's ({shown})",
            "they use its collateral and are left alone; cancel them where they were placed")
    return ok(f"{facts.open_orders} open, all of them this pipeline's")


WALLET_CONDITIONS: tuple[Condition[AccountFacts], ...] = (
    Condition("key", "the signer signs with it; nobody else may read it", _key),
    Condition("wallet", "an order in the name of another wallet is refused", _kind),
    Condition("dry order", "a signature that the venue cannot verify is an order lost", _dry_order),
    Condition("api key", "every private request is signed with it", _api_key),
    Condition("closed-only", "such an account cannot buy", _closed_only),
    Condition("cache", "the venue keeps balance and allowances in a cache", _refreshed),
    Condition("balance", "what orders are paid from", _balance),
    Condition("allowances", "the exchanges take collateral only with them", _allowances),
    Condition("approvals", "a trade without them matches and then fails in settlement", _approvals),
    Condition("rate", "above its tier the venue refuses orders and cancels", _rate),
    Condition("foreign orders", "orders of others on this wallet use its collateral", _foreign),
)


def judge_venue(facts: VenueFacts) -> list[Line]:
    """Return the lines of topic venue."""
    return [_line("venue", one, one.judge(facts)) for one in VENUE_CONDITIONS]


def judge_account(facts: AccountFacts) -> list[Line]:
    """Return the lines of topic wallet for one account."""
    return [_line(f"wallet {facts.name}", one, one.judge(facts)) for one in WALLET_CONDITIONS]


def _line(topic: str, condition: Condition[F], finding: Finding) -> Line:
    return Line(
        topic, condition.name, finding.verdict, finding.found, condition.why, finding.fix, finding.exit_code)


def unmet(lines: Sequence[Line], accounts: Iterable[str]) -> list[Line]:
    """Return why mode live may not trade: lines that fail, and conditions that have no line at all."""
    needed = [("venue", one.name, one.why) for one in VENUE_CONDITIONS]
    names = list(accounts)
    needed += [(f"wallet {name}", one.name, one.why) for name in names for one in WALLET_CONDITIONS]
    told = {(line.topic, line.name) for line in lines}
    found = [line for line in lines if line.verdict not in (Verdict.OK, Verdict.WARN)]
    found += [Line(topic, name, Verdict.FAIL, "nobody looked", why, "run pm doctor wallet venue", ENVIRONMENT)
              for topic, name, why in needed if (topic, name) not in told]
    if not names:
        found.append(Line("wallet", "account", Verdict.FAIL, "none configured", "an order needs a wallet",
                          "add a table [accounts.<name>]", CONFIG))
    return found


def exit_code(lines: list[Line]) -> int:
    """Return the exit code of the first failure, 0 when nothing failed."""
    return next((line.exit_code for line in lines if line.verdict == Verdict.FAIL), 0)
