"""From a `Config` to a finished run directory, and back from a run directory to its networks."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from igan_tf import durable
from igan_tf.config import ConfigError, config_from_lines
from igan_tf.data import SemiSupervisedBatches, labelled_subset, load_data, read_label_file
from igan_tf.evaluation.callback import PROTOCOL_FILE, PeriodicScores
from igan_tf.evaluation.classifiers import load_classifier
from igan_tf.evaluation.images import ArraySource, chosen_indices
from igan_tf.models import SemiSupervisedGAN
from igan_tf.networks import NETWORKS
from igan_tf.optimizers import AnnealedRate, InsideRootAdam
from igan_tf.training import CheckpointError, Checkpoints, Trainer
from igan_tf.training.checkpoints import differences, identity_of, restore_state
from igan_tf.training.distribution import mirrored_strategy
from igan_tf.training.records import Records, image_grid

FLAGS_FILE = "flags.cfg"
SAMPLES_IN_GRID = 100
_SAMPLE_SEED = 0


def build_strategy(config):
    """The `tf.distribute.Strategy` of `--strategy`, after checking that the batch can be split over its replicas."""
    if config.strategy == "single":
        return tf.distribute.get_strategy()
    strategy = mirrored_strategy()
    if config.batch_size % strategy.num_replicas_in_sync:
        raise ConfigError(
            f"--batch_size must be a multiple of the {strategy.num_replicas_in_sync} replicas of --strategy=mirrored. "
            f"Received: --batch_size={config.batch_size}"
        )
    return strategy


def labelled_examples(config, data):
    """Indices and labels of the examples that keep their labels.

    Raises:
        ConfigError, DataError: where the data has no such labels.
    """
    if not config.labelled:
        return np.zeros(0, "int64"), np.zeros(0, "int64")
    if not data.num_classes:
        raise ConfigError(
            "the data has no classes: only --labels=0 without --label_file goes with it. "
            f"Received: --labels={config.labels} --label_file={config.label_file}"
        )
    if config.label_file:
        return read_label_file(config.label_file, len(data.train_images), data.num_classes)
    if config.labels % data.num_classes:
        raise ConfigError(
            f"--labels must be a multiple of the {data.num_classes} classes. Received: --labels={config.labels}"
        )
    missing = sorted(set(range(data.num_classes)) - set(data.train_labels.tolist()))
    if missing:
        raise ConfigError(
            f"no training image is of class {data.class_names[missing[0]]!r}. "
            f"Received: --labels={config.labels} --train_images={config.train_images}"
        )
    try:
        indices = labelled_subset(data.train_labels, config.labels // data.num_classes, config.seed_data)
    except ValueError as error:
        raise ConfigError(f"--labels={config.labels}: {error}") from error
    return indices, data.train_labels[indices]


def check_against_data(config, data):
    """Raises a ConfigError or DataError if the settings do not go with the data or the machine; writes nothing."""
    build_strategy(config)
    network = NETWORKS[config.network_name]
    height, width, _ = data.image_shape
    if height % network.SIDE_MULTIPLE or width % network.SIDE_MULTIPLE or min(height, width) < network.SMALLEST_SIDE:
        raise ConfigError(
            f"--network={config.network_name} needs images whose sides are multiples of {network.SIDE_MULTIPLE}, at "
            f"least {network.SMALLEST_SIDE}; --dataset={config.dataset} has {height} x {width} "
            f"(--image_size={config.image_size} is for --dataset=folder)"
        )
    labelled_examples(config, data)
    if config.batch_size > len(data.train_images):
        raise ConfigError(
            f"--batch_size must be at most the number of training images, {len(data.train_images)}. "
            f"Received: --batch_size={config.batch_size}"
        )


def build_model(config, image_shape, num_classes, steps_per_epoch):
    """Networks and optimizers of a run, compiled; initial weights are a function of `config.seed`."""
    keras.utils.set_random_seed(config.seed)
    network = NETWORKS[config.network_name]
    with _precision(config.precision):
        model = SemiSupervisedGAN(
            network.build_generator(
                image_shape,
                norm=config.generator_norm,
                reference_size=config.reference_size,
                width=config.network_width,
            ),
            network.build_discriminator(
                image_shape,
                num_outputs=num_classes if config.labelled else 1,
                minibatch_discrimination=config.minibatch_discrimination,
                width=config.network_width,
                corruption=config.input_corruption,
            ),
            latent_range=network.LATENT_RANGE,
            seed=config.seed,
        )
    model.compile(
        _optimizer(config, config.discriminator_learning_rate, steps_per_epoch),
        _optimizer(config, config.generator_learning_rate, steps_per_epoch * max(config.generator_steps, 1)),
        generator_objective=config.generator_objective,
        feature_matching_norm=config.feature_matching_norm,
        label_smoothing=config.label_smoothing,
        historical_averaging=config.historical_averaging,
        unlabelled_weight=config.unlabelled_weight,
        generator_steps=config.generator_steps,
        average_decay=config.average_decay,
        average_debias=config.average_debias,
    )
    return model


@contextlib.contextmanager
def _precision(name):
    """Layers and models made in this scope have the dtype policy `name`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _optimizer(config, learning_rate, steps_per_epoch):
    if config.anneal_epochs:
        learning_rate = AnnealedRate(learning_rate, config.anneal_epochs, steps_per_epoch)
    if config.adam == "inside_root":
        return InsideRootAdam(learning_rate, beta_1=config.beta_1, epsilon=1e-8)
    return keras.optimizers.Adam(learning_rate, beta_1=config.beta_1, epsilon=1e-8)


class Experiment:
    """One labelled subset's training in one run directory.

    Args:
        config: The settings.
        data: The `ImageData`.
        run_dir: Where results go; nothing is written before `run`.
        report: Called with each line for the user.
    """

    def __init__(self, config, data, run_dir, report=print):
        self.config = config
        self.data = data
        self.run_dir = Path(run_dir)
        self.report = report
        self.strategy = build_strategy(config)
        self.batches = SemiSupervisedBatches(
            data.train_images, *labelled_examples(config, data), config.batch_size, config.seed
        )
        with self.strategy.scope():
            self.model = build_model(config, data.image_shape, data.num_classes, self.batches.steps_per_epoch)
        self.checkpoints = Checkpoints(self.run_dir / "checkpoints", warn=report)
        self.trainer = Trainer(self.model, self.batches, self.checkpoints, config, self.strategy, self._identity())

    def _identity(self):
        """What must be equal for a run to be continued; `load_run` builds the networks from it without the data."""
        labelled = np.stack([self.batches.labelled_indices, self.batches.labels])
        return {
            **self.config.fixed(),
            "image_shape": list(self.data.image_shape),
            "num_classes": self.data.num_classes,
            "steps_per_epoch": self.batches.steps_per_epoch,
            "SHA-256 of the data": self.data.fingerprint(),
            "SHA-256 of the labelled examples": hashlib.sha256(labelled).hexdigest(),
            # Each replica draws noise of its own.
            "replicas": self.strategy.num_replicas_in_sync,
        }

    def run(self):
        """Trains to the end, from the newest checkpoint if there is one, and returns the result."""
        refuse_other_settings(self.run_dir, self.config)
        self._scores = self._periodic_scores()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        resumed = self.trainer.restore()
        if not resumed:
            self._initialize()
        save_config(self.run_dir, self.config)
        # Of epochs that ended: a checkpoint may stand at an epoch's last step without its records. Nothing of a run
        # that starts anew.
        recorded = self.trainer.epochs_done * self.batches.steps_per_epoch
        self.records = Records(self.run_dir, recorded if resumed else -1)
        try:
            if resumed:
                self.report(f"{self.run_dir}: continuing after step {self.trainer.step}")
            else:
                self.records.describe(self.config.as_flags(), dataclasses.asdict(self.config))
            self.trainer.train(self._end_epoch)
            return self._finish()
        finally:
            self.records.close()

    def _initialize(self):
        config, network = self.config, NETWORKS[self.config.network_name]
        if config.initialization_examples:
            images = self.batches.initialization_examples(
                config.initialization_examples, labelled=network.INITIALIZES_FROM_LABELLED
            )
            num_latents = config.batch_size if network.INITIALIZES_GENERATOR else 0
            with self.strategy.scope():
                self.model.initialize_from(images, config.seed, num_latents)

    def _periodic_scores(self):
        """What scores the samples, or None; a classifier that is not to be had ends the run before it begins."""
        config = self.config
        if not (config.score_epochs and config.generator_steps):
            return None
        classifier = load_classifier(
            config.score_classifier, data=self.data, data_name=config.dataset, report=self.report
        )
        real, name = self.data.test_images, "test"
        if not len(real):
            real, name = self.data.train_images, "train"
        source = ArraySource(real, config.dataset, name)
        indices = chosen_indices(len(real), min(config.score_samples, len(real)), _SAMPLE_SEED)
        return PeriodicScores(
            classifier, self.model.generate_batches, config.score_samples, source, indices, seed=_SAMPLE_SEED
        )

    def _end_epoch(self, epoch, step, means):
        metrics = {"epoch": epoch, "step": step, **means, **evaluate(self.model, self.data, self.config.batch_size)}
        config = self.config
        if self._scores and (epoch % config.score_epochs == 0 or epoch == config.epochs):
            metrics.update(self._scores())
            durable.write_text(self.run_dir / PROTOCOL_FILE, json.dumps(self._scores.protocol(), indent=2) + "\n")
        if config.generator_steps and (epoch % config.sample_epochs == 0 or epoch == config.epochs):
            self.records.write_samples(self.model.generate(SAMPLES_IN_GRID, _SAMPLE_SEED), epoch, step)
        if config.histogram_epochs and epoch % config.histogram_epochs == 0:
            self.records.write_histograms(self._histograms(), step)
        self.records.write_metrics(metrics)
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, float))
        self.report(f"epoch {epoch}/{config.epochs}  {numbers}")
        return metrics

    def _histograms(self):
        """Weight normalization's scales, and the discriminator's features on the first images."""
        values = {f"scale/{v.path}": v.numpy() for v in self.model.discriminator.variables if v.name == "scale"}
        values["features"] = self.model.discriminator(self.batches.take(np.arange(self.config.batch_size)))["features"]
        return values

    def _finish(self):
        config = self.config
        last = self.records.metrics()[-1]
        result = {name: last[name] for name in ("test_error", "averaged_test_error") if name in last}
        result.update(
            epochs=self.trainer.epochs_done,
            steps=self.trainer.step,
            seed=config.seed,
            seed_data=config.seed_data,
            labels=len(self.batches.labels),
        )
        if self._scores:
            result.update({name: value for name, value in last.items() if name.endswith(self._scores.suffix)})
            result["best_score"] = self.trainer.best_score
        write_result(self.run_dir, result)
        return result


def train(config, run_dir, report=print):
    """Everything that `--mode=train` does: data, baseline, each draw of labels, `result.json`.

    Returns:
        The result, as written to `run_dir/result.json`.
    """
    data = load_data(config)
    run_dir = Path(run_dir)
    check_against_data(config, data)
    refuse_other_settings(run_dir, config)
    with sole_trainer(run_dir):
        if config.label_draws == 1:
            result = _train_draw(config, data, run_dir, report)
        else:
            result = _train_draws(config, data, run_dir, report)
    return result


def _train_draws(config, data, run_dir, report):
    """One run a draw in folders of their own; the result has the means and lists the draws."""
    save_config(run_dir, config)
    draws = []
    for seed_data in range(config.seed_data, config.seed_data + config.label_draws):
        one = dataclasses.replace(config, seed_data=seed_data, label_draws=1)
        report(f"label draw {len(draws) + 1} of {config.label_draws}: --seed_data={seed_data}")
        with sole_trainer(run_dir / f"draw-{seed_data}") as draw_dir:
            draws.append(_train_draw(one, data, draw_dir, report))
    errors = [name for name in draws[0] if name.endswith("test_error")]
    result = {
        **{name: float(np.mean([draw[name] for draw in draws])) for name in errors},
        **{name: draws[0][name] for name in ("epochs", "steps", "seed", "seed_data", "labels")},
        "draws": draws,
    }
    write_result(run_dir, result)
    return result


def _train_draw(config, data, run_dir, report):
    """The baseline, where it is asked for, in `run_dir/supervised`, then the run itself."""
    experiment = Experiment(config, data, run_dir, report)
    baseline = {}
    if config.supervised_baseline:
        alone = dataclasses.replace(config, supervised_baseline=False, unlabelled_weight=0.0, generator_steps=0)
        report(f"the discriminator on {len(experiment.batches.labels)} labelled examples alone:")
        with sole_trainer(Path(run_dir) / "supervised") as supervised_dir:
            supervised = Experiment(alone, data, supervised_dir, report).run()
        baseline = {f"supervised_{name}": supervised[name] for name in supervised if name.endswith("test_error")}
        report("the semi-supervised GAN:")
    result = {**experiment.run(), **baseline}
    write_result(run_dir, result)
    return result


def evaluate_run(run_dir, **changes):
    """Test errors of a run directory's newest weights, of its data set.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        **changes: Settings to replace, such as `data_dir`.
    """
    config = dataclasses.replace(read_config(run_dir), **changes)
    return evaluate(load_run(run_dir), load_data(config), config.batch_size)


def evaluate(model, data, batch_size):
    """Test errors, as fractions, of the present and of the averaged weights; empty where nothing is labelled."""
    if not len(data.test_labels) or model.num_outputs == 1:
        return {}
    return model.test_errors(data.test_images, data.test_labels, batch_size)


def load_run(run_dir, step=None):
    """The model of a run directory with its newest weights: `.generator`, `.discriminator`, `.generate(n, seed)`.

    Needs no data. `run.generator.save("generator.keras")` exports the generator alone.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        step: Whose checkpoint; None: the newest that is whole.

    Returns:
        The compiled `SemiSupervisedGAN`.

    Raises:
        ConfigError, CheckpointError: with the file that is missing or damaged.
    """
    config = read_config(run_dir)
    checkpoints = Checkpoints(Path(run_dir) / "checkpoints")
    saved = checkpoints.load_newest() if step is None else checkpoints.load(step)
    if saved is None:
        raise CheckpointError(f"{run_dir} holds no checkpoint; of several label draws, name one's folder")
    arrays, position = saved
    identity = identity_of(position, run_dir)
    model = build_model(config, tuple(identity["image_shape"]), identity["num_classes"], identity["steps_per_epoch"])
    restore_state(model.state_variables(), arrays, f"{run_dir}, step {position['step']}")
    return model


def interpolation_grid(model, rows, columns, seed):
    """Images along straight lines between pairs of latents, a line a row: a `(height, width, channels)` array."""
    low, high = model.latent_range
    ends = np.random.default_rng(seed).uniform(low, high, (2, rows, 1, model.latent_size))
    weights = np.linspace(0, 1, columns)[:, None]
    latents = (1 - weights) * ends[0] + weights * ends[1]
    images = model.generator(latents.reshape(-1, model.latent_size).astype("float32"), training=False)
    return image_grid(np.asarray(images), columns=columns)


# Run directories.


def save_config(run_dir, config):
    """Writes `flags.cfg`; given as `--flagfile` it repeats the run elsewhere."""
    lines = config.with_absolute_paths().as_flags()
    durable.write_text(Path(run_dir) / FLAGS_FILE, "\n".join(lines) + "\n")


def read_config(run_dir):
    """The `Config` that a run directory was started with."""
    path = Path(run_dir) / FLAGS_FILE
    try:
        return config_from_lines(path.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--run_dir={run_dir} is not the directory of a run: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"--run_dir={run_dir}: {FLAGS_FILE} cannot be used: {error}") from error


def refuse_other_settings(run_dir, config):
    """Raises a ConfigError that lists every setting in which `config` and the run started in `run_dir` differ."""
    try:
        started = (Path(run_dir) / FLAGS_FILE).exists()
    except OSError as error:
        raise ConfigError(f"--run_dir={run_dir} cannot be read: {error}") from error
    if started:
        changed = differences(read_config(run_dir).fixed(), config.fixed())
        if changed:
            raise ConfigError(
                f"--run_dir={run_dir} holds a run with other settings; name another folder, or set these back:\n  "
                + "\n  ".join(changed)
            )


def write_result(run_dir, result):
    durable.write_text(Path(run_dir) / "result.json", json.dumps(result, indent=2) + "\n")


@contextlib.contextmanager
def sole_trainer(run_dir):
    """Makes a run directory and holds its lock, so that a second trainer is refused; yields its path."""
    run_dir = Path(run_dir)
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        file = open(run_dir / ".lock", "w")  # noqa: SIM115 - closed below; an error in the scope is not this one's.
    except OSError as error:
        raise ConfigError(f"--run_dir={run_dir} cannot be written: {error}") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"--run_dir={run_dir} is in use by another training process") from None
        yield run_dir
