"""The options of `python -m igan_tf.evaluate`, each with its default."""

import argparse
import re

from igan_tf.errors import EvaluationError
from igan_tf.metrics.checks import pixel_range

SOURCES = (
    "a run directory or one of its checkpoints/step-<n>, which generates; a folder of images or of .npz files; an "
    ".npz; tfds:NAME:SPLIT; DATASET:train or DATASET:test of a data set of this package; noise:HEIGHTxWIDTHxCHANNELS"
)


# Latents are drawn from 32-bit seeds: greater ones would meet smaller ones again.
_GREATEST_SEED = 2**31 - 1


def _whole(name, low):
    """An argparse type: a whole number of at least `low`."""

    def convert(text):
        if not re.fullmatch(r"\d+", text) or int(text) < low:
            message = f"--{name} must be a whole number of at least {low}. Received: --{name}={text}"
            raise argparse.ArgumentTypeError(message)
        return int(text)

    return convert


def _seed(text):
    seed = None if text == "none" else _whole("seed", 0)(text)
    if seed is not None and seed > _GREATEST_SEED:
        raise argparse.ArgumentTypeError(f"--seed must be at most {_GREATEST_SEED}. Received: --seed={text}")
    return seed


def _fraction(text):
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(
            f"--top_fraction must be above 0 and at most 1. Received: --top_fraction={text}"
        )
    return value


def _range(name):
    """An argparse type: `black,white`."""

    def convert(text):
        try:
            return pixel_range(text)
        except ValueError:
            message = f"--{name} must be black,white, such as -1,1. Received: --{name}={text}"
            raise argparse.ArgumentTypeError(message) from None

    return convert


def parser(description=""):
    """The command line's options, as an `argparse.ArgumentParser`."""
    options = argparse.ArgumentParser(prog="python -m igan_tf.evaluate", description=description, allow_abbrev=False)
    add = options.add_argument
    add("--source", required=True, help=f"what to score: {SOURCES}")
    add("--reference", default="", help="real images for FID, KID, ...: as --source, or a file of --save_reference")
    add("--classifier", default="inception", help="inception, keras_inception_v3, domain, a .tflite or .keras file")
    add("--classifier_path", default="", help="weights of inception or keras_inception_v3; empty: fetched on first use")
    add("--classifier_sha256", default="", help="the digest that the weights must have")
    add(
        "--classifier_range",
        type=_range("classifier_range"),
        help="black,white of a file of floats as classifier",
    )
    add("--trust_classifier_file", action="store_true", help="open a .keras file, which decides which layers are made")
    add("--protocol", default="default", help="default, or original: Inception's 1008 logits without their bias")
    add("--cache_dir", default="", help="where fetched and trained classifiers are kept")
    add("--dataset", default="", help="data set that --classifier=domain is trained on; a run directory has its own")
    add("--data_dir", default="", help="folder of the TFDS data")
    add("--image_range", type=_range("image_range"), help="black,white of an .npz of floats; 0,1 if not given")
    add("--reference_range", type=_range("reference_range"), help="that of --reference; --image_range if not given")
    add("--npz_key", default="", help="array of the .npz")
    add("--center_square", action="store_true", help="take the largest centre square of each image of a folder")
    add("--num_samples", type=_whole("num_samples", 0), default=0, help="images to take; 0: all, 50000 of a run")
    add("--splits", type=_whole("splits", 1), default=10, help="splits of the Inception Score")
    add("--seed", type=_seed, default=0, help="of latents, draws and permutations; none: keep the order")
    add("--batch_size", type=_whole("batch_size", 1), default=64, help="images in a pass of the classifier")
    add("--kernel_block_size", type=_whole("kernel_block_size", 2), default=1024, help="images in a block of KID")
    add("--neighbour_samples", type=_whole("neighbour_samples", 6), default=10000, help="images for precision, ...")
    add("--save_statistics", default="", help="file that gets the source's features and statistics, for --reference")
    add("--save_reference", default="", help="file that gets the reference's")
    add("--top_dir", default="", help="folder that gets samples/ of the highest scores and a grid of the first 100")
    add("--top_fraction", type=_fraction, default=0.01, help="the part of the samples that --top_dir gets")
    add("--generated_training_data", action="store_true", help="train on a run's samples, test on real images")
    add("--output", default="scores.json", help="file that gets the figures and their protocol")
    return options


def refuse_unused(arguments, kinds):
    """Refuses what was given and would not be looked at: it was meant to do something.

    Args:
        arguments: Of `parser()`.
        kinds: Of what kind `--source` and, if there is one, `--reference` are: a set of "run", "tfds", "dataset",
            "noise", "npz" (a file, or a folder of them), "statistics" and "folder".

    Raises:
        EvaluationError: that names the flag and what it is for.
    """
    trains = arguments.classifier == "domain" or arguments.generated_training_data
    reads_data = kinds & {"tfds", "dataset"} or (trains and (arguments.dataset or "run" in kinds))
    for name, used, purpose in (
        ("image_range", "npz" in kinds, "the images of an .npz"),
        ("npz_key", "npz" in kinds, "the images of an .npz"),
        ("center_square", "folder" in kinds, "a folder of images"),
        ("dataset", trains, "--classifier=domain and --generated_training_data"),
        ("data_dir", reads_data, "a data set"),
        ("kernel_block_size", arguments.reference, "--reference"),
        ("neighbour_samples", arguments.reference, "--reference"),
        ("top_fraction", arguments.top_dir, "--top_dir"),
    ):
        if not used and getattr(arguments, name) != parser().get_default(name):
            raise EvaluationError(
                f"--{name} is for {purpose}. Received: {_as_given(name, getattr(arguments, name))} with "
                f"--source={arguments.source} --reference={arguments.reference} --classifier={arguments.classifier}"
            )


def _as_given(name, value):
    if value is True:
        return f"--{name}"
    return f"--{name}={','.join(f'{number:g}' for number in value) if isinstance(value, tuple) else value}"
