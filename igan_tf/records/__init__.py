"""Sharded TFRecords of square images: converting to them, checking them, reading them.

Conversion runs without TensorFlow, whose import takes longer than a thousand images; `reader` alone needs it.
"""
