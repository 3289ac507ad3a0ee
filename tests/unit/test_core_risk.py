"""core.risk: every limit refuses at limit + 1 and passes at the limit; missing values refuse."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from typing import Any

import pytest

from pipeline.codec import unpack
from pipeline.core.limits import SALT_EPOCH_MAX, Limits, limits_of, salt_of
from pipeline.core.risk import DAY_NS, Proposal, RiskGate, Verdict, WantedOrder
from pipeline.errors import InvariantError
from pipeline.kinds import Cause, Kind, OrderType, Rule
from pipeline.units import MICRO
from tests.models.core_rig import FULL, T0_NS, Rig, config, event, instrument, pack, started
from tests.shared import scaled, seeds


def proposal(**changes: Any) -> Proposal:
    """Two legs of a two-outcome event at 0.40, 10 shares: pays 10, costs 8."""
    orders = changes.pop("orders", None) or tuple(
        WantedOrder(leg_no, leg_no + 1, 0, 0, int(OrderType.FAK), 4_000, 10 * MICRO) for leg_no in range(2)
    )
    values: dict[str, Any] = {
        "idea_no": 1,
        "basket": 9,
        "event": 1,
        "strategy": 1,
        "leg_count": 2,
        "size_micro": 10 * MICRO,
        "payout_usd_micro": 10 * MICRO,
        "cost_usd_micro": 8 * MICRO,
        "fee_usd_micro": 0,
        "partial_loss_usd_micro": 4 * MICRO,
        "now_ns": T0_NS,
        "orders": orders,
    }
    return Proposal(**{**values, **changes})


def gate(usd_micro: int = 1_000 * MICRO, **limits: int) -> RiskGate:
    return started(*event([1, 2]), usd_micro=usd_micro, **limits).trader.facts.gate


def changed(**values: Any) -> Proposal:
    """Return the proposal with its first order changed."""
    wanted = proposal()
    return replace(wanted, orders=(wanted.orders[0]._replace(**values), wanted.orders[1]))


def test_gate_takes_a_good_proposal() -> None:
    """Everything in order: taken."""
    assert Verdict(Cause.TAKEN, 0, 0) == gate().check(proposal())


@pytest.mark.parametrize(
    "name, cause, value",
    [
        ("order_usd_micro_max", Cause.LIMIT_ORDER, 4 * MICRO),
        ("package_usd_micro_max", Cause.LIMIT_ORDER, 8 * MICRO),
        ("market_usd_micro_max", Cause.LIMIT_MARKET, 4 * MICRO),
        ("event_usd_micro_max", Cause.LIMIT_EVENT, 8 * MICRO),
        ("day_usd_micro_max", Cause.LIMIT_DAY, 8 * MICRO),
        ("open_orders_max", Cause.LIMIT_OPEN_ORDERS, 2),
        ("package_orders_max", Cause.TOO_MANY_ORDERS, 2),
        ("partial_loss_usd_micro_max", Cause.LIMIT_PARTIAL_LOSS, 4 * MICRO),
    ],
)
def test_gate_limits_are_exact(name: str, cause: Cause, value: int) -> None:
    """Each limit lets its own value pass and refuses one below it, naming both numbers."""
    assert Cause.TAKEN == gate(**{name: value}).check(proposal()).cause
    assert Verdict(cause, value, value - 1) == gate(**{name: value - 1}).check(proposal())


def test_gate_limits_edge_and_collateral() -> None:
    """Edge minimums and free collateral are limits as well."""
    assert Cause.TAKEN == gate(edge_usd_micro_min=2 * MICRO).check(proposal()).cause
    assert Verdict(Cause.BELOW_EDGE, 2 * MICRO, 2 * MICRO + 1) == gate(
        edge_usd_micro_min=2 * MICRO + 1
    ).check(proposal())
    assert Verdict(Cause.BELOW_EDGE, 2 * MICRO, 2_000_008) == gate(edge_ppm_min=250_001).check(proposal())
    assert Cause.TAKEN == gate(8 * MICRO).check(proposal()).cause
    assert Verdict(Cause.LIMIT_COLLATERAL, 8 * MICRO, 8 * MICRO - 1) == gate(8 * MICRO - 1).check(proposal())


@pytest.mark.parametrize("name", [field.name for field in fields(Limits) if field.name != "fence_ns"])
def test_RK05_a_missing_limit_refuses(name: str) -> None:  # noqa: N802
    """Each value of the config removed in turn: nothing passes."""
    assert Verdict(Cause.MISSING_VALUE, 0, 0) == gate(**{name: 0}).check(proposal())


def test_RK05_missing_truth_refuses() -> None:  # noqa: N802
    """No balance, no instrument, no config, no allowance: nothing passes."""
    rig = Rig()
    assert Cause.MISSING_VALUE == rig.trader.facts.gate.check(proposal()).cause
    rig.feed(config(), *event([1, 2]))
    assert Cause.MISSING_VALUE == rig.trader.facts.gate.check(proposal()).cause
    rig.feed(pack(Kind.BALANCE, collateral_usd_micro=MICRO * 100, allowance_usd_micro=0))
    assert Verdict(Cause.LIMIT_COLLATERAL, 8 * MICRO, 0) == rig.trader.facts.gate.check(proposal())
    assert Cause.NO_INSTRUMENT == gate().check(changed(row=99)).cause


BAD_ORDERS = [
    ({"price_ticks": 4_001}, Cause.OFF_GRID),
    ({"price_ticks": 0}, Cause.OFF_GRID),
    ({"price_ticks": 10_000}, Cause.OFF_GRID),
    ({"size_micro": 0}, Cause.OFF_GRID),
    ({"size_micro": -10 * MICRO}, Cause.OFF_GRID),
    ({"size_micro": 10 * MICRO + 1}, Cause.OFF_GRID),
    ({"size_micro": 10_010_000}, Cause.OFF_GRID),
    ({"size_micro": 2 * MICRO}, Cause.BELOW_MINIMUM),
    ({"size_micro": 4_500_000, "order_type": 0}, Cause.BELOW_MINIMUM),
    ({"side": 1}, Cause.NOT_PROVEN),
    ({"order_type": int(OrderType.FOK)}, Cause.NOT_PROVEN),
    ({"order_type": 200}, Cause.NOT_PROVEN),
    ({"size_micro": 20 * MICRO}, Cause.NOT_PROVEN),
    ({"outcome": 1}, Cause.NOT_PROVEN),
    ({"outcome": 7}, Cause.NOT_PROVEN),
    ({"leg_no": 1}, Cause.NOT_PROVEN),
    ({"leg_no": 200}, Cause.NOT_PROVEN),
    ({"row": 2}, Cause.NOT_PROVEN),
]


@pytest.mark.parametrize("values, cause", BAD_ORDERS)
def test_HG03_gate_proves_every_order_again(values: dict[str, int], cause: Cause) -> None:  # noqa: N802
    """Off-grid, too small, unequal shares, a wrong token or side: refused, whatever the idea claims."""
    assert cause == gate().check(changed(**values)).cause


def test_gate_believes_no_claimed_payout() -> None:
    """The payout is proven from the orders; a larger claim is refused."""
    assert Verdict(Cause.NOT_PROVEN, 10 * MICRO, 11 * MICRO) == gate().check(
        proposal(payout_usd_micro=11 * MICRO)
    )
    half = started(instrument(1, 0, 3), instrument(2, 1, 3), instrument(3, 2, 3)).trader.facts.gate
    assert Verdict(Cause.NOT_PROVEN, 0, 10 * MICRO) == half.check(proposal())
    augmented = started(*event([1, 2], rules=FULL | Rule.AUGMENTED)).trader.facts.gate
    assert Cause.NOT_PROVEN == augmented.check(proposal()).cause


def test_gate_proves_again_when_an_instrument_changed() -> None:
    """A proof holds for the instruments it was made of: an event that is no longer exhaustive is refused."""
    rig = started(*event([1, 2]))
    assert Cause.TAKEN == rig.trader.facts.gate.check(proposal()).cause
    rig.feed(instrument(2, 1, 2, rules=FULL & ~Rule.EXHAUSTIVE))
    assert Verdict(Cause.NOT_PROVEN, 0, 10 * MICRO) == rig.trader.facts.gate.check(proposal())
    rig.feed(instrument(2, 1, 2))
    assert Cause.TAKEN == rig.trader.facts.gate.check(proposal()).cause


def test_gate_obeys_halt_and_reconcile() -> None:
    """H1 and above stop new risk; so does a restart until a reconcile; a resolved market too."""
    for level in (1, 2, 3, 4):
        rig = started(*event([1, 2]))
        rig.feed(pack(Kind.HALT, level=level))
        assert Verdict(Cause.HALTED, level, 0) == rig.trader.facts.gate.check(proposal())
        rig.feed(pack(Kind.HALT, level=0))
        assert Cause.TAKEN == rig.trader.facts.gate.check(proposal()).cause
    rig = started(*event([1, 2]))
    rig.feed(pack(Kind.RESUME))
    assert Cause.UNKNOWN_ORDER_OPEN == rig.trader.facts.gate.check(proposal()).cause
    rig = started(*event([1, 2]))
    rig.feed(pack(Kind.RESOLVED, instrument=2, payout_micro_yes=0, payout_micro_no=MICRO))
    assert Verdict(Cause.RESOLVED, 2, 0) == rig.trader.facts.gate.check(proposal())


def test_gate_counts_the_day() -> None:
    """What filled today counts until midnight of stream time."""
    found = gate(day_usd_micro_max=20 * MICRO)
    found.spend(13 * MICRO, T0_NS)
    assert Verdict(Cause.LIMIT_DAY, 21 * MICRO, 20 * MICRO) == found.check(proposal())
    assert Cause.TAKEN == found.check(proposal(now_ns=T0_NS + DAY_NS)).cause
    found.spend(-2 * MICRO, T0_NS)
    assert Cause.TAKEN == found.check(proposal()).cause


def test_collateral_believes_the_lower_figure_while_orders_are_open() -> None:
    """A balance that lacks fills which are still to come lowers what is free; a quiet one sets it."""
    collateral = gate(100 * MICRO).collateral
    low = unpack(pack(Kind.BALANCE, collateral_usd_micro=90 * MICRO, allowance_usd_micro=1 << 60))
    high = unpack(pack(Kind.BALANCE, collateral_usd_micro=150 * MICRO, allowance_usd_micro=1 << 60))
    collateral.on_balance(high, 0, is_quiet=False)
    assert 100 * MICRO == collateral.free(0, 0)
    collateral.on_balance(low, 0, is_quiet=False)
    assert 85 * MICRO == collateral.free(0, 5 * MICRO)
    collateral.on_balance(high, 0, is_quiet=True)
    assert 150 * MICRO == collateral.free(0, 0)


HOSTILE = (-(1 << 63), -1, 0, 1, 9_999, 10_000, 10**12, (1 << 62), (1 << 63) - 1, (1 << 64) - 1)


@pytest.mark.parametrize("seed", seeds(200))
def test_RK01_hostile_numbers_never_pass(seed: int) -> None:  # noqa: N802
    """Extreme values in any field: refused with a verdict, or a proposal that truly is within limits."""
    rng = random.Random(seed)
    found = gate()
    limits = found.limits
    for _ in range(scaled(250, 5_000)):
        wanted = proposal()
        if rng.random() < 0.7:
            name = rng.choice(WantedOrder._fields)
            orders = tuple(
                order._replace(**{name: rng.choice(HOSTILE)}) if rng.random() < 0.7 else order
                for order in wanted.orders
            )
            wanted = replace(wanted, orders=orders)
        if rng.random() < 0.7:
            name = rng.choice(
                [
                    "leg_count",
                    "size_micro",
                    "payout_usd_micro",
                    "partial_loss_usd_micro",
                    "now_ns",
                    "cost_usd_micro",
                ]
            )
            wanted = replace(wanted, **{name: rng.choice(HOSTILE)})
        if Cause.TAKEN == found.check(wanted).cause:
            tokens = [(order.row, order.outcome) for order in wanted.orders]
            assert tokens in ([(1, 0), (2, 0)], [(1, 1), (2, 1)])  # every YES, or every NO of two: both pay 1
            assert [10 * MICRO] * 2 == [order.size_micro for order in wanted.orders]
            assert sum(order.price_ticks for order in wanted.orders) < 10_000
            assert 0 <= wanted.partial_loss_usd_micro <= limits.partial_loss_usd_micro_max
            assert wanted.payout_usd_micro <= 10 * MICRO


def test_OR15_salts_are_unique_and_json_safe() -> None:  # noqa: N802
    """Epoch and order number make the salt; below 2**53; outside the range it is an error, not a repeat."""
    salts = [salt_of(epoch, number) for epoch in (1, 2, SALT_EPOCH_MAX) for number in (1, 2, (1 << 32) - 1)]
    assert len(salts) == len(dict.fromkeys(salts))
    assert max(salts) < 1 << 53
    for epoch, number in ((0, 1), (SALT_EPOCH_MAX + 1, 1), (1, 0), (1, 1 << 32)):
        with pytest.raises(InvariantError, match="salt epoch"):
            salt_of(epoch, number)
    assert "salt_epoch" == limits_of(config(salt_epoch=SALT_EPOCH_MAX + 1)).missing
