"""Strategies: one device, all of this machine's, or those of several machines."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from igan_tf.errors import InputError
from igan_tf.training.strategies import STRATEGIES


class ClusterError(InputError):
    """The environment variable TF_CONFIG does not describe a cluster; the message quotes it."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process's place among those that train together.

    Attributes:
        index: From 0; the first is the chief, which alone writes.
        count: How many there are.
    """

    index: int = 0
    count: int = 1

    @property
    def is_chief(self) -> bool:
        return self.index == 0


ALONE = Worker()


def this_worker(environment: Mapping[str, str] = os.environ) -> Worker:
    """The `Worker` that TF_CONFIG makes this process; without TF_CONFIG, the only one.

    TF_CONFIG is TensorFlow's: `{"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}`. A
    task of the type "chief" is the first worker.

    Raises:
        ClusterError: for anything else.
    """
    text = environment.get("TF_CONFIG", "")
    if not text:
        return ALONE
    try:
        content = json.loads(text)
        cluster, task = content["cluster"], content["task"]
        chiefs, workers = (_count_addresses(cluster.get(kind, [])) for kind in ("chief", "worker"))
        kind, index = task["type"], task["index"]
        if not isinstance(kind, str) or not isinstance(index, int | str) or isinstance(index, bool):
            raise TypeError(f"task {task}")
        index = int(index)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            'TF_CONFIG must be JSON with "cluster", addresses by type, and "task", type and index. '
            f"Received: TF_CONFIG={text}"
        ) from error
    sizes = {"chief": chiefs, "worker": workers}
    if chiefs > 1 or kind not in sizes or not 0 <= index < sizes[kind]:
        raise ClusterError(
            'TF_CONFIG\'s task must be a "worker" or the one "chief" of its cluster, its index below their number. '
            f"Received: TF_CONFIG={text}"
        )
    return Worker(index if kind == "chief" else chiefs + index, chiefs + workers)


def _count_addresses(addresses: object) -> int:
    # One address that is not in a list has a length, too.
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise TypeError(f"addresses {addresses}")
    return len(addresses)


def build_strategy(name: str) -> tf.distribute.Strategy:
    """The `tf.distribute.Strategy` of `--strategy`: one for the life of the process.

    "multi_worker" must come before anything else of TensorFlow's: it configures the process.

    Args:
        name: One of `STRATEGIES`. "auto": "multi_worker" where TF_CONFIG names more than one worker, "mirrored" where
            there is more than one GPU, otherwise "single".

    Raises:
        ClusterError: for a TF_CONFIG that cannot be used, and for "multi_worker" without one; for another strategy in
            spite of one.
        ValueError: for another name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"`name` must be one of {STRATEGIES}. Received: name={name!r}")
    worker = this_worker()
    if name == "multi_worker" or (name == "auto" and worker.count > 1):
        if not os.environ.get("TF_CONFIG"):
            raise ClusterError("`strategy=multi_worker` needs TF_CONFIG, which names the workers. Received: none")
        return _multi_worker_strategy()
    if worker.count > 1:
        # Each would train for itself and write into the others' run directory.
        raise ClusterError(f"TF_CONFIG names {worker.count} workers. Received: strategy={name}")
    if name == "mirrored" or (name == "auto" and len(tf.config.list_logical_devices("GPU")) > 1):
        return mirrored_strategy()
    return tf.distribute.get_strategy()


@functools.cache
def _multi_worker_strategy() -> tf.distribute.MultiWorkerMirroredStrategy:
    return tf.distribute.MultiWorkerMirroredStrategy()


def mirrored_strategy() -> tf.distribute.MirroredStrategy:
    """The process's one `MirroredStrategy`: over all GPUs, or all logical CPUs where there is no GPU.

    One for all: every strategy on CPUs numbers its all-reduces from 100 on, and TensorFlow keeps each number's shape
    for the life of the process, so that a second strategy's fail with "Shape mismatch in the collective instance".
    """
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    return _mirrored_over(tuple(device.name for device in tf.config.list_logical_devices(kind)))


@functools.cache
def _mirrored_over(device_names: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    return tf.distribute.MirroredStrategy(list(device_names))


# What a collective operation raises where another worker is gone.
LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class WorkerLostError(RuntimeError):
    """Another worker does not answer any more."""


def same_of_all_workers(strategy: tf.distribute.Strategy, worker: Worker, *numbers: int) -> list[bool] | np.ndarray:
    """Whether all workers call this with the same integers, one bool for each; all learn it alike.

    The integers are below 2^20 (steps may be more, up to 2^26 on two workers): the sum of their squares is exact.
    """
    if worker.count == 1:
        return [True] * len(numbers)

    @tf.function
    def mean_over_workers(values: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("MEAN", strategy.run(lambda values: values, args=(values,)), axis=None)

    means, means_of_squares = mean_over_workers(tf.constant([numbers, np.square(numbers)], tf.float64)).numpy()
    return means_of_squares == means**2


def first_line(error: tf.errors.OpError) -> str:
    """What an error of TensorFlow's says, without the graph's history below it."""
    return error.message.strip().split("\n")[0]
