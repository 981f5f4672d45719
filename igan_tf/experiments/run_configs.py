"""Finds and reads flag files: by path, or those of `run_configs/` by name, in a checkout as in an installed package."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igan_tf.errors import ConfigError, prefixed
from igan_tf.experiments.configs import RunConfig, build_config, config_from_text, settings_from_lines
from igan_tf.experiments.configs.flag_lines import VERSION_LINE, without_foreign_settings
from igan_tf.files import StrPath, disk

_PACKAGE = Path(__file__).parents[1]
# A wheel has them inside the package, a checkout beside it.
RUN_CONFIGS = next(
    (folder for folder in (_PACKAGE / "run_configs", _PACKAGE.parent / "run_configs") if folder.is_dir()),
    _PACKAGE / "run_configs",
)


def find_config(name: str, beside: str | os.PathLike[str] = "") -> Path:
    """The flag file that `name` stands for: first the path, then the configuration of this package.

    Args:
        name: A path; or a file of `run_configs/` as `run_configs/digits.cfg`, `digits.cfg` or `digits`.
        beside: The folder that relative paths start from, such as that of the flag file which names this one; by
            default the current directory.

    Raises:
        ConfigError: for a name that is neither; it says what was tried.

    ```python
    find_config("digits")  # .../run_configs/digits.cfg
    ```
    """
    path = Path(beside, name)
    tried = [path]
    folder, file_name = os.path.split(name)
    if file_name and folder in ("", RUN_CONFIGS.name):
        tried.append(RUN_CONFIGS / (file_name if file_name.endswith(".cfg") else f"{file_name}.cfg"))
    for candidate in tried:
        # Not `isfile`: a shell's `<(...)` is a pipe.
        if name and os.path.exists(candidate) and not os.path.isdir(candidate):
            return candidate
    near = difflib.get_close_matches(name, config_names(), n=1)
    raise ConfigError(
        f"`flagfile` must be the path of a flag file, or one of {', '.join(config_names())}."
        f"{f' Did you mean: {near[0]}?' if near else ''} Received: "
        f"flagfile={name}; tried {' and '.join(str(candidate.absolute()) for candidate in tried)}"
    )


def config_names() -> list[str]:
    """The names of the configurations in `run_configs/`."""
    return sorted(path.stem for path in RUN_CONFIGS.glob("*.cfg"))


def config_of(config: RunConfig | StrPath, **settings: Any) -> RunConfig:
    """A config with some settings changed.

    Args:
        config: A `RunConfig`; or what `find_config` finds, such as "mnist_feature_matching".
        **settings: What replaces its settings.

    Raises:
        ConfigError: as `build_config`, and for a name that is no flag file.
    """
    if isinstance(config, (str, os.PathLike)):
        named = settings_from_lines(expand_flagfiles([f"--flagfile={os.fspath(config)}"]))
        return build_config(**{**named, **settings})
    return build_config(**{"recipe": config.recipe, **config.as_settings(), **settings})


def expand_flagfiles(
    arguments: Sequence[str], folder: Path | str = "", including: tuple[Path, ...] = (), read: bool = True
) -> list[str]:
    """Command-line arguments with the lines of every `--flagfile=` in its place.

    A file is found by `find_config`: by path, or by its name in `run_configs/`. One named in another is looked for
    beside it, where absl would take the current directory: configurations that state their difference from another then
    work from anywhere. Lines that start with `#` or `//` are comments. Without `read`, files are left out.

    Of a run's own `flags.cfg` every line is a setting: it names no other file, whoever wrote it.

    Raises:
        ConfigError: for a file that cannot be read, is no regular file or has more than 1 MB, or that includes itself.
    """
    expanded: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            return [*expanded, argument, *remaining]
        name, equals, value = argument.partition("=")
        if name not in ("--flagfile", "-flagfile"):
            expanded.append(argument)
            continue
        if not equals:
            value = next(remaining, "")
        if not read:
            continue
        path = find_config(os.path.expanduser(value), folder)
        if path in including:
            raise ConfigError(f"--flagfile={path} includes itself")
        try:
            text = disk.read_small(path).decode()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--flagfile={path} cannot be read: {error}") from error
        if VERSION_LINE in text.splitlines():
            with prefixed(f"--flagfile={path}"):
                config_from_text(text)
        expanded += expand_flagfiles(without_foreign_settings(text), path.parent, (*including, path))
    return expanded
