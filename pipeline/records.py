"""Every shared record: declared once here, used by both sides.

One record is one 256-byte slot: a 48-byte header and a 208-byte payload. A payload that needs more
room is a run of up to 64 slots (`part`, `parts`) that becomes visible at once; a snapshot that needs
more than one run flags every run but its last with `Flag.MORE`. The Cython structs
(`native/records.pxd`) are generated from these dtypes and `LAYOUT_HASH` is checked at every attach.

Units: prices are ticks of 0.0001 USD, sizes 1e-6 share, money 1e-6 USD, times nanoseconds since the
epoch. Records hold values and row numbers, never pointers, names or file descriptors.
"""

from __future__ import annotations

import enum
import hashlib
from typing import Any

import numpy as np

from pipeline.kinds import (
    Cause,
    Flag,
    HaltLevel,
    IntentClass,
    Kind,
    OrderState,
    OrderType,
    Origin,
    Outcome,
    Rule,
    Side,
    TradeStatus,
    VenueMode,
)

SLOT_BYTES = 256  # one record = one ring slot = four cache lines
RUN_SLOTS_MAX = 64  # slots that one release store may publish
TOP_DEPTH = 8  # levels a side carried by value in `Top`
SNAPSHOT_LEVELS = 14  # levels in one slot of a snapshot run
DELTA_CHANGES = 8  # level changes in one slot of a delta run
IDEA_LEGS = 6  # legs in one slot of an idea run
LAYOUT_VERSION = 4
FEE_NOT_TOLD = 0xFFFF  # fee_bips of a Question
NOT_ANNOUNCED = 0xFFFFFFFF  # best_* of a Delta when the frame does not carry it

HEADER: list[Any] = [
    ("seq", "<u8"),  # place in the log that holds it; writer: the log's writer
    ("now_ns", "<i8"),  # stream time, never decreases; the only clock core may read
    ("recv_ns", "<i8"),  # when the bytes reached this host
    ("source_seq", "<u8"),  # the source's own count; makes a restart exactly-once
    ("kind", "<u2"),  # Kind
    ("flags", "<u2"),  # Flag
    ("instrument", "<u4"),  # row of the instrument table; 0 = none
    ("source", "<u2"),  # which edge wrote it
    ("part", "u1"),  # place in a run of slots, 0 first
    ("parts", "u1"),  # slots in the run; 1 = alone
    ("check", "<u4"),  # CRC-32C of the slot with this field zero; logs only
]
HEADER_BYTES = 48
_BYTES32 = 32

#: Sequencer: a new millisecond of stream time; timers fire only here.
TICK = [("tick_count", "<u8"), ("reserved", "<u8", 25)]

#: Halt level in force and who asked for it.
HALT = [
    ("level", "u1"), ("owner", "u1"), ("cause", "<u2"), ("reserved0", "<u4"),
    ("reason", "S64"), ("reserved", "<u8", 17),
]

#: Limits and parameters that decisions use; a missing value is 0 and refuses (fail closed).
CONFIG = [
    ("config_hash", "u1", 16),
    ("order_usd_micro_max", "<i8"), ("market_usd_micro_max", "<i8"),
    ("event_usd_micro_max", "<i8"), ("day_usd_micro_max", "<i8"),
    ("open_orders_max", "<i8"), ("partial_loss_usd_micro_max", "<i8"),
    ("residue_usd_micro_max", "<i8"), ("edge_usd_micro_min", "<i8"),
    ("edge_ppm_min", "<i8"), ("proof_age_ns_max", "<i8"),
    ("intent_ttl_ns", "<i8"), ("batch_ns_max", "<i8"),
    ("hash_rows_max", "<i8"), ("cooldown_ns", "<i8"),
    ("submit_timeout_ns", "<i8"), ("package_usd_micro_max", "<i8"),
    ("package_orders_max", "<i8"), ("levels_max", "<i8"),
    ("salt_epoch", "<u8"), ("desync_ns_max", "<i8"),
    ("fence_ns", "<i8"),  # before a scheduled end, and around a game's start; 0 = none
    ("reserved", "<u8", 3),
]

#: Supervisor: the lane of a stage (re)started; what an old epoch left unanswered is UNKNOWN or UNSENT.
LANE_UP = [
    ("lane", "<u4"), ("epoch", "<u4"), ("sent_order_no", "<u8"),  # highest intent whose bytes may have left
    ("stage_name", "S32"), ("reserved", "<u8", 20),
]

#: Start or recovery: nothing was decided between the two positions. `decisions_seq` is where the decision log
#: ended then; `book` and `detect` begin empty at `live_seq`.
RESUME = [
    ("last_seq", "<u8"), ("live_seq", "<u8"), ("decisions_seq", "<u8"),
    ("epoch", "<u8"),  # of the core, one more at each start
    ("from_venue", "<u8"),  # 1: what the venue lists of earlier runs is taken over (--recover-from-venue)
    ("reserved", "<u8", 21),
]

#: Supervisor: the operator lifts halts (`pm resume`); whoever holds one of its own lets it go.
CLEAR = [("resume_no", "<u8"), ("reason", "S64"), ("reserved", "<u8", 17)]

#: The wall clock was corrected by `step_ns`.
CLOCK_STEP = [("step_ns", "<i8"), ("reserved", "<u8", 25)]

#: One condition = one physical book. Everything a decision uses about a market.
INSTRUMENT = [
    ("condition", "u1", _BYTES32), ("token_yes", "u1", _BYTES32), ("token_no", "u1", _BYTES32),
    ("rules", "<u4"),  # Rule
    ("event", "<u4"),  # event row; 0 = none
    ("outcome_index", "<u2"), ("outcome_count", "<u2"),  # place in the event, 0 first
    ("venue", "u1"), ("condition_bytes", "u1"),  # 32, or 31 for protocol v2
    ("tick_step", "<u2"),  # legal price spacing now, in ticks
    ("tick_step_finest", "<u2"), ("shard", "<u2"),  # feed shard that carries it
    ("fee_rate_ppm", "<u4"), ("fee_exponent", "<u4"),  # fee = C * rate * (p(1-p))^e, takers only
    ("size_micro_min", "<i8"), ("usd_micro_min", "<i8"),  # resting size, marketable BUY
    ("taker_delay_ns", "<i8"), ("ends_ns", "<i8"),
    ("label", "S32"),  # for people; cut, never parsed
    ("game_start_ns", "<i8"),  # of a match: the venue may clear the book then; 0 = none named
    ("reserved", "u1", 12),
]

#: Whole book of one outcome token: `bid_count` levels, then `ask_count`, in this slot; in any order.
SNAPSHOT = [
    ("venue_ns", "<i8"), ("hash", "u1", 20),  # SHA-1; zero = none announced
    ("last_trade_ticks", "<u4"),  # with last_trade_state = 2
    ("bid_count", "u1"), ("ask_count", "u1"),  # levels in this slot, bids first
    ("tick_step", "<u2"),  # 0 = the frame does not carry it
    ("outcome", "u1"), ("last_trade_state", "u1"),  # 0 absent, 1 "", 2 a price
    ("reserved", "u1", 2),
    ("price_ticks", "<u4", SNAPSHOT_LEVELS), ("size_micro", "<i8", SNAPSHOT_LEVELS),
]

#: Changes of one frame, both tokens of one condition; sizes are absolute, 0 = level gone.
DELTA = [
    ("venue_ns", "<i8"),
    ("hash_yes", "u1", 20), ("hash_no", "u1", 20),  # zero = that token is not in the frame
    ("best_bid_yes", "<u4"), ("best_ask_yes", "<u4"),  # 0 = no such side; 0xFFFFFFFF = not announced
    ("best_bid_no", "<u4"), ("best_ask_no", "<u4"),
    ("change_count", "u1"), ("reserved0", "u1", 7),
    ("price_ticks", "<u4", DELTA_CHANGES), ("size_micro", "<i8", DELTA_CHANGES),
    ("side", "u1", DELTA_CHANGES), ("outcome", "u1", DELTA_CHANGES),  # Side, Outcome, as the frame said
    ("reserved", "<u8", 3),
]

#: The venue printed a trade; a hint for the hash's last trade price, never a fill of ours.
TRADE_PRINT = [
    ("venue_ns", "<i8"), ("size_micro", "<i8"), ("price_ticks", "<u4"),
    ("side", "u1"), ("outcome", "u1"), ("reserved0", "<u2"), ("reserved", "<u8", 23),
]

#: The legal price spacing changed.
TICK_STEP = [
    ("venue_ns", "<i8"), ("old_step", "<u2"), ("new_step", "<u2"), ("outcome", "u1"),
    ("reserved0", "u1", 3), ("reserved", "<u8", 24),
]

#: best_bid_ask of one token: a cross-check, never a book change.
BBO = [
    ("venue_ns", "<i8"), ("bid_ticks", "<u4"), ("ask_ticks", "<u4"), ("outcome", "u1"),
    ("reserved0", "u1", 7), ("reserved", "<u8", 23),
]

#: A feed lost continuity: every instrument of `shard` (or one, when the header names it) is stale.
GAP = [("cause", "<u2"), ("shard", "<u2"), ("lost_count", "<u4"), ("reserved", "<u8", 25)]

#: refdata: a REST book of the first outcome, to compare; without levels, so that no book can be made of it.
SAMPLE = [
    ("venue_ns", "<i8"), ("levels_mix", "<u8"),  # of all levels: native/books_sample.pxi
    ("hash", "u1", 20), ("bid_ticks", "<u4"), ("ask_ticks", "<u4"),  # best ones; 0 = no such side
    ("level_count", "<u4"), ("reserved", "<u8", 20),
]

#: The market resolved: `payout_micro_yes` per YES share (1e6, 0, or a void's share).
RESOLVED = [
    ("venue_ns", "<i8"), ("payout_micro_yes", "<i8"), ("payout_micro_no", "<i8"),
    ("reserved", "<u8", 23),
]

#: The question on chain behind a neg-risk market, for conversions of NO; decisions do not use it.
QUESTION = [
    ("question_id", "u1", _BYTES32),  # the last byte is its index in the event
    ("fee_bips", "<u2"),  # of a conversion; 0xFFFF = the venue does not tell
    ("reserved0", "u1", 6), ("reserved", "<u8", 21),
]

#: A feed heard of a new market; refdata looks it up. No decision uses it.
ANNOUNCED = [
    ("condition", "u1", _BYTES32),
    ("event_id", "S20"),  # the venue's number of its event; empty = none named
    ("reserved0", "u1", 4), ("venue_ns", "<i8"), ("reserved", "<u8", 18),
]

#: What happened to one order of ours; changes order state only, positions never.
REPORT = [
    ("order_no", "<u8"), ("group_no", "<u8"), ("order_hash", "u1", _BYTES32),  # order_no 0: match by hash
    ("venue_ns", "<i8"), ("making_micro", "<i8"), ("taking_micro", "<i8"),  # the answer claims; -1 = silent
    ("matched_micro", "<i8"),  # cumulative shares the venue reports; -1 = silent
    ("state", "u1"), ("origin", "u1"),  # OrderState; Origin
    ("cause", "<u2"), ("http_status", "<u2"), ("account", "<u2"),
    ("text", "S104"),  # the venue's words, for people
    ("size_micro", "<i8"), ("price_ticks", "<u4"), ("outcome", "u1"), ("side", "u1"),  # of another's
    ("reserved0", "u1", 2),
]

#: One fill of one order of ours; key = (trade_id, order_hash).
FILL = [
    ("order_no", "<u8"), ("order_hash", "u1", _BYTES32), ("trade_id", "u1", 16),
    ("venue_ns", "<i8"), ("size_micro", "<i8"), ("usd_micro", "<i8"), ("fee_usd_micro", "<i8"),
    ("price_ticks", "<u4"), ("outcome", "u1"), ("side", "u1"), ("status", "u1"), ("is_maker", "u1"),
    ("account", "<u2"), ("reserved0", "u1", 6), ("reserved", "<u8", 9),
    ("text", "S32"),  # the venue's word for a status that we do not know
]

#: Free collateral as the venue sees it.
BALANCE = [
    ("account", "<u8"), ("collateral_usd_micro", "<i8"), ("allowance_usd_micro", "<i8"),
    ("venue_ns", "<i8"), ("reserved", "<u8", 22),
]

#: A reconcile pass ended: open orders and trades up to here were reported before this record. Or the user
#: channel is `lost`; what it would have told only a pass says that began behind its return (`heard`).
RECONCILED = [
    ("account", "<u8"), ("request_no", "<u8"), ("open_count", "<u8"), ("trade_count", "<u8"),
    ("ok", "<u8"), ("lost", "u1"), ("heard", "u1"), ("reserved0", "u1", 6), ("begun_ns", "<i8"),
    ("reserved", "<u8", 19),
]

#: What the venue says that our wallet holds of a market: one position of its index of the chain, or the
#: balances of both tokens. Without a market: a list of the index ended.
HOLDING = [
    ("account", "<u8"), ("begun_ns", "<i8"),  # it was asked for then
    ("yes_micro", "<i8"), ("no_micro", "<i8"),  # shares; -1 = not told
    ("is_balance", "u1"), ("ok", "u1"),  # ok: of an end: every page was read
    ("reserved0", "u1", 6), ("token_count", "<u8"),  # of an end: positions listed, and how many of them
    ("elsewhere_count", "<u8"),  # are in markets that have no row here
    ("reserved", "<u8", 19),
]

#: gateway: what the venue takes now, told at each change; a gateway that comes up begins with RUNNING.
VENUE = [
    ("mode", "u1"), ("venue", "u1"), ("cause", "<u2"), ("http_status", "<u2"), ("account", "<u2"),
    ("until_ns", "<i8"),  # it is asked again then: the time that it announced, or our own wait; 0 = RUNNING
    ("doubt", "<u8"),  # 1: it may have cancelled what was open (heartbeats missed): nobody knows until asked
    ("text", "S112"),  # the venue's words, for people
    ("reserved", "<u8", 9),
]

#: Best eight levels a side of the YES book after one message, by value. Flags: OPEN STALE CROSSED.
TOP = [
    ("bid_ticks", "<u4", TOP_DEPTH), ("ask_ticks", "<u4", TOP_DEPTH),  # best first; size 0 = none
    ("bid_micro", "<i8", TOP_DEPTH), ("ask_micro", "<i8", TOP_DEPTH),
    ("venue_ns", "<i8"),  # venue time of the newest change applied
    ("proof_ns", "<i8"),  # stream time of the last proof that the book is right; 0 = never
]

#: A book went stale (or, cause NONE, is valid again: the following Top says so). `proof_ns` as in TOP.
STALE = [("cause", "<u2"), ("reserved0", "u1", 6), ("proof_ns", "<i8"), ("reserved", "<u8", 24)]

#: detect -> trade: buy these legs together. One run; every part repeats the head.
IDEA = [
    ("idea_no", "<u8"), ("basket", "<u4"), ("event", "<u4"),
    ("payout_usd_micro", "<i8"),  # guaranteed in every world for the whole package
    ("cost_usd_micro", "<i8"), ("fee_usd_micro", "<i8"),  # worst-case spend and exact fees
    ("size_micro", "<i8"),  # equal shares of each leg
    ("strategy", "u1"), ("leg_count", "u1"), ("order_count", "u1"), ("in_part", "u1"),  # orders in this part
    ("reserved0", "<u4"),
    ("leg_instrument", "<u4", IDEA_LEGS), ("leg_price_ticks", "<u4", IDEA_LEGS),
    ("leg_size_micro", "<i8", IDEA_LEGS),
    ("leg_no", "u1", IDEA_LEGS), ("leg_outcome", "u1", IDEA_LEGS), ("leg_side", "u1", IDEA_LEGS),
    ("leg_type", "u1", IDEA_LEGS),
    ("partial_loss_usd_micro", "<i8"),  # upper bound of the loss over every partial fill
    ("reserved", "<u8", 3),
]

#: trade: one package passed the gate; its intents follow in the same run.
PACKAGE = [
    ("group_no", "<u8"), ("idea_no", "<u8"), ("basket", "<u4"), ("event", "<u4"),
    ("payout_usd_micro", "<i8"), ("cost_usd_micro", "<i8"), ("fee_usd_micro", "<i8"),
    ("size_micro", "<i8"), ("cause_seq", "<u8"), ("cause_venue_ns", "<i8"),
    ("strategy", "u1"), ("leg_count", "u1"), ("order_count", "u1"), ("reserved0", "u1", 5),
    ("reserved", "<u8", 16),
]

#: trade: send this order. header.instrument names the market, `outcome` the token.
INTENT = [
    ("order_no", "<u8"), ("group_no", "<u8"), ("cause_seq", "<u8"),
    ("deadline_ns", "<i8"), ("timestamp_ms", "<i8"), ("salt", "<u8"),
    ("maker_amount", "<i8"), ("taker_amount", "<i8"),  # 1e-6 units given and wanted
    ("size_micro", "<i8"), ("expiration_s", "<i8"), ("worst_usd_micro", "<i8"),  # collateral incl. fee
    ("price_ticks", "<u4"), ("leg_no", "u1"), ("leg_count", "u1"),
    ("batch_index", "u1"), ("batch_count", "u1"),
    ("outcome", "u1"), ("side", "u1"), ("order_type", "u1"), ("intent_class", "u1"),
    ("post_only", "u1"), ("account", "u1"), ("cancel_rest", "u1"), ("reserved0", "u1"),
    ("reserved", "<u8", 13),
]

#: trade: cancel this order.
CANCEL = [
    ("order_no", "<u8"), ("group_no", "<u8"), ("cancel_no", "<u8"), ("order_hash", "u1", _BYTES32),
    ("cause", "<u2"), ("account", "<u2"), ("reserved0", "<u4"), ("reserved", "<u8", 18),
]

#: trade: why an idea was not taken. Repeats of one (basket, cause) are counted, not repeated.
VERDICT = [
    ("idea_no", "<u8"), ("basket", "<u4"), ("event", "<u4"), ("cause", "<u2"), ("strategy", "u1"),
    ("reserved0", "u1", 5), ("value", "<i8"), ("limit", "<i8"), ("cause_seq", "<u8"), ("count", "<u8"),
    ("reserved", "<u8", 19),
]

#: trade -> feed / refdata / account: served under rate budgets.
SUBSCRIBE = [("request_no", "<u8"), ("reserved", "<u8", 25)]
RESYNC = [("request_no", "<u8"), ("cause", "<u2"), ("reserved0", "u1", 6), ("reserved", "<u8", 24)]
RECONCILE = [
    # order 0, hash and header.instrument zero: everything; a market: the wallet's balances of its tokens
    ("request_no", "<u8"), ("order_no", "<u8"), ("order_hash", "u1", _BYTES32),
    ("cause", "<u2"), ("account", "<u2"), ("reserved0", "<u4"), ("reserved", "<u8", 18),
    ("since_ns", "<i8"),  # trades matched from here on are not settled: list them, too; 0 = none
]

#: trade is alive and healthy; the venue heartbeat depends on it. Orders up to the fence were ended or doubted
#: when a gateway of that epoch came up: it refuses them.
BEAT = [
    ("beat_no", "<u8"), ("open_orders", "<u8"), ("fence_order_no", "<u8"), ("fence_epoch", "<u8"),
    ("reserved", "<u8", 22),
]

#: signer -> gateway: everything of an order that is not constant.
SIGNED = [
    ("order_no", "<u8"), ("group_no", "<u8"), ("deadline_ns", "<i8"), ("timestamp_ms", "<i8"),
    ("salt", "<u8"), ("maker_amount", "<i8"), ("taker_amount", "<i8"), ("expiration_s", "<i8"),
    ("order_hash", "u1", _BYTES32), ("struct_hash", "u1", _BYTES32), ("signature", "u1", 65),
    ("outcome", "u1"), ("side", "u1"), ("order_type", "u1"), ("intent_class", "u1"),
    ("post_only", "u1"), ("account", "u1"), ("batch_index", "u1"), ("batch_count", "u1"),
    ("cause", "<u2"),  # not NONE: refused by the signer; the gateway passes the refusal on
    ("reserved", "u1", 5),
]

#: A frame as it came, over as many slots as it needs.
RAW_FRAME = [("byte_count", "<u4"), ("channel", "<u2"), ("reserved", "<u2"), ("bytes", "u1", 200)]

#: The payload of a kind is the list of its name; what only fills a ring has none.
_PAYLOADS: dict[str, Any] = {kind.name.lower(): globals()[kind.name] for kind in Kind if kind != Kind.PAD}


def payload_fields(kind: Kind) -> list[Any]:
    """Return the payload's field list of a kind, for the generator of the C structs."""
    return list(_PAYLOADS[kind.name.lower()])


DTYPES: dict[Kind, np.dtype[np.void]] = {
    Kind[name.upper()]: np.dtype(HEADER + payload) for name, payload in _PAYLOADS.items()
}
HEADER_DTYPE = np.dtype(HEADER)
assert HEADER_DTYPE.itemsize == HEADER_BYTES
for _kind, _checked in DTYPES.items():
    assert _checked.itemsize == SLOT_BYTES, f"{_kind.name}: {_checked.itemsize} bytes, not {SLOT_BYTES}"


def layout_hash() -> int:
    """Return 64 bits that change when any layout, kind or flag number changes."""
    described = [str(LAYOUT_VERSION), *(f"{k.name}={k.value}:{DTYPES[k].descr}" for k in DTYPES)]
    numbers: list[type[enum.IntEnum] | type[enum.IntFlag]] = [
        Kind, Flag, Rule, Side, Outcome, OrderType, IntentClass, HaltLevel, OrderState, Cause, TradeStatus,
        Origin, VenueMode,
    ]
    for table in numbers:
        described += [f"{table.__name__}.{m.name}={m.value}" for m in table]
    return int.from_bytes(hashlib.sha256("\n".join(described).encode()).digest()[:8], "little")


LAYOUT_HASH = layout_hash()
