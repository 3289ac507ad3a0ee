"""Answers on the order path: whole in any pieces, and nothing that two readers could read in two ways."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from pipeline.net.http1 import BODY_BYTES_MAX, HEAD_BYTES_MAX, Answer, AnswerParser, BadAnswer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GOOD = [
    (OK + b"Content-Length: 2\r\nContent-Type: application/json\r\n\r\n{}", 200, b"{}"),
    (b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n", 429, b""),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
    (CHUNKED + b"3\r\nabc\r\nA ;x=y\r\n0123456789\r\n0\r\n\r\n", 200, b"abc0123456789"),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * 3_000 + OK + b"Content-Length: 1\r\n\r\nx", 200, b"x"),
    (OK + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 200, b"x"),
]
BAD = {
    "html": b"<html>\r\n\r\n", "no number": b"HTTP/1.1 OK\r\n\r\n",
    "number of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "endless number": b"HTTP/1.1 " + b"2" * 5_000 + b" OK\r\n\r\n",
    "no length": OK + b"\r\n", "endless length": OK + b"Content-Length: " + b"0" * 5_000 + b"\r\n\r\n",
    "signed length": OK + b"Content-Length: +1\r\n\r\nx", "too long": OK + b"Content-Length: 1048577\r\n\r\n",
    "two lengths": OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "chunk that steps back": CHUNKED + b"-6\r\nabc\r\n0\r\n\r\n",
    "chunk of a size as Python spells it": CHUNKED + b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n",
    "chunk without its end": CHUNKED + b"3\r\nabcde0\r\n\r\n", "chunk without a size": CHUNKED + b"\r\n\r\n",
    "endless size": CHUNKED + b"0" * 1_000, "endless head": OK + b"a" * HEAD_BYTES_MAX,
    "trailer": CHUNKED + b"0\r\nA: b\r\n\r\n",
    "too many chunks": CHUNKED + (b"1" + b" " * 200 + b"\r\nx\r\n") * 12_000,
    "chunks beyond the body": CHUNKED + (b"fffff\r\n" + b"x" * 0xFFFFF + b"\r\n") * 2,
}


@pytest.mark.parametrize(("data", "status", "body"), GOOD, ids=range(len(GOOD)))
def test_an_answer_is_whole_however_it_comes(data: bytes, status: int, body: bytes) -> None:
    """In one piece, byte by byte at its end, or cut anywhere: the same answer, at its last byte."""
    rng = random.Random(len(data))
    for cuts in ((), range(max(1, len(data) - 40), len(data)), sorted(rng.sample(range(1, len(data)), 5))):
        parser = AnswerParser()
        edges = [0, *cuts, len(data)]
        found = [parser.feed(data[start:end]) for start, end in pairwise(edges)]
        assert [None] * (len(found) - 1) == found[:-1]
        answer = found[-1]
        assert isinstance(answer, Answer)
        assert (status, body, True) == (answer.status, answer.body, answer.keep_alive)


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_answer_is_said_so_at_once(name: str) -> None:
    """No endless loop, no other error, no memory without measure: BadAnswer, so that the order is UNKNOWN."""
    with pytest.raises(BadAnswer, match=r"net\.http1"):
        AnswerParser().feed(BAD[name])


def test_answers_follow_each_other() -> None:
    """What stands behind an answer is the next one's; a closing connection says so."""
    parser = AnswerParser()
    last = OK + b"Connection: close\r\nContent-Length: 1\r\n\r\nb"
    first = parser.feed(OK + b"Content-Length: 1\r\n\r\na" + last)
    second = parser.feed(b"")
    assert first is not None
    assert second is not None
    assert (b"a", True, b"b", False) == (first.body, first.keep_alive, second.body, second.keep_alive)
    assert BODY_BYTES_MAX > HEAD_BYTES_MAX
