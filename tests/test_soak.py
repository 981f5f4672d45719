"""The first cases of each kind of `tests.soak`; all of them: `make soak`."""

import pytest

from tests.soak.__main__ import outcomes, soaks


@pytest.mark.parametrize("name", [name for name, soak in soaks().items() if soak.quick])
def test_the_first_cases(name):
    soak = soaks()[name]
    for number, outcome, trace in outcomes(soak, range(soak.quick)):
        assert outcome != "FAILED", f"case {number}:\n{trace}"
