"""Scores of arrays: NumPy and SciPy alone.

One module a metric; `igan_tf.metrics.registry` finds them by themselves. The functions are exported by
`igan_tf.evaluation`.
"""
