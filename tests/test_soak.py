"""The first cases of each kind of `tests.soak`; all of them: `make soak`."""

import pytest

from tests.soak.__main__ import outcomes, soaks


@pytest.mark.parametrize("name", soaks())
def test_the_first_cases(name):
    for number, outcome, trace in outcomes(soaks()[name], range(3)):
        assert outcome != "FAILED", f"case {number}:\n{trace}"
