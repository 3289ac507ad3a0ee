"""signer.<id>: turns intents into signed orders. Holds the wallet key; has no network.

Reads `decisions` (Intent) and `stream` (Instrument rows); writes the `signed` ring. Signs order
structures only, checks deadline, halt level, amounts and its own ceilings again, and lets a refusal
travel in the signed ring, so that order numbers stay in order.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from pipeline.native.flow import Sink
from pipeline.native.relay import Filter
from pipeline.native.stamps import Stamps
from pipeline.records import CODECS, SLOT_BYTES, Cause, Kind, Rule, kind_of
from pipeline.shm.halt import HaltPage
from pipeline.stages.brake import Brake
from pipeline.stages.stage import Clock, Counts
from pipeline.venues.polymarket.amounts import order_amounts
from pipeline.venues.polymarket.identity import Refusal
from pipeline.venues.polymarket.sign import OrderSigner

_INTENT = CODECS[Kind.INTENT]
_SIGNED = CODECS[Kind.SIGNED]
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_TICK_STEP = CODECS[Kind.TICK_STEP]
INTENTS_PER_POLL = 16


class SignerStage:
    def __init__(
        self, name: str, signer: OrderSigner, brake: Brake, intents: Filter, rows: Filter, sink: Sink,
        halt_page: HaltPage, clock: Clock, counts: Counts, stamps: Stamps,
    ) -> None:
        self.name = name
        self._signer = signer
        self._brake = brake
        self._intents = intents
        self._rows = rows
        self._sink = sink
        self._halt_page = halt_page
        self._clock = clock
        self._counts = counts
        self._stamps = stamps
        self._markets: dict[int, Any] = {}
        self._steps: dict[int, int] = {}  # row -> spacing that the stream told since: it wins over a page
        self._waiting: deque[bytes] = deque()

    def poll(self, budget: int) -> int:
        """Sign what waits while the signed ring has room."""
        data = self._rows.read(budget)
        for at in range(0, len(data), SLOT_BYTES):
            if kind_of(data, at) == Kind.TICK_STEP:
                change = _TICK_STEP.unpack(data, at)
                self._steps[change.instrument] = change.new_step
                continue
            record = _INSTRUMENT.unpack(data, at)
            self._markets[record.instrument] = record
        intents = self._intents.read(INTENTS_PER_POLL) if not self._waiting else b""
        self._waiting.extend(intents[at : at + SLOT_BYTES] for at in range(0, len(intents), SLOT_BYTES))
        done = len(data) // SLOT_BYTES
        while self._waiting and self._sink.has_room(1):
            self._sign(self._waiting.popleft())
            done += 1
        return done

    def _sign(self, slot: bytes) -> None:
        intent = _INTENT.unpack(slot)
        market = self._markets.get(intent.instrument)
        cause = self._refusal(intent, market)
        fields = {
            "recv_ns": intent.recv_ns, "source": intent.source, "source_seq": intent.cause_seq,  # this ring is not sequenced: the field carries the cause
            
            "instrument": intent.instrument, "order_no": intent.order_no, "group_no": intent.group_no,
            "deadline_ns": intent.deadline_ns, "timestamp_ms": intent.timestamp_ms, "salt": intent.salt,
            "maker_amount": intent.maker_amount, "taker_amount": intent.taker_amount,
            "expiration_s": intent.expiration_s, "outcome": intent.outcome, "side": intent.side,
            "order_type": intent.order_type, "intent_class": intent.intent_class, "post_only": intent.post_only,
            "account": intent.account, "batch_index": intent.batch_index, "batch_count": intent.batch_count,
            "cause": int(cause),
        }
        if cause == Cause.NONE:
            token = market.token_no if intent.outcome else market.token_yes
            signed = self._signer.sign(
                salt=intent.salt, token=token, maker_amount=intent.maker_amount, taker_amount=intent.taker_amount,
                side=intent.side, timestamp_ms=intent.timestamp_ms,
                neg_risk=bool(market.rules & Rule.NEG_RISK), v2=bool(market.rules & Rule.V2),
            )
            fields |= {
                "order_hash": signed.order_hash, "struct_hash": signed.struct_hash, "signature": signed.signature,
            }
            self._counts.add("signed", 1)
        else:
            self._counts.add("sign_refused", 1)
        self._sink.push(_SIGNED.pack(**fields))
        self._brake.commit(intent.order_no)
        if intent.batch_index + 1 >= intent.batch_count:
            self._stamps.mark(intent.group_no, intent.group_no + 1, self._clock())

    def _refusal(self, intent: Any, market: Any) -> Cause:
        if market is None:
            return Cause.NO_INSTRUMENT
        step = self._steps.get(intent.instrument, market.tick_step)
        amounts = order_amounts(intent.order_type, intent.side, intent.price_ticks, intent.size_micro, step)
        if amounts != (intent.maker_amount, intent.taker_amount):
            return amounts.cause if isinstance(amounts, Refusal) else Cause.BELOW_MINIMUM
        return self._brake.refuse(
            self._clock(), intent.deadline_ns, intent.intent_class, intent.worst_usd_micro, self._halt_page.level())

    def close(self) -> None:
        """Persist the ceilings."""
        self._brake.close()
