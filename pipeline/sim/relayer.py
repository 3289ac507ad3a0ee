"""The relayer: whether a wallet exists, its nonce, and transactions that an owner signed for it.

Every signature, nonce and deadline is verified. There is no chain behind the exchange: what its own books can
do (approvals, splitting and merging of shares, a new deposit wallet) is done and ends STATE_CONFIRMED; any
other call ends STATE_FAILED and `error_msg` names it. Calls of one transaction take effect together or not at
all. Source: venue sheet 18, clients sheet 1.3 and 3, read 2026-11-20.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from pipeline.sim import contracts, wallets
from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account
from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.relayer_calls import Executor, Malformed, unpack_proxy, unpack_safe
from pipeline.sim.relayer_proof import Call, batch_signer, proxy_signer, safe_signer
from pipeline.units import NS_PER_S

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

RELAY = "0x00000000000000000000000000000000000000AA"  # whom proxy transactions name as their relay
CALLS_MAX = 100
_KINDS = {"PROXY": wallets.PROXY, "SAFE": wallets.SAFE, "WALLET": wallets.DEPOSIT}
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_HEX = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


@dataclass(slots=True)
class Transaction:
    """One accepted transaction; its end is known at once and told from the first poll on."""

    transaction_id: str
    transaction_hash: str
    owner: str
    state: str
    error: str

    def row(self) -> dict[str, Any]:
        return {
            "transaction_id": self.transaction_id,
            "transaction_hash": self.transaction_hash,
            "state": self.state,
            "error_msg": self.error or None,
        }


class Relayer:
    """Answers the relayer's requests; a `Routes` of the exchange."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._exchange = exchange
        self._name = f"{seed}.{exchange.settings.life}"
        self._nonces: dict[str, int] = {}  # by wallet
        self._transactions: dict[str, Transaction] = {}
        self._executor = Executor(exchange)

    def on_request(
        self, now_ns: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        """Answer one request; submitting needs a key, reading does not."""
        path, _, text = target.partition("?")
        query = dict(parse_qsl(text, keep_blank_values=True))
        if (method, path) == ("POST", "/submit"):
            return self._submit(now_ns, headers, body)
        if method != "GET":
            return refuse(Refusal("method not allowed", 405))
        if path == "/deployed":
            return json_response({"deployed": self._is_deployed(query)})
        if path in ("/v1/account/transactions/params", "/relay-payload"):
            return self._params(query, is_proxy=path == "/relay-payload")
        if path.startswith("/v1/account/transactions/"):
            found = self._transactions.get(path.rpartition("/")[2])
            return refuse(texts.NOT_FOUND) if found is None else json_response(found.row())
        return refuse(texts.NOT_FOUND)

    def _is_deployed(self, query: dict[str, str]) -> bool:
        account = self._exchange.account_of_wallet(query.get("address", ""))
        is_kind = account is not None and query.get("type", "") in ("", _type_of(account))
        return account is not None and is_kind and account.is_deployed

    def _params(self, query: dict[str, str], is_proxy: bool) -> Response:
        """Answer the next nonce of an owner's wallet; for a proxy with the relay that it must name."""
        kind = query.get("type", "")
        account = self._purse(query.get("address", ""), kind)
        if account is None or is_proxy != (kind == "PROXY"):
            return refuse(texts.NOT_FOUND)
        address = RELAY if is_proxy else account.owner
        return json_response({"address": address, "nonce": str(self._nonces.get(account.wallet, 0))})

    def _purse(self, owner: str, kind: str, wallet: str = "") -> Account | None:
        if kind not in _KINDS:
            return None
        for account in self._exchange.accounts.values():
            if account.owner.lower() == owner.lower():
                return account.purse(_KINDS[kind], wallet)
        return None

    # -- submitting ---------------------------------------------------------------------------

    def _submit(self, now_ns: int, headers: Mapping[str, str], body: bytes) -> Response:
        if len(self._transactions) >= self._exchange.settings.relayed_max:
            return refuse(texts.TOO_MANY_RELAYED)
        try:
            value = orjson.loads(body)
            owner = _address(value, "from")
            if not self._exchange.rest.auth.may_relay(now_ns, owner, "POST", "/submit", headers, body):
                return refuse(texts.UNAUTHORIZED)
            if value.get("type") == "WALLET-CREATE":
                return self._create(now_ns, value, owner)
            checked = self._check(now_ns, value, owner)
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            return refuse(Refusal("invalid transaction: a JSON object expected"))
        except Malformed as problem:
            return refuse(Refusal(f"invalid transaction: {problem}"))
        if isinstance(checked, Refusal):
            return refuse(checked)
        account, calls = checked
        self._nonces[account.wallet] = self._nonces.get(account.wallet, 0) + 1
        return self._record(owner, self._executor.run(now_ns, account, calls))

    def _create(self, now_ns: int, value: dict[str, Any], owner: str) -> Response:
        if _address(value, "to").lower() != contracts.WALLET_FACTORY.lower():
            raise Malformed("to: the deposit-wallet factory expected")
        account = self._purse(owner, "WALLET")
        if account is None:
            return refuse(Refusal("invalid transaction: from: an owner with an API key expected"))
        error = "the wallet exists already" if account.is_deployed else ""
        account.is_deployed = True
        return self._record(owner, error)

    def _check(
        self, now_ns: int, value: dict[str, Any], owner: str
    ) -> tuple[Account, list[Call]] | Refusal:
        """Return the wallet and its calls if the owner signed them, now and in turn."""
        kind = value.get("type")
        is_batch = kind == "WALLET"
        params = _object(value, "depositWalletParams" if is_batch else "signatureParams")
        wallet = _address(params, "depositWallet") if is_batch else _address(value, "proxyWallet")
        account = self._purse(owner, str(kind), wallet)
        if account is None or not account.is_deployed:
            return Refusal(f"invalid transaction: {kind} wallet {wallet} of {owner} is not known")
        nonce, signature = _number(value, "nonce"), _bytes(value, "signature")
        expected = self._nonces.get(account.wallet, 0)
        chain_id = self._exchange.settings.chain_id
        if is_batch:
            deadline_s = _number(params, "deadline")
            calls = _calls(params)
            signer = batch_signer(wallet, nonce, deadline_s, calls, signature, chain_id)
            if deadline_s <= now_ns // NS_PER_S:
                return Refusal(f"batch deadline {deadline_s} has passed")
        elif kind == "SAFE":
            call, operation = _call(value), _number(params, "operation")
            signer = safe_signer(wallet, nonce, call, operation, signature, chain_id)
            calls = unpack_safe(call, operation)
        else:
            call = _call(value)
            gas = (_number(params, "relayerFee"), _number(params, "gasPrice"), _number(params, "gasLimit"))
            relays = (_address(params, "relayHub"), _address(params, "relay"))
            signer = proxy_signer(owner, call, gas, nonce, relays, signature)
            calls = unpack_proxy(call)
        if signer != owner.lower():
            return texts.INVALID_SIGNATURE
        if nonce != expected:
            return Refusal(f"batch nonce {nonce} does not match on-chain nonce {expected}")
        return account, calls

    def _record(self, owner: str, error: str) -> Response:
        drawn = hashlib.sha256(f"{self._name}:relayer:{len(self._transactions)}".encode()).digest()
        made = Transaction(
            str(uuid.UUID(bytes=drawn[:16], version=4)),
            "" if error else "0x" + hashlib.sha256(drawn).hexdigest(),
            owner,
            "STATE_FAILED" if error else "STATE_CONFIRMED",
            error,
        )
        self._transactions[made.transaction_id] = made
        row = {"transactionID": made.transaction_id, "state": "STATE_NEW", "transactionHash": ""}
        return json_response(row)


def _type_of(account: Account) -> str:
    return next((name for name, kind in _KINDS.items() if kind == account.signature_type), "")


def _object(value: dict[str, Any], name: str) -> dict[str, Any]:
    found = value.get(name)
    if not isinstance(found, dict):
        raise Malformed(f"{name}: an object expected")
    return found


def _address(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if not isinstance(found, str) or _ADDRESS.fullmatch(found) is None:
        raise Malformed(f"{name}: an address expected")
    return found


def _number(value: dict[str, Any], name: str) -> int:
    found = value.get(name, "")
    if not (isinstance(found, str) and found.isascii() and found.isdigit() and len(found) <= 77):
        raise Malformed(f"{name}: a decimal string expected")
    return int(found)


def _bytes(value: dict[str, Any], name: str) -> bytes:
    found = value.get(name)
    if not isinstance(found, str) or _HEX.fullmatch(found) is None:
        raise Malformed(f"{name}: 0x and hex digits expected")
    return bytes.fromhex(found[2:])


def _call(value: dict[str, Any]) -> Call:
    amount = _number(value, "value") if "value" in value else 0
    return Call(_address(value, "to"), amount, _bytes(value, "data"))


def _calls(params: dict[str, Any]) -> list[Call]:
    rows = params.get("calls")
    if not isinstance(rows, list) or not 0 < len(rows) <= CALLS_MAX:
        raise Malformed(f"calls: 1 to {CALLS_MAX} objects expected")
    return [Call(_address(row, "target"), _number(row, "value"), _bytes(row, "data")) for row in rows]
