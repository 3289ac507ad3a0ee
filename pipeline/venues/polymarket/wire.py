"""Polymarket's wire facts in one place: hosts, paths, contracts, limits, texts.

Reads and writes nothing. Every other module of this venue takes its constants from here. Marks as in
the venue sheet of 2026-11-20: V = reproduced by running code or in on-chain/SDK source, D = official
documentation, T = third-party observation. Figures that the venue may change are read per market or
configured; what stands here is the default and the bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from types import MappingProxyType
from typing import Final, NamedTuple

# Hosts. D: docs.polymarket.com API reference, read 2026-11-20.
CLOB_HOST: Final = "clob.polymarket.com"
GAMMA_HOST: Final = "gamma-api.polymarket.com"
DATA_HOST: Final = "data-api.polymarket.com"
MARKET_SOCKET: Final = "wss://ws-subscriptions-clob.polymarket.com/ws/market"
USER_SOCKET: Final = "wss://ws-subscriptions-clob.polymarket.com/ws/user"
GEOBLOCK_URL: Final = "https://polymarket.com/api/geoblock"

# Paths of the CLOB. D: API reference, read 2026-11-20. HMAC covers the path without its query.
PATH_TIME: Final = "/time"
PATH_ORDER: Final = "/order"  # POST one, DELETE one
PATH_ORDERS: Final = "/orders"  # POST 1..15, DELETE 1..1000
PATH_CANCEL_ALL: Final = "/cancel-all"
PATH_CANCEL_MARKET: Final = "/cancel-market-orders"
PATH_HEARTBEAT: Final = "/v1/heartbeats"
PATH_OPEN_ORDERS: Final = "/data/orders"
PATH_ONE_ORDER: Final = "/data/order/"
PATH_TRADES: Final = "/data/trades"
PATH_BALANCE: Final = "/balance-allowance"
PATH_BALANCE_UPDATE: Final = "/balance-allowance/update"
PATH_VERSION: Final = "/version"
PATH_API_KEY: Final = "/auth/api-key"
PATH_API_KEYS: Final = "/auth/api-keys"
PATH_CLOSED_ONLY: Final = "/auth/ban-status/closed-only"
PATH_APPROVALS: Final = "/v2/approvals"  # of the data API
PATH_POSITIONS: Final = "/v2/positions"  # of the data API
PATH_DERIVE_API_KEY: Final = "/auth/derive-api-key"
PATH_CLOB_MARKET: Final = "/clob-markets/"
PATH_BOOK: Final = "/book"
PATH_BOOKS: Final = "/books"  # POST
# Paths of Gamma. D: API reference, read 2026-11-20; keyset pages hold at most 100 since 2026-05-14.
PATH_GAMMA_MARKETS: Final = "/markets/keyset"
PATH_GAMMA_EVENTS: Final = "/events/keyset"
# Metadata questions in 10 s: half of the smallest limit of Gamma's listings (300), and of the order book's
# general limit (9,000) less than half; polymarket.md 16, read 2026-11-20.
META_ASKS_10S: Final = MappingProxyType({"gamma": 150, "clob": 4_000})
GAMMA_PAGE_MAX: Final = 100
CURSOR_END: Final = "LTE="  # V: last page of a CLOB listing

# Chains and contracts. V: polymarket-client 0.14.0 environments, py-clob-client-v2 1.2.1 config.py.
POLYGON: Final = 137
AMOY: Final = 80002
PUSD: Final = "0xC011a7E12a19f7B1f670d46F03B03f3342E82DFB"
CONDITIONAL_TOKENS: Final = "0x4D97DCd97eC945f40cF65F87097ACe5EA0476045"
PROXY_FACTORY: Final = "0xaB45c5A4B0c941a2F231C04C3f49182e1A254052"
SAFE_FACTORY: Final = "0xaacFeEa03eb1561C4e67d661e40682Bd20E3541b"
SAFE_INIT_CODE_HASH: Final = "0x2bce2127ff07fb632d16c8347c4ebf501f4841168bed00d9e6ef715ddb6fcecf"
SAFE_MULTISEND: Final = "0xA238CBeb142c10Ef7Ad8442C6D1f9E89e07e7761"
RELAY_HUB: Final = "0xD216153c06E857cD7f72665E0aF1d7D82172F494"
DEPOSIT_FACTORY: Final = "0x00000000000Fb5C9ADea0298D729A0CB3823Cc07"
# Settlement, Polygon only. The adapters wrap USDC.e themselves: pUSD in, pUSD out. Their predecessors
# 0xADa1...9718 and 0xAdA2...c6F1 are superseded and the relayer does not call the legacy adapter any more.
CTF_ADAPTER: Final = "0xAdA100Db00Ca00073811820692005400218FcE1f"  # v1 markets, neg risk off
NEG_RISK_CTF_ADAPTER: Final = "0xadA2005600Dec949baf300f4C6120000bDB6eAab"  # v1 markets, neg risk on
POSITION_MANAGER: Final = "0x006F54F7f9A22e0000CC2AB60031000000ae9fEF"  # the ERC-1155 ledger of v2
ROUTER: Final = "0x12121212006e4CD160D18e3f00711DA5c3372600"  # split, merge, redeem, convert of v2
BINARY_MODULE: Final = "0x1000008dD9001B968442c1000017eaE6E0dA00Ba"
NEG_RISK_MODULE: Final = "0x200000900045e3B6259600682756002200028933"
AUTO_REDEEMER: Final = "0xa1200000d0002264C9a1698e001292D00E1b00af"
PERPS_DEPOSIT: Final = "0xDCa4af75705dbB50f62437045afF9921947917d2"  # in the SDK's set; nothing here uses it
DEPOSIT_IMPLEMENTATION: Final = "0x58CA52ebe0DadfdF531Cde7062e76746de4Db1eB"  # of the older UUPS wallets
DEPOSIT_BEACON: Final = "0x7A18EDfe055488A3128f01F563e5B479D92ffc3a"  # of wallets made today


class Exchange(IntEnum):
    """The contract that settles a market; chosen by its protocol version and its neg-risk flag."""

    CTF_V2 = 0  # v1 markets, neg risk off
    NEG_RISK_V2 = 1  # v1 markets, neg risk on
    V3 = 2  # every v2 market


#: (chain id, exchange) -> (EIP-712 domain version, verifying contract). Nothing else is ever signed.
EXCHANGES: Final = MappingProxyType({
    (POLYGON, Exchange.CTF_V2): ("2", "0xE111180000d2663C0091e4f400237545B87B996B"),
    (POLYGON, Exchange.NEG_RISK_V2): ("2", "0xe2222d279d744050d28e00520010520000310F59"),
    (POLYGON, Exchange.V3): ("3", "0xe3333700cA9d93003F00f0F71f8515005F6c00Aa"),
    (AMOY, Exchange.CTF_V2): ("2", "0xE111180000d2663C0091e4f400237545B87B996B"),
    (AMOY, Exchange.NEG_RISK_V2): ("2", "0xe2222d279d744050d28e00520010520000310F59"),
    (AMOY, Exchange.V3): ("3", "0x9fE6e61422AdB6F610d8597F9684b16912D50C3D"),
})

#: (token, spender or operator) that the official client approves: 7 of pUSD, 7 of the CTF ledger, 3 of v2's.
#: V: polymarket-client 0.14.0 approvals and environments modules, read 2026-11-22; venue sheet 2.3.
APPROVALS: Final = (
    *((PUSD, spender) for spender in (
        EXCHANGES[POLYGON, Exchange.CTF_V2][1], EXCHANGES[POLYGON, Exchange.NEG_RISK_V2][1], CTF_ADAPTER,
        NEG_RISK_CTF_ADAPTER, ROUTER, EXCHANGES[POLYGON, Exchange.V3][1], PERPS_DEPOSIT)),
    *((CONDITIONAL_TOKENS, operator) for operator in (
        EXCHANGES[POLYGON, Exchange.CTF_V2][1], EXCHANGES[POLYGON, Exchange.NEG_RISK_V2][1], CTF_ADAPTER,
        NEG_RISK_CTF_ADAPTER, AUTO_REDEEMER, BINARY_MODULE, NEG_RISK_MODULE)),
    *((POSITION_MANAGER, operator) for operator in (
        ROUTER, EXCHANGES[POLYGON, Exchange.V3][1], AUTO_REDEEMER)),
)
#: What people call a contract.
CONTRACT_NAMES: Final = MappingProxyType({
    PUSD: "pUSD", CONDITIONAL_TOKENS: "ConditionalTokens", POSITION_MANAGER: "PositionManager",
    CTF_ADAPTER: "CtfCollateralAdapter", NEG_RISK_CTF_ADAPTER: "NegRiskCtfCollateralAdapter",
    ROUTER: "Router",
})

# EIP-712 type strings. V: SDK source and every signature of the vectors.
DOMAIN_NAME: Final = b"Polymarket CTF Exchange"
DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
AUTH_DOMAIN_TYPE: Final = b"EIP712Domain(string name,string version,uint256 chainId)"
ORDER_TYPE: Final = (
    b"Order(uint256 salt,address maker,address signer,uint256 tokenId,uint256 makerAmount,"
    b"uint256 takerAmount,uint8 side,uint8 signatureType,uint256 timestamp,bytes32 metadata,bytes32 builder)"
)
NESTED_TYPE: Final = (
    b"TypedDataSign(Order contents,string name,string version,uint256 chainId,address verifyingContract,"
    b"bytes32 salt)" + ORDER_TYPE
)
WALLET_DOMAIN: Final = (b"DepositWallet", b"1")
CALL_TYPE: Final = b"Call(address target,uint256 value,bytes data)"
BATCH_TYPE: Final = b"Batch(address wallet,uint256 nonce,uint256 deadline,Call[] calls)" + CALL_TYPE
SAFE_DOMAIN_TYPE: Final = b"EIP712Domain(uint256 chainId,address verifyingContract)"
SAFE_TYPE: Final = (
    b"SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,"
    b"uint256 gasPrice,address gasToken,address refundReceiver,uint256 nonce)"
)
AUTH_DOMAIN: Final = (b"ClobAuthDomain", b"1")
AUTH_TYPE: Final = b"ClobAuth(address address,string timestamp,uint256 nonce,string message)"
AUTH_MESSAGE: Final = b"This message attests that I control the given wallet"


class SignatureType(IntEnum):
    """`signatureType` of an order. Accounts deployed since 2026-05-04 use type 3 (D)."""

    EOA = 0
    POLY_PROXY = 1
    GNOSIS_SAFE = 2
    DEPOSIT_WALLET = 3  # ERC-1271, ERC-7739 nested signature of 317 bytes


SALT_MAX: Final = 2**53 - 1  # D: the salt is a JSON number

#: Legal price spacing in ticks of 0.0001 -> decimals of (price, size, amount). V: SDK rounding table.
ROUNDING: Final = MappingProxyType({
    1000: (1, 2, 3), 100: (2, 2, 4), 50: (3, 2, 5), 25: (4, 2, 6), 10: (3, 2, 5), 1: (4, 2, 6),
})
STRICT_TAKER_DECIMALS: Final = 4  # T: py-clob-client-v2 issue 99; FAK and FOK, whatever the tick
MARKETABLE_USD_MICRO_MIN: Final = 1_000_000  # T: "marketable BUY order ... min size: $1"
GTD_SECONDS_MIN: Final = 180  # V: SDK 0.14.0; the engine expires 60 s before the stated second

# Limits. D: rate-limit pages read 2026-11-20, requests per 10 s and per 10 min of one address.
BATCH_ORDERS_MAX: Final = 15
BOOKS_MAX: Final = 500  # D: tokens of one POST /books
BATCH_CANCELS_MAX: Final = 1000  # D: changelog 2026-06-15 and OpenAPI; the docs page says 3000
RATE_LIMITS: Final = MappingProxyType({
    ("POST", PATH_ORDER): (5000, 120_000), ("DELETE", PATH_ORDER): (5000, 120_000),
    ("POST", PATH_ORDERS): (2000, 21_000), ("DELETE", PATH_ORDERS): (2000, 15_000),
    ("DELETE", PATH_CANCEL_ALL): (250, 6000), ("DELETE", PATH_CANCEL_MARKET): (1500, 21_000),
    ("GET", PATH_OPEN_ORDERS): (500, 0), ("GET", PATH_TRADES): (500, 0),
    ("GET", PATH_BALANCE): (200, 0), ("GET", PATH_BALANCE_UPDATE): (50, 0),
    ("GET", PATH_BOOK): (1500, 0), ("POST", PATH_BOOKS): (500, 0),
})


class SignerRates(NamedTuple):
    """Token buckets of one signer: sustained orders and cancels a second, and how many at once."""

    orders_per_s: int
    orders_burst: int
    cancels_per_s: int
    cancels_burst: int


#: By tier of 30-day maker volume. D: trading-rate-limits, read 2026-11-20; enforcement date unconfirmed.
TIERS: Final = MappingProxyType({
    "standard": SignerRates(40, 60, 80, 120), "copper": SignerRates(60, 90, 120, 180),
    "bronze": SignerRates(80, 120, 160, 240), "silver": SignerRates(200, 300, 400, 600),
    "gold": SignerRates(400, 600, 800, 1200), "platinum": SignerRates(450, 675, 900, 1350),
    "diamond": SignerRates(525, 787, 1050, 1575), "elite": SignerRates(600, 900, 1200, 1800),
})


def rates_of(tier: str, named: Sequence[int | None]) -> SignerRates:
    """Return a tier's buckets, with what the configuration names in their place; KeyError for no tier."""
    return SignerRates(*(one or usual for one, usual in zip(named, TIERS[tier], strict=True)))


HEADER_TIER: Final = "poly-ratelimit-tier"
HEADER_REMAINING: Final = "poly-ratelimit-remaining"
HEADER_RESET: Final = "poly-ratelimit-reset"  # seconds until what is unconfirmed: read with nothing left only
HEADER_WARNING: Final = "poly-ratelimit-warning"
HEARTBEAT_SECONDS: Final = 3  # D: every 3-5 s; all orders of the key are cancelled after 10 s of silence

# Error texts, lower case, matched as substrings. D: /resources/error-codes, read 2026-11-20; T where noted.
#: The order exists already: neither a new order nor a rejection. Look it up by its hash.
TEXTS_EXISTS: Final = ("duplicated",)
#: The order was taken and killed without a fill: definitive.
TEXTS_NO_MATCH: Final = (
    "no orders found to match with fak order", "couldn't be fully filled. fok orders",
)
#: The order is held by the venue.
TEXTS_DELAYED: Final = ("order match delayed due to market conditions",)
#: Engine-side: nobody knows whether the order stands.
TEXTS_AMBIGUOUS: Final = (
    "there are no matching orders", "the trade contains rounding issues",
    "has a discrepancy greater than allowed with the worst maker order", "could not insert order",
    "could not run the execution",  # T
)
#: Balance, reservation, approval, or the venue's cache of them being old: sheet 2.3, 11.3.
TEXTS_UNFUNDED: Final = ("not enough balance / allowance",)
TEXTS_RATE_LIMIT: Final = ("rate limit exceeded",)  # T: legs of a batch inside HTTP 200
#: The whole request was refused before any of its orders was looked at.
TEXTS_WHOLE_REQUEST: Final = (
    "too many orders in payload", "invalid order payload",
    "the order owner has to be the owner of the api key",
)
#: 503 bodies that say which orders are refused; other 503 bodies prove nothing.
TEXTS_POST_ONLY: Final = ("post_only_mode", "post-only mode")
TEXTS_CANCEL_ONLY: Final = ("cancel-only", "cancel_only")
TEXTS_DISABLED: Final = ("trading is disabled",)
TEXTS_CLOSED_ONLY: Final = ("in closed only mode", "banned")
#: Any part of the EIP-712 domain is another than the venue's: it, or we, migrated. Sheet 1 and 11.3; T: the
#: official client knows it as an error inside HTTP 200, too (polymarket-clients.md).
TEXTS_VERSION: Final = ("order_version_mismatch", "invalid order version")
