# Generated from pipeline/records.py by `python -m pipeline.native.generate`; do not edit.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    SLOT_BYTES = 256
    HEADER_BYTES = 48
    RUN_SLOTS_MAX = 64
    TOP_DEPTH = 8
    SNAPSHOT_LEVELS = 14
    DELTA_CHANGES = 8
    NOT_ANNOUNCED = 4294967295

cdef enum:
    KIND_PAD = 0
    KIND_TICK = 1
    KIND_HALT = 2
    KIND_CONFIG = 3
    KIND_LANE_UP = 4
    KIND_RESUME = 5
    KIND_CLOCK_STEP = 6
    KIND_CLEAR = 7
    KIND_INSTRUMENT = 16
    KIND_SNAPSHOT = 17
    KIND_DELTA = 18
    KIND_TRADE_PRINT = 19
    KIND_TICK_STEP = 20
    KIND_BBO = 21
    KIND_GAP = 22
    KIND_RESOLVED = 23
    KIND_QUESTION = 24
    KIND_SAMPLE = 25
    KIND_ANNOUNCED = 26
    KIND_REPORT = 32
    KIND_FILL = 33
    KIND_BALANCE = 34
    KIND_RECONCILED = 35
    KIND_VENUE = 36
    KIND_HOLDING = 37
    KIND_TOP = 48
    KIND_STALE = 49
    KIND_IDEA = 50
    KIND_PACKAGE = 64
    KIND_INTENT = 65
    KIND_CANCEL = 66
    KIND_VERDICT = 67
    KIND_SUBSCRIBE = 68
    KIND_RESYNC = 69
    KIND_RECONCILE = 70
    KIND_BEAT = 71
    KIND_SIGNED = 80
    KIND_RAW_FRAME = 96

cdef enum:
    FLAG_OPEN = 1
    FLAG_STALE = 2
    FLAG_REPEAT = 4
    FLAG_MORE = 8
    FLAG_FALLBACK = 16
    FLAG_CROSSED = 32
    FLAG_TICKED = 128
    FLAG_PLANTED = 64

cdef enum:
    RULE_TRADABLE = 1
    RULE_NEG_RISK = 2
    RULE_V2 = 4
    RULE_WATCH = 8
    RULE_EXCLUSIVE = 16
    RULE_EXHAUSTIVE = 32
    RULE_MIRRORED = 64
    RULE_AUGMENTED = 128
    RULE_HASHED = 256
    RULE_TAKER_DELAY = 512
    RULE_CLOSED = 1024
    RULE_RETIRED = 2048

cdef enum:
    CAUSE_NONE = 0
    CAUSE_NO_SNAPSHOT = 1
    CAUSE_DISCONNECT = 2
    CAUSE_OVERRUN = 3
    CAUSE_HASH_MISMATCH = 4
    CAUSE_BBO_MISMATCH = 5
    CAUSE_MIRROR_MISMATCH = 6
    CAUSE_CROSSED_BOOK = 7
    CAUSE_OFF_GRID = 8
    CAUSE_ARENA_FULL = 9
    CAUSE_TICK_UNPROVEN = 10
    CAUSE_UNKNOWN_INSTRUMENT = 11
    CAUSE_DECODE = 12
    CAUSE_FREEZE = 13
    CAUSE_SHUTDOWN = 14
    CAUSE_SAMPLE_DIFFERS = 15
    CAUSE_DATED_AHEAD = 16
    CAUSE_TAKEN = 32
    CAUSE_BELOW_EDGE = 33
    CAUSE_NOT_PROVEN = 34
    CAUSE_BOOK_OPEN = 35
    CAUSE_BOOK_STALE = 36
    CAUSE_PROOF_OLD = 37
    CAUSE_GROUP_BUSY = 38
    CAUSE_DEPTH_USED = 39
    CAUSE_HALTED = 40
    CAUSE_LIMIT_ORDER = 41
    CAUSE_LIMIT_MARKET = 42
    CAUSE_LIMIT_EVENT = 43
    CAUSE_LIMIT_DAY = 44
    CAUSE_LIMIT_OPEN_ORDERS = 45
    CAUSE_LIMIT_COLLATERAL = 46
    CAUSE_MISSING_VALUE = 47
    CAUSE_NOT_TRADABLE = 48
    CAUSE_BELOW_MINIMUM = 49
    CAUSE_TOO_MANY_ORDERS = 50
    CAUSE_RESIDUE = 51
    CAUSE_UNKNOWN_ORDER_OPEN = 52
    CAUSE_LIMIT_PARTIAL_LOSS = 53
    CAUSE_VENUE_MODE = 54
    CAUSE_COOL_DOWN = 55
    CAUSE_SELF_MATCH = 56
    CAUSE_REVERTS = 57
    CAUSE_FENCED = 58
    CAUSE_DEADLINE = 64
    CAUSE_HALT_LEVEL = 65
    CAUSE_CEILING = 66
    CAUSE_NO_INSTRUMENT = 67
    CAUSE_OVERTAKEN = 68
    CAUSE_NOT_SENT = 69
    CAUSE_NO_CONNECTION = 70
    CAUSE_TIMEOUT = 71
    CAUSE_CONNECTION_LOST = 72
    CAUSE_VENUE_REJECT = 73
    CAUSE_VENUE_ERROR = 74
    CAUSE_RATE_LIMIT = 75
    CAUSE_NO_MATCH = 76
    CAUSE_LANE_DIED = 77
    CAUSE_DRY_RUN = 78
    CAUSE_BAD_ANSWER = 79
    CAUSE_RESOLVED = 80
    CAUSE_OPERATOR = 81
    CAUSE_LANE_STALLED = 82
    CAUSE_LEASE_LOST = 83
    CAUSE_DISK_FULL = 84
    CAUSE_CRASH_LOOP = 85
    CAUSE_CLOCK_SKEW = 86
    CAUSE_CLOSED_ONLY = 87
    CAUSE_GEO_BLOCKED = 88
    CAUSE_CONTRADICTED = 89
    CAUSE_SHARES_DIFFER = 90

cdef packed struct Slot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t payload[208]

cdef packed struct TickSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t tick_count
    uint64_t reserved[25]

cdef packed struct HaltSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t level
    uint8_t owner
    uint16_t cause
    uint32_t reserved0
    uint8_t reason[64]
    uint64_t reserved[17]

cdef packed struct ConfigSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t config_hash[16]
    int64_t order_usd_micro_max
    int64_t market_usd_micro_max
    int64_t event_usd_micro_max
    int64_t day_usd_micro_max
    int64_t open_orders_max
    int64_t partial_loss_usd_micro_max
    int64_t residue_usd_micro_max
    int64_t edge_usd_micro_min
    int64_t edge_ppm_min
    int64_t proof_age_ns_max
    int64_t intent_ttl_ns
    int64_t batch_ns_max
    int64_t hash_rows_max
    int64_t cooldown_ns
    int64_t submit_timeout_ns
    int64_t package_usd_micro_max
    int64_t package_orders_max
    int64_t levels_max
    uint64_t salt_epoch
    int64_t desync_ns_max
    int64_t fence_ns
    uint64_t reserved[3]

cdef packed struct LaneUpSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint32_t lane
    uint32_t epoch
    uint64_t sent_order_no
    uint8_t stage_name[32]
    uint64_t reserved[20]

cdef packed struct ResumeSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t last_seq
    uint64_t live_seq
    uint64_t decisions_seq
    uint64_t epoch
    uint64_t from_venue
    uint64_t reserved[21]

cdef packed struct ClockStepSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t step_ns
    uint64_t reserved[25]

cdef packed struct ClearSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t resume_no
    uint8_t reason[64]
    uint64_t reserved[17]

cdef packed struct InstrumentSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t condition[32]
    uint8_t token_yes[32]
    uint8_t token_no[32]
    uint32_t rules
    uint32_t event
    uint16_t outcome_index
    uint16_t outcome_count
    uint8_t venue
    uint8_t condition_bytes
    uint16_t tick_step
    uint16_t tick_step_finest
    uint16_t shard
    uint32_t fee_rate_ppm
    uint32_t fee_exponent
    int64_t size_micro_min
    int64_t usd_micro_min
    int64_t taker_delay_ns
    int64_t ends_ns
    uint8_t label[32]
    int64_t game_start_ns
    uint8_t reserved[12]

cdef packed struct SnapshotSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    uint8_t hash[20]
    uint32_t last_trade_ticks
    uint8_t bid_count
    uint8_t ask_count
    uint16_t tick_step
    uint8_t outcome
    uint8_t last_trade_state
    uint8_t reserved[2]
    uint32_t price_ticks[14]
    int64_t size_micro[14]

cdef packed struct DeltaSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    uint8_t hash_yes[20]
    uint8_t hash_no[20]
    uint32_t best_bid_yes
    uint32_t best_ask_yes
    uint32_t best_bid_no
    uint32_t best_ask_no
    uint8_t change_count
    uint8_t reserved0[7]
    uint32_t price_ticks[8]
    int64_t size_micro[8]
    uint8_t side[8]
    uint8_t outcome[8]
    uint64_t reserved[3]

cdef packed struct TradePrintSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    int64_t size_micro
    uint32_t price_ticks
    uint8_t side
    uint8_t outcome
    uint16_t reserved0
    uint64_t reserved[23]

cdef packed struct TickStepSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    uint16_t old_step
    uint16_t new_step
    uint8_t outcome
    uint8_t reserved0[3]
    uint64_t reserved[24]

cdef packed struct BboSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    uint32_t bid_ticks
    uint32_t ask_ticks
    uint8_t outcome
    uint8_t reserved0[7]
    uint64_t reserved[23]

cdef packed struct GapSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint16_t cause
    uint16_t shard
    uint32_t lost_count
    uint64_t reserved[25]

cdef packed struct ResolvedSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    int64_t payout_micro_yes
    int64_t payout_micro_no
    uint64_t reserved[23]

cdef packed struct QuestionSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t question_id[32]
    uint16_t fee_bips
    uint8_t reserved0[6]
    uint64_t reserved[21]

cdef packed struct SampleSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    int64_t venue_ns
    uint64_t levels_mix
    uint8_t hash[20]
    uint32_t bid_ticks
    uint32_t ask_ticks
    uint32_t level_count
    uint64_t reserved[20]

cdef packed struct AnnouncedSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t condition[32]
    uint8_t event_id[20]
    uint8_t reserved0[4]
    int64_t venue_ns
    uint64_t reserved[18]

cdef packed struct ReportSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t order_no
    uint64_t group_no
    uint8_t order_hash[32]
    int64_t venue_ns
    int64_t making_micro
    int64_t taking_micro
    int64_t matched_micro
    uint8_t state
    uint8_t origin
    uint16_t cause
    uint16_t http_status
    uint16_t account
    uint8_t text[104]
    int64_t size_micro
    uint32_t price_ticks
    uint8_t outcome
    uint8_t side
    uint8_t reserved0[2]

cdef packed struct FillSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t order_no
    uint8_t order_hash[32]
    uint8_t trade_id[16]
    int64_t venue_ns
    int64_t size_micro
    int64_t usd_micro
    int64_t fee_usd_micro
    uint32_t price_ticks
    uint8_t outcome
    uint8_t side
    uint8_t status
    uint8_t is_maker
    uint16_t account
    uint8_t reserved0[6]
    uint64_t reserved[9]
    uint8_t text[32]

cdef packed struct BalanceSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t account
    int64_t collateral_usd_micro
    int64_t allowance_usd_micro
    int64_t venue_ns
    uint64_t reserved[22]

cdef packed struct ReconciledSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t account
    uint64_t request_no
    uint64_t open_count
    uint64_t trade_count
    uint64_t ok
    uint8_t lost
    uint8_t heard
    uint8_t reserved0[6]
    int64_t begun_ns
    uint64_t reserved[19]

cdef packed struct VenueSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint8_t mode
    uint8_t venue
    uint16_t cause
    uint16_t http_status
    uint16_t account
    int64_t until_ns
    uint64_t doubt
    uint8_t text[112]
    uint64_t reserved[9]

cdef packed struct HoldingSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t account
    int64_t begun_ns
    int64_t yes_micro
    int64_t no_micro
    uint8_t is_balance
    uint8_t ok
    uint8_t reserved0[6]
    uint64_t token_count
    uint64_t elsewhere_count
    uint64_t reserved[19]

cdef packed struct TopSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint32_t bid_ticks[8]
    uint32_t ask_ticks[8]
    int64_t bid_micro[8]
    int64_t ask_micro[8]
    int64_t venue_ns
    int64_t proof_ns

cdef packed struct StaleSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint16_t cause
    uint8_t reserved0[6]
    int64_t proof_ns
    uint64_t reserved[24]

cdef packed struct IdeaSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t idea_no
    uint32_t basket
    uint32_t event
    int64_t payout_usd_micro
    int64_t cost_usd_micro
    int64_t fee_usd_micro
    int64_t size_micro
    uint8_t strategy
    uint8_t leg_count
    uint8_t order_count
    uint8_t in_part
    uint32_t reserved0
    uint32_t leg_instrument[6]
    uint32_t leg_price_ticks[6]
    int64_t leg_size_micro[6]
    uint8_t leg_no[6]
    uint8_t leg_outcome[6]
    uint8_t leg_side[6]
    uint8_t leg_type[6]
    int64_t partial_loss_usd_micro
    uint64_t reserved[3]

cdef packed struct PackageSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t group_no
    uint64_t idea_no
    uint32_t basket
    uint32_t event
    int64_t payout_usd_micro
    int64_t cost_usd_micro
    int64_t fee_usd_micro
    int64_t size_micro
    uint64_t cause_seq
    int64_t cause_venue_ns
    uint8_t strategy
    uint8_t leg_count
    uint8_t order_count
    uint8_t reserved0[5]
    uint64_t reserved[16]

cdef packed struct IntentSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t order_no
    uint64_t group_no
    uint64_t cause_seq
    int64_t deadline_ns
    int64_t timestamp_ms
    uint64_t salt
    int64_t maker_amount
    int64_t taker_amount
    int64_t size_micro
    int64_t expiration_s
    int64_t worst_usd_micro
    uint32_t price_ticks
    uint8_t leg_no
    uint8_t leg_count
    uint8_t batch_index
    uint8_t batch_count
    uint8_t outcome
    uint8_t side
    uint8_t order_type
    uint8_t intent_class
    uint8_t post_only
    uint8_t account
    uint8_t cancel_rest
    uint8_t reserved0
    uint64_t reserved[13]

cdef packed struct CancelSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t order_no
    uint64_t group_no
    uint64_t cancel_no
    uint8_t order_hash[32]
    uint16_t cause
    uint16_t account
    uint32_t reserved0
    uint64_t reserved[18]

cdef packed struct VerdictSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t idea_no
    uint32_t basket
    uint32_t event
    uint16_t cause
    uint8_t strategy
    uint8_t reserved0[5]
    int64_t value
    int64_t limit
    uint64_t cause_seq
    uint64_t count
    uint64_t reserved[19]

cdef packed struct SubscribeSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t request_no
    uint64_t reserved[25]

cdef packed struct ResyncSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t request_no
    uint16_t cause
    uint8_t reserved0[6]
    uint64_t reserved[24]

cdef packed struct ReconcileSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t request_no
    uint64_t order_no
    uint8_t order_hash[32]
    uint16_t cause
    uint16_t account
    uint32_t reserved0
    uint64_t reserved[18]
    int64_t since_ns

cdef packed struct BeatSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t beat_no
    uint64_t open_orders
    uint64_t fence_order_no
    uint64_t fence_epoch
    uint64_t reserved[22]

cdef packed struct SignedSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint64_t order_no
    uint64_t group_no
    int64_t deadline_ns
    int64_t timestamp_ms
    uint64_t salt
    int64_t maker_amount
    int64_t taker_amount
    int64_t expiration_s
    uint8_t order_hash[32]
    uint8_t struct_hash[32]
    uint8_t signature[65]
    uint8_t outcome
    uint8_t side
    uint8_t order_type
    uint8_t intent_class
    uint8_t post_only
    uint8_t account
    uint8_t batch_index
    uint8_t batch_count
    uint16_t cause
    uint8_t reserved[5]

cdef packed struct RawFrameSlot:
    uint64_t seq
    int64_t now_ns
    int64_t recv_ns
    uint64_t source_seq
    uint16_t kind
    uint16_t flags
    uint32_t instrument
    uint16_t source
    uint8_t part
    uint8_t parts
    uint32_t check
    uint32_t byte_count
    uint16_t channel
    uint16_t reserved
    uint8_t bytes[200]
