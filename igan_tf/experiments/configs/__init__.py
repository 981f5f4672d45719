"""The settings of training runs: a config for each recipe, put together from parts, and their forms as text.

Nothing here imports TensorFlow or Keras: a command shows its help and refuses a wrong setting at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from igan_tf.errors import ConfigError
from igan_tf.experiments.configs.flag_lines import (
    FLAGS_FILE,
    VERSION_LINE,
    flag_line,
    parse_lines,
    without_foreign_settings,
)
from igan_tf.experiments.configs.imagenet import ImageNetConfig
from igan_tf.experiments.configs.run_config import RunConfig, default_recipe
from igan_tf.experiments.configs.semi_supervised import SemiSupervisedConfig
from igan_tf.settings import Settings, fields_of, setting

# What `recipe` chooses from.
CONFIGS: dict[str, type[RunConfig]] = {config.recipe: config for config in (SemiSupervisedConfig, ImageNetConfig)}

__all__ = [
    "CONFIGS",
    "FLAGS_FILE",
    "ConfigError",
    "ImageNetConfig",
    "RecipeSettings",
    "RunConfig",
    "SemiSupervisedConfig",
    "as_lines",
    "as_text",
    "build_config",
    "config_from_lines",
    "config_from_text",
    "flag_line",
    "recipes_with",
    "setting_fields",
    "settings_from_lines",
]


@dataclasses.dataclass(frozen=True)
class RecipeSettings(Settings):
    """Which config other settings are of."""

    topic = "What to do"

    recipe: str = setting("", "Which GAN; empty: the data set's own.", choices=("", *CONFIGS))


def setting_fields() -> dict[str, dataclasses.Field]:
    """Every setting of every recipe by name. Settings of one name are one setting."""
    return {field.name: field for config in CONFIGS.values() for field in dataclasses.fields(config)}


def recipes_with(name: str) -> list[str]:
    """The recipes that have a setting."""
    fields = {recipe: {field.name for field in dataclasses.fields(config)} for recipe, config in CONFIGS.items()}
    return [recipe for recipe, names in fields.items() if name in names]


def build_config(recipe: str = "", **settings: Any) -> RunConfig:
    """The config of a recipe.

    ```python
    config = build_config(dataset="digits", labels=50)
    ```

    Args:
        recipe: "semi_supervised" or "imagenet"; empty: the data set's own.
        **settings: What is given; all else has its default.

    Raises:
        ConfigError: for a setting that does not exist or that the recipe does not have, whatever its value, and for
            values and combinations that cannot be.
    """
    recipe = RecipeSettings(recipe).recipe or default_recipe(settings)
    own = {field.name for field in dataclasses.fields(CONFIGS[recipe])}
    for name, value in settings.items():
        if name in own:
            continue
        if not recipes_with(name):
            raise ConfigError(f"unknown setting '{name}'. Received: {name}={value}")
        raise ConfigError(
            f"`{name}` is a setting of `recipe={recipes_with(name)[0]}`, not of `recipe={recipe}`. "
            f"Received: {name}={value}"
        )
    return CONFIGS[recipe](**settings)


def as_lines(config: RunConfig) -> list[str]:
    """Every setting as the lines of a flag file."""
    return [flag_line(name, value) for name, value in {"recipe": config.recipe, **config.as_settings()}.items()]


def settings_from_lines(lines: Iterable[str]) -> dict[str, Any]:
    """The settings that lines of a flag file state, by name."""
    return parse_lines(lines, {**setting_fields(), "recipe": fields_of(RecipeSettings)[0]})


def config_from_lines(lines: Iterable[str]) -> RunConfig:
    """The config that lines of a flag file describe."""
    return build_config(**settings_from_lines(lines))


def config_from_text(text: str) -> RunConfig:
    """The config that a `flags.cfg`, of this version or an earlier one, describes.

    Raises:
        ConfigError: for lines that are no settings, and where there is none.
    """
    lines = without_foreign_settings(text)
    if not lines:
        raise ConfigError("it holds no settings")
    return config_from_lines(lines)


def as_text(config: RunConfig) -> str:
    """A `flags.cfg`: the version, then every setting, usable from any folder."""
    return "\n".join([VERSION_LINE, *as_lines(config.with_absolute_paths())]) + "\n"
