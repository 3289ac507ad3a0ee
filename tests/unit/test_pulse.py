"""stages.pulse: heartbeats against the exchange's own switch."""

from __future__ import annotations

from pipeline.sim.exchange import Exchange
from pipeline.stages.pulse import Pulse
from pipeline.units import NS_PER_S
from pipeline.venues.polymarket.encode import heartbeat_body
from tests.sim_trader import NOW_NS, Trader, exchange_of, json_of, market

EVERY_NS = 3 * NS_PER_S
STEP_NS = NS_PER_S // 4


def beats(pulse: Pulse, exchange: Exchange, trader: Trader, from_s: float, until_s: float) -> list[int]:
    """Let trade live from .. until; return the status of each heartbeat's answer."""
    found = []
    for now_ns in range(NOW_NS + int(from_s * NS_PER_S), NOW_NS + int(until_s * NS_PER_S), STEP_NS):
        pulse.on_beat(now_ns)
        pulse.look(now_ns)
        if pulse.is_due(now_ns):
            pulse.sent(now_ns)
            value = heartbeat_body(pulse.heartbeat_id)
            answer = exchange.on_request(
                now_ns, "clob", "POST", "/v1/heartbeats",
                trader.headers("POST", "/v1/heartbeats", value, now_ns), value)
            found.append(answer.status)
            pulse.on_answer(now_ns, now_ns, answer.status, answer.body, 0)
    return found


def test_a_switch_that_fired_is_armed_anew() -> None:
    """Trade was away for 20 s, its orders are cancelled: one refused beat later ours are taken again."""
    of, trader = market(), Trader()
    exchange = exchange_of([trader], [of])
    pulse = Pulse(EVERY_NS, NS_PER_S)
    assert [200, 200, 200] == beats(pulse, exchange, trader, 0, 9)
    order = json_of(trader.place(exchange, of, NOW_NS + 9 * NS_PER_S, price="0.10"))["orderID"]
    assert [400, 200] == beats(pulse, exchange, trader, 29, 31)
    assert "CANCELED" == exchange.engine.orders[order].status.value
    assert not pulse.is_lost
    assert [200, 200] == beats(pulse, exchange, trader, 31, 37.5)
