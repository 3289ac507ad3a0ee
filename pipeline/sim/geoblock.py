"""Where the venue says its client is: `GET /api/geoblock`, and the operator's word on the answer.

Source: venue sheet 2.1 and 15.3, read 2026-11-20. Orders are not refused by it here: it is a question only.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.sim.http import Response, json_response

PATH = "/api/geoblock"


@dataclass(slots=True)
class Geoblock:
    """The answer; a control request changes it while the exchange runs."""

    blocked: bool = False
    country: str = "IE"
    region: str = "L"

    def answer(self) -> Response:
        """Return the venue's shape; the address is one of the documentation's."""
        return json_response(
            {"blocked": self.blocked, "ip": "192.0.2.1", "country": self.country, "region": self.region}
        )
