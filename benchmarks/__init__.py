"""Measured ratios: `python -m benchmarks --json=FILE [--only=NAME]`, on a machine with nothing else to do."""

from igan_tf.memory import keep_freed_memory

# As the commands do.
keep_freed_memory()
