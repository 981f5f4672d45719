"""`Technique` by itself; what the models make of it is in tests/models/test_techniques.py."""

import keras
import pytest

from igan_tf.losses import FeatureMatching, HistoricalAveraging, Technique


@pytest.mark.parametrize("weight", [-1, float("nan"), float("inf"), None])
@pytest.mark.parametrize("kind", [Technique, HistoricalAveraging, FeatureMatching])
def test_refused_weight(kind, weight):
    with pytest.raises(
        ValueError, match=f"`weight` of {kind.__name__} must not be negative, infinite .*Received: weight={weight}"
    ):
        kind(weight)


def test_refused_norm():
    with pytest.raises(ValueError, match=r"`norm` must be .* Received: norm='l3'"):
        FeatureMatching(1.0, norm="l3")


def test_name_is_the_class_unless_given():
    # Not numbered, as Keras's names are: state is saved under it.
    assert [HistoricalAveraging(1).name for _ in range(2)] == ["historical_averaging"] * 2
    assert HistoricalAveraging(1, name="other").name == "other"


def test_config():
    for technique in (HistoricalAveraging(0.25, name="other"), FeatureMatching(2.0, norm="l1")):
        config = keras.saving.serialize_keras_object(technique)
        assert config["registered_name"] == f"igan_tf>{type(technique).__name__}"
        copy = keras.saving.deserialize_keras_object(config)
        assert copy.get_config() == technique.get_config() and type(copy) is type(technique)


def test_does_nothing_of_itself():
    technique = Technique(1.0)
    technique.track(None)
    technique.after_update("generator", [])
    technique.restart(None)
    assert technique.discriminator_terms(None) == technique.generator_terms(None) == technique.state_groups() == {}
