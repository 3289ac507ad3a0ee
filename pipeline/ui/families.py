"""Every metric of the endpoint, declared once: its name, its kind, what it means, and which counter feeds it.

Read by ui/collector and by ui/readme, which renders README.md of this folder. Names follow the conventions of
the field: base units, `_total` for what only grows, `_seconds`, `_bytes`.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

Type = Literal["counter", "gauge", "histogram"]
ALWAYS = ("lane", "stage")  # labels of every series


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. `labels` are those beside lane and stage."""

    name: str
    type: Type
    meaning: str
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Counted:
    """A counter of a status page and where it goes.

    counter: its name; one that ends in `*` stands for all that begin so, and what follows is the label.
    stage: the kind of stage that counts it, "" = the lane itself. label: value of the family's own label.
    scale: from the counter's unit to the metric's.
    """

    counter: str
    stage: str
    family: str
    label: str = ""
    scale: float = 1


FAMILIES: tuple[Family, ...] = (
    # the run and its lanes
    Family("pm_build_info", "gauge", "1; its labels say which build runs.",
           ("version", "layout", "build", "python")),
    Family("pm_lane_up", "gauge", "1 while the lane's process lives and its loop runs, else 0."),
    Family("pm_lane_turns_total", "counter", "Turns of the lane's loop; one that stands still is wedged."),
    Family("pm_lane_start_time_seconds", "gauge", "When the lane's process attached, since the epoch."),
    Family("pm_restarts_total", "counter", "Restarts of the lane by the supervisor."),
    Family("pm_lease_age_seconds", "gauge",
           "Time since the supervisor renewed its lease; lanes stop trading at supervision.lease_ms_max."),
    Family("pm_lane_cpu_seconds_total", "counter", "CPU time of the lane's process, user and system."),
    Family("pm_lane_resident_memory_bytes", "gauge", "Resident memory of the lane's process."),
    Family("pm_lane_context_switches_total", "counter",
           "Context switches of the lane's main thread: voluntary (it slept), involuntary (it was put off).",
           ("kind",)),
    Family("pm_lane_sleeps_total", "counter", "Times the lane went to sleep for lack of work."),
    Family("pm_lane_sleep_timeouts_total", "counter", "Sleeps that ended by their own bound."),
    Family("pm_lane_wakes_total", "counter", "Sleeps that somebody with work for the lane ended."),
    Family("pm_lane_wish_refused", "gauge",
           "1 when the kernel refused the lane realtime, awake CPUs or locked memory.", ("wish",)),
    Family("pm_events_dropped_total", "counter", "Lines of the event log that could not be written."),
    Family("pm_stage_polls_total", "counter", "Polls that the stage ended."),
    Family("pm_stage_in_poll", "gauge", "1 when the stage was inside a poll when we looked."),
    # data in
    Family("pm_frames_total", "counter", "Websocket frames taken in."),
    Family("pm_fallbacks_total", "counter", "Frames that the fast scanner left to the complete parser."),
    Family("pm_drops_total", "counter", "Frames or records that were lost or refused; 0 in a healthy run.",
           ("cause",)),
    Family("pm_frames_skipped_total", "counter", "Frames of no use to us: other tokens or topics, copies.",
           ("cause",)),
    Family("pm_gaps_total", "counter", "Breaks in the market data; the books behind them start anew."),
    Family("pm_disconnects_total", "counter", "Websockets that ended."),
    Family("pm_sockets_late_total", "counter", "Sockets given up: what they brought grew ever older."),
    Family("pm_sockets_ended_total", "counter", "Market sockets ended, by what became of their books.",
           ("cause",)),
    Family("pm_canaries_total", "counter", "Snapshots asked for to see whether a silent socket still tells."),
    Family("pm_snapshots_withheld_total", "counter", "Snapshots that did not come in time; asked for again."),
    Family("pm_pauses_total", "counter", "Times a socket was not read because its ring was full."),
    Family("pm_pongs_total", "counter", "Answers to our pings."),
    Family("pm_resyncs_total", "counter", "Books that were asked for anew, by what became of it.",
           ("result",)),
    Family("pm_samples_total", "counter", "Books asked for over REST, by what became of the question.",
           ("result",)),
    Family("pm_repeats_total", "counter", "Messages of the venue that we had already.", ("kind",)),
    Family("pm_reconciles_total", "counter", "Comparisons with the venue's own state, by what became of it.",
           ("result",)),
    Family("pm_balance_refreshes_total", "counter",
           "Times the venue was asked to look at our balance anew, after an order without funds.",
           ("result",)),
    Family("pm_venue_clock_offset_seconds", "gauge", "The venue's clock minus ours."),
    Family("pm_venue_health_errors_total", "counter",
           "Questions about clock, closed-only mode and country without an answer."),
    Family("pm_instruments", "gauge", "Markets carried."),
    Family("pm_refdata_errors_total", "counter", "Answers of the venue's market list that were no use."),
    Family("pm_markets_refused_total", "counter", "Markets left out, by cause.", ("cause",)),
    Family("pm_markets_waiting", "gauge", "Events and single markets that found no place."),
    Family(
        "pm_markets_changed_total", "counter", "Markets heard of, retired for others, or settled by asking.",
        ("what",)),
    # the chain
    Family("pm_records_total", "counter",
           "Records that went through the stage; for the sequencer its position in the stream."),
    Family("pm_ring_depth_records", "gauge",
           "Slots that wait in a ring; lane and stage are those that write it.", ("ring",)),
    Family("pm_ring_capacity_records", "gauge", "Slots that a ring holds.", ("ring",)),
    Family("pm_stream_lag_records", "gauge", "How far the stage is behind the end of the stream."),
    Family("pm_log_position_records", "gauge", "How far a reader that goes on after a restart is.",
           ("reader",)),
    Family("pm_stream_halt_level", "gauge", "The halt level that the stream was told last, 0 to 4."),
    Family("pm_books", "gauge",
           "Books by state: stale, crossed (bid at or above ask), open (batch not proven yet), proven.",
           ("state",)),
    Family("pm_book_stales_total", "counter", "Books that became stale, by cause.", ("cause",)),
    Family("pm_book_hash_checks_total", "counter", "Books compared with the hash that the venue announced."),
    Family("pm_book_proofs_total", "counter", "Books proven right."),
    Family("pm_book_proof_failures_total", "counter", "Comparisons that found a difference."),
    Family("pm_hash_rule_doubted", "gauge", "1 = too many hashes differ from the venue's: advisory."),
    Family("pm_book_samples_total", "counter",
           "REST books compared with the stream's; ahead ends as caught_up, refused or a stale book.",
           ("result",)),
    Family("pm_book_events_total", "counter", "What else the books count.", ("event",)),
    Family("pm_baskets", "gauge", "Baskets watched."),
    Family("pm_ideas_total", "counter", "Ideas of the strategies."),
    Family("pm_packages_total", "counter", "Packages of orders that passed the risk gate."),
    Family("pm_refusals_total", "counter", "Ideas and orders that were refused, by cause.", ("cause",)),
    # orders
    Family("pm_signatures_total", "counter", "Orders signed."),
    Family("pm_signatures_ahead_total", "counter", "Orders signed while the decision was still being made."),
    Family("pm_orders_sent_total", "counter", "Orders whose first byte left."),
    Family("pm_cancels_sent_total", "counter", "Cancels sent."),
    Family("pm_venue_troubles_total", "counter", "Answers of the venue that were neither yes nor no."),
    Family("pm_venue_mode", "gauge",
           "What the venue takes: 0 all, 1 post-only and cancels, 2 cancels, 3 nothing: restart, 4 nothing."),
    Family("pm_market_cancels_sent_total", "counter", "Cancels of a whole market: one order had no answer."),
    Family("pm_cancels_waiting", "gauge", "Cancels held back: the venue takes none, or the bucket is empty."),
    Family("pm_rate_warnings", "gauge", "Answers of the venue that warned of its rate limits."),
    Family("pm_orders", "gauge", "Orders by their newest state.", ("state",)),
    Family("pm_open_orders", "gauge", "Orders that trade counts as open: sent and not known to have ended."),
    Family("pm_doubtful_orders", "gauge", "Orders whose end or whose fills the venue has yet to tell."),
    Family("pm_reconciled", "gauge", "1 when the venue's own state was read since the last restart, else 0."),
    Family("pm_unsettled_trades", "gauge", "Trades that the chain may still refuse."),
    Family("pm_quarantined_fills", "gauge", "Fills of orders that nobody here knows yet."),
    Family("pm_dust_shares_total", "counter", "Shares that orders claimed and no trade told, written off."),
    Family("pm_differing_positions", "gauge", "Markets whose shares our fills do not explain (halt H1)."),
    Family("pm_position_checks_total", "counter", "Lists of positions and balances of shares read.",
           ("result",)),
    Family("pm_positions_elsewhere", "gauge", "Positions of the wallet in markets that are not carried."),
    Family("pm_external_orders", "gauge", "Open orders on the wallet that nobody here intended."),
    Family("pm_alarms_total", "counter", "What trade cannot explain or had to take back, by alarm.",
           ("alarm",)),
    Family("pm_trade_halt_level", "gauge", "The halt level that trade obeys now."),
    Family("pm_fills_total", "counter", "Fills."),
    Family("pm_fees_usd_total", "counter", "Fees paid, USD."),
    Family("pm_cash_usd", "gauge", "Cash result of fills and settlements, USD."),
    Family("pm_open_markets", "gauge", "Markets with a position."),
    Family("pm_observed_time_seconds", "gauge",
           "When orders, fills and money were summed up, since the epoch; old means observe stands still."),
    Family("pm_lane_turn_seconds", "histogram", "One turn of the lane's loop over its stages."),
    Family("pm_step_seconds", "histogram",
           "Time of one step from frame to order; of packages only, so that the steps add up.", ("step",)),
    Family("pm_tick_to_order_seconds", "histogram",
           "First byte of the frame read to last byte of the order written."),
    Family("pm_tick_to_order_by_legs_seconds", "histogram", "The same, by how many orders the package has.",
           ("legs",)),
    Family("pm_packages_unstamped_total", "counter", "Packages without a latency: a stamp was overwritten."),
    # the disk
    Family("pm_checkpoints_total", "counter", "Checkpoints written."),
    Family("pm_log_bytes", "gauge", "Size of both logs' segments together."),
    Family("pm_log_synced_records", "gauge", "Position below which a log is on the disk.", ("log",)),
    Family("pm_log_segments_total", "counter", "Segments of the logs archived or deleted.", ("what",)),
    Family("pm_disk_busy_seconds", "gauge", "Age of the disk work under way."),
    Family("pm_disk_full", "gauge", "Above 0 while the disk, or what the logs may use of it, is full."),
    Family("pm_disk_failed_segments", "gauge", "Segments that the disk refused to keep; above 0 halts."),
    Family("pm_summaries_refused_total", "counter", "Summaries for people that the disk had no room for."),
    Family("pm_archive_errors_total", "counter", "Errors of archiving and checkpoints."),
    # the brake
    Family("pm_halt_level", "gauge", "Halt level in force, 0 to 4; an unreadable page counts as 3."),
    Family("pm_halt_owner_level", "gauge", "Halt level that one owner asks for.", ("owner",)),
    Family("pm_other", "gauge", "Counters of a status page that no metric above names.", ("counter",)),
)
BY_NAME = {family.name: family for family in FAMILIES}

COUNTED: tuple[Counted, ...] = (
    Counted("wait_sleeps", "", "pm_lane_sleeps_total"),
    Counted("wait_timeouts", "", "pm_lane_sleep_timeouts_total"),
    Counted("wait_wakes", "", "pm_lane_wakes_total"),
    Counted("mlock_refused", "", "pm_lane_wish_refused", "mlock"),
    Counted("realtime_refused", "", "pm_lane_wish_refused", "realtime"),
    Counted("awake_refused", "", "pm_lane_wish_refused", "awake"),
    Counted("events_dropped", "", "pm_events_dropped_total"),
    Counted("frames", "feed", "pm_frames_total"),
    Counted("fallbacks", "feed", "pm_fallbacks_total"),
    Counted("frames_lost", "feed", "pm_drops_total", "lost"),
    Counted("frames_rejected", "feed", "pm_drops_total", "rejected"),
    Counted("frames_breaching", "feed", "pm_drops_total", "breaching"),
    Counted("frames_unknown_token", "feed", "pm_frames_skipped_total", "unknown_token"),
    Counted("frames_ignored", "feed", "pm_frames_skipped_total", "ignored"),
    Counted("frames_twin", "feed", "pm_frames_skipped_total", "twin"),
    Counted("gaps", "feed", "pm_gaps_total"),
    Counted("sockets_frozen", "feed", "pm_sockets_ended_total", "frozen"),
    Counted("sockets_silent", "feed", "pm_sockets_ended_total", "silent"),
    Counted("sockets_moved", "feed", "pm_sockets_ended_total", "age"),
    Counted("sockets_covered", "feed", "pm_sockets_ended_total", "covered"),
    Counted("canaries", "feed", "pm_canaries_total"),
    Counted("snapshots_withheld", "feed", "pm_snapshots_withheld_total"),
    Counted("disconnects", "feed", "pm_disconnects_total"),
    Counted("sockets_late", "feed", "pm_sockets_late_total"),
    Counted("pauses", "feed", "pm_pauses_total"),
    Counted("pongs", "feed", "pm_pongs_total"),
    Counted("resyncs", "feed", "pm_resyncs_total", "asked"),
    Counted("resyncs_refused", "feed", "pm_resyncs_total", "refused"),
    Counted("user_frames", "account", "pm_frames_total"),
    Counted("user_rejects", "account", "pm_drops_total", "rejected"),
    Counted("user_breaches", "account", "pm_drops_total", "breaching"),
    Counted("user_contradictions", "account", "pm_drops_total", "contradicting"),
    Counted("user_disconnects", "account", "pm_disconnects_total"),
    Counted("position_lists", "account", "pm_position_checks_total", "list"),
    Counted("position_lists_failed", "account", "pm_position_checks_total", "list failed"),
    Counted("share_balances", "account", "pm_position_checks_total", "balance"),
    Counted("share_balances_failed", "account", "pm_position_checks_total", "balance failed"),
    Counted("positions_elsewhere", "account", "pm_positions_elsewhere"),
    Counted("user_pongs", "account", "pm_pongs_total"),
    Counted("user_repeats", "account", "pm_repeats_total", "frame"),
    Counted("trade_repeats", "account", "pm_repeats_total", "trade"),
    Counted("reconciles", "account", "pm_reconciles_total", "whole"),
    Counted("reconciles_failed", "account", "pm_reconciles_total", "failed"),
    Counted("balance_refreshes", "account", "pm_balance_refreshes_total", "taken"),
    Counted("balance_refreshes_failed", "account", "pm_balance_refreshes_total", "failed"),
    Counted("venue_clock_offset_us", "account", "pm_venue_clock_offset_seconds", scale=1e-6),
    Counted("venue_health_errors", "account", "pm_venue_health_errors_total"),
    Counted("instruments", "refdata", "pm_instruments"),
    Counted("refdata_errors", "refdata", "pm_refdata_errors_total"),
    Counted("markets_refused", "refdata", "pm_markets_refused_total", "refused"),
    Counted("instruments_over_limit", "refdata", "pm_markets_refused_total", "over_limit"),
    Counted("markets_disputed", "refdata", "pm_markets_refused_total", "disputed"),
    Counted("markets_filtered", "refdata", "pm_markets_refused_total", "filtered"),
    Counted("samples_asked", "refdata", "pm_samples_total", "asked"),
    Counted("samples", "refdata", "pm_samples_total", "read"),
    Counted("samples_missing", "refdata", "pm_samples_total", "missing"),
    Counted("samples_unreadable", "refdata", "pm_samples_total", "unreadable"),
    Counted("samples_failed", "refdata", "pm_samples_total", "failed"),
    Counted("markets_waiting", "refdata", "pm_markets_waiting"),
    Counted("markets_announced", "refdata", "pm_markets_changed_total", "announced"),
    Counted("markets_retired", "refdata", "pm_markets_changed_total", "retired"),
    Counted("markets_settled", "refdata", "pm_markets_changed_total", "settled"),
    Counted("sequencer_position", "sequencer", "pm_records_total"),
    Counted("halt_level", "sequencer", "pm_stream_halt_level"),
    Counted("book_records", "book", "pm_records_total"),
    Counted("book_hash_checks", "book", "pm_book_hash_checks_total"),
    Counted("book_proofs", "book", "pm_book_proofs_total"),
    Counted("book_proof_failures", "book", "pm_book_proof_failures_total"),
    Counted("book_is_advisory", "book", "pm_hash_rule_doubted"),
    Counted("book_stages_lost", "book", "pm_drops_total", "snapshot"),
    Counted("book_samples_*", "book", "pm_book_samples_total"),
    Counted("book_stale_*", "book", "pm_book_stales_total"),
    Counted("book_*", "book", "pm_book_events_total"),
    Counted("detect_tops", "detect", "pm_records_total"),
    Counted("detect_baskets", "detect", "pm_baskets"),
    Counted("detect_refused_*", "detect", "pm_refusals_total"),
    Counted("ideas", "detect", "pm_ideas_total"),
    Counted("packages", "trade", "pm_packages_total"),
    Counted("open_orders", "trade", "pm_open_orders"),
    Counted("doubtful_orders", "trade", "pm_doubtful_orders"),
    Counted("is_reconciled", "trade", "pm_reconciled"),
    Counted("unsettled_trades", "trade", "pm_unsettled_trades"),
    Counted("quarantined_fills", "trade", "pm_quarantined_fills"),
    Counted("dust_micro_shares", "trade", "pm_dust_shares_total", scale=1e-6),
    Counted("differing_positions", "trade", "pm_differing_positions"),
    Counted("external_orders", "trade", "pm_external_orders"),
    Counted("alarm_*", "trade", "pm_alarms_total"),
    Counted("trade_halt_level", "trade", "pm_trade_halt_level"),
    Counted("reads.*", "", "pm_log_position_records"),
    Counted("signed", "signer", "pm_signatures_total"),
    Counted("signed_ahead", "signer", "pm_signatures_ahead_total"),
    Counted("sign_refused", "signer", "pm_refusals_total", "brake"),
    Counted("orders_sent", "gateway", "pm_orders_sent_total"),
    Counted("cancels_sent", "gateway", "pm_cancels_sent_total"),
    Counted("venue_troubles", "gateway", "pm_venue_troubles_total"),
    Counted("venue_mode", "gateway", "pm_venue_mode"),
    Counted("market_cancels_sent", "gateway", "pm_market_cancels_sent_total"),
    Counted("cancels_waiting", "gateway", "pm_cancels_waiting"),
    Counted("rate_warnings", "gateway", "pm_rate_warnings"),
    Counted("packages_unstamped", "gateway", "pm_packages_unstamped_total"),
    Counted("checkpoints", "archive", "pm_checkpoints_total"),
    Counted("log_bytes", "archive", "pm_log_bytes"),
    Counted("stream_fsync_position", "archive", "pm_log_synced_records", "stream"),
    Counted("decisions_fsync_position", "archive", "pm_log_synced_records", "decisions"),
    Counted("segments_archived", "archive", "pm_log_segments_total", "archived"),
    Counted("segments_deleted", "archive", "pm_log_segments_total", "deleted"),
    Counted("disk_busy_ms", "archive", "pm_disk_busy_seconds", scale=1e-3),
    Counted("disk_full", "archive", "pm_disk_full"),
    Counted("disk_failed", "archive", "pm_disk_failed_segments"),
    Counted("archive_errors", "archive", "pm_archive_errors_total"),
    Counted("summaries_refused", "observe", "pm_summaries_refused_total"),
)
#: Shown in another way (a lag, a sum of others, the same as another), so not a second time.
HIDDEN = (
    "book_position", "archive_position", "observe_position", "book_stales", "detect_ideas")
#: Kinds of stages that say how far they have read the stream, as `<kind>_position`.
READERS = ("book", "archive", "observe")
_EXACT = {one.counter: one for one in COUNTED if not one.counter.endswith("*")}
_BEGINNINGS = tuple(one for one in COUNTED if one.counter.endswith("*"))  # the longer beginning stands first


def zeros(kinds: Collection[str]) -> list[Counted]:
    """Return what a lane with these kinds of stages may count: its series stand at 0 before the first."""
    return [one for one in _EXACT.values() if one.stage in kinds or not one.stage]


def counted(name: str) -> tuple[Counted, str] | None:
    """Return what a counter feeds and the value of the family's own label; None = shown elsewhere.

    A name that nobody declared goes to `pm_other`, so that a new counter is seen at once.
    """
    if name in HIDDEN:
        return None
    if found := _EXACT.get(name):
        return found, found.label
    for one in _BEGINNINGS:
        if name.startswith(one.counter[:-1]):
            return one, name[len(one.counter) - 1:]
    return Counted(name, "", "pm_other"), name
