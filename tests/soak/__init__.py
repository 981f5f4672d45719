"""Many damaged, forged and hostile things, each a function of its number: `python -m tests.soak` (see `__main__`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Soak:
    """Cases of one kind.

    Attributes:
        about: What a case does, and what must hold, in one sentence.
        count: How many cases there are, numbered from 0, or a function that finds out.
        run: Given numbers and an empty folder to work in, yields (number, outcome) of each as it ends: one or two
            words, such as "refused" or "continued", that are counted. An AssertionError, or anything else raised, is
            a failure of the case that comes next; `run` is then called anew with those after it.
        quick: How many of them the normal suite runs.
    """

    about: str
    count: int | Callable[[], int]
    run: Callable[[Iterable[int], Path], Iterator[tuple[int, str]]]
    quick: int = 3

    @property
    def num_cases(self) -> int:
        return self.count if isinstance(self.count, int) else self.count()
