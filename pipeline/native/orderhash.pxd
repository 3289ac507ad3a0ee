# Keccak-256 and the EIP-712 hashes of one order structure, for native callers; and the class with the key.
from libc.stdint cimport int64_t, uint8_t, uint64_t


cdef extern from "keccak.h":
    void pm_keccak256(const uint8_t* data, size_t size, uint8_t* digest) noexcept nogil


cdef struct OrderFields:
    uint64_t salt
    uint64_t maker_amount
    uint64_t taker_amount
    uint64_t timestamp_ms
    uint8_t side
    uint8_t signature_type
    uint8_t maker[20]
    uint8_t signer[20]
    uint8_t token[32]
    uint8_t metadata[32]
    uint8_t builder[32]


cdef class OrderHasher:
    cdef uint8_t order_type_hash[32]
    cdef uint8_t nested_type_hash[32]
    cdef uint8_t wallet_name_hash[32]
    cdef uint8_t wallet_version_hash[32]
    # struct_hash and order_hash: 32 bytes each, written
    cdef void hash_c(self, const OrderFields* order, const uint8_t* domain, uint8_t* struct_hash,
                     uint8_t* order_hash) noexcept nogil
    cdef void nested_c(self, const uint8_t* struct_hash, const uint8_t* wallet, uint64_t chain_id,
                       const uint8_t* domain, uint8_t* digest) noexcept nogil


# As libsecp256k1 0.2 and later declare them; coincurve tells where they are.
ctypedef int (*SignFunction)(const void* context, uint8_t* signature, const uint8_t* digest,
                             const uint8_t* key, const void* nonce_function,
                             const void* nonce_data) noexcept nogil
ctypedef int (*SerializeFunction)(const void* context, uint8_t* compact, int* recovery,
                                  const uint8_t* signature) noexcept nogil


cdef class OrderSealer:
    cdef OrderHasher hasher
    cdef object library         # whatever keeps the functions and the context below alive
    cdef const void* context
    cdef SignFunction sign
    cdef SerializeFunction serialize
    cdef OrderFields constant   # the fields that are the same in every order of the account
    cdef uint64_t chain_id
    cdef bint is_wallet
    cdef uint8_t key[32]
    cdef int seal_c(self, const OrderFields* order, const uint8_t* domain, uint8_t* sealed) noexcept nogil
