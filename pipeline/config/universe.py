"""`[universe]`: which markets are watched."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.config.section import Section, Texts, Usd, setting


class Universe(Section):
    """Filters over the venue's list of events."""

    event_slugs: Texts = setting("", "Events to watch, by the venue's slug.", ())
    tags: Texts = setting("", "Watch every event that carries one of these tags.", ())
    include_all: bool = setting("", "Watch every open event, up to `instruments_max`.", False)
    exclude_slugs: Texts = setting("", "Events and markets never to watch, by the venue's slug.", ())
    volume_24h_usd_micro_min: Usd = setting(
        "USD", "Least volume of a day of a market that is newly watched; an untold volume is none.", 0,
        key="volume_24h_usd_min",
    )
    instruments_max: int = setting(
        "books", "Most books at once; more are reported, not watched.", 500, ge=1, le=65_536
    )

    @model_validator(mode="after")
    def filters_agree(self) -> Self:
        """`include_all` beside a filter leaves open which of them was meant."""
        if self.include_all and (self.event_slugs or self.tags):
            raise ValueError("include_all = true takes no event_slugs and no tags; remove one of them")
        texts = (*self.event_slugs, *self.tags, *self.exclude_slugs)
        if bad := [text for text in texts if not text.strip() or len(text) > 200]:
            raise ValueError(
                "event_slugs, tags and exclude_slugs are texts of 1 to 200 characters, "
                f"was {bad[0][:40]!r}")
        return self

    @property
    def is_empty(self) -> bool:
        """Tell that no market can match."""
        return not (self.include_all or self.event_slugs or self.tags)
