"""Loading configuration: merging, origins, units, hash, the record for the stream, every refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.codec import CODECS
from pipeline.config import config_hash, config_record, leaves, load, parse_override
from pipeline.errors import ConfigError
from pipeline.kinds import Kind
from tests.shared import ROOT

ADDRESS = "0x" + "11" * 20
KEY = "ab" * 32
ACCOUNT = f"""
[accounts.main]
address = "{ADDRESS}"
maker = "{ADDRESS}"
key_file = "k"
api_file = "a"
"""


def write(tmp_path: Path, text: str, name: str = "a.toml") -> Path:
    """Return the path of a config file with this text."""
    path = tmp_path / name
    path.write_text(text)
    return path


#: (text of the file, what the one line must say after the file's name)
BAD = [
    ('moode = "dry"', "moode is not a known key; did you mean mode?"),
    ('[rsik]\norder_usd_max = "1"', "rsik is not a known key; did you mean risk?"),
    (
        "[risk]\norder_usd_micro_max = 5",
        "risk.order_usd_micro_max is not a known key; did you mean order_usd_max?",
    ),
    ("[risk]\nzzz = 1", "risk.zzz is not a known key; known here: order_usd_max, market_usd_max"),
    ('[venues.polymarket]\nclob = "x"', "venues.polymarket.clob is not a known key; did you mean clob_url?"),
    ("[venues.kalshi]\nx = 1", "venues.kalshi is not a known key"),
    ("[lane.core]\ncpus = 1", "lane.core.cpus is not a known key; did you mean cpu?"),
    ("[strategies.baskets]\nenabled = true", "strategies.baskets is not a known key; did you mean basket?"),
    ('mode = "paper"', "mode: expected 'dry', 'local' or 'live', was 'paper'"),
    ("mode = true", "mode: expected 'dry', 'local' or 'live', was true"),
    ('name = "My Run"', "name: string should match pattern"),
    ("state_dir = 5", "state_dir: expected a valid string, was 5"),
    ('topology = "../../x"', "topology: string should match pattern"),
    ("[risk]\norder_usd_max = 5", 'risk.order_usd_max: expected a decimal string in USD such as "25.00"'),
    ("[risk]\norder_usd_max = 5.0", 'risk.order_usd_max: expected a decimal string in USD such as "25.00"'),
    ('[risk]\norder_usd_max = "-5"', "not a plain decimal: '-5'"),
    ('[risk]\norder_usd_max = "5e3"', "not a plain decimal: '5e3'"),
    ('[risk]\norder_usd_max = "5.0000001"', "finer than 1e-6: '5.0000001'"),
    ('[risk]\norder_usd_max = "\u0665"', "not a plain decimal"),
    ('[risk]\norder_usd_max = "0"', "risk.order_usd_max: expected greater than 0, was '0'"),
    ('[risk]\nday_usd_max = "1000000001"', "risk.day_usd_max: expected at most 1000000000 USD"),
    (
        '[risk]\norder_usd_max = "30"',
        "risk.order_usd_max must be at most market_usd_max (25.000000), was 30.000000",
    ),
    (
        '[risk]\nmarket_usd_max = "60"',
        "risk.market_usd_max must be at most event_usd_max (50.000000), was 60.000000",
    ),
    (
        '[risk]\nevent_usd_max = "200"',
        "risk.event_usd_max must be at most day_usd_max (100.000000), was 200.000000",
    ),
    ("[risk]\nopen_orders_max = 0", "risk.open_orders_max: expected greater than or equal to 1, was 0"),
    ("[risk]\nopen_orders_max = true", "risk.open_orders_max: expected a valid integer, was true"),
    ("[risk]\nopen_orders_max = 2.0", "risk.open_orders_max: expected a valid integer, was 2.0"),
    ('[risk]\nproof_age_ms_max = "2000"', "risk.proof_age_ms_max: expected a valid integer, was '2000'"),
    (
        '[strategies.basket]\npackage_usd_max = "60"',
        "strategies.basket.package_usd_max must be at most risk.event_usd_max (50.000000), was 60.000000",
    ),
    (
        "[strategies.basket]\nlevels_max = 9",
        "strategies.basket.levels_max: expected less than or equal to 8, was 9",
    ),
    ("[strategies.basket]\nenabled = true", "strategies.basket.enabled needs markets"),
    (
        "[strategies.basket]\nenabled = true\n[universe]\ninclude_all = true",
        "strategies.basket.enabled needs a wallet",
    ),
    (
        '[universe]\ninclude_all = true\nevent_slugs = ["x"]',
        "universe.include_all = true takes no event_slugs",
    ),
    ('[universe]\nevent_slugs = "x"', "universe.event_slugs: expected a valid tuple, was 'x'"),
    ("[universe]\nevent_slugs = [1]", "universe.event_slugs.0: expected a valid string, was 1"),
    (
        '[universe]\nevent_slugs = [" "]',
        "universe.event_slugs, tags, exclude_slugs and prefer_tags are texts of 1 to 200",
    ),
    (
        "[universe]\ninstruments_max = 20\nrows_max = 19",
        "universe.rows_max must be at least instruments_max (20), was 19",
    ),
    (
        "[universe]\ninstruments_max = 200\nrows_max = 600\n[shm]\nlog_segment_slots = 1024",
        "shm.log_segment_slots must be twice the rows of a run or more (1202, see universe.rows_max), was",
    ),
    ("[universe]\nreplace_percent = 100", "universe.replace_percent must be 0 or above 100, was 100"),
    (
        "[shm]\nladders_128 = 10\nladders_1024 = 4\nladders_16384 = 2\n[universe]\ninstruments_max = 17",
        "universe.instruments_max must be at most the ladders of [shm] (16), was 17",
    ),
    ("[shm]\nring_slots = 1000", "shm.ring_slots: expected a power of two such as 512, was 1000"),
    ("[shm]\nring_slots = 64", "shm.ring_slots: expected greater than or equal to 128, was 64"),
    ("[shm]\nlog_bytes_max = 1048576", "shm.log_bytes_max must hold two segments"),
    ('[lane.core]\nwait = "sleep"', "lane.core.wait: expected 'spin', 'yield' or 'block', was 'sleep'"),
    ("[lane.core]\ncpu = -1", "lane.core.cpu: expected greater than or equal to 0, was -1"),
    ("[lane.core]\nnice = 20", "lane.core.nice: expected less than or equal to 19, was 20"),
    ('[lane."A b"]\nnice = 1', "lane.A b: expected a name of 1 to 16 small letters"),
    ("lane = 3", "lane: expected a valid dictionary, was 3"),
    ("[metrics]\nport = 70000", "metrics.port: expected less than or equal to 65535, was 70000"),
    (
        '[venues.polymarket]\nclob_url = "ftp://x"',
        "clob_url: expected a URL such as https://host, was 'ftp://x'",
    ),
    (
        '[venues.polymarket]\nclob_url = "http://example.com"',
        "clob_url: expected https:// (http:// is for loopback hosts",
    ),
    (
        '[venues.polymarket]\nclob_url = "https://u:p@host"',
        "clob_url: expected a URL without user, query and fragment",
    ),
    (
        '[venues.polymarket]\nuser_ws_url = "ws://10.0.0.1/x"',
        "user_ws_url: expected wss:// (ws:// is for loopback hosts",
    ),
    ('[venues.polymarket]\nclob_url = "https://host:99999"', "clob_url: expected a URL such as https://host"),
    ("[venues.polymarket]\nchain_id = 1", "venues.polymarket.chain_id: expected 137 or 80002, was 1"),
    (
        "[venues.polymarket]\nassets_per_socket_max = 201",
        "assets_per_socket_max: expected less than or equal to 200",
    ),
    (
        '[accounts.main]\nvenue = "polymarket"',
        "accounts.main.address is missing; config/README.md says what it means (and 3 more)",
    ),
    (
        ACCOUNT.replace(f'address = "{ADDRESS}"', 'address = "0x12"'),
        "accounts.main.address: expected 0x and 40 hexadecimal",
    ),
    (ACCOUNT + "signature_type = 4", "accounts.main.signature_type: expected 0, 1, 2 or 3, was 4"),
    (
        ACCOUNT + "orders_per_s = 100",
        "accounts.main.orders_per_s and orders_burst replace the tier's figures together; name both",
    ),
    (
        ACCOUNT + "orders_per_s = 100\norders_burst = 60",
        "accounts.main.orders_burst must be at least orders_per_s (100), was 60",
    ),
    (
        ACCOUNT + 'proxy_url = "socks5://me:secret@host:1080"',
        "accounts.main.proxy_url: expected a URL without user and password; they stand in proxy_file",
    ),
    (ACCOUNT + 'proxy_url = "ftp://host"', "accounts.main.proxy_url: expected http://host:port or socks5://"),
    (ACCOUNT + 'proxy_file = "login"', "accounts.main.proxy_file needs proxy_url"),
    (ACCOUNT + 'tier = "tin"', "accounts.main.tier: expected "),
    (
        ACCOUNT.replace('key_file = "k"', f'key_file = "{KEY}"'),
        "accounts.main.key_file: expected the path of a file, found what looks like",
    ),
    (
        ACCOUNT.replace('key_file = "k"', 'key_file = ""'),
        "accounts.main.key_file: expected the path of a file",
    ),
    ("mode = ", "not valid TOML: invalid value (at"),
    ('mode = "dry"\nmode = "dry"', "not valid TOML: cannot overwrite a value (at"),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=range(len(BAD)))
def test_each_bad_file_is_one_clear_line(tmp_path: Path, text: str, expected: str) -> None:
    """A wrong file is refused with one line: the file, the key, what was expected, what was found."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refusal:
        load([path])
    line = str(refusal.value)
    assert line.startswith(f"{path}: ")
    assert expected in line
    assert "\n" not in line
    assert KEY not in line
    assert 3 == refusal.value.exit_code


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "absent.toml", "no such file; start from a copy of config/paper.toml"),
        (lambda folder: folder, "cannot be read: is a directory"),
        (lambda folder: write(folder, "# " + "x" * (1 << 20)), "expected at most 1048576 bytes of TOML"),
    ],
)
def test_unreadable_files_are_refused(tmp_path: Path, make, expected: str) -> None:
    """A file that is absent, a folder or absurdly large is one line that names it."""
    with pytest.raises(ConfigError, match=expected):
        load([make(tmp_path)])


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """A binary file is named with the byte that is wrong."""
    path = tmp_path / "b.toml"
    path.write_bytes(b"mode\xff")
    with pytest.raises(ConfigError, match="not UTF-8 text at byte 4"):
        load([path])


def test_defaults_are_safe() -> None:
    """With no file at all: dry run, no strategy, no wallet, every limit set."""
    config = load()
    assert ("dry", False, {}) == (config.mode, config.strategies.basket.enabled, config.accounts)
    assert (10_000_000, 25_000_000, 50_000_000, 100_000_000) == (
        config.risk.order_usd_micro_max,
        config.risk.market_usd_micro_max,
        config.risk.event_usd_micro_max,
        config.risk.day_usd_micro_max,
    )


def test_later_files_and_set_override_key_by_key_with_origin(tmp_path: Path) -> None:
    """Each value knows which file, or --set, gave it; keys that nobody gave are defaults."""
    first = write(tmp_path, '[risk]\norder_usd_max = "1"\nopen_orders_max = 3', "first.toml")
    second = write(tmp_path, '[risk]\norder_usd_max = "2.5"', "second.toml")
    config = load(
        [first, second], dict([parse_override("metrics.port=9001"), parse_override("risk.day_usd_max=70.5")])
    )
    assert (2_500_000, 3, 9_001, 70_500_000) == (
        config.risk.order_usd_micro_max,
        config.risk.open_orders_max,
        config.metrics.port,
        config.risk.day_usd_micro_max,
    )
    assert [str(second), str(first), "--set", "--set", "default"] == [
        config.origin(key)
        for key in (
            "risk.order_usd_max",
            "risk.open_orders_max",
            "metrics.port",
            "risk.day_usd_max",
            "risk.event_usd_max",
        )
    ]


def test_a_refusal_names_the_override(tmp_path: Path) -> None:
    """A bad --set is not blamed on the file."""
    with pytest.raises(ConfigError, match=r"^--set: risk.open_orders_max: expected a valid int.*, was 'x'$"):
        load([write(tmp_path, "")], dict([parse_override("risk.open_orders_max=x")]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=1", ("a", 1)),
        ('a.b="x"', ("a.b", "x")),
        ("a=plain words", ("a", "plain words")),
        ("a=true", ("a", True)),
        ('u=["x","y"]', ("u", ["x", "y"])),
        ("u=https://h:1/x", ("u", "https://h:1/x")),
        ("a=0x00F3", ("a", "0x00F3")),
    ],
)
def test_override_values(text: str, expected: tuple[str, object]) -> None:
    """TOML where it is TOML, else text, so that a shell needs no nested quotes."""
    assert expected == parse_override(text)


@pytest.mark.parametrize("text", ["a", "=1", ".a=1", "a..b=1", ""])
def test_bad_overrides_are_refused(text: str) -> None:
    """A --set without a key is one line with an example."""
    with pytest.raises(ConfigError, match=r"^--set: expected key=value"):
        load(overrides=dict([parse_override(text)]))


@pytest.mark.parametrize("name", ["demo", "paper", "live"])
def test_shipped_files_are_right(name: str) -> None:
    """What we ship loads, and says itself which mode it is for."""
    config = load([ROOT / "config" / f"{name}.toml"])
    assert {"demo": "local", "paper": "dry", "live": "live"}[name] == config.mode
    assert config.strategies.basket.enabled


def test_hash_ignores_lanes_and_sees_everything_else(tmp_path: Path) -> None:
    """Layouts share a hash, so a replay may use another; any other change gives another hash."""
    base = config_hash(load())
    lanes = load(overrides={"topology": "1core", "lane.core.cpu": 0})
    assert 16 == len(base)
    assert base == config_hash(lanes)
    changed = {
        config_hash(load(overrides={key: value}))
        for key, value in (
            ("risk.order_usd_max", "9.999999"),
            ("risk.open_orders_max", 21),
            ("books.batch_ms_max", 99),
            ("strategies.basket.edge_ppm_min", 2001),
            ("universe.include_all", True),
            ("mode", "local"),
        )
    }
    assert 6 == len(changed - {base})


def test_record_carries_every_limit() -> None:
    """No field of the Config record stays 0, because 0 refuses everything in the fold."""
    fields = config_record(load(), salt_epoch=7)
    codec = CODECS[Kind.CONFIG]
    stored = codec.unpack(codec.pack(**fields))
    for name, value in fields.items():
        assert value == getattr(stored, name), name
        assert value, name
    declared = {field[0] for field in __import__("pipeline.records", fromlist=["CONFIG"]).CONFIG}
    assert declared - {"reserved"} == set(fields)
    assert (2_000_000_000, 250_000_000) == (fields["proof_age_ns_max"], fields["intent_ttl_ns"])


def test_a_loaded_configuration_cannot_change() -> None:
    """Sections are frozen: what was checked is what runs."""
    config = load()
    with pytest.raises(ValueError, match="frozen"):
        config.risk.order_usd_micro_max = 1
    with pytest.raises(ValueError, match="frozen"):
        config.mode = "live"


def test_leaves_name_every_key_once() -> None:
    """`pm config show` has each key of the file's vocabulary exactly once."""
    keys = [key for key, _ in leaves(load([ROOT / "config" / "demo.toml"]))]
    assert len(set(keys)) == len(keys)
    assert {"mode", "risk.order_usd_max", "accounts.main.key_file", "strategies.basket.edge_usd_min"} <= set(
        keys
    )
