"""What an HTTP answer of the exchange is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.sim.errors_text import Refusal


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(status, {"content-type": "application/json", **(headers or {})}, orjson.dumps(value))


def refuse(refusal: Refusal, headers: dict[str, str] | None = None) -> Response:
    """Return the error body that both official clients read: {"error": text}."""
    body: dict[str, Any] = {"error": refusal.text}
    headers = dict(headers or {})
    if refusal.code:
        body["code"] = refusal.code
    if refusal.retry_after_s:
        body["retry_after_seconds"] = refusal.retry_after_s
        headers["retry-after"] = str(refusal.retry_after_s)
    return json_response(body, refusal.status, headers)
