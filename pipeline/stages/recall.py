"""Which orders may have left before this gateway's start, by the hash under which the venue knows them.

Reads the intents that the decision log holds up to the highest number that the last gateway stored. An
order's hash follows from its intent alone: recovery can ask the venue about an order of which nobody here
heard again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from pipeline.codec import CODECS
from pipeline.kinds import Kind, Rule
from pipeline.native.orderhash import OrderHasher
from pipeline.native.relay import Filter
from pipeline.records import SLOT_BYTES
from pipeline.venues.polymarket.answers import Sent
from pipeline.venues.polymarket.identity import AccountIdentity, exchange_domains, exchange_of

READ_SLOTS = 1_024
ORDERS_MAX = 1_024  # newest first; older ones were answered, or asked about, long ago
_INSTRUMENT = CODECS[Kind.INSTRUMENT]
_INTENT = CODECS[Kind.INTENT]


class Recall:
    """Hashes of the newest intents up to `order_no_max`; their rows come by `on_instrument`."""

    def __init__(
        self, account: AccountIdentity, account_no: int, hasher: OrderHasher, order_no_max: int,
    ) -> None:
        self._account = account
        self._account_no = account_no
        self._hasher = hasher
        self._order_no_max = order_no_max
        self._domains = exchange_domains(account.chain_id)
        self._rows: dict[int, tuple[tuple[bytes, bytes], bytes]] = {}  # row -> tokens, domain separator
        self._intents: deque[Any] = deque(maxlen=ORDERS_MAX)

    def read(self, intents: Filter) -> None:
        """Take the INTENT slots that stand in the log now, oldest first."""
        while data := intents.read(READ_SLOTS):
            for at in range(0, len(data), SLOT_BYTES):
                intent = _INTENT.unpack(data, at)
                if intent.order_no <= self._order_no_max and intent.account == self._account_no:
                    self._intents.append(intent)

    def on_instrument(self, slot: bytes, at: int = 0) -> None:
        """Learn tokens and exchange of a row."""
        row = _INSTRUMENT.unpack(slot, at)
        exchange = exchange_of(bool(row.rules & Rule.NEG_RISK), bool(row.rules & Rule.V2))
        self._rows[row.instrument] = ((row.token_yes, row.token_no), self._domains[exchange])

    def orders(self) -> list[Sent]:
        """Return what may have left, oldest first; an intent of an unknown row cannot have."""
        return [self._order(intent) for intent in self._intents if intent.instrument in self._rows]

    def _order(self, intent: Any) -> Sent:
        tokens, domain = self._rows[intent.instrument]
        account = self._account
        order_hash = self._hasher.hash_order(
            intent.salt, account.maker, account.signer, tokens[intent.outcome], intent.maker_amount,
            intent.taker_amount, intent.side, int(account.signature_type), intent.timestamp_ms,
            account.metadata, account.builder, domain)[1]
        return Sent(
            intent.order_no, intent.group_no, order_hash, intent.side, intent.instrument, intent.account)
