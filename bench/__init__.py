"""Benchmarks: `python -m bench <name>`; numbers with their method, never asserted in a test."""
