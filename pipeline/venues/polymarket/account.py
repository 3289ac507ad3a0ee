"""Questions that reconcile our orders, trades and money with the venue, and their answers.

Place in the stream: the account stage sends the paths made here and passes each answer back; rows go to
`user_decode`, which turns them into REPORT and FILL records, and `balance_record` makes the BALANCE. A
walk is sans-IO: path out, answer in, until it is done or refused. An answer that is not understood ends
the walk as not ok: a reconcile that saw half the orders must not look like one that saw all.
Source: venue sheet 13; docs API reference, read 2026-11-20.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

import orjson

from pipeline.codec import CODECS
from pipeline.kinds import Cause, Kind
from pipeline.native.framescan import survey
from pipeline.venues.polymarket import wire
from pipeline.venues.polymarket.decode_common import shown
from pipeline.venues.polymarket.identity import Refusal

_PAGES_MAX: Final = 1_000
_ROWS_MAX: Final = 50_000
_VALUES_MAX: Final = 4_000_000  # commas and containers of one page; its bytes are bounded by the driver
_CURSOR: Final = re.compile(r"[0-9A-Za-z+/=_-]{1,512}")
_MICRO_MAX: Final = 2**63 - 1
_UINT: Final = re.compile(r"[0-9]{1,78}")


def order_path(order_hash: bytes) -> str:
    """Return the path that asks for one order, open or terminal, by its hash."""
    return f"{wire.PATH_ONE_ORDER}0x{order_hash.hex()}"


def balance_path(signature_type: int, asset_type: str = "COLLATERAL", token: str = "") -> str:
    """Return the path of a balance; asset_type: COLLATERAL, CONDITIONAL or CONDITIONAL-V2 with a token id."""
    token_part = f"&token_id={quote(token, safe='')}" if token else ""
    return f"{wire.PATH_BALANCE}?asset_type={asset_type}{token_part}&signature_type={signature_type}"


def balance_update_path(signature_type: int, asset_type: str = "COLLATERAL", token: str = "") -> str:
    """Return the path that makes the venue refresh its cache of a balance (50 calls per 10 s)."""
    asked = balance_path(signature_type, asset_type, token).partition("?")[2]
    return f"{wire.PATH_BALANCE_UPDATE}?{asked}"


def shares_asset(is_v2: bool) -> str:
    """Return the asset type of a market's outcome tokens."""
    return "CONDITIONAL-V2" if is_v2 else "CONDITIONAL"


class Walk:
    """Reads a cursor listing page by page: ask `path`, hand the answer to `on_answer`, until None is asked.

    `take` gives the rows that were read since it was last called, so that a long listing never stands in
    memory as a whole; `row_count` counts all. `refusal` says why it ended early. Only a walk without a
    refusal and with `path` None saw everything.
    """

    def __init__(self, base: str, query: str = "") -> None:
        self._base, self._query = base, query
        self._seen: set[str] = set()
        self._pages = 0
        self._rows: list[dict[str, Any]] = []
        self.row_count = 0
        self.refusal: Refusal | None = None
        self.path: str | None = self._page("")

    @property
    def is_complete(self) -> bool:
        """True when every page was read."""
        return self.path is None and self.refusal is None

    def take(self) -> list[dict[str, Any]]:
        """Return the rows read since the last call."""
        rows, self._rows = self._rows, []
        return rows

    def _page(self, cursor: str) -> str:
        next_cursor = f"next_cursor={quote(cursor, safe='')}" if cursor else ""
        query = "&".join(part for part in (self._query, next_cursor) if part)
        return f"{self._base}?{query}" if query else self._base

    def _stop(self, cause: Cause, text: str) -> None:
        self.path, self.refusal = None, Refusal(cause, f"{self._base}: {text}")

    def on_answer(self, http_status: int, body: bytes) -> None:
        """Take one page; sets `path` to the next question, or None at the end."""
        self._pages += 1
        page = _object(http_status, body)
        if isinstance(page, Refusal):
            self._stop(page.cause, page.text)
            return
        rows, cursor = page.get("data"), page.get("next_cursor")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            self._stop(Cause.BAD_ANSWER, "data expected as an array of objects")
            return
        if "next_cursor" not in page:
            self._stop(Cause.BAD_ANSWER, "next_cursor expected: without it nobody knows whether this is all")
            return
        self._rows.extend(rows)
        self.row_count += len(rows)
        if cursor is None or cursor == wire.CURSOR_END:
            self.path = None
        elif not isinstance(cursor, str) or not _CURSOR.fullmatch(cursor) or cursor in self._seen:
            self._stop(Cause.BAD_ANSWER, f"cursor {shown(cursor)} is empty, odd or was seen before")
        elif self._pages >= _PAGES_MAX or self.row_count > _ROWS_MAX:
            self._stop(Cause.BAD_ANSWER, f"more than {_PAGES_MAX} pages or {_ROWS_MAX} rows")
        else:
            self._seen.add(cursor)
            self.path = self._page(cursor)


def open_orders_walk(condition: str = "") -> Walk:
    """Return the walk over our open orders, of one condition (0x + 64 hex) or of all."""
    return Walk(wire.PATH_OPEN_ORDERS, f"market={quote(condition, safe='')}" if condition else "")


def trades_walk(after_s: int = 0, trade_id: str = "") -> Walk:
    """Return the walk over our trades since a unix second, or of one trade id."""
    parts = [f"id={quote(trade_id, safe='')}" if trade_id else "", f"after={after_s}" if after_s else ""]
    return Walk(wire.PATH_TRADES, "&".join(part for part in parts if part))


def _object(http_status: int, body: bytes) -> dict[str, Any] | Refusal:
    if not 200 <= http_status < 300:
        cause = Cause.RATE_LIMIT if http_status == 429 else Cause.VENUE_ERROR
        return Refusal(cause, f"http {http_status}")
    wrong = survey(body, _VALUES_MAX)
    if wrong:  # a key that stands twice, too: two readers must not see two orders or trades
        return Refusal(Cause.BAD_ANSWER, f"the answer {wrong}")
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        return Refusal(Cause.BAD_ANSWER, "the answer is not JSON")
    if not isinstance(parsed, dict):
        return Refusal(Cause.BAD_ANSWER, "the answer is not an object")
    return parsed


def parse_order(http_status: int, body: bytes) -> dict[str, Any] | Refusal | None:
    """Return the row of `GET /data/order/{hash}`; None when the venue itself says it knows no such order.

    Absence is evidence, so it takes the venue's own JSON: a 404 page of an edge server proves nothing.
    """
    if http_status == 404:
        answer = _object(200, body)
        return answer if isinstance(answer, Refusal) else None
    if 200 <= http_status < 300 and body.strip() == b"null":
        return None
    return _object(http_status, body)


def _units(value: object) -> int | None:
    """Return an amount of base units from an integer or its text; None when it is neither."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return int(value) if isinstance(value, str) and _UINT.fullmatch(value) else None


def token_balance(http_status: int, body: bytes) -> int | Refusal:
    """Return the 1e-6 shares that `GET /balance-allowance` tells of a token, or why it cannot be used."""
    parsed = _object(http_status, body)
    if isinstance(parsed, Refusal):
        return parsed
    balance = _units(parsed.get("balance"))
    if balance is None or balance > _MICRO_MAX:
        return Refusal(Cause.BAD_ANSWER, "a balance in base units expected")
    return balance


def balance_record(http_status: int, body: bytes, account: int, spenders: tuple[str, ...] = (), *,
                   venue_ns: int = 0, recv_ns: int = 0) -> bytes | Refusal:
    """Return the BALANCE slot of `GET /balance-allowance`, or why the answer cannot be used.

    spenders: contracts whose allowance counts; the smallest one is written, a missing one is 0. Empty:
    the smallest of all that the venue names. Amounts above the record's range are cut to it.
    """
    parsed = _object(http_status, body)
    if isinstance(parsed, Refusal):
        return parsed
    balance, named = _units(parsed.get("balance")), parsed.get("allowances")
    if balance is None or not isinstance(named, dict) or not (named or spenders):
        return Refusal(Cause.BAD_ANSWER, "balance and a map of allowances expected")
    allowances = {spender.lower(): _units(value) for spender, value in named.items()}
    if None in allowances.values():
        return Refusal(Cause.BAD_ANSWER, "an allowance is no integer")
    counted = [allowances.get(spender.lower()) or 0 for spender in spenders] if spenders else [
        value or 0 for value in allowances.values()]
    return CODECS[Kind.BALANCE].pack(
        recv_ns=recv_ns, venue_ns=venue_ns, account=account,
        collateral_usd_micro=min(balance, _MICRO_MAX), allowance_usd_micro=min(*counted, _MICRO_MAX))
