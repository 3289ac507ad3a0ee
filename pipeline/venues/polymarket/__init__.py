"""Polymarket as a codec without sockets: bytes in, records out; orders in, request bytes out.

Capabilities and limits of this venue stand in README.md beside this file; its constants in `wire`.
"""
