"""Names of a package that are imported on first use, so that what needs no TensorFlow does not wait for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(
    package: str, homes: Mapping[str, str], together: bool = False
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Makes the `__getattr__` and `__dir__` of a package whose names stand in other modules.

    Args:
        package: Its `__name__`.
        homes: The module of each name; of a submodule its own name, `{"layers": "igan_tf.layers"}`.
        together: Whether the first use of one name imports the modules of all.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        if together:
            for home in homes.values():
                importlib.import_module(home)
        module = importlib.import_module(homes[name])
        return module if homes[name] == f"{package}.{name}" else getattr(module, name)

    return find, lambda: sorted({*vars(sys.modules[package]), *homes})
