"""Who signed a relayer transaction: the digests of deposit-wallet batches, Safe and proxy transactions.

Reads the fields of a submitted body; writes the address that signed it. By eth-account and keccak alone.
Source: venue sheet 18, read 2026-11-20; checked against the relayer vectors of all three kinds.
"""

from __future__ import annotations

from dataclasses import dataclass

from eth_account import Account as EthAccount
from eth_account.messages import SignableMessage, encode_defunct
from eth_keys.exceptions import BadSignature
from eth_utils.crypto import keccak
from eth_utils.exceptions import ValidationError

from pipeline.sim.eip712 import recover, word_address, word_int

_DOMAIN = keccak(text="EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
_SAFE_DOMAIN = keccak(text="EIP712Domain(uint256 chainId,address verifyingContract)")
_CALL_TYPE = "Call(address target,uint256 value,bytes data)"
_CALL = keccak(text=_CALL_TYPE)
_BATCH = keccak(text="Batch(address wallet,uint256 nonce,uint256 deadline,Call[] calls)" + _CALL_TYPE)
_SAFE = keccak(
    text="SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
    "uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)


@dataclass(frozen=True, slots=True)
class Call:
    """One contract call; `value` in wei."""

    target: str
    value: int
    data: bytes


def batch_signer(
    wallet: str, nonce: int, deadline_s: int, calls: list[Call], signature: bytes, chain_id: int
) -> str | None:
    """Return who signed a deposit wallet's batch, lower case."""
    hashes = b"".join(
        keccak(_CALL + word_address(call.target) + word_int(call.value) + keccak(call.data)) for call in calls
    )
    words = _BATCH + word_address(wallet) + word_int(nonce) + word_int(deadline_s) + keccak(hashes)
    name = keccak(text="DepositWallet") + keccak(text="1")
    domain = keccak(_DOMAIN + name + word_int(chain_id) + word_address(wallet))
    return recover(domain, keccak(words), signature)


def safe_signer(
    wallet: str, nonce: int, call: Call, operation: int, signature: bytes, chain_id: int
) -> str | None:
    """Return who signed a Safe transaction: its digest as a personal message, v raised by 4."""
    zeros = word_int(0) * 5  # safeTxGas, baseGas, gasPrice, gasToken, refundReceiver
    words = (
        _SAFE + word_address(call.target) + word_int(call.value) + keccak(call.data) + word_int(operation)
        + zeros + word_int(nonce)
    )
    domain = keccak(_SAFE_DOMAIN + word_int(chain_id) + word_address(wallet))
    if len(signature) != 65 or signature[64] not in (31, 32):
        return None
    digest = keccak(b"\x19\x01" + domain + keccak(words))
    return _personal(encode_defunct(primitive=digest), signature[:64] + bytes([signature[64] - 4]))


def proxy_signer(
    owner: str, call: Call, gas: tuple[int, int, int], nonce: int, relays: tuple[str, str], signature: bytes
) -> str | None:
    """Return who signed a proxy transaction. gas: relayer fee, gas price, gas limit; relays: hub, relay."""
    numbers = b"".join(word_int(number) for number in (*gas, nonce))
    ends = b"".join(word_address(address)[12:] for address in relays)
    packed = word_address(owner)[12:] + word_address(call.target)[12:] + call.data
    return _personal(encode_defunct(primitive=keccak(b"rlx:" + packed + numbers + ends)), signature)


def _personal(message: SignableMessage, signature: bytes) -> str | None:
    if len(signature) != 65 or signature[64] not in (27, 28):
        return None
    try:
        signer: str = EthAccount.recover_message(message, signature=signature)
    except (BadSignature, ValidationError):
        return None
    return signer.lower()
