"""A small finished run, made by hand: two logs and the exchange's report that agree to the micro-dollar.

Money is worked out here in fractions from the venue sheet alone. Tests change one thing in `stream`,
`decisions` or `report` before `write`, and look what the judge finds.
"""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind, OrderState, OrderType, Origin, Rule, TradeStatus
from pipeline.native.counters import bucket_top
from pipeline.native.log import LogWriter
from pipeline.run.judge import Judgement, RunFacts, judge
from pipeline.shm.status import Latency

T0 = 1_790_000_000 * 10**9
MS = 10**6
RATE_PPM = 50_000
RULES = Rule.TRADABLE | Rule.NEG_RISK | Rule.EXCLUSIVE | Rule.EXHAUSTIVE | Rule.MIRRORED
SHARES = 20 * 10**6
ASK, REST_ASK, REST_BID = 3_000, 4_500, 2_000  # planted and quiet prices, ticks
KILLED = "no orders found to match with FAK order"
EVENTS, OUTCOMES = 2, 3


def condition(row: int) -> bytes:
    return row.to_bytes(4, "big") * 8


def token(row: int, outcome: int) -> int:
    return int.from_bytes(condition(row), "big") ^ (outcome + 1)


def cost(price_ticks: int, size_micro: int) -> int:
    return math.ceil(Fraction(price_ticks, 10_000) * size_micro)


def fee(price_ticks: int, size_micro: int, rate_ppm: int = RATE_PPM) -> int:
    price = Fraction(price_ticks, 10_000)
    return math.floor(Fraction(rate_ppm, 10**6) * price * (1 - price) * size_micro / 10) * 10


@dataclass
class JudgedRun:
    """Rows 1..6: two events of three outcomes. Each `plant` runs in event 1 unless told otherwise."""

    stream: list[tuple[Kind, dict[str, Any]]] = field(default_factory=list)
    decisions: list[list[tuple[Kind, dict[str, Any]]]] = field(default_factory=list)  # runs
    report: dict[str, Any] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    cash: int = 0
    fees: int = 0
    held: dict[int, int] = field(default_factory=dict)  # row -> YES shares
    order_no: int = 0
    group_no: int = 0

    def __post_init__(self) -> None:
        self.counters = {"frames": 990, "frames_unknown_token": 4, "frames_ignored": 3, "frames_rejected": 1,
                         "pongs": 2, "fallbacks": 1, "frames_lost": 0, "ideas": 3}
        self.report = {
            "version": 1, "now_ns": T0 + 60_000 * MS, "is_final": True, "accounts": [], "markets": [],
            "orders": [],
            "arrivals": [], "trades": [], "plants": [], "history": {},
            "sockets": [{"socket": 1, "channel": "market", "queued": 1000, "accepted": 1000},
                        {"socket": 2, "channel": "user", "queued": 9, "accepted": 9}]}
        for row in range(1, EVENTS * OUTCOMES + 1):
            event, index = (row - 1) // OUTCOMES + 1, (row - 1) % OUTCOMES
            self.stream.append((Kind.INSTRUMENT, {
                "instrument": row, "condition": condition(row),
                "token_yes": token(row, 0).to_bytes(32, "big"),
                "token_no": token(row, 1).to_bytes(32, "big"), "rules": RULES, "event": event,
                "outcome_index": index, "outcome_count": OUTCOMES, "tick_step": 10, "tick_step_finest": 10,
                "fee_rate_ppm": RATE_PPM, "fee_exponent": 1, "size_micro_min": 5 * 10**6,
                "usd_micro_min": 10**6, "label": f"row {row}".encode()}))
            self.report["markets"].append({
                "condition": "0x" + condition(row).hex(), "tokens": [str(token(row, 0)), str(token(row, 1))],
                "slug": f"row-{row}", "event_id": f"e{event}", "outcome_index": index,
                "outcome_count": OUTCOMES, "planted": True, "tick_step": 10,
                "fee_rate_ppm": RATE_PPM, "payout_micro": None})
            self.commit(row, T0, [[True, REST_BID, 10**9], [False, REST_ASK, 10**9]])

    # -- the exchange -------------------------------------------------------------------------------

    def commit(self, row: int, now_ns: int, changes: list[list[Any]]) -> None:
        history = self.report["history"]
        number = 1 + sum(map(len, history.values()))
        history.setdefault("0x" + condition(row).hex(), []).append([now_ns, changes, number])

    def plant(
        self, at_ms: int, *, event: int = 1, life_ms: int = 1_000, taken: bool = True, withdraw_ms: int = 0,
        show: bool = True,
    ) -> dict[str, Any]:
        """Plant asks of 0.30 on every outcome; with `taken` a package buys them 3 ms later.

        withdraw_ms: the asks are gone this long after the start. show=False: they never were there.
        """
        start = T0 + at_ms * MS + 123_456
        rows = range((event - 1) * OUTCOMES + 1, event * OUTCOMES + 1)
        end = start + (withdraw_ms or (3 if taken else life_ms)) * MS
        row = {
            "id": len(self.report["plants"]) + 1, "event_id": f"e{event}", "kind": "buy_all_yes",
            "t_start_ns": start, "t_end_ns": end,
            "end": "taken" if taken and not withdraw_ms else "withdrawn",
            "life_ns": life_ms * MS, "tick_step": 10, "edge_usd_micro": 1_000_000, "clears_fees_by_ticks": 60,
            "legs": [{"condition": "0x" + condition(r).hex(), "outcome_index": i, "is_bid": False,
                      "levels": [[ASK, SHARES]], "consumed_micro": SHARES if taken else 0}
                     for i, r in enumerate(rows)]}
        self.report["plants"].append(row)
        for one in rows if show else ():
            self.commit(one, start, [[False, ASK, SHARES]])
        if not taken or withdraw_ms:
            for one in rows if show else ():
                self.commit(one, end, [[False, ASK, 0]])
        if taken:
            self.package(start, list(rows), is_there=show and not withdraw_ms)
        return row

    def package(self, cause_ns: int, rows: list[int], *, is_there: bool) -> None:
        """Buy 20 shares of each row at 0.30: filled when they are there, else killed."""
        self.group_no += 1
        arrival = cause_ns + 3 * MS
        slots: list[tuple[Kind, dict[str, Any]]] = [(Kind.PACKAGE, {
            "now_ns": cause_ns + MS, "group_no": self.group_no, "idea_no": self.group_no, "basket": 9,
            "event": (rows[0] - 1) // OUTCOMES + 1, "payout_usd_micro": SHARES, "size_micro": SHARES,
            "cost_usd_micro": 3 * cost(ASK, SHARES), "fee_usd_micro": 3 * fee(ASK, SHARES),
            "cause_venue_ns": cause_ns // MS * MS, "leg_count": len(rows), "order_count": len(rows)})]
        for leg, row in enumerate(rows):
            self.order_no += 1
            slots.append((Kind.INTENT, {
                "now_ns": cause_ns + MS, "instrument": row, "order_no": self.order_no,
                "group_no": self.group_no,
                "maker_amount": cost(ASK, SHARES), "taker_amount": SHARES, "size_micro": SHARES,
                "price_ticks": ASK, "leg_no": leg, "leg_count": len(rows), "batch_index": leg,
                "batch_count": len(rows), "outcome": 0, "side": 0, "order_type": int(OrderType.FAK)}))
            self._execute(row, arrival, is_there)
        self.decisions.append([(Kind.BEAT, {"now_ns": cause_ns})])
        self.decisions.append(slots)

    def _execute(self, row: int, arrival: int, is_there: bool) -> None:
        """What becomes of the newest order, on both sides."""
        order_hash = self.order_no.to_bytes(32, "big")
        usd, charged = (cost(ASK, SHARES), fee(ASK, SHARES)) if is_there else (0, 0)
        trade = uuid.UUID(int=self.order_no << 64 | 0x4000)
        shared = {"condition": "0x" + condition(row).hex(), "outcome": 0, "is_buy": True, "order_type": "FAK",
                  "price_ticks": ASK, "maker_micro": cost(ASK, SHARES), "taker_micro": SHARES,
                  "account": "demo",
                  "order_id": "0x" + order_hash.hex()}
        self.report["arrivals"].append({
            **shared, "now_ns": arrival, "batch": self.group_no, "error": "" if is_there else KILLED,
            "filled": [[ASK, SHARES]] if is_there else []})
        self.report["orders"].append({
            **shared, "created_ns": arrival, "status": "MATCHED" if is_there else "CANCELED",
            "status_text": "MATCHED" if is_there else f"CANCELED_{KILLED}",
            "matched_micro": SHARES if is_there else 0, "usd_micro": usd, "fee_micro": charged,
            "trade_ids": [str(trade)] if is_there else []})
        state = OrderState.MATCHED if is_there else OrderState.CANCELED
        known = {"instrument": row, "order_no": self.order_no, "group_no": self.group_no,
                 "order_hash": order_hash}
        self.stream += [
            (Kind.REPORT, {**known, "now_ns": arrival - MS, "state": int(OrderState.SENT),
                           "origin": int(Origin.GATEWAY), "matched_micro": -1}),
            (Kind.REPORT, {**known, "now_ns": arrival + MS, "state": int(state), "origin": int(Origin.HTTP),
                           "http_status": 200, "matched_micro": SHARES if is_there else 0,
                           "cause": 0 if is_there else int(Cause.NO_MATCH)}),
            (Kind.REPORT, {**known, "order_no": 0, "now_ns": arrival + MS, "state": int(state),
                           "origin": int(Origin.USER_CHANNEL), "matched_micro": SHARES if is_there else 0})]
        if not is_there:
            return
        self.commit(row, arrival, [[False, ASK, 0]])
        self.report["trades"].append({
            "trade_id": str(trade), "condition": shared["condition"], "now_ns": arrival, "price_ticks": ASK,
            "updated_ns": arrival + 2_000 * MS, "size_micro": SHARES, "outcome": 0, "is_buy": True,
            "taker_order_id": shared["order_id"],
            "maker_order_id": None, "fee_micro": charged, "status": "CONFIRMED"})
        for status in (TradeStatus.MATCHED, TradeStatus.MINED, TradeStatus.CONFIRMED):
            self.stream.append((Kind.FILL, {
                "instrument": row, "now_ns": arrival + (1 + status) * MS, "order_hash": order_hash,
                "trade_id": trade.bytes, "venue_ns": arrival, "size_micro": SHARES, "usd_micro": usd,
                "fee_usd_micro": charged, "price_ticks": ASK, "outcome": 0, "side": 0,
                "status": int(status)}))
        self.cash -= usd + charged
        self.fees += charged
        self.held[row] = self.held.get(row, 0) + SHARES

    def fail_trade(self, order_no: int) -> None:
        """Let the chain refuse an order's only trade: MATCHED, then FAILED; both sides take it back."""
        order_hash = order_no.to_bytes(32, "big")
        order = next(row for row in self.report["orders"] if row["order_id"] == "0x" + order_hash.hex())
        trade = next(row for row in self.report["trades"] if row["taker_order_id"] == order["order_id"])
        self.drop(Kind.FILL, order_hash=order_hash, status=int(TradeStatus.CONFIRMED))
        self.find(Kind.FILL, order_hash=order_hash, status=int(TradeStatus.MINED))["status"] = int(
            TradeStatus.FAILED)
        self.cash += order["usd_micro"] + order["fee_micro"]
        self.fees -= order["fee_micro"]
        self.held[self.find(Kind.INTENT, order_no=order_no)["instrument"]] -= order["matched_micro"]
        trade["status"] = "FAILED"
        order.update(void_micro=order["matched_micro"], matched_micro=0, usd_micro=0, fee_micro=0)

    def end(self) -> JudgedRun:
        """Resolve both events (first outcome wins) and write the account's row."""
        for row, market in enumerate(self.report["markets"], 1):
            pays = market["outcome_index"] == 0
            market["payout_micro"] = [10**6, 0] if pays else [0, 10**6]
            self.cash += self.held.get(row, 0) if pays else 0
            self.stream.append((Kind.RESOLVED, {
                "instrument": row, "now_ns": T0 + 59_000 * MS, "payout_micro_yes": 10**6 if pays else 0,
                "payout_micro_no": 0 if pays else 10**6}))
        self.report["accounts"] = [{
            "name": "demo", "pnl_usd_micro": self.cash, "fees_usd_micro": self.fees, "positions": {},
            "cash_usd_micro": 10**12 + self.cash, "deposits_usd_micro": 10**12}]
        return self

    # -- our side -----------------------------------------------------------------------------------

    def find(self, kind: Kind, **wanted: Any) -> dict[str, Any]:
        """Return the fields of the first record of a kind with these values, in either log."""
        runs = [*self.decisions, self.stream]
        return next(
            fields for run in runs for found, fields in run
            if found == kind and all(fields.get(name) == value for name, value in wanted.items()))

    def drop(self, kind: Kind, **wanted: Any) -> None:
        """Take that record out."""
        fields = self.find(kind, **wanted)
        for run in [*self.decisions, self.stream]:
            run[:] = [item for item in run if item[1] is not fields]

    def write(self, directory: Path) -> Path:
        """Write both logs; return the state directory."""
        for name, runs in (("stream", [[item] for item in self.stream]), ("decisions", self.decisions)):
            (directory / "logs" / name).mkdir(parents=True)
            log = LogWriter(directory / "logs" / name, name, 4_096)
            for run in runs:
                slots = [
                    CODECS[kind].pack(**{"now_ns": T0, **fields, "part": part, "parts": len(run)})
                    for part, (kind, fields) in enumerate(run)]
                assert not slots or log.push(b"".join(slots))
            log.close()
        return directory

    def facts(self, **changes: Any) -> RunFacts:
        """Return what a demo would have collected."""
        values: dict[str, Any] = {
            "counters": {"core": self.counters, "edge": {"orders_sent": self.order_no}},
            "latencies": {name: latency(us) for name, us in LATENCY_US.items()}, "seconds": 60.0,
            "topology": "2core", "feeds": [], "speed": "1", "steal_ticks": 12, "dry": False,
            "why_nothing": []}
        return RunFacts(**{**values, **changes})


LATENCY_US = {"decode": 10, "sequence": 5, "book": 8, "detect": 40, "trade": 60, "sign": 90, "submit": 30,
              "tick_to_order": 240, "tick_to_order_3": 240}


def latency(microseconds: int, count: int = 1_000) -> Latency:
    """Return a histogram of equal values."""
    nanoseconds = microseconds * 1_000
    place = next(index for index in range(4_096) if bucket_top(index) >= nanoseconds)
    buckets = [0] * (place + 1)
    buckets[place] = count
    return Latency(count, count * nanoseconds, nanoseconds, 0, tuple(buckets))


def good_run() -> JudgedRun:
    """Return three plants, all taken, in two events."""
    run = JudgedRun()
    run.plant(1_000)
    run.plant(2_000, event=2)
    run.plant(4_000)
    return run.end()


def verdict(run: JudgedRun, directory: Path, is_max_speed: bool = False, **facts: Any) -> Judgement:
    """Write the run and judge it."""
    return judge(run.write(directory), run.report, run.facts(**facts), is_max_speed=is_max_speed)


def lines_with(found: Judgement, *words: str) -> list[str]:
    """Return the problems that hold all of these words."""
    return [line for line in found.problems if all(word in line for word in words)]
