"""A classifier that sees everything but the pixels tells real from generated no better than a coin."""

import re
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.ensemble import RandomForestClassifier

from igan_tf.turing_test.creation import create_study
from igan_tf.turing_test.settings import StudySettings
from igan_tf.turing_test.sources import Source
from tests.turing_test.served import images, served, truth

SERVED = 400
ANNOTATORS = 4


@pytest.fixture(scope="module")
def observations(tmp_path_factory):
    """What a client can note of 400 served images before each answer; and what they are.

    Real images are noise, generated ones of one colour: compressed, their sizes would differ tenfold.
    """
    folder = tmp_path_factory.mktemp("leakage") / "study"
    shape = (16, 16, 3)
    flat = np.broadcast_to(images(220, 1, (1, 1, 1)), (220, *shape)).copy()
    sources = [Source("real", False, "r", images(220, 0, shape)), Source("gan", True, "g", flat)]
    create_study(folder, StudySettings(trials=SERVED // ANNOTATORS, block_size=50, practice=0), sources, seed=5)
    rows, truths = [], []
    with served(folder) as server:
        for _ in range(ANNOTATORS):
            client = server.client().enrol()
            while token := (state := client.get("/state")).json()["trial"]:
                start = time.perf_counter()
                image = client.image(token)
                seconds = time.perf_counter() - start
                rows.append(features(state, image, token, seconds))
                truths.append(truth(image.body) == "generated")
                client.answer(token, "real")
    return np.array(rows), np.array(truths)


def features(state, image, token, seconds):
    """Numbers made of all that is not a pixel: names, sizes, headers, their order, time, the file without its data."""
    headers = [f"{name}:{'' if name == 'date' else value}" for name, value in image.headers]
    # All chunks of the PNG but the pixels' own: names, lengths, and contents.
    chunks = re.sub(rb"IDAT.*(?=\x00\x00\x00\x00IEND)", b"IDAT", image.body, flags=re.DOTALL)
    return [
        len(image.body),
        len(chunks),
        hash(chunks) % 2**20,
        len(headers),
        hash(tuple(headers)) % 2**20,
        len(state.body),
        len(state.headers),
        seconds,
        *(byte for byte in token.encode()),
        # All that the state says beside the tokens; a name more than there should be is a feature more.
        *(hash(repr(value)) % 2**20 for name, value in sorted(state.json().items()) if name not in ("trial", "next")),
    ]


def test_half_are_generated(observations):
    assert observations[1].sum() == SERVED / 2


def test_sizes_headers_and_files_are_all_equal(observations):
    rows, _ = observations
    for column in range(5):
        assert len(np.unique(rows[:, column])) == 1, f"feature {column} differs"


@pytest.mark.parametrize("what", ["all", "time"])
def test_a_classifier_of_all_but_the_pixels_stays_at_chance(observations, what):
    rows, truths = observations
    rows = rows if what == "all" else rows[:, 7:8]
    half = SERVED // 2
    # Trained on two annotators and tried on two others: the right answers of cross-validation, whose folds share what
    # they are trained on, spread by 13 where independent ones spread by 10.
    classifier = RandomForestClassifier(100, min_samples_leaf=5, random_state=0).fit(rows[:half], truths[:half])
    right = (classifier.predict(rows[half:]) == truths[half:]).sum()
    # Chance passes this in 999 of 1000 cases.
    assert right <= stats.binom.ppf(0.999, half, 0.5), right / half


def test_the_order_holds_no_pattern(observations):
    """Neither the place nor what came before tells what comes."""
    _, truths = observations
    bound = stats.binom.ppf(0.999, SERVED, 0.5)
    place = np.arange(SERVED)
    for guess in (place % 2 == 0, place < SERVED / 2, np.roll(truths, 1), ~np.roll(truths, 1), np.roll(truths, 2)):
        assert (guess == truths).sum() <= bound
