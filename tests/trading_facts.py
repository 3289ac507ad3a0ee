"""Facts under which every condition of trading holds, for tests that change one of them."""

from __future__ import annotations

from pipeline.run.facts import AccountFacts, Clock, Fees, Host, VenueFacts
from pipeline.run.keywork import KeyWork
from pipeline.venues.polymarket import approvals
from pipeline.venues.polymarket.health import Geo, Money, Rate

OWNER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"  # a published development key's; never fund it
STRANGER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
MAX = 2**256 - 1

GOOD_VENUE = VenueFacts(
    hosts=(Host("clob_url", "https://clob.example"), Host("gamma_url", "https://gamma.example")),
    clock=Clock(12_000_000, 20_000_000), version=2, geo=Geo(False, "IE", "L"), events=20, fees=Fees(20))
GOOD_ACCOUNT = AccountFacts(
    name="main", address=OWNER, maker=OWNER, signature_type=0, chain_id=137, orders_per_s=40,
    key_file="secrets/main.key", api_file="secrets/main.api.json", key=KeyWork(OWNER),
    dry_signers=(OWNER, OWNER, OWNER), api_key=True, closed_only=False,
    money=Money(125_000_000, {spender.lower(): MAX for spender in approvals.EXCHANGE_SPENDERS.values()}),
    refreshed=True, approvals=dict.fromkeys((*approvals.TRADING, *approvals.SETTLING), True),
    rate=Rate("Standard", 119, ""), open_orders=0, foreign_orders=())
