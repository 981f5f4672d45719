"""Minibatch discrimination's pair features, forward and backward, against the broadcasting form.

Both take M (128, 300, 50), N = 128 rows, 300 kernels of dimension 50, to sum_j exp(-sum_c |M_i - M_j|), the self term
excluded, and a fixed cotangent back to the gradient of M, each in one `tf.function` without XLA.
"""

import sys

from benchmarks.timing import output_of, peak_bytes_so_far, ratio

SHAPE = (128, 300, 50)
ROUNDS = 9


def minibatch_time_ratio():
    """Median time of this package's form over the broadcasting form's, timed in turns."""
    projections, steps = _steps()
    results = {name: step(projections) for name, step in steps.items()}
    difference = max(
        float(abs(ours - other).numpy().max()) for ours, other in zip(results["ours"], results["broadcasting"])
    )
    forms = [(name, lambda step=step: step(projections)[1].numpy()) for name, step in steps.items()]
    return ratio(*forms, ROUNDS, **{"shape": SHAPE, "largest difference": difference})


def minibatch_memory_ratio():
    """Peak resident memory that this package's form takes over what the broadcasting form takes.

    Each runs in a fresh process, three times over the same input; what a process has that only makes the input is
    subtracted from both. Freed memory is not kept, as in a program that is not one of this package's commands.
    """
    peaks = {name: output_of("benchmarks.minibatch", name) for name in ("imports_only", "ours", "broadcasting")}
    details = {"shape": SHAPE, "peak_bytes": peaks}
    ours, broadcasting = (peaks[name] - peaks["imports_only"] for name in ("ours", "broadcasting"))
    return {"value": ours / broadcasting, "details": details}


def _steps():
    """M, and the two forms as functions of M to (features, gradient)."""
    import tensorflow as tf

    from igan_tf.layers import MinibatchDiscrimination
    from igan_tf.layers.minibatch_discrimination import pairwise_distances

    num_rows, num_kernels, kernel_dim = SHAPE
    # The layer's own code after the product with theta.
    layer = MinibatchDiscrimination(num_kernels, kernel_dim)
    projections = tf.random.stateless_normal(SHAPE, seed=(0, 1), stddev=0.05)
    cotangent = tf.random.stateless_normal((num_rows, num_kernels), seed=(0, 2))

    def ours(projections):
        return layer._features(pairwise_distances(projections))[:, 0]

    def broadcasting(projections):
        distances = tf.reduce_sum(tf.abs(projections[:, None] - projections[None]), axis=3)
        others = 1 - tf.eye(num_rows)
        return tf.reduce_sum(tf.exp(-distances) * others[:, :, None], axis=1)

    def step_of(features_of):
        @tf.function(jit_compile=False)
        def step(projections):
            with tf.GradientTape() as tape:
                tape.watch(projections)
                features = features_of(projections)
            return features, tape.gradient(features, projections, output_gradients=cotangent)

        return step

    return projections, {"ours": step_of(ours), "broadcasting": step_of(broadcasting)}


def _measure_peak(name):
    projections, steps = _steps()
    for _ in range(3 if name in steps else 0):
        steps[name](projections)[1].numpy()
    print(peak_bytes_so_far())


if __name__ == "__main__":
    _measure_peak(sys.argv[1])
