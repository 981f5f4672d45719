"""What a command calls the settings of its classifier: an error names the flag that its reader can change."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FlagNames:
    """The names of a command's flags; by default those of `igan_tf.evaluate`.

    Attributes:
        classifier: Which classifier.
        value_range: The pixels that a file of the user's own expects.
        cache_dir: Where fetched and trained weights are kept.
        offline: What helps where weights cannot be fetched.
    """

    classifier: str = "--classifier"
    value_range: str = "--classifier_range"
    cache_dir: str = "--cache_dir"
    offline: str = "with --classifier_path a file that is already here is used"


EVALUATION = FlagNames()
TRAINING = FlagNames(
    classifier="--score_classifier",
    value_range="--score_classifier_range",
    cache_dir="IGAN_CACHE_DIR",
    offline="--score_classifier also takes a .tflite file that is already here",
)
