"""`[supervision]`: when a lane counts as stalled, how often one is restarted, when lanes give up."""

from __future__ import annotations

from pipeline.config.section import Section, setting


class Supervision(Section):
    """How the run is looked after; no decision about an order depends on it."""

    lease_ms_max: int = setting(
        "ms", "Age of the supervisor's lease beyond which effect lanes take halt H3 as in force.", 1_000,
        ge=200, le=60_000)
    stall_ms_max: int = setting(
        "ms", "A lane on the order path without progress for this long halts new risk (H1).", 400,
        ge=300, le=60_000)  # a silent lane sleeps 200 ms, the guard looks every 50
    stall_kill_s: int = setting(
        "s", "A lane without progress for this long is killed and started again.", 10, ge=1, le=600)
    venue_check_s: int = setting(
        "s", "Time between two questions to the venue: its clock, closed-only mode, geographic verdict.", 60,
        ge=1, le=600)
    shares_check_s: int = setting(
        "s", "Time between two comparisons of our shares with the wallet's (H1 where they differ); 0 = none.",
        60, ge=0, le=600)
    health_clear_s: int = setting(
        "s", "Halt H1 of a stall clears itself after this long without one.", 30, ge=1, le=3_600)
    restarts_max: int = setting(
        "restarts", "Deaths of one lane within restart_window_s at which halt H3 latches.", 3,
        ge=1, le=1_000)
    restart_window_s: int = setting("s", "What restarts_max is counted over.", 60, ge=1, le=86_400)
    restart_pause_s: int = setting(
        "s", "Wait before each further restart once restarts_max was reached.", 10, ge=1, le=3_600)
