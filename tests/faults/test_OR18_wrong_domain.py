"""OR18: chain, exchange, domain, neg-risk flag, funder or signature kind are wrong: nothing is signed.

The whole matrix at each door: the account, the start's comparison with the venue, the market's metadata, the
signer's own list. Independent: wallets by `pipeline.sim`, typed data and recovery by eth-account, contracts
as the venue sheet has them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from eth_account import Account as EthAccount
from eth_account.messages import encode_typed_data

from pipeline.codec import CODECS, unpack
from pipeline.errors import ConfigError
from pipeline.kinds import Cause, Kind, OrderType, Rule, Side
from pipeline.run.conditions import judge_account, judge_venue, unmet
from pipeline.shm import halt
from pipeline.sim.wallets import deposit_wallet, proxy_wallet, safe_wallet
from pipeline.stages.brake import Brake
from pipeline.stages.signer import Signing
from pipeline.venues.polymarket import identity
from pipeline.venues.polymarket.clob_market import merge_clob_market
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.health import Money
from pipeline.venues.polymarket.sign import OrderRequest, OrderSigner, Signed
from pipeline.venues.polymarket.universe import MarketInfo
from tests.models.signer_rig import KEY, NOBODY, PLENTY, STEP, T0_NS, Leg, account_of, intents
from tests.sim_trader import CONTRACTS, DOMAIN_FIELDS, ORDER_FIELDS, ZERO
from tests.tools.faultrows import figure
from tests.trading_facts import GOOD_ACCOUNT, GOOD_VENUE, MAX

POLYGON, AMOY = 137, 80002
AMOY_V3 = "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D"  # the only contract that differs there
V1, V2 = b"\xab" * 32, b"\xab" * 19 + bytes(8) + b"\xab" * 5
OWNER, STRANGER = (identity.checksum(account_of(key).owner) for key in (KEY, NOBODY))
LEG = Leg(1, 4_000, 10_000_000, 0, int(Side.BUY), int(OrderType.GTC))


def wallets(owner: str) -> list[tuple[int, str]]:
    """Return (signature type, address) of each wallet of an owner."""
    return [(0, owner), (1, proxy_wallet(owner)), (2, safe_wallet(owner)),
            (3, deposit_wallet(owner)), (3, deposit_wallet(owner, is_beacon=False))]


def spenders(chain_id: int, **changed: str) -> dict[str, int]:
    """Return the allowances by contract that a venue on this chain names."""
    named = {f"{version}{int(neg)}": address for (version, neg), (_, address) in CONTRACTS.items()}
    named |= {"v20": AMOY_V3, "v21": AMOY_V3} if chain_id == AMOY else {}
    return {address.lower(): MAX for address in (named | changed).values()}


def accounts() -> int:
    """Every funder, kind and chain: only what belongs together gets a signer, and may start."""
    mine, count = wallets(OWNER), 0
    funders = [*mine, *wallets(STRANGER), (9, "0x" + "cd" * 20)]
    for (_, funder), kind, chain in itertools.product(funders, range(-1, 5), (POLYGON, AMOY, 1, 0, -137)):
        count += 1
        try:
            OrderSigner(KEY, identity.identify(OWNER, funder, kind, chain))
        except ConfigError:
            is_signer = False
        else:
            is_signer = True
        facts = replace(
            GOOD_ACCOUNT, address=OWNER, maker=funder, signature_type=kind, chain_id=chain,
            key=replace(GOOD_ACCOUNT.key, address=OWNER), dry_signers=(OWNER,) * 3,
            money=Money(10**9, spenders(POLYGON)))
        is_right = (kind, funder) in mine and chain == POLYGON
        if chain != AMOY:  # which wallets the venue makes there, nobody told
            assert is_right == is_signer, (funder, kind, chain)
        if chain in (POLYGON, AMOY):  # the configuration takes no other
            may_start = not unmet(judge_venue(GOOD_VENUE) + judge_account(facts), ("main",))
            assert is_right == may_start, (funder, kind, chain)
    return count


def starts() -> int:
    """What the venue says of itself must be what is configured and built: contracts, chain, version."""
    count = 0
    other = "0x" + "12" * 20
    venues: list[tuple[bool, dict[str, int]]] = [(True, spenders(POLYGON)), (False, spenders(AMOY))]
    venues += [(False, spenders(POLYGON, **{name: other})) for name in ("v10", "v11")]
    venues += [(False, spenders(POLYGON, v20=other, v21=other)), (False, {other: MAX}), (False, {})]
    for (is_ours, named), chain, version in itertools.product(venues, (POLYGON, AMOY), (0, 1, 2, 3)):
        count += 1
        facts = replace(GOOD_ACCOUNT, chain_id=chain, money=Money(10**9, named))
        lines = judge_venue(replace(GOOD_VENUE, version=version)) + judge_account(facts)
        may_trade = not unmet(lines, ("main",))
        is_amoy = chain == AMOY and named == spenders(AMOY)
        is_right = version == 2 and ((is_ours and chain == POLYGON) or is_amoy)
        assert is_right == may_trade, (named, chain, version)
    return count


def metadata() -> int:
    """The order book contradicts Gamma about what is traded: the market is refused."""
    count = 0
    for v2, neg_risk in itertools.product((False, True), repeat=2):
        token = V2 if v2 else V1
        no_token = token[:-1] + bytes([token[-1] ^ 1])
        info = MarketInfo(
            market_id="1", condition=b"\x05" * 32, token_yes=token, token_no=no_token, v2=v2, slug="one",
            question="One?", label="One", outcomes=("Yes", "No"), tick_step=100, size_micro_min=5_000_000,
            fee_rate_ppm=0, fee_exponent=1, accepting=True, neg_risk=neg_risk, taker_delay_ns=0, ends_ns=0,
            event_id="1", question_id=b"")
        yes, no = (str(int.from_bytes(one, "big")) for one in (token, no_token))
        for said_v2, said_neg, swapped in itertools.product((False, True), (False, True), (False, True)):
            count += 1
            said = {
                "c": "0x" + "05" * 32, "t": [{"t": yes, "o": "No" if swapped else "Yes"},
                                             {"t": no, "o": "Yes" if swapped else "No"}],
                "mos": 5, "mts": 0.01, "ao": True, "nr": said_neg, "v": "v2" if said_v2 else "v1"}
            found = merge_clob_market(info, json.dumps(said).encode(), 0)
            is_right = (said_v2, said_neg, swapped) == (v2, neg_risk, False)
            assert is_right != isinstance(found, MarketRefusal), said
    return count


def signer_of(directory: Path) -> Signing:
    return Signing(
        OrderSigner(KEY, account_of(KEY)), Brake(None, PLENTY), halt.HaltPage(directory), lambda: T0_NS)


def row(token: bytes, rules: int, **changes: Any) -> bytes:
    return CODECS[Kind.INSTRUMENT].pack(**{
        "instrument": 1, "token_yes": token, "token_no": token[:-1] + bytes([token[-1] ^ 1]), "rules": rules,
        "tick_step": STEP} | changes)


def recovered(signed: Any, intent: Any, token: bytes) -> list[tuple[tuple[str, bool], str]]:
    """Return (market, signer) for each exchange of the sheet, as eth-account recovers it."""
    message = {
        "salt": intent.salt, "maker": OWNER, "signer": OWNER, "tokenId": int.from_bytes(token, "big"),
        "makerAmount": intent.maker_amount, "takerAmount": intent.taker_amount, "side": intent.side,
        "signatureType": 0, "timestamp": intent.timestamp_ms, "metadata": ZERO, "builder": ZERO}
    found = []
    for of, (version, contract) in CONTRACTS.items():
        domain = {"name": "Polymarket CTF Exchange", "version": version, "chainId": POLYGON,
                  "verifyingContract": contract}
        typed = encode_typed_data(full_message={
            "types": {"EIP712Domain": DOMAIN_FIELDS, "Order": ORDER_FIELDS}, "primaryType": "Order",
            "domain": domain, "message": message})
        found.append((of, str(EthAccount.recover_message(typed, signature=bytes(signed.signature)))))
    return found


def rows(directory: Path) -> int:
    """What a row is signed for: its own exchange, and only when its tokens are of its version."""
    count = 0
    for number, (token, neg_risk, v2) in enumerate(
            itertools.product((V1, V2, bytes(32)), (False, True), (False, True))):
        count += 1
        signing = signer_of(directory)
        signing.learn(row(token, Rule.NEG_RISK * neg_risk | Rule.V2 * v2))
        slot, = intents(number + 1, 1, [LEG])
        signed, intent = unpack(signing.make(slot)), unpack(slot)
        is_right = token == (V2 if v2 else V1)
        assert is_right == (signed.cause == Cause.NONE), (token, neg_risk, v2)
        assert is_right == any(signed.signature)
        if is_right:
            of = ("v2" if v2 else "v1", neg_risk)
            same = {one for one, found in recovered(signed, intent, token) if found == OWNER}
            assert same == {one for one in CONTRACTS if CONTRACTS[one] == CONTRACTS[of]}, (of, same)
    return count


def switches(directory: Path) -> int:
    """A row that is told in two ways is signed in neither, also what was signed ahead."""
    kinds = [(V1, 0), (V1, int(Rule.NEG_RISK)), (V2, int(Rule.V2)), (V2, int(Rule.V2 | Rule.NEG_RISK)),
             (b"\xac" * 32, 0)]
    for number, (first, second) in enumerate(itertools.product(kinds, repeat=2)):
        signing = signer_of(directory)
        for told in (first, first, second, first):
            signing.learn(row(*told))
            slot, = intents(number + 1, 1, [LEG])
            is_signed = any(unpack(signing.make(slot)).signature)
            if told != first:
                break
            assert is_signed
        assert is_signed == (first == second), (first, second)
        signing.learn(row(*first))
        assert (first == second) == any(unpack(signing.make(slot)).signature)
    return len(kinds) ** 2


class NoKey:
    """Stands for the sealer, which alone holds the key: touching it fails the test."""

    def __getattr__(self, name: str) -> NoReturn:
        raise AssertionError(f"the key was touched by a refused request: {name}")


def requests() -> int:
    """A request spelt out: every other domain, contract, chain, wallet or kind is refused, no key used."""
    signer, refusing = OrderSigner(KEY, account_of(KEY)), OrderSigner(KEY, account_of(KEY))
    refusing._sealer = NoKey()  # type: ignore[assignment]
    contracts = sorted({address for _, address in CONTRACTS.values()} | {AMOY_V3})
    matrix = itertools.product(
        ("1", "2", "3"), contracts, (POLYGON, AMOY, 1), (False, True), (False, True), (0, 1, 3),
        (OWNER, STRANGER))
    right, count = 0, 0
    for version, contract, chain, neg_risk, v2, kind, maker in matrix:
        count += 1
        request = OrderRequest(
            primary_type="Order", domain_name="Polymarket CTF Exchange", domain_version=version,
            chain_id=chain, verifying_contract=contract, maker=maker, signer=OWNER, signature_type=kind,
            neg_risk=neg_risk, v2=v2, salt=5, token=V2 if v2 else V1, maker_amount=5_200_000,
            taker_amount=10_000_000, side=0, timestamp_ms=1_790_000_000_000, metadata=bytes(32),
            builder=bytes(32))
        is_right = (CONTRACTS["v2" if v2 else "v1", neg_risk], chain, kind, maker) == (
            (version, contract), POLYGON, 0, OWNER)
        right += is_right
        found = (signer if is_right else refusing).sign_request(request)
        assert is_right == isinstance(found, Signed), request
    assert 4 == right
    return count


def test_OR18_every_wrong_combination_is_refused_before_signing(
    tmp_path: Path, gate_record: Callable[..., None],
) -> None:
    """At each door the whole matrix; what is signed is for the contract of the sheet and for no other."""
    halt.create(tmp_path)
    count = accounts() + starts() + metadata() + rows(tmp_path) + switches(tmp_path) + requests()
    assert count == figure("OR18", "combinations")
    gate_record("OR18", "combinations", count, 0)
