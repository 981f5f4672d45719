"""The examples in the docstrings of the metrics."""

import doctest
import inspect

import pytest

from igan_tf.metrics.registry import metrics

MODULES = [inspect.getmodule(type(metric)) for metric in metrics()]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_examples(module):
    result = doctest.testmod(module)
    assert result.attempted > 0 and result.failed == 0
