from typing_extensions import Buffer

def keccak256(data: Buffer) -> bytes: ...

class OrderHasher:
    def __init__(
        self, order_type: bytes, nested_type: bytes, wallet_name: bytes, wallet_version: bytes
    ) -> None: ...
    def hash_order(
        self, salt: int, maker: bytes, signer: bytes, token: bytes, maker_amount: int, taker_amount: int,
        side: int, signature_type: int, timestamp_ms: int, metadata: bytes, builder: bytes, domain: bytes,
    ) -> tuple[bytes, bytes]: ...
    def nested_digest(self, struct_hash: bytes, wallet: bytes, chain_id: int, domain: bytes) -> bytes: ...

class OrderSealer:
    def __init__(
        self, hasher: OrderHasher, key: bytes, maker: bytes, signer: bytes, signature_type: int,
        metadata: bytes, builder: bytes, chain_id: int, is_wallet: bool,
        library: tuple[int, int, int, object],
    ) -> None: ...
    def seal(
        self, salt: int, token: bytes, maker_amount: int, taker_amount: int, side: int, timestamp_ms: int,
        domain: bytes,
    ) -> bytes: ...
