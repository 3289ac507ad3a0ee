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
    prefer_tags: Texts = setting(
        "", "When there are more markets than `instruments_max`: events with one of these tags first, in "
        "this order; then, as without it, by volume of a day.", (),
    )
    instruments_max: int = setting(
        "books", "Most books at once; the best are watched, the others counted.", 500, ge=1, le=65_536
    )
    replace_percent: int = setting(
        "%", "A market takes a watched one's place when it had this much of its volume of a day in three "
        "walks over the list in a row; 0 = watched ones stay until they end. What was traded always stays.",
        300, ge=0, le=100_000,
    )
    rows_max: int | None = setting(
        "markets", "Most markets of one run, those that ended included; unset = four times "
        "`instruments_max`, or what a log segment can begin with.", None, ge=1, le=262_144,
    )

    @model_validator(mode="after")
    def filters_agree(self) -> Self:
        """`include_all` beside a filter leaves open which of them was meant."""
        if self.include_all and (self.event_slugs or self.tags):
            raise ValueError("include_all = true takes no event_slugs and no tags; remove one of them")
        texts = (*self.event_slugs, *self.tags, *self.exclude_slugs, *self.prefer_tags)
        if bad := [text for text in texts if not text.strip() or len(text) > 200]:
            raise ValueError(
                "event_slugs, tags, exclude_slugs and prefer_tags are texts of 1 to 200 characters, "
                f"was {bad[0][:40]!r}")
        return self

    @model_validator(mode="after")
    def rows_suffice(self) -> Self:
        """Every book needs a row of its own."""
        if self.rows_max is not None and self.rows_max < self.instruments_max:
            raise ValueError(
                f"rows_max must be at least instruments_max ({self.instruments_max}), was {self.rows_max}")
        if self.replace_percent and self.replace_percent <= 100:
            raise ValueError(f"replace_percent must be 0 or above 100, was {self.replace_percent}")
        return self

    @property
    def is_empty(self) -> bool:
        """Tell that no market can match."""
        return not (self.include_all or self.event_slugs or self.tags)
