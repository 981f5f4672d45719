"""Finds flag files: by path, or those of `run_configs/` by name, in a checkout as in an installed package."""

import os
from pathlib import Path

from igan_tf.errors import ConfigError

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
    raise ConfigError(
        f"`flagfile` must be the path of a flag file, or one of {', '.join(config_names())}. Received: "
        f"flagfile={name}; tried {' and '.join(str(candidate.absolute()) for candidate in tried)}"
    )


def config_names() -> list[str]:
    """The names of the configurations in `run_configs/`."""
    return sorted(path.stem for path in RUN_CONFIGS.glob("*.cfg"))
