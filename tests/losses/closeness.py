"""NumPy's comparison for the tensors and variables of any backend (PyTorch's refuse it while they need a gradient)."""

import numpy as np
from keras import ops


def assert_close(actual, expected, rtol=1e-6, atol=0.0, err_msg=""):
    actual, expected = ops.convert_to_numpy(actual), ops.convert_to_numpy(expected)
    np.testing.assert_allclose(actual, expected, rtol=rtol, atol=atol, err_msg=err_msg)
