"""Which texts name steps for the profiler."""

import pytest

from igan_tf.experiments.configs import ConfigError, build_config
from igan_tf.training.profiled_steps import first_and_last


@pytest.mark.parametrize(("text", "steps"), [("10,20", (10, 20)), ("1,1", (1, 1))])
def test_first_and_last(text, steps):
    assert first_and_last(text) == steps
    assert build_config(profile_steps=text).profile_steps == text


@pytest.mark.parametrize("text", ["10", "20,10", "0,3", "1,2,3", "a,b", ",", "1, 2"])
def test_another_text_is_refused(text):
    assert first_and_last(text) is None
    with pytest.raises(ConfigError, match=rf"`profile_steps` must be two steps .* Received: profile_steps={text}"):
        build_config(profile_steps=text)
