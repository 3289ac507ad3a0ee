"""Metadata that no record can hold, and text that no parser should be given."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pipeline.venues.polymarket.universe import parse_events, parse_markets
from tests.unit.test_universe import event, market, refused


@pytest.mark.parametrize(("change", "field"), [
    ({"orderMinSize": 10**13}, "orderMinSize"),
    ({"endDate": "9999-12-31T00:00:00Z"}, "endDate"),
    ({"endDate": "0001-01-01T00:00:00Z"}, "endDate"),
    ({"clobTokenIds": "[" * 2_000}, "clobTokenIds"),
    ({"secondsDelay": 10**40}, "secondsDelay"),
])
def test_what_no_record_can_hold_is_refused(change: dict[str, Any], field: str) -> None:
    """A value beyond the record is a refusal by field, not an error that ends the lane."""
    assert field == refused(market(**change)).field


def test_a_page_of_nothing_but_depth_is_refused() -> None:
    """Metadata nested without end is one refusal, however deep a library lets the parser go (py_ecc)."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)
    try:
        for parse in (parse_markets, parse_events):
            for body in (b"[" * 100_000, b'{"id":' * 50_000):
                page = parse(body)
                assert ((), 1) == (page.markets, len(page.refused))
    finally:
        sys.setrecursionlimit(limit)


def test_an_event_of_endless_markets_is_refused() -> None:
    """More markets than an event has are one refusal; their count must fit a record."""
    page = parse_events(json.dumps(event(1) | {"markets": [{}] * 5_000}).encode())
    assert ((), "markets") == (page.markets, page.refused[0].field)
