"""CLOB requests: who may ask, how often, and which route answers.

Reads a request as the driver received it; writes a `Response`. Private routes need L2 headers over the
exact bytes; keys are made and derived with L1 headers. Source: venue sheet 9, 11 to 13, 16.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import orjson

from pipeline.sim import errors_text as texts
from pipeline.sim.accounts import Account, Bucket, Buckets, Credentials
from pipeline.sim.auth import Auth, BuilderKey
from pipeline.sim.errors_text import Refusal
from pipeline.sim.http import Response, json_response, refuse
from pipeline.sim.rest_account import AccountRoutes
from pipeline.sim.rest_markets import MarketRoutes
from pipeline.sim.rest_orders import OrderRoutes
from pipeline.sim.rest_public import PublicRoutes
from pipeline.units import NS_PER_MS

if TYPE_CHECKING:
    from pipeline.sim.exchange import Exchange

_BAD_JSON = object()
_L1_ROUTES = {("POST", "/auth/api-key"), ("GET", "/auth/derive-api-key")}
_METHODS = ("GET", "POST", "DELETE")


class Rest:
    """Dispatch of the CLOB service."""

    def __init__(self, exchange: Exchange, seed: int) -> None:
        self._exchange = exchange
        self.auth = Auth(exchange.settings, exchange.accounts.values(), seed, exchange.admit)
        self._public = PublicRoutes(exchange)
        self._markets = MarketRoutes(exchange)
        self._orders = OrderRoutes(exchange)
        self._account = AccountRoutes(exchange, self._orders, seed)
        self._buckets: dict[str, Buckets] = {}

    def on_request(
        self, now_ns: int, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> Response:
        path, _, query_text = target.partition("?")
        query = dict(parse_qsl(query_text, keep_blank_values=True))
        if method not in _METHODS:
            return refuse(Refusal("method not allowed", 405))
        if len(body) > self._exchange.settings.body_bytes_max:
            return refuse(texts.BODY_TOO_LARGE)
        if method == "GET":
            answer = self._public.get(now_ns, path, query) or self._markets.get(now_ns, path, query)
            if answer is not None:
                return answer
        value = _decode(body)
        if method == "POST":
            answer = self._public.post(path, value)
            if answer is not None:
                return answer
        if (method, path) in _L1_ROUTES:
            return self._keys(now_ns, method, headers)
        found = self.auth.check_l2(now_ns, method, path, headers, body)
        if isinstance(found, Refusal):
            return refuse(found)
        return self._private(now_ns, method, path, query, value, *found)

    def _keys(self, now_ns: int, method: str, headers: Mapping[str, str]) -> Response:
        proven = self.auth.check_l1(now_ns, headers)
        if isinstance(proven, Refusal):
            return refuse(proven)
        made = self.auth.create(*proven) if method == "POST" else self.auth.derive(*proven)
        if isinstance(made, Refusal):
            return refuse(made)
        return json_response({"apiKey": made.api_key, "secret": made.secret, "passphrase": made.passphrase})

    def _private(
        self,
        now_ns: int,
        method: str,
        path: str,
        query: dict[str, str],
        value: Any,
        account: Account,
        credentials: Credentials,
    ) -> Response:
        if (method, path) == ("GET", "/auth/api-keys"):
            return json_response({"apiKeys": self.auth.keys_of(account)})
        if (method, path) == ("DELETE", "/auth/api-key"):
            self.auth.delete(credentials.api_key)
            return json_response("OK")
        if (method, path) == ("POST", "/auth/builder-api-key"):
            made = self.auth.create_builder(now_ns, account)
            if isinstance(made, Refusal):
                return refuse(made)
            return json_response({"key": made.api_key, "secret": made.secret, "passphrase": made.passphrase})
        if (method, path) == ("GET", "/auth/builder-api-key"):
            return json_response([_builder_row(key) for key in self.auth.builders_of(account)])
        handler = self._orders.handler(method, path)
        if handler is None:
            answer = self._account.answer(now_ns, method, path, query, value, account, credentials.api_key)
            return answer or refuse(texts.NOT_FOUND)
        if value is _BAD_JSON:
            return refuse(texts.INVALID_PAYLOAD)
        refused, bucket = self._charge(now_ns, method, value, account)
        if refused is not None:
            return refused
        answer = handler(now_ns, value, account, credentials.api_key)
        if path in ("/cancel-all", "/cancel-market-orders"):
            bucket.take(now_ns, len(orjson.loads(answer.body).get("canceled", ())), may_owe=True)
        return Response(
            answer.status, {**answer.headers, **_limit_headers(bucket, account.tier)}, answer.body
        )

    def _charge(
        self, now_ns: int, method: str, value: Any, account: Account
    ) -> tuple[Response | None, Bucket]:
        """Take the request's tokens from the signer's bucket: all of a batch or none."""
        tier = self._exchange.settings.tiers[account.tier]
        buckets = self._buckets.setdefault(account.owner.lower(), Buckets.of(tier))
        bucket = buckets.orders if method == "POST" else buckets.cancels
        cost = len(value) if isinstance(value, list) else 1
        if bucket.take(now_ns, cost):
            return None, bucket
        wait = {"retry-after": str(bucket.wait_s(cost))}
        return refuse(texts.RATE_LIMITED, {**_limit_headers(bucket, account.tier), **wait}), bucket


def _builder_row(key: BuilderKey) -> dict[str, Any]:
    created_ms = key.created_ns // NS_PER_MS
    return {"key": key.credentials.api_key, "createdAt": created_ms, "revokedAt": None}


def _limit_headers(bucket: Bucket, tier: str) -> dict[str, str]:
    return {
        "poly-ratelimit-remaining": str(bucket.remaining()),
        "poly-ratelimit-reset": str(bucket.reset_s()),
        "poly-ratelimit-tier": tier,
    }


def _decode(body: bytes) -> Any:
    """Return the JSON value; None without a body (clients send a JSON content type even then)."""
    if not body:
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return _BAD_JSON
