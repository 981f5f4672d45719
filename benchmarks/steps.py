"""Training steps of this package's networks, and PyTorch's beside them."""

import importlib.util
from importlib.metadata import version

import tensorflow as tf

from benchmarks.products import run_one_after_another
from benchmarks.timing import alternate, in_another_process
from igan_tf.precision import dtype_policy

BATCH = 100


def build_model(network, learning_rate, precision, **compile_settings):
    """A compiled `SemiSupervisedGAN`.

    Args:
        network: Module of `igan_tf.networks`.
        learning_rate: Of both players.
        precision: The dtype policy.
        **compile_settings: Of `SemiSupervisedGAN.compile`.
    """
    from igan_tf.models import SemiSupervisedGAN
    from igan_tf.optimizers import InsideRootAdam

    with dtype_policy(precision):
        model = SemiSupervisedGAN(network.build_generator(), network.build_discriminator())
        model.compile(InsideRootAdam(learning_rate), InsideRootAdam(learning_rate), **compile_settings)
    return model


def training_batch(image_shape):
    """One batch of 100 images of each kind."""
    images = tf.random.uniform((3, BATCH, *image_shape))
    return {
        "labelled_images": images[0],
        "labels": tf.range(BATCH) % 10,
        "unlabelled_images": images[1],
        "unlabelled_images_2": images[2],
    }


def finishing(function, *arguments):
    """A call of the `tf.function` that returns once its work is done."""
    return lambda: [value.numpy() for value in function(*arguments).values()]


def ratio_to_products(products, step, repetitions, warm_up=1):
    """Seconds of a step over those of `products`, a list of `Product`, one after another."""
    step_seconds, product_seconds = alternate(step, run_one_after_another(products), repetitions, warm_up)
    details = {"step": f"{1e3 * step_seconds:.1f} ms", "products": f"{1e3 * product_seconds:.1f} ms"}
    details |= {f"product {index:2d}": str(product) for index, product in enumerate(products, start=1)}
    return {"value": step_seconds / product_seconds, "details": details}


def ratio_of_precisions(step_of, repetitions):
    """Seconds of a step in mixed_bfloat16 over those in float32; `step_of(precision)` builds it."""
    bfloat16, float32 = alternate(step_of("mixed_bfloat16"), step_of("float32"), repetitions)
    details = {"mixed_bfloat16": f"{1e3 * bfloat16:.1f} ms", "float32": f"{1e3 * float32:.1f} ms"}
    return {"value": bfloat16 / float32, "details": details}


def ratio_to_pytorch(experiment, precision, step_of, repetitions):
    """Seconds of PyTorch's step over those of ours; None where PyTorch is not installed."""
    if importlib.util.find_spec("torch") is None:
        return None
    with in_another_process("benchmarks.pytorch", experiment, precision) as pytorch_step:
        theirs, ours = alternate(pytorch_step, step_of(precision), repetitions)
    details = {f"PyTorch {version('torch')}": f"{1e3 * theirs:.1f} ms", "ours": f"{1e3 * ours:.1f} ms"}
    return {"value": theirs / ours, "details": details}
