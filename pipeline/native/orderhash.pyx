# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=False
"""Keccak-256, the EIP-712 hashes of one Polymarket order from raw fields, and its signature.

Place in the stream: the signer hashes and signs an intent here, with the libsecp256k1 that coincurve
brings; `trade` does not need it. Reads and writes nothing shared. The struct hash covers 12 words (384
bytes, three permutations), the digest 66 bytes (one). Sources: EIP-712; ERC-7739;
`venues/polymarket/wire.py` for the type strings.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uintptr_t
from libc.string cimport memcpy, memset

from pipeline.errors import InvariantError

cdef enum:
    ORDER_BYTES = 384   # type hash and eleven fields
    NESTED_BYTES = 224  # type hash, contents hash, name, version, chain id, wallet, salt
    DIGEST_BYTES = 66   # 0x1901, domain separator, struct hash
    RECOVERABLE_BYTES = 65  # libsecp256k1's own form of a recoverable signature
    SEALED_BYTES = 129  # order hash, struct hash, signature: one stretch of a SIGNED record


cdef inline void put_u64(uint8_t* word, uint64_t value) noexcept nogil:
    # the low 8 bytes of a big-endian 32-byte word whose rest is already zero
    cdef int index
    for index in range(8):
        word[31 - index] = <uint8_t>(value >> (8 * index))


cdef inline void typed_digest(const uint8_t* domain, const uint8_t* struct_hash,
                              uint8_t* digest) noexcept nogil:
    cdef uint8_t data[DIGEST_BYTES]
    data[0] = 0x19
    data[1] = 0x01
    memcpy(data + 2, domain, 32)
    memcpy(data + 34, struct_hash, 32)
    pm_keccak256(data, DIGEST_BYTES, digest)


cdef const uint8_t* fixed(bytes value, Py_ssize_t size, str name) except NULL:
    if value is None or PyBytes_GET_SIZE(value) != size:
        found = "None" if value is None else f"{len(value)}"
        raise ValueError(f"native.orderhash: {name} is {size} bytes, was {found}")
    return <const uint8_t*>PyBytes_AS_STRING(value)


def keccak256(const uint8_t[::1] data not None):
    """Return the 32-byte Keccak-256 (Ethereum's, not SHA3-256) of `data`."""
    cdef uint8_t digest[32]
    cdef const uint8_t* start = &data[0] if data.shape[0] else digest
    pm_keccak256(start, <size_t>data.shape[0], digest)
    return PyBytes_FromStringAndSize(<char*>digest, 32)


cdef class OrderHasher:
    """Hashes order structures of one EIP-712 type; holds the type hashes, no key and no account.

    order_type: the `Order(...)` type string. nested_type: `TypedDataSign(...)` in front of it, for
    ERC-7739. wallet_name, wallet_version: the domain of the contract wallet that wraps the order.
    """

    def __init__(self, bytes order_type not None, bytes nested_type not None, bytes wallet_name not None,
                 bytes wallet_version not None):
        memcpy(self.order_type_hash, <const uint8_t*>PyBytes_AS_STRING(keccak256(order_type)), 32)
        memcpy(self.nested_type_hash, <const uint8_t*>PyBytes_AS_STRING(keccak256(nested_type)), 32)
        memcpy(self.wallet_name_hash, <const uint8_t*>PyBytes_AS_STRING(keccak256(wallet_name)), 32)
        memcpy(self.wallet_version_hash, <const uint8_t*>PyBytes_AS_STRING(keccak256(wallet_version)), 32)

    cdef void hash_c(self, const OrderFields* order, const uint8_t* domain, uint8_t* struct_hash,
                     uint8_t* order_hash) noexcept nogil:
        cdef uint8_t data[ORDER_BYTES]
        memset(data, 0, ORDER_BYTES)
        memcpy(data, self.order_type_hash, 32)
        put_u64(data + 32, order.salt)
        memcpy(data + 64 + 12, order.maker, 20)
        memcpy(data + 96 + 12, order.signer, 20)
        memcpy(data + 128, order.token, 32)
        put_u64(data + 160, order.maker_amount)
        put_u64(data + 192, order.taker_amount)
        data[224 + 31] = order.side
        data[256 + 31] = order.signature_type
        put_u64(data + 288, order.timestamp_ms)
        memcpy(data + 320, order.metadata, 32)
        memcpy(data + 352, order.builder, 32)
        pm_keccak256(data, ORDER_BYTES, struct_hash)
        typed_digest(domain, struct_hash, order_hash)

    cdef void nested_c(self, const uint8_t* struct_hash, const uint8_t* wallet, uint64_t chain_id,
                       const uint8_t* domain, uint8_t* digest) noexcept nogil:
        cdef uint8_t data[NESTED_BYTES]
        memset(data, 0, NESTED_BYTES)  # the last word is the wallet domain's salt: zero
        memcpy(data, self.nested_type_hash, 32)
        memcpy(data + 32, struct_hash, 32)
        memcpy(data + 64, self.wallet_name_hash, 32)
        memcpy(data + 96, self.wallet_version_hash, 32)
        put_u64(data + 128, chain_id)
        memcpy(data + 160 + 12, wallet, 20)
        pm_keccak256(data, NESTED_BYTES, digest)
        typed_digest(domain, digest, digest)

    def hash_order(self, uint64_t salt, bytes maker, bytes signer, bytes token, uint64_t maker_amount,
                   uint64_t taker_amount, uint8_t side, uint8_t signature_type, uint64_t timestamp_ms,
                   bytes metadata, bytes builder, bytes domain):
        """Return (struct_hash, order_hash), 32 bytes each; the order hash is the venue's order id.

        maker, signer: 20 bytes. token, metadata, builder, domain separator: 32 bytes, big-endian.
        Raises ValueError for another length, OverflowError for an integer outside its unsigned width.
        """
        cdef OrderFields order
        cdef uint8_t struct_hash[32]
        cdef uint8_t order_hash[32]
        order.salt = salt
        order.maker_amount = maker_amount
        order.taker_amount = taker_amount
        order.timestamp_ms = timestamp_ms
        order.side = side
        order.signature_type = signature_type
        memcpy(order.maker, fixed(maker, 20, "maker"), 20)
        memcpy(order.signer, fixed(signer, 20, "signer"), 20)
        memcpy(order.token, fixed(token, 32, "token"), 32)
        memcpy(order.metadata, fixed(metadata, 32, "metadata"), 32)
        memcpy(order.builder, fixed(builder, 32, "builder"), 32)
        self.hash_c(&order, fixed(domain, 32, "domain"), struct_hash, order_hash)
        return (PyBytes_FromStringAndSize(<char*>struct_hash, 32),
                PyBytes_FromStringAndSize(<char*>order_hash, 32))

    def nested_digest(self, bytes struct_hash, bytes wallet, uint64_t chain_id, bytes domain):
        """Return the ERC-7739 digest that the owner of a contract wallet signs for this order.

        struct_hash: of the order. wallet: 20 bytes. domain: separator of the exchange, not of the wallet.
        """
        cdef uint8_t digest[32]
        self.nested_c(fixed(struct_hash, 32, "struct_hash"), fixed(wallet, 20, "wallet"), chain_id,
                      fixed(domain, 32, "domain"), digest)
        return PyBytes_FromStringAndSize(<char*>digest, 32)


@cython.final
cdef class OrderSealer:
    """Hashes and signs orders of one account with one key, in one call. Refuses nothing: its caller does.

    It holds the key, as 32 bytes that no method gives out and that are zeroed when it goes. It can sign
    nothing but the hash of an `Order` of its own account.
    """

    def __cinit__(self, OrderHasher hasher not None, bytes key not None, bytes maker not None,
                  bytes signer not None, uint8_t signature_type, bytes metadata not None,
                  bytes builder not None, uint64_t chain_id, bint is_wallet, tuple library not None):
        """is_wallet: sign the ERC-7739 digest of the contract wallet `maker`.

        library: addresses of a context, of `secp256k1_ecdsa_sign_recoverable` and of
        `secp256k1_ecdsa_recoverable_signature_serialize_compact`, then an object that keeps them alive.
        """
        cdef uintptr_t context, sign, serialize
        context, sign, serialize, self.library = library
        if not (context and sign and serialize):
            raise InvariantError("native.orderhash: addresses in libsecp256k1 expected, was a null pointer")
        self.context = <const void*>context
        self.sign = <SignFunction>sign
        self.serialize = <SerializeFunction>serialize
        self.hasher = hasher
        self.chain_id = chain_id
        self.is_wallet = is_wallet
        memset(&self.constant, 0, sizeof(OrderFields))
        self.constant.signature_type = signature_type
        memcpy(self.constant.maker, fixed(maker, 20, "maker"), 20)
        memcpy(self.constant.signer, fixed(signer, 20, "signer"), 20)
        memcpy(self.constant.metadata, fixed(metadata, 32, "metadata"), 32)
        memcpy(self.constant.builder, fixed(builder, 32, "builder"), 32)
        memcpy(self.key, fixed(key, 32, "key"), 32)

    def __dealloc__(self):
        # volatile: nobody reads the bytes again, so a plain memset may be left out
        cdef volatile uint8_t* left = self.key
        cdef int index
        for index in range(32):
            left[index] = 0

    def __reduce__(self):
        raise TypeError("native.orderhash: a sealer holds a key and is never pickled or copied")

    cdef int seal_c(self, const OrderFields* order, const uint8_t* domain, uint8_t* sealed) noexcept nogil:
        # 129 bytes at `sealed`; 0 = libsecp256k1 found no signature, which it does for no valid key
        cdef uint8_t digest[32]
        cdef uint8_t signature[RECOVERABLE_BYTES]
        cdef int recovery = 0
        self.hasher.hash_c(order, domain, sealed + 32, sealed)
        if self.is_wallet:
            self.hasher.nested_c(sealed + 32, order.maker, self.chain_id, domain, digest)
        else:
            memcpy(digest, sealed, 32)
        if not self.sign(self.context, signature, digest, self.key, NULL, NULL):  # NULL: RFC 6979
            return 0
        if not self.serialize(self.context, sealed + 64, &recovery, signature):
            return 0
        sealed[128] = <uint8_t>(27 + recovery)
        return 1

    def seal(self, uint64_t salt, bytes token, uint64_t maker_amount, uint64_t taker_amount, uint8_t side,
             uint64_t timestamp_ms, bytes domain):
        """Return order hash, struct hash and signature (r, s, v = 27 or 28) in one: 32, 32 and 65 bytes.

        token, domain separator: 32 bytes. Raises ValueError for another length, OverflowError for an integer
        outside its unsigned width, both before the key is touched. The GIL is kept for these 20 microseconds:
        another thread that took it meanwhile could hold it for milliseconds.
        """
        cdef OrderFields order = self.constant
        cdef uint8_t sealed[SEALED_BYTES]
        order.salt = salt
        order.maker_amount = maker_amount
        order.taker_amount = taker_amount
        order.timestamp_ms = timestamp_ms
        order.side = side
        memcpy(order.token, fixed(token, 32, "token"), 32)
        if not self.seal_c(&order, fixed(domain, 32, "domain"), sealed):
            raise InvariantError("native.orderhash: a signature expected, libsecp256k1 made none")
        return PyBytes_FromStringAndSize(<char*>sealed, SEALED_BYTES)
