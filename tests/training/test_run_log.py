import json

import google_crc32c
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from igan_tf.files import json_lines
from igan_tf.files.json_files import DamagedFile
from igan_tf.images.grids import image_grid, write_png
from igan_tf.training.run_log import RunLog, read_metrics, tag


def events(run_dir):
    """Sorted (step, tag) of every event in the run's TensorBoard files."""
    found = []
    for path in run_dir.glob("events.out.tfevents.*"):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            found += [(event.step, value.tag) for value in event.summary.value]
    return sorted(found)


def write_epochs(run_dir, from_step, epochs, describe=False):
    records = RunLog(run_dir, from_step)
    if describe:
        records.describe(["--epochs=3", "--labels=50"], "9 images", {"epochs": 3, "labels": 50, "adam": "outside"})
    for epoch in epochs:
        records.write_metrics({"epoch": epoch, "step": 10 * epoch, "a_loss": epoch / 3})
        records.write_samples(np.full((4, 2, 2, 1), 0.5), f"epoch-{epoch:04d}", 10 * epoch)
        records.write_histograms({"scale/a": np.arange(5.0)}, 10 * epoch)
    records.close()


def of_epochs(*epochs):
    return sorted((10 * epoch, tag) for epoch in epochs for tag in ("loss/a_loss", "samples", "scale/a"))


def test_what_is_written_is_there(tmp_path):
    write_epochs(tmp_path, 0, [1, 2], describe=True)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    for line, epoch in zip(lines, (1, 2), strict=True):
        written = {"epoch": epoch, "step": 10 * epoch, "a_loss": epoch / 3}
        assert line == {**written, "crc32c": f"{google_crc32c.value(json.dumps(written).encode()):08x}"}
    found = events(tmp_path)
    assert [event for event in found if event[0] > 0] == of_epochs(1, 2)
    tags = [tag for step, tag in found if step == 0]
    assert {"flags", "data"} <= set(tags) and any("hparams" in tag for tag in tags)
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == ["epoch-0001.png", "epoch-0002.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("generator_history_loss", "loss/generator_history_loss"),
        ("discriminator_regularization", "loss/discriminator_regularization"),
        ("averaged_test_error", "error/averaged_test_error"),
        ("error", "error/error"),
        ("seconds_per_step", "time/seconds_per_step"),
        ("inception_score", "score/inception_score"),
        ("step/generator_loss", "step/generator_loss"),
    ],
)
def test_numbers_are_grouped(name, expected):
    assert tag(name) == expected


def test_what_is_said_of_a_number_reaches_tensorboard(tmp_path):
    log = RunLog(tmp_path, -1)
    log.write_metrics({"epoch": 1, "step": 1, "test_error": 0.5})
    log.close()
    (path,) = tmp_path.glob("events.out.tfevents.*")
    records = [tf.compat.v1.Event.FromString(r) for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]
    (value,) = (value for event in records for value in event.summary.value)
    assert value.tag == "error/test_error" and "test images" in value.metadata.summary_description


def test_a_run_of_before_goes_on_in_its_logs_folder(tmp_path):
    """TensorBoard names a run by the folder of its events; until version 0.1 that was `logs`."""
    (tmp_path / "logs").mkdir()
    RunLog(tmp_path, -1).close()
    assert list((tmp_path / "logs").glob("events.*")) and not list(tmp_path.glob("events.*"))


def test_opening_at_a_step_removes_what_is_beyond_it(tmp_path):
    write_epochs(tmp_path, 0, [1, 2, 3], describe=True)
    described = [event for event in events(tmp_path) if event[0] == 0]
    RunLog(tmp_path, 20).close()
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert events(tmp_path) == described + of_epochs(1, 2)
    write_epochs(tmp_path, 20, [3, 4])
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4]
    assert events(tmp_path) == described + of_epochs(1, 2, 3, 4)


def test_several_event_files_are_each_cut(tmp_path):
    write_epochs(tmp_path, 0, [1, 2])
    write_epochs(tmp_path, 20, [3, 4])
    write_epochs(tmp_path, 10, [2])
    assert events(tmp_path) == of_epochs(1, 2)


def test_what_was_kept_is_unchanged(tmp_path):
    write_epochs(tmp_path, 0, [1, 2])
    (path,) = tmp_path.glob("events.*")
    before, metrics = path.read_bytes(), (tmp_path / "metrics.jsonl").read_bytes()
    RunLog(tmp_path, 20).close()
    assert path.read_bytes() == before
    assert (tmp_path / "metrics.jsonl").read_bytes() == metrics


@pytest.mark.parametrize("cut", [2, 7, 20])
def test_a_last_line_and_event_cut_short_are_removed(tmp_path, cut):
    write_epochs(tmp_path, 0, [1, 2])
    (path,) = tmp_path.glob("events.*")
    for file in (path, tmp_path / "metrics.jsonl"):
        file.write_bytes(file.read_bytes()[:-cut])
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1]
    write_epochs(tmp_path, 10, [2])
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2]
    assert events(tmp_path) == of_epochs(1, 2)
    assert (tmp_path / "metrics.jsonl").read_text().endswith("}\n")


def test_a_cut_event_of_a_kept_step_costs_no_others(tmp_path):
    write_epochs(tmp_path, 0, [1, 2])
    (path,) = tmp_path.glob("events.*")
    path.write_bytes(path.read_bytes()[:-1])
    RunLog(tmp_path, 20).close()
    assert events(tmp_path) == sorted(set(of_epochs(1, 2)) - {(20, "scale/a")})


def damaged(path, at=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if at is None else at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("at", [0, 5, 12, None])
@pytest.mark.parametrize("name", ["metrics.jsonl", "events.*"])
def test_damage_is_named_and_nothing_is_changed(tmp_path, name, at):
    write_epochs(tmp_path, 0, [1, 2, 3])
    (path,) = tmp_path.glob(name)
    damaged(path, at)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    with pytest.raises(DamagedFile, match=rf"{path}.* is damaged: .*; move {path.name} away to go on"):
        RunLog(tmp_path, 20)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_garbage_at_the_head_of_an_event_file_is_damage(tmp_path):
    write_epochs(tmp_path, 0, [1])
    (path,) = tmp_path.glob("events.*")
    path.write_bytes(b"garbage" + path.read_bytes())
    with pytest.raises(DamagedFile, match="record 0 is damaged at byte 0"):
        RunLog(tmp_path, 10)


def test_every_flipped_bit_of_a_line_is_noticed(tmp_path):
    path = tmp_path / "metrics.jsonl"
    log = RunLog(tmp_path, 0)
    log.write_metrics({"epoch": 1, "step": 3, "a_loss": 0.5})
    log.close()
    whole = path.read_bytes()
    # Without its end, a line is one that was cut short.
    for bit in range(8 * (len(whole) - 1)):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=f"{path}, line 1, is damaged"):
            read_metrics(path)


def test_lines_of_earlier_versions_have_no_checksum(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"epoch": 1, "step": 3, "a_loss": 0.5}\n')
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"epoch": 1, "step": 3, "a_loss": 0.5}]


def test_metrics_are_on_disk_before_the_call_returns(tmp_path):
    records = RunLog(tmp_path, 0)
    records.write_metrics({"epoch": 1, "step": 3, "a_loss": 0.5})
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"epoch": 1, "step": 3, "a_loss": 0.5}]
    assert records.last_epoch == {"epoch": 1, "step": 3, "a_loss": 0.5}
    assert events(tmp_path) == [(3, "loss/a_loss")]
    records.close()


def test_the_last_epoch_is_known_beside_lines_of_steps_and_after_a_start_anew(tmp_path):
    log = RunLog(tmp_path, -1)
    assert log.last_epoch is None
    for metrics in ({"epoch": 1, "step": 3, "a_loss": 0.5}, {"step": 4, "step/a_loss": 0.25}):
        log.write_metrics(metrics)
        assert log.last_epoch == {"epoch": 1, "step": 3, "a_loss": 0.5}
    log.close()
    for step, last in ((4, log.last_epoch), (2, None)):
        log = RunLog(tmp_path, step)
        log.close()
        assert log.last_epoch == last


def test_a_long_run_may_have_any_number_of_lines_of_bounded_length(tmp_path, monkeypatch):
    write_epochs(tmp_path, 0, range(1, 9))
    longest = max(map(len, (tmp_path / "metrics.jsonl").read_bytes().splitlines(keepends=True)))
    monkeypatch.setattr(json_lines, "_MOST_BYTES", longest)
    RunLog(tmp_path, 70).close()
    assert [line["epoch"] for line in read_metrics(tmp_path / "metrics.jsonl")] == [*range(1, 8)]
    monkeypatch.setattr(json_lines, "_MOST_BYTES", longest - 1)
    with pytest.raises(DamagedFile, match=f"is damaged: it has more than {longest - 1} bytes"):
        RunLog(tmp_path, 70)


def test_without_a_file_there_are_no_metrics(tmp_path):
    assert read_metrics(tmp_path / "none") == []


# Grids.


def test_image_grid_is_row_by_row_with_margins():
    images = np.arange(1, 6)[:, None, None, None] / 10 * np.ones((5, 16, 18, 1))
    grid = image_grid(images)
    assert grid.shape == (2 * 17 + 1, 3 * 19 + 1, 1) and grid.dtype == "float32"
    for index in range(5):
        top, left = 1 + index // 3 * 17, 1 + index % 3 * 19
        np.testing.assert_allclose(grid[top : top + 16, left : left + 18], (index + 1) / 10)
    np.testing.assert_array_equal(grid[18:34, 39:57], 1)
    np.testing.assert_array_equal(grid[::17], 1)
    np.testing.assert_array_equal(grid[:, ::19], 1)


@pytest.mark.parametrize(
    ("count", "columns", "shape"),
    [(1, None, (34, 34)), (4, None, (67, 67)), (4, 4, (34, 133)), (5, 2, (100, 67)), (100, None, (331, 331))],
)
def test_the_size_of_a_grid(count, columns, shape):
    assert image_grid(np.zeros((count, 32, 32, 3)), columns).shape == (*shape, 3)


def test_small_images_are_drawn_larger():
    images = np.random.default_rng(0).random((1, 8, 8, 1), "float32")
    grid = image_grid(images)
    assert grid.shape == (26, 26, 1)
    for row, column in np.ndindex(3, 3):
        np.testing.assert_array_equal(grid[1 + row : 25 : 3, 1 + column : 25 : 3], images[0])
    assert image_grid(np.zeros((1, 16, 17, 1))).shape == (18, 19, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_png_round_trip(tmp_path, channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, channels))
    write_png(tmp_path / "a.png", pixels / 255)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)


def test_png_is_clipped(tmp_path):
    write_png(tmp_path / "a.png", np.array([[[-0.2], [1.3]]]))
    with Image.open(tmp_path / "a.png") as image:
        assert np.asarray(image).tolist() == [[0, 255]]


def test_a_run_that_starts_anew_keeps_nothing(tmp_path):
    write_epochs(tmp_path, 0, [1], describe=True)
    described = [event for event in events(tmp_path) if event[0] == 0]
    write_epochs(tmp_path, -1, [1], describe=True)
    assert events(tmp_path) == described + of_epochs(1)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1
