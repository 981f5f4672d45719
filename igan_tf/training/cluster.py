"""The cluster of TF_CONFIG, and this process's place in it."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping

from igan_tf.errors import InputError


class ClusterError(InputError):
    """The cluster of the environment variable TF_CONFIG cannot be used, or is not complete."""


class WorkerLostError(RuntimeError):
    """Another worker does not answer any more."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process's place among those that train together.

    Attributes:
        index: From 0; the first is the chief, which alone writes.
        count: How many there are.
        addresses: Theirs, `host:port`, in their order.
    """

    index: int = 0
    count: int = 1
    addresses: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    @property
    def is_chief(self) -> bool:
        return self.index == 0

    def names(self, indices: Iterable[int]) -> str:
        """Some of the workers as messages have them: "worker 1 at 10.0.0.2:12345"."""
        return ", ".join(f"worker {index} at {self.addresses[index]}" for index in indices)


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
        chiefs, workers = (_addresses(cluster.get(kind, [])) for kind in ("chief", "worker"))
        kind, index = task["type"], task["index"]
        if not isinstance(kind, str) or not isinstance(index, int | str) or isinstance(index, bool):
            raise TypeError(f"task {task}")
        index = int(index)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ClusterError(
            'TF_CONFIG must be JSON with "cluster", addresses by type, and "task", type and index. '
            f"Received: TF_CONFIG={text}"
        ) from error
    sizes = {"chief": len(chiefs), "worker": len(workers)}
    if len(chiefs) > 1 or kind not in sizes or not 0 <= index < sizes[kind]:
        raise ClusterError(
            'TF_CONFIG\'s task must be a "worker" or the one "chief" of its cluster, its index below their number. '
            f"Received: TF_CONFIG={text}"
        )
    addresses = (*chiefs, *workers)
    return Worker(index if kind == "chief" else len(chiefs) + index, len(addresses), addresses)


def _addresses(addresses: object) -> list[str]:
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise TypeError(f"addresses {addresses}")
    return addresses
