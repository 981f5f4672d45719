"""The settings of a run of any recipe, and what becomes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from igan_tf.data.settings import DataSettings
from igan_tf.data.sources import DATASETS
from igan_tf.evaluation.names import CLASSIFIERS
from igan_tf.experiments.configs.parts import (
    LogSettings,
    MachineSettings,
    NetworkSettings,
    OptimizerSettings,
    ScoreSettings,
    TechniqueSettings,
)
from igan_tf.pretrained import is_pretrained
from igan_tf.settings import fields_of


@dataclasses.dataclass(frozen=True)
class RunConfig(
    DataSettings,
    NetworkSettings,
    OptimizerSettings,
    TechniqueSettings,
    ScoreSettings,
    LogSettings,
    MachineSettings,
):
    """The settings of a run of any recipe. Defaults are the published MNIST experiment's."""

    # The recipe that has just these settings.
    recipe: ClassVar[str] = ""

    def as_settings(self) -> dict[str, Any]:
        """Every setting by name, topic by topic."""
        return {field.name: getattr(self, field.name) for field in fields_of(self)}

    def changed(self) -> dict[str, Any]:
        """The settings that are not at their defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return {name: value for name, value in self.as_settings().items() if value != defaults[name]}

    def telling(self) -> dict[str, Any]:
        """What tells runs apart, for tables of runs: a few settings of every run, and all that are changed."""
        free = {field.name for field in dataclasses.fields(self) if field.metadata.get("free")}
        changed = {name: value for name, value in self.changed().items() if name not in free}
        always = ("dataset", "seed", "batch_size", "discriminator_learning_rate", "generator_learning_rate")
        return {"recipe": self.recipe, **{name: getattr(self, name) for name in always}, **changed}

    def fixed(self) -> dict[str, Any]:
        """The settings that a run keeps for its life: `{"--seed": 1, ...}`, named as checkpoints name them."""
        free = {field.name for field in dataclasses.fields(self) if field.metadata.get("free")}
        settings = {"recipe": self.recipe, **self.as_settings()}
        return {f"--{name}": value for name, value in settings.items() if name not in free}

    def with_absolute_paths(self) -> RunConfig:
        """The same settings, usable from any working directory."""
        return self.with_paths(lambda path: str(Path(path).absolute()))

    def with_paths(self, change: Callable[[str], str]) -> RunConfig:
        """The same settings, each path of a file system changed."""
        paths = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.metadata["path"]}
        if self.score_classifier in CLASSIFIERS:
            del paths["score_classifier"]
        # An object store's address is absolute as it stands, and so are the names of the package's own weights.
        local = [name for name, path in paths.items() if path and "://" not in path and not is_pretrained(path)]
        changed: dict[str, Any] = {name: change(paths[name]) for name in local}
        return dataclasses.replace(self, **changed)


def default_recipe(settings: Mapping[str, Any]) -> str:
    """The recipe of the data set that `settings` name."""
    dataset = str(settings.get("dataset"))
    return DATASETS[dataset if dataset in DATASETS else DataSettings.dataset].recipe
