"""The exchange process over real TLS sockets: metadata, frames, orders, control, report, exit codes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pipeline.sim.accounts import Credentials
from pipeline.sim.market import Market, Source
from tests.models.market_frames import Follower
from tests.shared import ROOT, SHARED, needs_shared, recording
from tests.sim_trader import Trader

DEADLINE_S = 60.0


class Exchange:
    """A started exchange process."""

    def __init__(self, directory: Path, **config: Any) -> None:
        self.run_dir = directory / "run"
        path = directory / "exchange.json"
        path.write_text(json.dumps({"run_dir": str(self.run_dir), "quiet_ms": 200, **config}))
        command = [sys.executable, "-m", "pipeline.sim.process", "--config", str(path)]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True
        )
        self.events: list[dict[str, Any]] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == "ready":
                break
        else:
            assert self.process.stderr is not None
            raise AssertionError(self.process.stderr.read())
        self.urls = self.events[-1]["urls"]
        self.token = (self.run_dir / "control.token").read_text()

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.run_dir / "ca.pem")

    async def control(self, session: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
        headers = {"authorization": f"Bearer {self.token}"}
        async with session.request(method, self.urls["control"] + path, json=body, headers=headers) as answer:
            assert 200 == answer.status
            return await answer.json()

    def stop(self) -> dict[str, Any]:
        """End it with SIGTERM; return its report."""
        self.process.send_signal(signal.SIGTERM)
        assert 0 == self.process.wait(20)
        return json.loads((self.run_dir / "report.json").read_text())


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    started: list[Exchange] = []

    def begin(**config: Any) -> Exchange:
        started.append(Exchange(tmp_path, **config))
        return started[-1]

    yield begin
    for exchange in started:
        if exchange.process.poll() is None:
            exchange.process.kill()
        exchange.process.wait(10)
        for pipe in (exchange.process.stdout, exchange.process.stderr):
            if pipe is not None:
                pipe.close()


async def all_markets(session: aiohttp.ClientSession, exchange: Exchange) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = ""
    while True:
        url = f"{exchange.urls['gamma_tls']}/markets/keyset?limit=100&closed=false{cursor}"
        async with session.get(url, ssl=exchange.tls()) as answer:
            page = await answer.json()
        rows += page["markets"]
        if "next_cursor" not in page:
            return rows
        cursor = f"&after_cursor={page['next_cursor']}"


async def follow(
    socket_: aiohttp.ClientWebSocketResponse, follower: Follower, until: Any, limit_s: float = 30.0
) -> int:
    """Read frames until the condition holds; return how many text frames came."""
    count = 0
    end = time.monotonic() + limit_s
    while not until():
        assert time.monotonic() < end, (follower.kinds, len(follower.books))
        try:
            message = await socket_.receive(timeout=0.2)
        except TimeoutError:
            continue
        assert aiohttp.WSMsgType.TEXT == message.type
        count += 1
        follower.on_text(message.data)
    return count


def subscription(rows: list[dict[str, Any]]) -> str:
    tokens = [token for row in rows for token in json.loads(row["clobTokenIds"])]
    return json.dumps({"assets_ids": tokens, "type": "market", "custom_feature_enabled": True})


def condition_of(row: dict[str, Any]) -> str:
    """Return the condition as the order book writes it: Gamma leaves the padding of a v2 one away."""
    return str(row["conditionId"]).ljust(66, "0")


def market_of(row: dict[str, Any]) -> Market:
    """Return the market that a Gamma row describes, for signing."""
    yes, no = json.loads(row["clobTokenIds"])
    return Market(
        condition_of(row),
        (yes, no),
        ("Yes", "No"),
        row["question"],
        row["slug"],
        round(row["orderPriceMinTickSize"] * 10_000),
        str(row["orderMinSize"]),
        row["negRisk"],
        0,
        1,
        Source.GENERATED,
        row["version"],
    )


def demo_trader(exchange: Exchange) -> Trader:
    key = (exchange.run_dir / "key.hex").read_text()
    api = json.loads((exchange.run_dir / "api.json").read_text())
    trader = Trader(key="0x" + key)
    assert api["address"] == trader.owner
    trader.credentials = Credentials(api["apiKey"], api["secret"], api["passphrase"])
    return trader


def test_generated_markets_over_tls(start: Any) -> None:
    """Frames prove their hashes, an order is matched, resolution comes, every frame is accounted for."""
    exchange = start(markets=3, planted_events=4, seed=11)
    for name in ("key.hex", "api.json", "control.token", "server.key"):
        assert 0o600 == stat.S_IMODE(os.stat(exchange.run_dir / name).st_mode)

    async def run() -> tuple[int, Follower, dict[str, Any]]:
        async with aiohttp.ClientSession() as session:
            rows = await all_markets(session, exchange)
            follower = Follower({condition_of(row): row["negRisk"] for row in rows})
            url = exchange.urls["ws_market_tls"]
            async with session.ws_connect(url, ssl=exchange.tls(), max_msg_size=1 << 20) as ws:
                await ws.send_str(subscription(rows))
                frames = await follow(ws, follower, lambda: follower.kinds.get("price_change", 0) > 300)
                assert 2 * len(rows) == len(follower.books)
                generated = next(row for row in rows if "generated" in row["slug"])
                trader = demo_trader(exchange)
                status = await place(session, trader, generated)
                assert "matched" == status["status"], status
                frames += await follow(ws, follower, lambda: follower.prints)
                await exchange.control(session, "POST", "/control/resolve", {"seed": 5})
                frames += await follow(ws, follower, lambda: len(follower.resolved) == len(rows))
            return frames, follower, await exchange.control(session, "GET", "/control/report")

    async def place(session: aiohttp.ClientSession, trader: Trader, row: dict[str, Any]) -> Any:
        of = market_of(row)
        for _ in range(20):  # the book moves; a killed FAK is tried again
            url = f"{exchange.urls['clob_tls']}/book?token_id={of.tokens[0]}"
            async with session.get(url, ssl=exchange.tls()) as answer:
                book = await answer.json()
            body = trader.body(of, order_type="FAK", price=book["asks"][-1]["price"], quantity="5")
            data = json.dumps(body, separators=(",", ":")).encode()
            headers = trader.headers("POST", "/order", data, time.time_ns())
            async with session.post(
                exchange.urls["clob_tls"] + "/order", data=data, headers=headers, ssl=exchange.tls()
            ) as answer:
                status = await answer.json()
            if answer.status == 200 and status.get("status") == "matched":
                return status
        return status

    frames, follower, live = asyncio.run(run())
    follower.check_all()
    assert [] == follower.wrong
    assert follower.proven > 500
    assert live["is_final"] is True
    final = exchange.stop()
    (row,) = [entry for entry in final["sockets"] if entry["channel"] == "market"]
    assert frames == row["accepted"] == row["queued"]
    assert final["accounts"] == live["accounts"]
    account = final["accounts"][0]
    assert {} == account["positions"]
    assert account["pnl_usd_micro"] == account["cash_usd_micro"] - account["deposits_usd_micro"]
    fills = [trade for trade in final["trades"] if trade["taker_order_id"]]
    cost = sum(trade["price_ticks"] * trade["size_micro"] for trade in fills) / 10_000
    matched = sum(trade["size_micro"] for trade in fills)
    payout = next(m for m in final["markets"] if m["condition"] == fills[0]["condition"])["payout_micro"][0]
    expected = matched * payout / 10**6 - cost - account["fees_usd_micro"]
    assert abs(expected - account["pnl_usd_micro"]) <= len(fills)
    winners = {item["market"]: item["winning_asset_id"] for item in follower.resolved}
    for item in final["markets"]:
        assert winners[item["condition"]] == item["tokens"][0 if item["payout_micro"][0] else 1]
    planted = [item for item in final["markets"] if item["planted"]]
    for event_id in {item["event_id"] for item in planted}:
        assert 1 == sum(bool(i["payout_micro"][0]) for i in planted if i["event_id"] == event_id)


@needs_shared
def test_recording_is_played_unaltered(start: Any) -> None:
    """A subscriber gets the recorded bytes; a later one starts with a snapshot that verifies."""
    name = "pm_20260929_crossing_burst.jsonl.zst"
    exchange = start(feeds=[str(SHARED / "feeds" / "polymarket" / name)], planted_events=0, speed=20)
    texts = [line["raw"] for line in recording(f"polymarket/{name}")]

    async def run() -> tuple[list[str], str]:
        async with aiohttp.ClientSession() as session:
            rows = await all_markets(session, exchange)
            async with session.ws_connect(exchange.urls["ws_market"]) as ws:
                await ws.send_str("PING")
                assert "PONG" == (await ws.receive(timeout=DEADLINE_S)).data
                await ws.send_str(subscription(rows))
                got = [(await ws.receive(timeout=DEADLINE_S)).data for _ in texts]
            async with session.ws_connect(exchange.urls["ws_market"]) as ws:
                await ws.send_str(subscription(rows))
                return got, (await ws.receive(timeout=DEADLINE_S)).data

    got, late = asyncio.run(run())
    assert texts == got
    follower = Follower({json.loads(texts[1])["market"]: False})
    follower.on_text(late)
    follower.check_all()
    assert (2, []) == (follower.proven, follower.wrong)
    exchange.stop()


@needs_shared
def test_foreign_flow_at_full_speed_drops_nothing(start: Any) -> None:
    """At speed max every rendered frame reaches a slow reader; an order on the way moves its market live."""
    name = "kx_gold15m_26AUG101815_denseseq.jsonl.zst"
    exchange = start(
        feeds=[str(SHARED / "feeds" / "kalshi" / name)],
        planted_events=1,
        speed="max",
        render_frames_max=8_000,
    )

    async def run() -> tuple[int, Follower]:
        async with aiohttp.ClientSession() as session:
            rows = await all_markets(session, exchange)
            follower = Follower({condition_of(row): row["negRisk"] for row in rows})
            foreign = next(row for row in rows if row["slug"].startswith("kx"))
            async with session.ws_connect(exchange.urls["ws_market"], max_msg_size=1 << 20) as ws:
                await ws.send_str(subscription(rows))
                frames = await follow(ws, follower, lambda: follower.kinds.get("price_change", 0) > 500)
                trader, of = demo_trader(exchange), market_of(foreign)
                body = trader.body(of, order_type="GTC", price="0.01", quantity="10")
                data = json.dumps(body, separators=(",", ":")).encode()
                headers = trader.headers("POST", "/order", data, time.time_ns())
                async with session.post(
                    exchange.urls["clob"] + "/order", data=data, headers=headers
                ) as answer:
                    assert 200 == answer.status, await answer.text()
                frames += await follow(ws, follower, lambda: follower.kinds["price_change"] > 12_000)
                await exchange.control(session, "POST", "/control/stop-flow")
                await exchange.control(session, "POST", "/control/resolve", {"seed": 5})
                frames += await follow(ws, follower, lambda: len(follower.resolved) == len(rows))
                # A print is told up to 88 ms after its match, so one may follow the last resolution.
                while frames < (await exchange.control(session, "GET", "/control/status"))["frames_accepted"]:
                    follower.on_text((await ws.receive(timeout=5.0)).data)
                    frames += 1
        return frames, follower

    frames, follower = asyncio.run(run())
    follower.check_all()
    assert [] == follower.wrong
    final = exchange.stop()
    (row,) = [entry for entry in final["sockets"] if entry["channel"] == "market"]
    assert frames == row["accepted"] == row["queued"]
    assert final["tally"]["live_events"] > 3_000
    cash = {"cost": 0, "paid": 0}
    for trade in final["trades"]:  # our resting bid at 0.01 may have been hit by the recorded flow
        assert (trade["maker_order_id"], trade["taker_order_id"]) == (final["orders"][0]["order_id"], None)
        cash["cost"] += trade["size_micro"] // 100
        of_trade = next(m for m in final["markets"] if m["condition"] == trade["condition"])
        cash["paid"] += trade["size_micro"] * of_trade["payout_micro"][0] // 10**6
    assert cash["paid"] - cash["cost"] == final["accounts"][0]["pnl_usd_micro"]


def test_problems_are_one_line_with_an_exit_code(tmp_path: Path) -> None:
    """A port in use ends with 4, a wrong key or a missing file with 3 or 4; no traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        cases = [
            ({"ports": {"clob": port}, "markets": 1, "planted_events": 0}, 4, str(port)),
            ({"sped": 2}, 3, "sped"),
            ({"speed": 0}, 3, "speed"),
            ({"feeds": [str(tmp_path / "none.zst")]}, 4, "none.zst"),
        ]
        for number, (config, code, word) in enumerate(cases):
            path = tmp_path / f"c{number}.json"
            path.write_text(json.dumps({"run_dir": str(tmp_path / "run"), **config}))
            command = [sys.executable, "-m", "pipeline.sim.process", "--config", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
            assert code == done.returncode, done.stderr
            assert 1 == len(done.stderr.strip().splitlines())
            assert word in done.stderr
            assert "Traceback" not in done.stderr


def test_control_needs_its_token(start: Any) -> None:
    """Without the token nothing answers but 401; unknown control paths are 404."""
    exchange = start(markets=1, planted_events=0)

    async def run() -> list[int]:
        async with aiohttp.ClientSession() as session:
            out = []
            for path, token in (("/control/status", "wrong"), ("/control/nothing", exchange.token)):
                headers = {"authorization": f"Bearer {token}"}
                async with session.get(exchange.urls["control"] + path, headers=headers) as answer:
                    out.append(answer.status)
            return out

    assert [401, 404] == asyncio.run(run())
    exchange.stop()
