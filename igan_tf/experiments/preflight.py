"""What is settled, checked and opened before a run directory is made."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from igan_tf.data import ImageData
from igan_tf.devices import has_gpu, unused_gpus
from igan_tf.errors import ConfigError
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.experiments import periodic_scores
from igan_tf.experiments.configs import RunConfig
from igan_tf.experiments.recipes import recipe_of
from igan_tf.records.reader import ImageRecords
from igan_tf.training import distribution
from igan_tf.training.cluster import this_worker


def resolved(config: RunConfig) -> RunConfig:
    """The same settings with what `auto` comes to on this machine, where that changes the numbers.

    And with the whole path of `init_from`, which a run keeps for its life, wherever it is continued.
    """
    noise = config.noise if config.noise != "auto" else "exact" if has_gpu() else "table"
    return dataclasses.replace(config, noise=noise, init_from=config.with_absolute_paths().init_from)


def check_machine(config: RunConfig, report: Callable[[str], Any]) -> None:
    """Connects the workers, before anything else of TensorFlow's; tells of GPUs that TensorFlow does not list.

    Raises:
        ClusterError, Interrupted, WorkerLostError: as `strategy_of`.
        ConfigError: where there are not the `expected_replicas`.
    """
    strategy = distribution.strategy_of(config, report)
    if warning := unused_gpus():
        report(warning)
    found = strategy.num_replicas_in_sync
    if config.expected_replicas not in (0, found):
        raise ConfigError(
            f"`expected_replicas` must be the number of devices that `strategy` finds, {found}. "
            f"Received: expected_replicas={config.expected_replicas} strategy={config.strategy}"
        )


def check_against_data(config: RunConfig, data: ImageData | ImageRecords) -> None:
    """Raises a ConfigError, DataError or EvaluationError if the settings do not go with data or machine.

    Writes nothing.
    """
    strategy = distribution.strategy_of(config)
    recipe = recipe_of(config)
    recipe.check_against_data(data, strategy.num_replicas_in_sync)
    if config.score_epochs and recipe.generates:
        periodic_scores.check_real_images(config, recipe.real_images(data))


def scorer(config: RunConfig, data: ImageData | ImageRecords, report: Callable[[str], Any]) -> Classifier | None:
    """The classifier of a run's scores; None of a run without them, and of a worker that does not score.

    Raises:
        EvaluationError: where it is unavailable.
    """
    if not (config.score_epochs and recipe_of(config).generates and this_worker().is_chief):
        return None
    return periodic_scores.load_scorer(config, data, report)
