"""Every setting of a training run: its default, its meaning and what it may be, each stated here and nowhere else.

`Config` is what the library works with; `define_flags` makes one absl flag of each of its fields. Library code never
reads flags.
"""

import dataclasses
import math
from pathlib import Path

from absl import flags

from igan_tf.data import DATASETS
from igan_tf.evaluation.classifiers import NAMES as CLASSIFIERS
from igan_tf.models.semi_supervised_gan import GENERATOR_OBJECTIVES
from igan_tf.networks import NETWORKS
from igan_tf.networks.parts import GENERATOR_NORMS

MODES = ("train", "evaluate", "sample")
_GREATEST_SEED = 2**31 - 1


class ConfigError(ValueError):
    """A setting or a combination of settings that cannot be; the message names flag and value."""


def _setting(default, help_text, choices=None, low=None, high=None, free=False):
    """A field of `Config`.

    Args:
        default: The default; its type is the flag's.
        help_text: What the setting means.
        choices: The values allowed, or None.
        low, high: Bounds, included; or None.
        free: Whether a run may be resumed with another value: true of what does not change the numbers.
    """
    metadata = {"help": help_text, "choices": choices, "low": low, "high": high, "free": free}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run. Defaults are the published MNIST experiment's."""

    # Data.
    dataset: str = _setting("mnist", "What to train on.", choices=tuple(DATASETS))
    data_dir: str = _setting("", "Folder of the TFDS data, or of the images of --dataset=folder.", free=True)
    labels: int = _setting(100, "Labelled training examples in all, the same number of each class; 0: none.", low=0)
    # Free to move; what it says is not: checkpoints know the labelled examples.
    label_file: str = _setting("", "File of `index,label` lines that replaces the drawn subset.", free=True)
    seed_data: int = _setting(1, "Seed of the draw of the labelled subset.", low=0, high=_GREATEST_SEED)
    image_size: int = _setting(32, "Height and width to which --dataset=folder resizes.", low=4, high=512)
    channels: int = _setting(3, "Channels of --dataset=folder: 3 or 1.", low=1, high=3)
    test_fraction: float = _setting(0.2, "Part of each class that --dataset=folder holds out.", low=0, high=0.9)
    train_images: int = _setting(0, "Training images used, the data set's first ones; 0: all.", low=0)
    # Networks.
    network: str = _setting("auto", "Networks; auto: the data set's own.", choices=("auto", *NETWORKS))
    network_width: float = _setting(1.0, "Factor on the networks' units and filters.", low=0.01, high=16)
    generator_norm: str = _setting("batch", "The generator's normalization.", GENERATOR_NORMS)
    reference_size: int = _setting(100, "Examples in the reference batch of --generator_norm=virtual.", low=1)
    minibatch_discrimination: bool = _setting(False, "Give the discriminator minibatch features.")
    # Training.
    seed: int = _setting(
        1, "Seed of initial weights, order of the data, latents and noise.", low=0, high=_GREATEST_SEED
    )
    epochs: int = _setting(300, "Passes over the unlabelled data.", low=1, free=True)
    batch_size: int = _setting(100, "Examples of each kind in a batch, over all replicas.", low=1)
    discriminator_learning_rate: float = _setting(0.003, "Adam's rate for the discriminator.", low=0)
    generator_learning_rate: float = _setting(0.003, "Adam's rate for the generator.", low=0)
    anneal_epochs: int = _setting(
        0, "Epoch at which the rates reach 0, falling in the last third of the way to it; 0: they stay.", low=0
    )
    beta_1: float = _setting(0.5, "Adam's decay of the first moment.", low=0, high=0.999999)
    adam: str = _setting(
        "inside_root",
        "Where Adam has its constant 1e-8: inside_root as the published Theano code, or outside as Keras and "
        "TensorFlow.",
        choices=("inside_root", "outside"),
    )
    initialization_examples: int = _setting(
        500, "Examples that the discriminator's data-dependent initialization sees; 0: none.", low=0
    )
    # Techniques.
    generator_objective: str = _setting("feature_matching", "What the generator minimises.", GENERATOR_OBJECTIVES)
    feature_matching_norm: str = _setting("l2", "Squared or absolute difference of mean features.", ("l2", "l1"))
    label_smoothing: float = _setting(0.0, "The target of real data is 1 minus this.", low=0, high=0.999999)
    historical_averaging: float = _setting(0.0, "Weight of the historical averaging penalty; 0: off.", low=0)
    unlabelled_weight: float = _setting(1.0, "Weight of the unsupervised loss.", low=0)
    generator_steps: int = _setting(1, "Generator updates after each discriminator update.", low=0)
    average_decay: float = _setting(
        0.9999, "Decay of the running average of weights that is evaluated.", low=0, high=0.99999999
    )
    average_debias: bool = _setting(True, "Correct that average for its start at 0, which the published code does not.")
    # Runs beside the run.
    label_draws: int = _setting(
        1, "How many labelled subsets to train on, one after the other: --seed_data, --seed_data + 1, ...", low=1
    )
    supervised_baseline: bool = _setting(
        False, "First train the same discriminator on the labelled examples alone, for comparison."
    )
    # Machine.
    strategy: str = _setting("single", "One device, or all of this machine's.", choices=("single", "mirrored"))
    precision: str = _setting(
        "float32",
        "Precision of the networks' arithmetic; weights stay float32, and float16's losses are scaled.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    jit_compile: bool = _setting(False, "Compile the training step with XLA.")
    # Records of the run.
    checkpoint_epochs: int = _setting(1, "Epochs between checkpoints.", low=1, free=True)
    sample_epochs: int = _setting(1, "Epochs between sample grids.", low=1, free=True)
    score_epochs: int = _setting(0, "Epochs between scores of samples, the last included; 0: none.", low=0, free=True)
    score_samples: int = _setting(5000, "Samples, and at most as many real images, that are scored.", low=20)
    score_classifier: str = _setting(
        "domain",
        "What scores them: domain, a small network trained on the data set's real images; inception; "
        "keras_inception_v3; or a .tflite file.",
    )
    histogram_epochs: int = _setting(10, "Epochs between TensorBoard histograms; 0: none.", low=0, free=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_setting(field, getattr(self, field.name))
        self._check_combinations()

    def _check_combinations(self):
        if self.channels == 2:
            raise ConfigError("--channels must be 1 or 3. Received: --channels=2")
        if self.score_classifier not in CLASSIFIERS and not self.score_classifier.endswith(".tflite"):
            raise ConfigError(
                f"--score_classifier must be one of {', '.join(CLASSIFIERS)}, or a .tflite file. "
                f"Received: --score_classifier={self.score_classifier}"
            )
        if self.dataset == "folder" and not self.data_dir:
            raise ConfigError("--dataset=folder needs --data_dir, the folder of images. Received: --data_dir=")
        if self.label_file and self.label_draws > 1:
            raise ConfigError(
                f"--label_file gives one labelled subset: it does not go with --label_draws={self.label_draws}"
            )
        last_seed = self.seed_data + self.label_draws - 1
        if last_seed > _GREATEST_SEED:
            raise ConfigError(
                f"--seed_data + --label_draws - 1 must be at most {_GREATEST_SEED}. "
                f"Received: --seed_data={self.seed_data} --label_draws={self.label_draws}"
            )
        if self.jit_compile and self.strategy != "single":
            raise ConfigError(f"--jit_compile goes with --strategy=single alone. Received: --strategy={self.strategy}")
        if self.supervised_baseline and not self.labelled:
            raise ConfigError("--supervised_baseline needs labelled examples. Received: --labels=0")
        if not self.generator_steps and self.unlabelled_weight:
            raise ConfigError(
                "--generator_steps=0 needs --unlabelled_weight=0: an untrained generator is no opponent. "
                f"Received: --unlabelled_weight={self.unlabelled_weight}"
            )
        if self.generator_steps and not self.unlabelled_weight and self.generator_objective != "feature_matching":
            raise ConfigError(
                f"--generator_objective={self.generator_objective} needs a discriminator that is trained to tell real "
                f"from generated. Received: --unlabelled_weight={self.unlabelled_weight}"
            )
        if not (self.labelled or self.unlabelled_weight):
            raise ConfigError("nothing to train on. Received: --labels=0 with --unlabelled_weight=0")

    @property
    def labelled(self):
        """Whether any training example has a label."""
        return bool(self.labels or self.label_file)

    @property
    def network_name(self):
        """The networks that "auto" stands for."""
        if self.network != "auto":
            return self.network
        return self.dataset if self.dataset in NETWORKS else "mnist"

    def as_flags(self):
        """The settings as lines of a flag file, every one."""
        return [_flag_line(field.name, getattr(self, field.name)) for field in dataclasses.fields(self)]

    def fixed(self):
        """The settings that a run keeps for its life, by flag: `{"--seed": 1, ...}`."""
        fields = (field for field in dataclasses.fields(self) if not field.metadata["free"])
        return {f"--{field.name}": getattr(self, field.name) for field in fields}

    def with_absolute_paths(self):
        """The same settings, usable from any working directory."""
        paths = {name: getattr(self, name) for name in ("data_dir", "label_file")}
        # An object store's address is absolute as it stands.
        local = {name: path for name, path in paths.items() if path and "://" not in path}
        return dataclasses.replace(self, **{name: str(Path(path).absolute()) for name, path in local.items()})


def check_setting(field, value):
    """Raises a ConfigError if `value` is not one that `field` allows."""
    name, limits = field.name, field.metadata
    if limits["choices"] and value not in limits["choices"]:
        raise ConfigError(f"--{name} must be one of {', '.join(limits['choices'])}. Received: --{name}={value}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"--{name} must be a finite number. Received: --{name}={value}")
    if limits["low"] is not None and value < limits["low"]:
        raise ConfigError(f"--{name} must be at least {limits['low']}. Received: --{name}={value}")
    if limits["high"] is not None and value > limits["high"]:
        raise ConfigError(f"--{name} must be at most {limits['high']}. Received: --{name}={value}")


def define_flags(flag_values=flags.FLAGS):
    """Defines one absl flag for each setting of `Config`, its default the field's."""
    define = {str: flags.DEFINE_string, int: flags.DEFINE_integer, float: flags.DEFINE_float, bool: flags.DEFINE_bool}
    for field in dataclasses.fields(Config):
        help_text = field.metadata["help"]
        if field.metadata["choices"]:
            help_text += f" One of {', '.join(field.metadata['choices'])}."
        define[type(field.default)](field.name, field.default, help_text, flag_values=flag_values)


def expand_flagfiles(arguments, folder=None, including=()):
    """Command-line arguments with the lines of every `--flagfile=` in its place.

    A flag file named in another is looked for beside it, where absl would take the current directory: configurations
    that state their difference from another then work from anywhere. Lines that start with `#` or `//` are comments.

    Raises:
        ConfigError: for a file that cannot be read or that includes itself.
    """
    expanded = []
    remaining = iter(arguments)
    for argument in remaining:
        name, equals, path = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            path = next(remaining, "")
        path = Path(path) if folder is None else folder / path
        if path in including:
            raise ConfigError(f"--flagfile={path} includes itself")
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--flagfile={path} cannot be read: {error}") from error
        lines = [line for line in lines if line and not line.startswith(("#", "//"))]
        expanded += expand_flagfiles(lines, path.parent, (*including, path))
    return expanded


def config_from_flags(flag_values):
    """The `Config` that the parsed flags describe."""
    return Config(**{field.name: flag_values[field.name].value for field in dataclasses.fields(Config)})


def config_from_lines(lines):
    """The `Config` that the lines of a flag file describe."""
    flag_values = flags.FlagValues()
    define_flags(flag_values)
    try:
        flag_values(["flags", *lines])
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    return config_from_flags(flag_values)


def _flag_line(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"
