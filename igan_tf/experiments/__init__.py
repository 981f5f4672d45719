"""Recipes with their settings, the experiment, and the run directory that it leaves."""

import importlib

_HOME = {
    "build_config": "igan_tf.experiments.configs",
    "load_run": "igan_tf.experiments.runs",
}

__all__ = [*_HOME]


def __getattr__(name):
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
