"""Configuration: TOML files in, one frozen `Config` out, all of it checked before anything starts.

Reads the files named on the command line and `config/topology/*.toml`; writes nothing. One file per
section; `load` merges and checks, `topology` lays stages out on CPUs, `readme` renders config/README.md.
"""

from __future__ import annotations

from pipeline.config.files import check_files
from pipeline.config.load import Config, config_hash, config_record, leaves, load, parse_override
from pipeline.config.topology import LaneSpec, Topology, fold, load_topology, plan

__all__ = [
    "Config",
    "LaneSpec",
    "Topology",
    "check_files",
    "config_hash",
    "config_record",
    "fold",
    "leaves",
    "load",
    "load_topology",
    "parse_override",
    "plan",
]
