import numpy as np
import pytest

from igan_tf.data import ArrayBatches, ImageData, SemiSupervisedBatches
from igan_tf.errors import DataError

# An image shows its own index.
IMAGES = np.broadcast_to(np.arange(23, dtype="uint8")[:, None, None, None], (23, 2, 2, 1))
LABELLED = np.array([3, 20, 8])
LABELS = np.array([1, 0, 2])


def make_batches(batch_size=5, seed=1, labelled=LABELLED, labels=LABELS, images=IMAGES):
    return SemiSupervisedBatches(images, labelled, labels, batch_size, seed)


def collect(dataset):
    """The batches of an epoch, stacked by name."""
    batches = list(dataset.as_numpy_iterator())
    return {name: np.stack([batch[name] for batch in batches]) for name in batches[0]}


def indices_of(images):
    return np.round(images[:, :, 0, 0, 0] * 255).astype(int).ravel()


def assert_same(actual, expected):
    assert set(actual) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)


def assert_other(actual, expected):
    for name in expected:
        assert not np.array_equal(actual[name], expected[name]), name


def test_a_batch_holds_the_images_and_their_labels():
    epoch = collect(make_batches().epoch(0))
    assert {name: rows.shape for name, rows in epoch.items()} == {
        "unlabelled_images": (4, 5, 2, 2, 1),
        "unlabelled_images_2": (4, 5, 2, 2, 1),
        "labelled_images": (4, 5, 2, 2, 1),
        "labels": (4, 5),
    }
    assert epoch["unlabelled_images"].dtype == "float32"
    label_of = dict(zip(LABELLED, LABELS))
    assert [label_of[index] for index in indices_of(epoch["labelled_images"])] == epoch["labels"].ravel().tolist()
    assert (epoch["unlabelled_images"] == epoch["unlabelled_images"][..., :1, :1, :]).all()


def test_float_images_pass_as_they_are():
    images = np.random.default_rng(0).random((6, 2, 2, 1), "float32")
    epoch = collect(make_batches(3, images=images, labelled=[], labels=[]).epoch(0))["unlabelled_images"]
    np.testing.assert_array_equal(np.sort(epoch.reshape(6, -1), axis=0), np.sort(images.reshape(6, -1), axis=0))


@pytest.mark.parametrize("name", ["unlabelled_images", "unlabelled_images_2"])
def test_every_example_comes_once_an_epoch(name):
    # 23 = 4 * 5 + 3: the incomplete batch is left out, and not the same examples each time.
    left_out = set()
    batches = make_batches()
    for epoch in range(60):
        indices = batches.order(epoch)[name].ravel()
        assert len(set(indices.tolist())) == len(indices) == 20
        left_out |= set(range(23)) - set(indices.tolist())
    assert left_out == set(range(23))
    assert sorted(indices_of(collect(make_batches(batch_size=1).epoch(0))[name])) == list(range(23))


def test_the_two_shuffles_are_independent():
    batches = make_batches(batch_size=1)
    # Independent permutations agree in one place on average; 200 epochs: 200, give or take 14.
    agreements = 0
    for epoch in range(200):
        order = batches.order(epoch)
        agreements += (order["unlabelled_images"] == order["unlabelled_images_2"]).sum()
    assert 130 < agreements < 270


def test_labelled_examples_are_tiled_and_shuffled_pass_by_pass():
    rows = make_batches(batch_size=1).order(0)["labelled"].ravel()
    passes = [tuple(rows[start : start + 3]) for start in range(0, 21, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in passes)
    assert len(rows) == 23 and rows[21] != rows[22]
    assert len(set(passes)) > 1
    assert not np.array_equal(rows, make_batches(batch_size=1).order(1)["labelled"].ravel())


@pytest.mark.parametrize("start_step", [0, 1, 3])
def test_an_epoch_from_a_step_on_is_the_tail_of_the_epoch(start_step):
    whole = collect(make_batches().epoch(2))
    tail = collect(make_batches().epoch(2, start_step=start_step))
    assert_same(tail, {name: rows[start_step:] for name, rows in whole.items()})


def test_nothing_is_left_at_the_end_of_an_epoch():
    assert list(make_batches().epoch(2, start_step=4)) == []


def test_the_order_is_a_function_of_seed_and_epoch():
    batches = make_batches()
    first = collect(batches.epoch(3))
    collect(batches.epoch(0))
    assert_same(collect(batches.epoch(3)), first)
    assert_same(collect(make_batches().epoch(3)), first)
    assert_other(collect(batches.epoch(4)), first)
    assert_other(collect(make_batches(seed=2).epoch(3)), first)
    # Of every version: runs continue, and are repeated.
    assert {name: rows[0].tolist() for name, rows in batches.order(3).items()} == {
        "unlabelled_images": [2, 4, 19, 3, 16],
        "unlabelled_images_2": [16, 9, 3, 12, 13],
        "labelled": [1, 0, 2, 1, 0],
    }


def test_another_subset_leaves_the_unlabelled_order_alone():
    first, second = collect(make_batches().epoch(0)), collect(make_batches(labelled=[1], labels=[0]).epoch(0))
    for name in ("unlabelled_images", "unlabelled_images_2"):
        np.testing.assert_array_equal(first[name], second[name])


def test_without_labels_there_are_no_labelled_images():
    assert set(collect(make_batches(labelled=[], labels=[]).epoch(0))) == {"unlabelled_images", "unlabelled_images_2"}


def test_initialization_sees_images_of_all_the_data_each_once():
    def indices(batches, count):
        return np.round(batches.initialization_examples(count).numpy()[:, 0, 0, 0] * 255).astype(int).tolist()

    rows = indices(make_batches(), 6)
    assert len(set(rows)) == 6 and rows != sorted(rows)
    assert rows == indices(make_batches(), 6) != indices(make_batches(seed=2), 6)
    assert sorted(indices(make_batches(), 500)) == list(range(23))


def test_initialization_may_see_the_labelled_examples_instead():
    batches = make_batches()
    images = batches.initialization_examples(7, labelled=True).numpy()
    rows = np.round(images[:, 0, 0, 0] * 255).astype(int)
    # The first of the first epoch's tiled labelled set.
    tiled = LABELLED[batches.order(0)["labelled"].ravel()]
    np.testing.assert_array_equal(rows, tiled[:7])
    # There are none without labels.
    unlabelled = make_batches(labelled=[], labels=[])
    np.testing.assert_array_equal(
        unlabelled.initialization_examples(7, labelled=True), unlabelled.initialization_examples(7)
    )


@pytest.mark.parametrize("batch_size", [0, -2, 24])
def test_a_batch_larger_than_the_data_is_refused(batch_size):
    with pytest.raises(DataError, match=f"`batch_size` must be from 1 to .*, 23. Received: batch_size={batch_size}"):
        make_batches(batch_size=batch_size)


def test_nothing_tunes_a_pipeline_while_it_runs():
    # The thread that does can sleep through the word that an epoch has ended: by chance, so there is no waiting for it.
    none = np.zeros(0, "int64")
    data = ImageData(IMAGES, np.zeros(len(IMAGES), "int64"), IMAGES[:0], none, ("a",))
    for batches in (make_batches(), ArrayBatches(data, batch_size=5, seed=1)):
        assert batches.epoch(0).options().autotune.enabled is False
