"""ui.readme: every metric is described, and the page is what the declarations say."""

from __future__ import annotations

from pipeline.ui.families import ALWAYS, BY_NAME, COUNTED, FAMILIES, counted
from pipeline.ui.readme import TARGET, render


def test_the_page_is_the_declarations() -> None:
    """Run `python -m pipeline.ui.readme` after a change of the metrics."""
    assert render() == TARGET.read_text()


def test_names_follow_the_conventions() -> None:
    """Counters end in _total and nothing else does; no name twice; meanings are sentences."""
    assert len(FAMILIES) == len(BY_NAME)
    for family in FAMILIES:
        assert family.name.startswith("pm_")
        assert family.name.endswith("_total") == (family.type == "counter")
        assert family.meaning.endswith(".")
        assert not set(ALWAYS) & set(family.labels)
        assert family.type != "histogram" or family.name.endswith("_seconds")


def test_every_counter_feeds_a_family_that_takes_its_label() -> None:
    """A family with a label of its own gets one from each counter, one without gets none."""
    for one in COUNTED:
        has_label = bool(one.label) or one.counter.endswith("*")
        assert has_label == (len(BY_NAME[one.family].labels) == 1), one
    assert len(COUNTED) == len({one.counter for one in COUNTED})


def test_the_longer_beginning_wins_and_a_stranger_is_seen() -> None:
    """book_stale_gap is a cause of staleness; a counter that nobody declared is not lost."""
    found = [counted(name) for name in ("book_stale_gap", "book_deltas", "of_next_year", "book_position")]
    named = [(one[0].family, one[1]) if one else None for one in found]
    assert [("pm_book_stales_total", "gap"), ("pm_book_events_total", "deltas"),
            ("pm_other", "of_next_year"), None] == named
