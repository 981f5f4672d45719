"""What computes: whether there is a GPU, whether XLA compiles, and what a replica does by itself."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from typing import Any

import keras

# What adds the libraries of GPUs to the TensorFlow that is installed.
INSTALL = "pip install 'tensorflow[and-cuda]'"


def has_gpu() -> bool:
    """Tells whether Keras's backend lists a GPU."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        return bool(tf.config.list_logical_devices("GPU"))
    if backend == "jax":
        import jax

        return jax.default_backend() != "cpu"
    import torch

    return torch.cuda.is_available()


def compiled_by_xla() -> bool:
    """Tells whether the graph that is being traced is compiled by XLA: a `tf.function` with `jit_compile`."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    # There is no public way to ask; `MirroredStrategy` asks so, too.
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(tf.compat.v1.get_default_graph())


def assign_here(variable: keras.Variable, value: Any) -> None:
    """Assigns a value that is the same on every replica: each takes its own, where Keras would send the first's to all.

    On one device it is `variable.assign`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        context = tf.distribute.get_replica_context()
        if context is not None and context.num_replicas_in_sync > 1:
            # In a replica the handle is that of the replica's own copy.
            tf.raw_ops.AssignVariableOp(resource=variable.value.handle, value=tf.cast(value, variable.dtype))
            return
    variable.assign(value)


def unused_gpus(environment: Mapping[str, str] = os.environ) -> str:
    """Says in one sentence that this machine has NVIDIA GPUs which TensorFlow does not list; empty otherwise.

    The plain `tensorflow` package computes on the CPU there and says nothing. GPUs that CUDA_VISIBLE_DEVICES hides are
    left alone on purpose.
    """
    found = sorted(glob.glob("/dev/nvidia[0-9]*"))
    if not found or environment.get("CUDA_VISIBLE_DEVICES") in ("", "-1") or has_gpu():
        return ""
    return (
        f"warning: this machine has {', '.join(found)}, but TensorFlow lists no GPU and computes on the CPU. "
        f"{INSTALL} installs the libraries that it needs; nvidia-smi shows whether the driver works"
    )
