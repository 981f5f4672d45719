"""Converts images to sharded TFRecords of square images, checks them and reads them.

Conversion runs without TensorFlow, whose import takes longer than a thousand images; only `reader` needs it.
"""
