"""MD15: 256-bit ids through every place that keeps one: each comes back digit by digit, no two become one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import pytest

from pipeline.codec import CODECS
from pipeline.kinds import Kind, OrderType, Side
from pipeline.native.framescan import TokenTable
from pipeline.sim.orders import Payload, parse
from pipeline.stages.account import Markets
from pipeline.venues.polymarket.encode import OrderRenderer
from pipeline.venues.polymarket.fields import MarketRefusal
from pipeline.venues.polymarket.identity import is_v2_token, token_bytes
from pipeline.venues.polymarket.universe import MarketInfo, instrument_record, loads, parse_market
from tests.models.frame_model import RECV_NS, Rig
from tests.models.signer_rig import KEY, account_of
from tests.shared import fresh_seed
from tests.tools.faultrows import figure
from tests.unit.test_universe import market

IDS = figure("MD15", "ids")
TABLE = 5_000  # ids in one table
WHOLE_EVERY = 200  # ids; one of so many goes all the way from metadata to an order's body
EDGES = [1, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1, 2**64, 10**76, 10**77,
         2**255, 2**256 - 2]
RENDERER = OrderRenderer(account_of(KEY), "key")


def drawn(rng: random.Random, count: int) -> list[int]:
    """Return ids of every length, a third of them the neighbour of another: a float makes those one."""
    found = [rng.getrandbits(rng.choice((256, 256, 255, 250, 200, 128, 64, 53))) | 2 for _ in range(count)]
    for at in range(1, count, 3):
        found[at] = found[at - 1] ^ 1
    return found


def listed(yes: int, no: int) -> bytes:
    """Return the INSTRUMENT of metadata with these ids; by hand where they look like v2 position ids."""
    raw = [token.to_bytes(32, "big") for token in (yes, no)]
    if any(map(is_v2_token, raw)):
        return CODECS[Kind.INSTRUMENT].pack(
            instrument=7, condition=b"\xab" * 32, token_yes=raw[0], token_no=raw[1], tick_step=100)
    info = parse_market(loads(json.dumps(market(clobTokenIds=json.dumps([str(yes), str(no)])))))
    assert isinstance(info, MarketInfo), info
    return instrument_record(info, 7, 1, 0)


def all_the_way(yes: int, no: int) -> None:
    """Metadata to record, record to tables, frame to record, intent to body to what the exchange reads."""
    slot = listed(yes, no)
    record = CODECS[Kind.INSTRUMENT].unpack(slot)
    assert (yes, no) == tuple(int.from_bytes(token, "big") for token in (record.token_yes, record.token_no))
    known = Markets()
    known.add(record)
    assert {str(yes): (7, 0, "0x" + "ab" * 32), str(no): (7, 1, "0x" + "ab" * 32)} == known.tokens
    rig = Rig(known.tokens)
    for outcome, token in enumerate((yes, no)):
        frame = {"event_type": "last_trade_price", "market": "0x" + "ab" * 32, "asset_id": str(token),
                 "price": "0.5", "size": "1", "side": "BUY", "timestamp": "1790766966313"}
        _, said = rig.compare(json.dumps(frame).encode())
        assert [(7, outcome)] == [(one.instrument, one.outcome) for one in map(
            CODECS[Kind.TRADE_PRINT].unpack, said.records)]
        RENDERER.on_instrument(slot)
        body = RENDERER.render(CODECS[Kind.SIGNED].pack(
            instrument=7, outcome=outcome, maker_amount=1, taker_amount=1, timestamp_ms=RECV_NS // 10**6,
            side=int(Side.BUY), order_type=int(OrderType.GTC), signature=b"\1" * 65))
        assert isinstance(body, bytes)
        assert b'"tokenId":"%d"' % token in body
        payload = parse(json.loads(body))
        assert isinstance(payload, Payload)
        assert token == payload.fields["tokenId"]


@pytest.mark.parametrize("seed", [0, fresh_seed()])
def test_MD15_every_id_comes_back(seed: int, gate_record: Callable[..., None]) -> None:
    """A million ids of every length, with neighbours: text, bytes, table, record, frame, body and back."""
    rng, count = random.Random(seed), 0
    while count < IDS // 2:
        table, wanted = TokenTable(), {}
        for token in drawn(rng, min(TABLE, IDS // 2 - count)):
            text = str(token)
            raw = token_bytes(text)
            assert token == int.from_bytes(raw, "big")
            assert 32 == len(raw)
            row = len(wanted) + 1
            if text not in wanted:
                table.add(text, row, row & 1)
                wanted[text] = (row, row & 1, "")
            count += 1
        assert len(wanted) == len(table), f"seed {seed}"
        for text, place in wanted.items():
            assert place == table.get(text), f"seed {seed}: {text}"
        texts = list(wanted)
        for at in range(0, len(texts) - 1, WHOLE_EVERY):
            all_the_way(int(texts[at]), int(texts[at + 1]))
    gate_record("MD15", "ids", count, seed)


@pytest.mark.parametrize("token", EDGES)
def test_MD15_edges(token: int) -> None:
    """Where a float or 64 bits end, an id and the next one stay two."""
    all_the_way(token, token + 1)


def test_MD15_a_number_is_no_id() -> None:
    """An id that comes as a JSON number, in a frame or in metadata, is refused: it may have been rounded."""
    token = 2**255 + 1
    pair = f"[{token}, {token + 2}]"
    for ids in (pair, json.dumps(pair), '["1e76", "2"]', '["0x1f", "2"]'):
        found = parse_market(loads(json.dumps(market()).replace(
            json.dumps(market()["clobTokenIds"]), ids)))
        assert isinstance(found, MarketRefusal), ids
        assert "clobTokenIds" == found.field
    rig = Rig({str(token): (1, 0, "")})
    frame = json.dumps({"event_type": "last_trade_price", "market": "0x5f", "asset_id": token, "price": "0.5",
                        "size": "1", "side": "BUY", "timestamp": "1790766966313"}).encode()
    assert rig.compare(frame)[1].reject is not None
