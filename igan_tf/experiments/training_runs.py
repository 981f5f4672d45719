"""From settings to a finished run directory: data, baseline, a training for each draw of labels, the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.data import ImageData
from igan_tf.errors import ConfigError, counted, first_line, renamed
from igan_tf.evaluation.classifiers.classifier import Classifier
from igan_tf.experiments import runs
from igan_tf.experiments.configs import RunConfig
from igan_tf.experiments.experiment import Experiment
from igan_tf.experiments.preflight import check_against_data, check_machine, resolved, scorer
from igan_tf.experiments.recipes import recipe_of
from igan_tf.experiments.run_configs import config_of
from igan_tf.experiments.run_directory import (
    has_begun,
    refuse_other_settings,
    save_config,
    sole_trainer,
    write_result,
)
from igan_tf.files import StrPath
from igan_tf.records.reader import ImageRecords
from igan_tf.training.cluster import WorkerLostError, this_worker
from igan_tf.training.distribution import LOST


def train(
    config: RunConfig | StrPath, run_dir: StrPath, report: Callable[[str], Any] = print, **settings: Any
) -> dict[str, Any]:
    """Trains, or continues, as `--mode=train` does: data, baseline, each draw of labels, `result.json`.

    Args:
        config: A `RunConfig` of `build_config`; or a configuration's name, such as "mnist_samples", or its path.
        run_dir: The run directory; a run in it continues.
        report: Called with each line for the user.
        **settings: Settings that replace the config's, named as the flags: `igan-tf train --help`.

    Returns:
        The result, as written to `run_dir/result.json`; of a worker that is not the chief, the steps alone.

    Raises:
        InputError: for settings, data or a run directory that cannot be used, before any work begins.
        Interrupted: after Ctrl-C or SIGTERM, which are heeded in the main thread; the same call continues.
        NonFiniteLossError: where a loss is no number any more.

    ```python
    result = igan_tf.train("digits", "runs/digits", epochs=1, label_draws=1, supervised_baseline=False)
    samples = igan_tf.load_run("runs/digits").generate(16, seed=0)
    ```
    """
    config = config_of(config, **settings)
    if config.dataset == "folder" and Path(run_dir).resolve().is_relative_to(Path(config.data_dir).resolve()):
        raise ConfigError(
            "`run_dir` must not lie in `data_dir`, whose images its sample grids would be among. "
            f"Received: run_dir={run_dir} data_dir={config.data_dir}"
        )
    check_machine(config, report)
    config = resolved(config)
    # Before the data, which another data set's name would look for elsewhere.
    refuse_other_settings(run_dir, config)
    data = recipe_of(config).load_data()
    report(data.in_words())
    for fault in data.unreadable:
        report(f"left out: {fault}")
    run_dir = Path(run_dir)
    check_against_data(config, data)
    # Before the run directory is made.
    if config.init_from and not has_begun(run_dir):
        _check_start(config, data)
    classifier = scorer(config, data, report)
    if this_worker().count > 1:
        return _train_with_others(config, data, run_dir, report, classifier)
    with sole_trainer(run_dir):
        if recipe_of(config).draws():
            return _train_draws(config, data, run_dir, report, classifier)
        return _train_draw(config, data, run_dir, report, classifier)


def _check_start(config: RunConfig, data: ImageData | ImageRecords) -> None:
    """Raises an InputError where a run cannot start from the weights of `init_from`."""
    with renamed(run_dir="init_from"):
        saved = runs.read_checkpoint(config.init_from)
    recipe = recipe_of(config)
    runs.refuse_other_start(config.init_from, saved, lambda: recipe.build_model(data.image_shape, data.num_classes, 1))


def _train_with_others(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
) -> dict[str, Any]:
    """One run of several workers, of which the chief writes."""
    worker = this_worker()
    try:
        if not worker.is_chief:
            return Experiment(config, data, run_dir, report).run()
        with sole_trainer(run_dir):
            return _train_draw(config, data, run_dir, report, classifier)
    except LOST as error:
        # Outside of the steps, within which the trainer says more.
        raise WorkerLostError(
            f"worker {worker.index} of {worker.count} lost another outside of the steps; its own output says why "
            f"({type(error).__name__}: {first_line(error)})"
        ) from error


def _train_draws(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
) -> dict[str, Any]:
    """One run a draw in folders of their own; the result has the means and lists the draws."""
    configs = recipe_of(config).draws()
    for name, one in configs.items():
        refuse_other_settings(run_dir / name, one)
    save_config(run_dir, config)
    draws = []
    for number, (name, one) in enumerate(configs.items(), start=1):
        report(f"label draw {number} of {len(configs)}: {name}")
        with sole_trainer(run_dir / name) as draw_dir:
            draws.append(_train_draw(one, data, draw_dir, report, classifier, followed=number < len(configs)))
    errors = [name for name in draws[0] if name.endswith("test_error")]
    result = {
        **{name: float(np.mean([draw[name] for draw in draws])) for name in errors},
        **{name: draws[0][name] for name in ("epochs", "steps", "seed", "seed_data", "labels", "data")},
        "draws": draws,
    }
    write_result(run_dir, result)
    return result


def _train_draw(
    config: RunConfig,
    data: ImageData | ImageRecords,
    run_dir: Path,
    report: Callable[[str], Any],
    classifier: Classifier | None,
    followed: bool = False,
) -> dict[str, Any]:
    """The baseline, where it is asked for, in `run_dir/supervised`, then the run itself."""
    experiment = Experiment(config, data, run_dir, report, classifier)
    baseline = {}
    if alone := experiment.recipe.baseline():
        # What ends the run is better known before the baseline trains.
        experiment.take_up()
        report(f"the discriminator on {counted(experiment.batches.num_labelled, 'labelled example')} alone:")
        with sole_trainer(Path(run_dir) / "supervised") as supervised_dir:
            supervised = Experiment(alone, data, supervised_dir, report).run(followed=True)
        baseline = {f"supervised_{name}": supervised[name] for name in supervised if name.endswith("test_error")}
        report("the semi-supervised GAN:")
    return experiment.run(baseline, followed)
