"""Scores of arrays: NumPy and SciPy alone."""
