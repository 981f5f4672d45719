"""One MNIST training step against the matrix products that it cannot do without."""

import tensorflow as tf

from benchmarks.timing import alternate

BATCH = 100
GENERATOR = [(100, 500), (500, 500), (500, 784)]
DISCRIMINATOR = [(784, 1000), (1000, 500), (500, 250), (250, 250), (250, 250), (250, 10)]


def products():
    """(what, rows, inputs, outputs, kinds): the products of D's and G's updates.

    Kinds: "y" the layer's output x W, "dx" the gradient to its input, "dw" the gradient to its kernel.
    """
    listed = [("D step: G forward", BATCH, *shape, ("y",)) for shape in GENERATOR]
    for index, shape in enumerate(DISCRIMINATOR):
        kinds = ("y", "dx", "dw") if index else ("y", "dw")
        listed.append(("D step: D on labelled, unlabelled, generated", 3 * BATCH, *shape, kinds))
    for index, shape in enumerate(GENERATOR):
        listed.append(("G step: G", BATCH, *shape, ("y", "dx", "dw") if index else ("y", "dw")))
    for shape in DISCRIMINATOR[:-1]:
        listed.append(("G step: D's features of real and generated", 2 * BATCH, *shape, ("y",)))
        listed.append(("G step: D's features of generated, backward", BATCH, *shape, ("dx",)))
    return listed


def mnist_step_ratio():
    """Seconds of MNIST's `train_step`, batch 100, over those of its products one after another."""
    step, run_products = _training_step(), _products_alone()
    step_seconds, product_seconds = alternate(step, run_products, repetitions=60)
    details = {"step": f"{1e3 * step_seconds:.1f} ms", "products": f"{1e3 * product_seconds:.1f} ms"}
    for index, (what, rows, inputs, outputs, kinds) in enumerate(products(), start=1):
        details[f"product {index:2d}"] = f"{what}: {rows} x {inputs} x {outputs}, {' '.join(kinds)}"
    return {"value": step_seconds / product_seconds, "details": details}


def noise_time_ratio():
    """Seconds of this package's `GaussianNoise` over Keras's, on the shape of all of D's noise in its update."""
    import keras

    from igan_tf.layers import GaussianNoise

    inputs = tf.random.normal((3 * BATCH, 784 + sum(units for _, units in DISCRIMINATOR[:-1])))

    def timed(layer):
        function = tf.function(lambda: layer(inputs, training=True)[0, 0])
        return lambda: function().numpy()

    ours, keras_own = alternate(timed(GaussianNoise(0.5)), timed(keras.layers.GaussianNoise(0.5)), repetitions=60)
    details = {"GaussianNoise": f"{1e3 * ours:.2f} ms", "keras.layers.GaussianNoise": f"{1e3 * keras_own:.2f} ms"}
    return {"value": ours / keras_own, "details": {**details, "shape": tuple(inputs.shape)}}


def _training_step():
    from igan_tf.models import SemiSupervisedGAN
    from igan_tf.networks import mnist
    from igan_tf.optimizers import InsideRootAdam

    model = SemiSupervisedGAN(mnist.build_generator(), mnist.build_discriminator())
    model.compile(InsideRootAdam(0.003), InsideRootAdam(0.003))
    images = tf.random.uniform((3, BATCH, 28, 28, 1))
    batch = {
        "labelled_images": images[0],
        "labels": tf.range(BATCH) % 10,
        "unlabelled_images": images[1],
        "unlabelled_images_2": images[2],
    }
    function = tf.function(model.train_step)
    return lambda: [value.numpy() for value in function(batch).values()]


def _products_alone():
    operands = []
    for _, rows, inputs, outputs, kinds in products():
        x = tf.random.normal((rows, inputs))
        w = tf.random.normal((inputs, outputs))
        y = tf.random.normal((rows, outputs))
        of_kind = {"y": (x, w, False, False), "dx": (y, w, False, True), "dw": (x, y, True, False)}
        operands += [of_kind[kind] for kind in kinds]

    @tf.function
    def run():
        results, previous = [], []
        for a, b, transpose_a, transpose_b in operands:
            # One after another, as in a step, where each waits for the one before.
            with tf.control_dependencies(previous):
                product = tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
            previous = [product]
            results.append(product[0, 0])
        return tf.stack(results)

    return lambda: run().numpy()
