"""Measured ratios: `python -m benchmarks --json=FILE [--only=NAME]`, on a machine with nothing else to do."""
