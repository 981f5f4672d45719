"""Every setting of a training run: its default, its meaning and what it may be, each stated here and nowhere else.

`Config` is what the library works with; `define_flags` makes one absl flag of each of its fields. Library code never
reads flags.
"""

import dataclasses
import math
from pathlib import Path

from absl import flags

from igan_tf.data import DATASETS
from igan_tf.errors import ConfigError
from igan_tf.evaluation.names import CLASSIFIERS
from igan_tf.metrics.checks import pixel_range
from igan_tf.models.semi_supervised_gan import GENERATOR_OBJECTIVES
from igan_tf.networks import NETWORKS
from igan_tf.networks.parts import DISCRIMINATOR_NORMS, GENERATOR_NORMS, INPUT_CORRUPTIONS
from igan_tf.training.distribution import STRATEGIES

MODES = ("train", "evaluate", "sample")
_GREATEST_SEED = 2**31 - 1


def _setting(default, help_text, choices=None, low=None, high=None, free=False, only=None):
    """A field of `Config`.

    Args:
        default: The default; its type is the flag's.
        help_text: What the setting means.
        choices: The values allowed, or None.
        low, high: Bounds, included; or None.
        free: Whether a run may be resumed with another value: true of what does not change the numbers.
        only: "semi_supervised" or "imagenet" where only that recipe has such a setting.
    """
    metadata = {"help": help_text, "choices": choices, "low": low, "high": high, "free": free, "only": only}
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class Config:
    """The settings of a run. Defaults are the published MNIST experiment's."""

    # Data.
    dataset: str = _setting("mnist", "What to train on.", choices=tuple(DATASETS))
    data_dir: str = _setting(
        "", "Folder of the TFDS data, of the images of --dataset=folder, or of --dataset=imagenet's records.", free=True
    )
    labels: int = _setting(
        100, "Labelled training examples in all, the same number of each class; 0: none.", low=0, only="semi_supervised"
    )
    # Free to move; what it says is not: checkpoints know the labelled examples.
    label_file: str = _setting(
        "", "File of `index,label` lines that replaces the drawn subset.", free=True, only="semi_supervised"
    )
    seed_data: int = _setting(
        1, "Seed of the draw of the labelled subset.", low=0, high=_GREATEST_SEED, only="semi_supervised"
    )
    use_labels: bool = _setting(True, "Let the discriminator learn the classes of the records.", only="imagenet")
    image_size: int = _setting(
        0,
        "Height and width of images: to which --dataset=folder resizes (0: 32), or which the records must have (0: "
        "any).",
        low=0,
        high=512,
    )
    channels: int = _setting(3, "Channels of --dataset=folder: 3 or 1.", low=1, high=3)
    test_fraction: float = _setting(0.2, "Part of each class that --dataset=folder holds out.", low=0, high=0.9)
    train_images: int = _setting(
        0, "Training images used, a fixed draw of them; 0: all.", low=0, only="semi_supervised"
    )
    flip: bool = _setting(False, "Mirror every other image, anew in each epoch.", only="imagenet")
    # Networks.
    network: str = _setting(
        "auto", "Networks; auto: the data set's own.", choices=("auto", *NETWORKS), only="semi_supervised"
    )
    network_width: float = _setting(
        1.0, "Factor on the networks' units and filters.", low=0.01, high=16, only="semi_supervised"
    )
    gf_dim: int = _setting(64, "What the generator's channels are multiples of.", low=8, high=1024, only="imagenet")
    df_dim: int = _setting(64, "What the discriminator's filters are multiples of.", low=2, high=1024, only="imagenet")
    latent_size: int = _setting(8192, "Length of z.", low=1, high=2**20, only="imagenet")
    generator_norm: str = _setting("batch", "The generator's normalization.", GENERATOR_NORMS)
    reference_size: int = _setting(100, "Examples in the reference batch of --generator_norm=virtual.", low=1)
    discriminator_norm: str = _setting(
        "cross", "The discriminator's normalization; batch: each half by itself.", DISCRIMINATOR_NORMS, only="imagenet"
    )
    minibatch_discrimination: bool = _setting(False, "Give the discriminator minibatch features.")
    input_corruption: str = _setting(
        "auto",
        "What the discriminator's images are disturbed by; auto: noise in dense networks and beside minibatch "
        "discrimination, dropout in other convolutional ones.",
        INPUT_CORRUPTIONS,
        only="semi_supervised",
    )
    # Training.
    seed: int = _setting(
        1, "Seed of initial weights, order of the data, latents and noise.", low=0, high=_GREATEST_SEED
    )
    epochs: int = _setting(300, "Passes over the unlabelled data.", low=1, free=True)
    batch_size: int = _setting(100, "Examples of each kind in a batch of each replica.", low=1)
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
        500,
        "Examples that the discriminator's data-dependent initialization sees; 0: none.",
        low=0,
        only="semi_supervised",
    )
    # Techniques.
    generator_objective: str = _setting(
        "feature_matching", "What the generator minimises.", GENERATOR_OBJECTIVES, only="semi_supervised"
    )
    feature_matching_norm: str = _setting(
        "l2", "Squared or absolute difference of mean features.", ("l2", "l1"), only="semi_supervised"
    )
    feature_matching: float = _setting(
        0.0, "Weight of feature matching beside the generator's adversarial loss; 0: off.", low=0, only="imagenet"
    )
    label_smoothing: float = _setting(0.0, "The target of real data is 1 minus this.", low=0, high=0.999999)
    historical_averaging: float = _setting(0.0, "Weight of the historical averaging penalty; 0: off.", low=0)
    unlabelled_weight: float = _setting(1.0, "Weight of the unsupervised loss.", low=0, only="semi_supervised")
    generator_steps: int = _setting(
        1, "Generator updates after each discriminator update.", low=0, only="semi_supervised"
    )
    average_decay: float = _setting(
        0.9999,
        "Decay of the running average of weights that is evaluated.",
        low=0,
        high=0.99999999,
        only="semi_supervised",
    )
    average_debias: bool = _setting(
        True, "Correct that average for its start at 0, which the published code does not.", only="semi_supervised"
    )
    # Runs beside the run.
    label_draws: int = _setting(
        1,
        "How many labelled subsets to train on, one after the other: --seed_data, --seed_data + 1, ...",
        low=1,
        only="semi_supervised",
    )
    supervised_baseline: bool = _setting(
        False,
        "First train the same discriminator on the labelled examples alone, for comparison.",
        only="semi_supervised",
    )
    # Machine.
    # Not "auto": the batch is each replica's, so a second GPU would make another experiment of a paper's flag file.
    strategy: str = _setting(
        "single",
        "One device; mirrored: all of this machine's; multi_worker: those of all machines in TF_CONFIG; auto: the last "
        "of these that there is occasion for.",
        choices=STRATEGIES,
    )
    precision: str = _setting(
        "float32",
        "Precision of the networks' arithmetic; weights stay float32, and float16's losses are scaled.",
        choices=("float32", "mixed_bfloat16", "mixed_float16"),
    )
    jit_compile: bool = _setting(False, "Compile the training step with XLA.")
    # Records of the run.
    checkpoint_epochs: int = _setting(1, "Epochs between checkpoints.", low=1, free=True)
    checkpoint_minutes: float = _setting(0.0, "Minutes between checkpoints inside an epoch; 0: none.", low=0, free=True)
    log_steps: int = _setting(0, "Steps between losses in the records inside an epoch; 0: none.", low=0, free=True)
    sample_epochs: int = _setting(1, "Epochs between sample grids.", low=1, free=True)
    sample_minutes: float = _setting(0.0, "Minutes between sample grids inside an epoch; 0: none.", low=0, free=True)
    early_sample_steps: int = _setting(
        0, "Steps between sample grids within the first 300 steps; 0: none.", low=0, free=True
    )
    score_epochs: int = _setting(0, "Epochs between scores of samples, the last included; 0: none.", low=0, free=True)
    score_samples: int = _setting(5000, "Samples, and at most as many real images, that are scored.", low=20)
    # Free to move; what it is is not: the run directory's score_protocol.json has its digest, and range and all.
    score_classifier: str = _setting(
        "domain",
        "What scores them: domain, a small network trained on the data set's real images; inception; "
        "keras_inception_v3; or a .tflite file.",
        free=True,
    )
    score_classifier_range: str = _setting(
        "", "The pixels black,white that a .tflite --score_classifier of floats expects, such as -1,1.", free=True
    )
    histogram_epochs: int = _setting(10, "Epochs between TensorBoard histograms; 0: none.", low=0, free=True)

    def __post_init__(self):
        for field in dataclasses.fields(self):
            check_setting(field, getattr(self, field.name))
        self._check_recipe()
        self._check_combinations()

    def _check_recipe(self):
        """Refuses settings that the recipe does not have."""
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if field.metadata["only"] not in (None, self.recipe_name) and value != field.default:
                raise ConfigError(
                    f"--{name} does not concern --dataset={self.dataset}. Received: {_flag_line(name, value)}"
                )

    def _check_combinations(self):
        if 0 < self.image_size < 4:
            raise ConfigError(f"--image_size must be 0 or at least 4. Received: --image_size={self.image_size}")
        if self.gf_dim % 8:
            raise ConfigError(f"--gf_dim must be a multiple of 8. Received: --gf_dim={self.gf_dim}")
        if self.df_dim % 2:
            raise ConfigError(f"--df_dim must be even. Received: --df_dim={self.df_dim}")
        if self.channels == 2:
            raise ConfigError("--channels must be 1 or 3. Received: --channels=2")
        if self.score_classifier not in CLASSIFIERS and not self.score_classifier.endswith(".tflite"):
            raise ConfigError(
                f"--score_classifier must be one of {', '.join(CLASSIFIERS)}, or a .tflite file. "
                f"Received: --score_classifier={self.score_classifier}"
            )
        if self.score_classifier_range:
            self._check_classifier_range()
        if self.dataset == "imagenet" and self.score_epochs and self.score_classifier == "domain":
            raise ConfigError(
                "--score_epochs needs another classifier than the small network of --score_classifier=domain for "
                f"--dataset=imagenet. Received: --score_epochs={self.score_epochs}"
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
        if self.recipe_name == "semi_supervised":
            self._check_semi_supervised()
        if self.precision == "mixed_float16" and self.strategy != "single":
            # Keras decides by the first replica's gradients whether all of them are finite.
            raise ConfigError(
                f"--precision=mixed_float16 goes with --strategy=single alone; mixed_bfloat16 with every one. "
                f"Received: --strategy={self.strategy}"
            )
        if self.jit_compile and self.strategy != "single":
            raise ConfigError(f"--jit_compile goes with --strategy=single alone. Received: --strategy={self.strategy}")

    def _check_classifier_range(self):
        received = f"Received: --score_classifier_range={self.score_classifier_range}"
        if not self.score_classifier.endswith(".tflite"):
            raise ConfigError(
                f"--score_classifier_range is for a .tflite --score_classifier of floats. {received} "
                f"--score_classifier={self.score_classifier}"
            )
        try:
            pixel_range(self.score_classifier_range)
        except ValueError:
            raise ConfigError(f"--score_classifier_range must be black,white, such as -1,1. {received}") from None

    def _check_semi_supervised(self):
        if self.input_corruption not in ("auto", *NETWORKS[self.network_name].INPUT_CORRUPTIONS):
            raise ConfigError(
                f"--network={self.network_name} has no such corruption. "
                f"Received: --input_corruption={self.input_corruption}"
            )
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
    def recipe_name(self):
        """The recipe that trains on the data set: a module of `igan_tf.experiments.recipes`."""
        return "imagenet" if self.dataset == "imagenet" else "semi_supervised"

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
        if self.score_classifier not in CLASSIFIERS:
            paths["score_classifier"] = self.score_classifier
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
        _, *others = flag_values(["flags", *lines])
    except flags.Error as error:
        raise ConfigError(str(error)) from error
    if others:
        raise ConfigError(f"unknown argument: {others[0]}")
    return config_from_flags(flag_values)


def _flag_line(name, value):
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no{name}"
    return f"--{name}={value}"
