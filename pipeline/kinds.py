"""What a record is and the words in it: kinds, states, causes, modes. Their numbers are part of the layout.

`records` declares the fields that hold them; `layout_hash` there covers every name and number here.
"""

from __future__ import annotations

import enum


class Kind(enum.IntEnum):
    """What a record is; the numbers are part of the layout."""

    PAD = 0  # fills the end of a log segment; readers skip it
    # control: from the sequencer, the supervisor and the operator
    TICK = 1
    HALT = 2
    CONFIG = 3
    LANE_UP = 4
    RESUME = 5
    CLOCK_STEP = 6
    CLEAR = 7
    # market data and reference data
    INSTRUMENT = 16
    SNAPSHOT = 17
    DELTA = 18
    TRADE_PRINT = 19
    TICK_STEP = 20
    BBO = 21
    GAP = 22
    RESOLVED = 23
    QUESTION = 24
    SAMPLE = 25
    ANNOUNCED = 26
    # truth about our own orders and money
    REPORT = 32
    FILL = 33
    BALANCE = 34
    RECONCILED = 35
    VENUE = 36
    HOLDING = 37
    # between the stages of the chain
    TOP = 48
    STALE = 49
    IDEA = 50
    # decisions
    PACKAGE = 64
    INTENT = 65
    CANCEL = 66
    VERDICT = 67
    SUBSCRIBE = 68
    RESYNC = 69
    RECONCILE = 70
    BEAT = 71
    # signer to gateway
    SIGNED = 80
    # raw recording of a feed lane: the frame's bytes as it came
    RAW_FRAME = 96


class Flag(enum.IntFlag):
    """Bits of `flags`; which of them a kind uses stands beside its dtype."""

    OPEN = 1  # TOP: a batch is not yet proven complete
    STALE = 2  # TOP: not to be traded on until a fresh snapshot
    REPEAT = 4  # INSTRUMENT: repeated at the start of a stream segment
    MORE = 8  # SNAPSHOT: another run of the same snapshot follows
    FALLBACK = 16  # market records: decoded by the slow decoder
    CROSSED = 32  # TOP: best bid >= best ask
    TICKED = 128  # INSTRUMENT: its tick step came from the stream: metadata does not change it
    PLANTED = 64  # INSTRUMENT: the local exchange labels this market as generated


class Rule(enum.IntFlag):
    """Bits of `Instrument.rules`."""

    TRADABLE = 1  # accepting orders, fee known, ids known
    NEG_RISK = 2
    V2 = 4  # protocol v2 position ids, exchange domain "3"
    WATCH = 8  # prove the hash at each frame
    EXCLUSIVE = 16  # at most one outcome of the event pays
    EXHAUSTIVE = 32  # at least one listed outcome of the event pays
    MIRRORED = 64  # NO is a view of the YES book
    AUGMENTED = 128  # event has placeholders: never exhaustive
    HASHED = 256  # the venue announces a book hash for this market
    TAKER_DELAY = 512
    CLOSED = 1024  # takes no orders any more: what is held waits for its resolution
    RETIRED = 2048  # not carried now: others matter more; its row stays its own


class Side(enum.IntEnum):
    BUY = 0
    SELL = 1


class Outcome(enum.IntEnum):
    YES = 0  # the first outcome of the condition, whatever its label
    NO = 1


class OrderType(enum.IntEnum):
    GTC = 0
    GTD = 1
    FOK = 2
    FAK = 3


class IntentClass(enum.IntEnum):
    """What an order does to risk; the halt ladder forbids from the left."""

    NEW_RISK = 0
    HEDGE = 1
    REDUCE = 2
    CANCEL = 3


class HaltLevel(enum.IntEnum):
    H0 = 0  # normal
    H1 = 1  # no new risk
    H2 = 2  # cancel all, hedge only
    H3 = 3  # cancels only
    H4 = 4  # stop the process


class OrderState(enum.IntEnum):
    """State of one order, also the verdict of one `Report`."""

    INTENDED = 0  # journalled, not known to have left
    SENT = 1  # first byte about to leave; exposure is real from here
    LIVE = 2  # rests at the venue
    DELAYED = 3  # held by the venue; cannot be cancelled
    MATCHED = 4  # matched at once; terminal for FAK and FOK
    CANCELED = 5
    EXPIRED = 6
    REJECTED = 7  # the venue refused it: definitive
    UNSENT = 8  # provably never left this host: definitive
    UNKNOWN = 9  # may be live or filled; full exposure until venue evidence
    DRY = 10  # dry mode: everything but the socket write
    CANCEL_REFUSED = 11  # report only: the venue did not cancel


class Cause(enum.IntEnum):
    """Why a verdict, gap, stale mark, refusal or halt happened; one table for people and tests."""

    NONE = 0
    # book
    NO_SNAPSHOT = 1
    DISCONNECT = 2
    OVERRUN = 3
    HASH_MISMATCH = 4
    BBO_MISMATCH = 5
    MIRROR_MISMATCH = 6
    CROSSED_BOOK = 7
    OFF_GRID = 8
    ARENA_FULL = 9
    TICK_UNPROVEN = 10
    UNKNOWN_INSTRUMENT = 11
    DECODE = 12
    FREEZE = 13
    SHUTDOWN = 14
    SAMPLE_DIFFERS = 15  # REST shows what the stream never told
    DATED_AHEAD = 16  # a frame of a time that has not come
    # decisions about an idea
    TAKEN = 32
    BELOW_EDGE = 33
    NOT_PROVEN = 34
    BOOK_OPEN = 35
    BOOK_STALE = 36
    PROOF_OLD = 37
    GROUP_BUSY = 38
    DEPTH_USED = 39
    HALTED = 40
    LIMIT_ORDER = 41
    LIMIT_MARKET = 42
    LIMIT_EVENT = 43
    LIMIT_DAY = 44
    LIMIT_OPEN_ORDERS = 45
    LIMIT_COLLATERAL = 46
    MISSING_VALUE = 47
    NOT_TRADABLE = 48
    BELOW_MINIMUM = 49
    TOO_MANY_ORDERS = 50
    RESIDUE = 51
    UNKNOWN_ORDER_OPEN = 52
    LIMIT_PARTIAL_LOSS = 53
    VENUE_MODE = 54  # the venue takes no such order now
    COOL_DOWN = 55  # it refused too many of this market in a row
    SELF_MATCH = 56  # it would meet an order of our own
    REVERTS = 57  # too many of this market's matches failed on the chain
    FENCED = 58  # its market ends, or its game starts, too soon
    # refusals of the effect lanes and the venue
    DEADLINE = 64
    HALT_LEVEL = 65
    CEILING = 66
    NO_INSTRUMENT = 67
    OVERTAKEN = 68
    NOT_SENT = 69
    NO_CONNECTION = 70
    TIMEOUT = 71
    CONNECTION_LOST = 72
    VENUE_REJECT = 73
    VENUE_ERROR = 74
    RATE_LIMIT = 75
    NO_MATCH = 76
    LANE_DIED = 77
    DRY_RUN = 78
    BAD_ANSWER = 79
    RESOLVED = 80
    OPERATOR = 81
    # why the supervisor or a disk halts
    LANE_STALLED = 82
    LEASE_LOST = 83
    DISK_FULL = 84
    CRASH_LOOP = 85
    CLOCK_SKEW = 86
    CLOSED_ONLY = 87
    GEO_BLOCKED = 88
    CONTRADICTED = 89  # the venue says of our trades what cannot be true, or says two things
    SHARES_DIFFER = 90  # the wallet does not hold what our fills say


class VenueMode(enum.IntEnum):
    """What a venue takes from us now; each mode takes less than the one before."""

    RUNNING = 0
    POST_ONLY = 1  # post-only orders and cancels
    CANCEL_ONLY = 2
    RESTARTING = 3  # nothing, and it says that it comes back
    DOWN = 4  # nothing: disabled, broken or out of reach


class TradeStatus(enum.IntEnum):
    """Settlement walk of a fill."""

    MATCHED = 0
    MINED = 1
    CONFIRMED = 2
    RETRYING = 3
    FAILED = 4
    UNKNOWN = 5  # a word that we do not know: provisional, the word stands in `Fill.text`


class Origin(enum.IntEnum):
    """Who says so, in `Report.origin`."""

    SIGNER = 1
    GATEWAY = 2
    HTTP = 3
    USER_CHANNEL = 4
    RECONCILE = 5
    SUPERVISOR = 6
