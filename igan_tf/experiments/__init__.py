"""Recipes with their settings, the experiment, and the run directory that it leaves."""

from igan_tf.lazy import lazy_names

_HOME = {
    "build_config": "igan_tf.experiments.configs",
    "load_run": "igan_tf.experiments.runs",
}

__all__ = [*_HOME]

__getattr__, __dir__ = lazy_names(__name__, _HOME)
