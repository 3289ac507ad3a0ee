"""`[universe]`: which markets are watched."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from pipeline.config.section import Section, Texts, setting


class Universe(Section):
    """Filters over the venue's list of events."""

    event_slugs: Texts = setting("", "Events to watch, by the venue's slug.", ())
    tags: Texts = setting("", "Watch every event that carries one of these tags.", ())
    include_all: bool = setting("", "Watch every open event, up to `instruments_max`.", False)
    instruments_max: int = setting(
        "books", "Most books at once; more are reported, not watched.", 500, ge=1, le=65_536
    )

    @model_validator(mode="after")
    def filters_agree(self) -> Self:
        """`include_all` beside a filter leaves open which of them was meant."""
        if self.include_all and (self.event_slugs or self.tags):
            raise ValueError("include_all = true takes no event_slugs and no tags; remove one of them")
        if bad := [text for text in (*self.event_slugs, *self.tags) if not text.strip() or len(text) > 200]:
            raise ValueError(f"event_slugs and tags are texts of 1 to 200 characters, was {bad[0][:40]!r}")
        return self

    @property
    def is_empty(self) -> bool:
        """Tell that no market can match."""
        return not (self.include_all or self.event_slugs or self.tags)
