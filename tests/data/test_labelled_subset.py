import re

import numpy as np
import pytest

from igan_tf.data import labelled_subset, read_label_file, unbalanced_subset
from igan_tf.errors import DataError

LABELS = np.random.default_rng(0).integers(0, 4, 200)
# Beside a sample of examples without a label.
PARTLY = np.where(np.arange(200) % 3 == 0, -1, LABELS)


@pytest.mark.parametrize("labels", [LABELS, PARTLY], ids=["labelled", "partly_labelled"])
@pytest.mark.parametrize("per_class", [1, 7])
def test_the_subset_is_balanced_and_without_repetition(labels, per_class):
    indices = labelled_subset(labels, per_class, seed_data=3)
    assert np.bincount(labels[indices]).tolist() == [per_class] * 4
    assert len(set(indices.tolist())) == 4 * per_class
    assert (np.diff(indices) > 0).all()


def test_the_subset_is_a_function_of_seed_data():
    first = labelled_subset(LABELS, 5, seed_data=1)
    np.testing.assert_array_equal(first, labelled_subset(LABELS, 5, seed_data=1))
    assert not np.array_equal(first, labelled_subset(LABELS, 5, seed_data=2))
    # Of every version: figures are compared on the same subsets.
    assert labelled_subset(LABELS, 2, seed_data=1).tolist() == [7, 31, 59, 63, 81, 88, 112, 121]


def test_a_larger_subset_holds_the_smaller_one():
    assert set(labelled_subset(LABELS, 3, 1)) < set(labelled_subset(LABELS, 9, 1))


def test_draws_reach_every_example():
    drawn = np.concatenate([labelled_subset(LABELS, 20, seed) for seed in range(40)])
    assert len(set(drawn.tolist())) == len(LABELS)


def test_without_labels_nothing_is_drawn():
    assert labelled_subset(np.full(5, -1), 2, 1).shape == (0,)


@pytest.mark.parametrize("per_class", [0, -1])
def test_per_class_must_be_positive(per_class):
    with pytest.raises(DataError, match=f"`per_class` must be at least 1. Received: per_class={per_class}"):
        labelled_subset(LABELS, per_class, 1)


def test_a_class_that_is_too_small_is_named():
    with pytest.raises(DataError, match=r"than there are of class 2, which has 1\. Received: per_class=2"):
        labelled_subset([0, 0, 2, 1, 1], 2, 1)


@pytest.mark.parametrize("labels", [LABELS, PARTLY], ids=["labelled", "partly_labelled"])
def test_the_unbalanced_subset_is_the_first_of_a_permutation(labels):
    chosen = unbalanced_subset(labels, 40, seed_data=3)
    order = [index for index in np.random.default_rng(3).permutation(len(labels)) if labels[index] >= 0]
    assert chosen.tolist() == sorted(order[:40])
    assert set(chosen) < set(unbalanced_subset(labels, 90, seed_data=3))
    assert not np.array_equal(chosen, unbalanced_subset(labels, 40, seed_data=4))
    everything = unbalanced_subset(labels, np.sum(labels >= 0), seed_data=3)
    assert everything.tolist() == np.flatnonzero(labels >= 0).tolist()


def test_no_more_examples_are_drawn_than_have_a_label():
    with pytest.raises(DataError, match=r"`count` must be at most .* a label, 133\. Received: count=134"):
        unbalanced_subset(PARTLY, 134, 1)


def write(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_a_label_file_is_read_in_its_order(tmp_path):
    path = write(tmp_path, "# index,label\n7,1\n\n 3 , 0  # a note\n9,1\n0,1\n")
    indices, labels = read_label_file(path, num_examples=10, num_classes=2)
    assert (indices.tolist(), labels.tolist()) == ([7, 3, 9, 0], [1, 0, 1, 1])
    assert (indices.dtype, labels.dtype) == ("int64", "int64")
    path.write_text("7,1\n", encoding="utf-8-sig")
    assert read_label_file(path, num_examples=10, num_classes=2)[0].tolist() == [7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,0\nseven,1\n", "line 2: 'seven,1' is not of the form index,label"),
        ("1,0\n\n# note\n2\n", "line 4: '2' is not of the form index,label"),
        ("1,0,1\n", "line 1: '1,0,1' is not of the form index,label"),
        ("1.0,1\n", "line 1: '1.0,1' is not of the form index,label"),
        ("1,0\n10,1\n", "line 2: '10,1': the index must be from 0 to 9"),
        ("-1,1\n", "line 1: '-1,1': the index must be from 0 to 9"),
        ("1,2\n", "line 1: '1,2': the label must be from 0 to 1"),
        ("1,-1\n", "line 1: '1,-1': the label must be from 0 to 1"),
        ("1,0\n2,1\n1,0\n", "line 3: '1,0': index 1 stands in line 1 already"),
        ("", " holds no line of the form index,label"),
        ("# nothing\n\n", " holds no line of the form index,label"),
    ],
)
def test_each_error_in_a_label_file_names_file_and_line(tmp_path, text, message):
    path = write(tmp_path, text)
    with pytest.raises(DataError, match=re.escape(f"`label_file={path}`") + ",? ?" + re.escape(message)):
        read_label_file(path, num_examples=10, num_classes=2)


def test_an_unreadable_label_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"`label_file={tmp_path}/none` cannot be read: .*No such file"):
        read_label_file(tmp_path / "none", 10, 2)
    (tmp_path / "binary").write_bytes(b"\xff\xfe1,0")
    with pytest.raises(DataError, match=f"`label_file={tmp_path}/binary` cannot be read"):
        read_label_file(tmp_path / "binary", 10, 2)
