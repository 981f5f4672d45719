"""The script for JAX and PyTorch on an accelerator, on whatever computes here."""

from benchmarks.backend_check import forms


def test_both_forms_of_everything_are_timed():
    found = forms(shapes=((4, 3, 2),), images=(2, 4, 4, 3))
    assert list(found) == [
        *("pairwise_distances (4, 3, 2), loops", "pairwise_distances (4, 3, 2), broadcasting"),
        *("noise, exact", "noise, table"),
    ]
    assert all(taken > 0 for taken in found.values())
