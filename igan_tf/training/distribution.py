"""Strategies: one device, all of this machine's, or those of several machines."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from igan_tf.errors import ConfigError, first_line
from igan_tf.training import roll_call
from igan_tf.training.cluster import ClusterError, Worker, WorkerLostError, this_worker
from igan_tf.training.strategies import ALL_REDUCE_MEGABYTES, STRATEGIES, WORKER_TIMEOUT_MINUTES

if TYPE_CHECKING:
    from igan_tf.experiments.configs import RunConfig


def strategy_of(config: RunConfig, report: Callable[[str], Any] = print) -> tf.distribute.Strategy:
    """The strategy of a run's settings: `build_strategy`, once the devices are as the settings ask.

    Raises:
        ConfigError: where it is too late for `gpu_memory_growth`; and what `build_strategy` raises.
    """
    if config.gpu_memory_growth:
        try:
            let_gpu_memory_grow()
        except (RuntimeError, ValueError) as error:
            # A ValueError is of a GPU that the process has divided.
            raise ConfigError(
                "`gpu_memory_growth` is for whole GPUs before TensorFlow computes: begin in a new process. "
                f"Received: gpu_memory_growth=True ({first_line(error)})"
            ) from error
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    return build_strategy(config.strategy, config.worker_timeout_minutes, report, config.all_reduce_megabytes)


def let_gpu_memory_grow() -> None:
    """Has TensorFlow take only as much of each GPU's memory as it needs, in place of nearly all.

    Raises:
        RuntimeError, ValueError: where it is too late for that.
    """
    for device in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(device, True)


def build_strategy(
    name: str,
    worker_timeout_minutes: float = WORKER_TIMEOUT_MINUTES,
    report: Callable[[str], Any] = print,
    all_reduce_megabytes: int = ALL_REDUCE_MEGABYTES,
) -> tf.distribute.Strategy:
    """The `tf.distribute.Strategy` of `--strategy`: one for the life of the process.

    "multi_worker" must come before anything else of TensorFlow's: it configures the process. It waits for all workers;
    from then on, this process ends where another one does.

    Args:
        name: One of `STRATEGIES`. "auto": "multi_worker" where TF_CONFIG names more than one worker, "mirrored" where
            there is more than one GPU, otherwise "single".
        worker_timeout_minutes: The longest wait for other workers.
        report: Called with a line about missing ones now and then.
        all_reduce_megabytes: How much of the gradients travels in one message, while others are still computed; 0: all.

    Raises:
        ClusterError: for a TF_CONFIG that cannot be used, and for "multi_worker" without one; for another strategy in
            spite of one; where workers are missing for too long.
        Interrupted: after a signal while it waits.
        WorkerLostError: where a worker ends, or cannot be reached, while TensorFlow connects them.
        ValueError: for another name.
    """
    if name not in STRATEGIES:
        raise ValueError(f"`name` must be one of {STRATEGIES}. Received: name={name!r}")
    worker = this_worker()
    if name == "multi_worker" or (name == "auto" and worker.count > 1):
        if not os.environ.get("TF_CONFIG"):
            raise ClusterError("`strategy=multi_worker` needs TF_CONFIG, which names the workers. Received: none")
        return _multi_worker_strategy(worker, worker_timeout_minutes, report, all_reduce_megabytes)
    if worker.count > 1:
        # Each would train for itself and write into the others' run directory.
        raise ClusterError(
            f"TF_CONFIG names {worker.count} workers: `strategy=multi_worker` or auto trains on all of them; without "
            f"TF_CONFIG this machine trains alone. Received: strategy={name}"
        )
    if name == "mirrored" or (name == "auto" and len(tf.config.list_logical_devices("GPU")) > 1):
        return mirrored_strategy(all_reduce_megabytes)
    return tf.distribute.get_strategy()


# The process's one strategy of several workers, and its connections with them.
_several: tuple[tf.distribute.MultiWorkerMirroredStrategy, roll_call.RollCall] | None = None


def _multi_worker_strategy(
    worker: Worker, minutes: float, report: Callable[[str], Any], megabytes: int
) -> tf.distribute.MultiWorkerMirroredStrategy:
    global _several
    if threading.current_thread() is not threading.main_thread():
        raise ClusterError("`strategy=multi_worker` trains in the main thread, which hears of workers that end")
    if _several is None:
        others = roll_call.meet(worker, minutes, report)
        try:
            with others.starting(minutes):
                strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=_options(megabytes))
                _several = strategy, others
        except tf.errors.OpError as error:
            raise WorkerLostError(
                f"worker {worker.index} of {worker.count} cannot be connected ({type(error).__name__}: "
                f"{first_line(error)})"
            ) from error
    return _several[0]


def _options(megabytes: int) -> tf.distribute.experimental.CommunicationOptions:
    """How several machines' devices talk: GPUs among themselves, where TensorFlow would take the way over the hosts."""
    implementations = tf.distribute.experimental.CommunicationImplementation
    # Physical ones: to list logical ones would start TensorFlow before the workers are connected.
    has_gpus = bool(tf.config.list_physical_devices("GPU"))
    return tf.distribute.experimental.CommunicationOptions(
        bytes_per_pack=megabytes * 2**20, implementation=implementations.NCCL if has_gpus else implementations.AUTO
    )


def together() -> AbstractContextManager[None]:
    """The scope of a training: of several workers one that leaves it by an error takes the others with it.

    Otherwise the others leave after the chief. Without several workers it does nothing.
    """
    return _several[1].together() if _several else contextlib.nullcontext()


def mirrored_strategy(all_reduce_megabytes: int = ALL_REDUCE_MEGABYTES) -> tf.distribute.MirroredStrategy:
    """The process's one `MirroredStrategy`: over all GPUs, or all logical CPUs where there is no GPU.

    One for all: every strategy on CPUs numbers its all-reduces from 100 on, and TensorFlow keeps each number's shape
    for the life of the process, so that a second strategy's fail with "Shape mismatch in the collective instance".
    """
    kind = "GPU" if tf.config.list_logical_devices("GPU") else "CPU"
    strategy = _mirrored_over(tuple(device.name for device in tf.config.list_logical_devices(kind)))
    # `MirroredStrategy` has no argument for it; it looks here at every reduction.
    strategy.extended._communication_options.bytes_per_pack = all_reduce_megabytes * 2**20
    return strategy


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


def same_of_all_workers(strategy: tf.distribute.Strategy, worker: Worker, number: int) -> bool:
    """Whether all workers call this with the same integer; all learn it alike.

    It is below 2^20 (a step may be more, up to 2^26 on two workers): the sum of the squares is exact.
    """
    if worker.count == 1:
        return True

    @tf.function
    def mean_over_workers(values: tf.Tensor) -> tf.Tensor:
        return strategy.reduce("MEAN", strategy.run(lambda values: values, args=(values,)), axis=None)

    mean, mean_of_squares = mean_over_workers(tf.constant([number, number**2], tf.float64)).numpy()
    return bool(mean_of_squares == mean**2)
