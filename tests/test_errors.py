"""Errors name arguments, those of whoever is to read them."""

import pytest

from igan_tf.commands.flags import in_flags
from igan_tf.errors import DataError, EvaluationError, InputError, counted, renamed


def test_the_argument_that_is_named_first():
    assert EvaluationError("`splits` must be at most 10, with `seed=1`. Received: splits=20").argument == "splits"
    assert EvaluationError("`name=a` has no `split=b`").argument == "name"
    assert EvaluationError("the file cannot be read").argument is None


def test_renamed_arguments():
    with pytest.raises(DataError) as caught, renamed(path="weights", name="classifier"):
        raise DataError("`path` and `name=a` of path=b: `other`. Received: path=a/path=c name=b x-name=1 other=2")
    assert str(caught.value) == (
        "`weights` and `classifier=a` of path=b: `other`. Received: weights=a/path=c classifier=b x-name=1 other=2"
    )
    assert caught.value.argument == "weights" and isinstance(caught.value.__cause__, DataError)


def test_other_errors_pass():
    with pytest.raises(ValueError, match="`path`") as caught, renamed(path="weights"):
        raise ValueError("`path`")
    assert not isinstance(caught.value, InputError)


def test_a_command_shows_its_flags():
    message = "`splits` and `seed=1`, not `logits`. Received: splits=20 for 10 images of `source`, rows=3"
    assert in_flags(EvaluationError(message), ["splits", "seed", "real"], {"source": "real"}) == (
        "--splits and --seed=1, not `logits`. Received: --splits=20 for 10 images of --real, rows=3"
    )


def test_a_number_with_its_noun():
    assert [counted(number, "image") for number in (0, 1, 2000)] == ["0 images", "1 image", "2000 images"]
    assert counted(1, "class") == "1 class" and counted(2, "class") == "2 classes"
    assert counted(2000, "vote", ",") == "2,000 votes"
