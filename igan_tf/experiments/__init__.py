"""Recipes with their settings, the experiment, and the run directory that it leaves."""

from igan_tf.experiments.experiment import load_run

__all__ = ["load_run"]
