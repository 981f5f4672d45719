"""What differs between experiments: which data, networks, model and batches a `Config` stands for.

Each module has the functions that `Experiment` calls: `check_against_data`, `make_batches`, `build_model`,
`initialize`, `identity`, `real_images`, `evaluate` and `histograms`, and says how many samples a grid has and whether
there is a test set.
"""

from igan_tf.experiments.recipes import imagenet, semi_supervised

_RECIPES = {"imagenet": imagenet, "semi_supervised": semi_supervised}


def recipe_of(config):
    """The recipe's module."""
    return _RECIPES[config.recipe_name]
