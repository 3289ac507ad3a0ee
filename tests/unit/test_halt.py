"""shm.halt: the highest wish wins, each owner clears its own, and an unreadable page is a pulled brake."""

from __future__ import annotations

import os
import random
import signal

import pytest

from pipeline.errors import EnvironmentProblem, IntegrityError, InvariantError, UsageError
from pipeline.kinds import Cause, HaltLevel
from pipeline.shm import halt
from pipeline.shm.halt import HaltPage

H0, H1, H2, H3, H4 = HaltLevel


@pytest.fixture
def place(tmp_path):
    """Give a state directory with a page."""
    halt.create(tmp_path)
    return tmp_path


def test_effective_level_is_the_highest_of_all_owners(place):
    """Whatever the owners want, the level is the maximum and clearing one leaves the others."""
    rng = random.Random(8)
    pages = {owner: HaltPage(place, owner) for owner in halt.OWNERS}
    reader, wanted = HaltPage(place), dict.fromkeys(halt.OWNERS, H0)
    for step in range(400):
        owner, level = rng.choice(halt.OWNERS), HaltLevel(rng.randrange(5))
        pages[owner].put(level, now_ns=step, reason=f"step {step}", durable=step % 20 == 0)
        wanted[owner] = level
        assert max(wanted.values()) == reader.level()
    above = {owner: level for owner, level in wanted.items() if level}
    assert above == {entry.owner: entry.level for entry in reader.entries()}
    assert sorted(wanted.values(), reverse=True)[0] == reader.entries()[0].level
    for owner in halt.OWNERS:
        pages[owner].put(H0, now_ns=9, reason="", durable=False)
    assert (H0, []) == (reader.level(), reader.entries())


def test_an_entry_carries_its_reason(place):
    """Owner, level, cause, time and reason (cut at 118 bytes) come back."""
    page = HaltPage(place, "gateway.3")
    page.put(H2, now_ns=55, cause=Cause.RATE_LIMIT, reason="slow " * 40)
    entry = HaltPage(place).entries()[0]
    assert ("gateway.3", H2, Cause.RATE_LIMIT, 55) == (entry.owner, entry.level, entry.cause, entry.since_ns)
    assert ("slow " * 40)[:118] == entry.reason


def test_it_survives_the_death_of_its_writer(place):
    """A level that was put stands after SIGKILL: it is in the file."""
    child = os.fork()
    if child == 0:
        HaltPage(place, "operator").put(H3, now_ns=1, reason="kill")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert (H3, "") == (halt.effective(place)[0], halt.effective(place)[2])


def test_missing_short_and_corrupt_pages_are_h3(tmp_path):
    """Each is H3 for tools and an error for lanes, in one line that says what to do."""
    path = tmp_path / halt.FILE_NAME
    halt.create(tmp_path)
    good = path.read_bytes()
    damages = {"missing": None, "short": good[:-1], "empty": b"", "long": good + b"x"}
    damages |= {f"bit {bit}": bytes(b ^ (1 << bit % 8 if i == bit // 8 else 0) for i, b in enumerate(good))
                for bit in range(24 * 8)}
    for what, data in damages.items():
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)
        level, entries, problem = halt.effective(tmp_path)
        assert (H3, []) == (level, entries), what
        assert "all readers take it as H3" in problem
        assert "\n" not in problem
        with pytest.raises(IntegrityError):
            HaltPage(tmp_path, "trade")
    path.write_bytes(good)
    assert (H0, [], "") == halt.effective(tmp_path)


def test_a_flipped_bit_in_a_level_word_is_h3_never_less(place):
    """Every single flipped bit of a level word reads as H3 for that owner, never as another level."""
    path = place / halt.FILE_NAME
    for level in (H0, H1, H2, H4):
        HaltPage(place, "web").put(level, now_ns=0, reason="")
        good = path.read_bytes()
        start = 128 + halt.owner_index("web") * 256
        for bit in range(64):
            bad = bytearray(good)
            bad[start + bit // 8] ^= 1 << bit % 8
            path.write_bytes(bad)
            assert H3 == HaltPage(place).level()
        path.write_bytes(good)


def test_a_page_is_never_replaced(place):
    """A second create keeps what is there; a page can begin halted."""
    HaltPage(place, "operator").put(H2, now_ns=1, reason="stay")
    with pytest.raises(EnvironmentProblem, match="it is kept"):
        halt.create(place)
    assert H2 == halt.effective(place)[0]
    assert [halt.FILE_NAME] == os.listdir(place)
    assert 0o600 == (place / halt.FILE_NAME).stat().st_mode & 0o777
    other = place / "new"
    other.mkdir()
    halt.create(other, H1, "first start")
    first = halt.effective(other)[1][0]
    assert ("supervisor", H1, "first start") == (first.owner, first.level, first.reason)
    with pytest.raises(EnvironmentProblem, match="check the state directory"):
        halt.create(place / "none")


def test_a_page_that_is_replaced_or_removed_under_us_is_noticed(place):
    """check raises when the file is no longer the mapped one."""
    page = HaltPage(place, "supervisor")
    page.check()
    path = place / halt.FILE_NAME
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(IntegrityError, match="removed, replaced or damaged"):
        page.check()
    (place / "other").write_bytes(data)
    (place / "other").rename(path)
    with pytest.raises(IntegrityError):
        page.check()


def test_only_the_owner_writes(place):
    """Readers cannot write, unknown owners do not exist, levels end at H4, a closed page reads H3."""
    reader, writer = HaltPage(place), HaltPage(place, "alert")
    with pytest.raises(UsageError, match="opened to read"):
        reader.put(H1, now_ns=0, reason="")
    with pytest.raises(UsageError, match="owner must be one of"):
        HaltPage(place, "gateway.16")
    with pytest.raises(InvariantError, match="was 5"):
        writer.words.put(5)
    writer.close()
    assert H3 == writer.level()


def test_operators_take_turns(place):
    """Eight processes put H1..H4 as operator at once: the entry is always one of theirs, whole."""
    children = []
    for number in range(8):
        child = os.fork()
        if child == 0:
            page, level = HaltPage(place, "operator"), HaltLevel(1 + number % 4)
            for _ in range(50):
                page.put(level, now_ns=number, reason=f"{number}" * 100)
            os._exit(0)
        children.append(child)
    for child in children:
        assert 0 == os.waitpid(child, 0)[1]
    entry = halt.effective(place)[1][0]
    assert (HaltLevel(1 + entry.since_ns % 4), f"{entry.since_ns}" * 100) == (entry.level, entry.reason)
