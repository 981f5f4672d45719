import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("images are resized by TensorFlow", allow_module_level=True)

from igan_tf.evaluation import inception_score
from igan_tf.evaluation.folder_images import FolderSource
from igan_tf.evaluation.images import ArraySource
from igan_tf.evaluation.ranking import rank, take


def test_the_surest_samples_come_first():
    # Five samples of every sureness, one a class, so that no class is the likelier one.
    sureness = np.repeat(np.linspace(0, 6, 40), 5)
    logits = sureness[:, None] * np.eye(5)[np.arange(200) % 5]
    positions, divergences = rank(logits, 0.05)
    assert (positions // 5).tolist() == [39] * 5 + [38] * 5
    assert (np.diff(divergences) <= 0).all()
    # Which is what the filter is for.
    assert inception_score(logits[positions], 1)[0] > inception_score(logits, 1)[0]


@pytest.mark.parametrize(("count", "fraction", "expected"), [(100, 0.01, 1), (150, 0.01, 2), (100, 0.07, 7), (5, 1, 5)])
def test_how_many(count, fraction, expected):
    positions, _ = rank(np.random.default_rng(0).normal(size=(count, 3)), fraction)
    assert len(positions) == expected == len(set(positions.tolist()))


def test_the_earlier_of_equal_ones():
    positions, _ = rank(np.zeros((10, 3)), 0.3)
    assert positions.tolist() == [0, 1, 2]


def test_images_are_taken_with_their_rank():
    images = np.arange(10, dtype="uint8")[:, None, None, None] * np.ones((1, 2, 2, 1), "uint8")
    taken = [(index, image[0, 0, 0]) for index, image in take(ArraySource(images), np.array([7, 2, 9]))]
    assert taken == [(1, pytest.approx(2 / 255)), (0, pytest.approx(7 / 255)), (2, pytest.approx(9 / 255))]
    source = ArraySource(images / 4.5 - 1, image_range=(-1, 1))
    assert {index: image[0, 0, 0] for index, image in take(source, np.array([9, 0]))} == pytest.approx({0: 1, 1: 0})


def test_images_of_several_sizes_keep_theirs(tmp_path):
    for index, size in enumerate((4, 6)):
        Image.new("L", (size, size), 100).save(tmp_path / f"{index}.png")
    source = FolderSource(tmp_path)
    source.fit((3, 3))
    assert [image.shape[:2] for _, image in take(source, np.array([0, 1]))] == [(4, 4), (6, 6)]
