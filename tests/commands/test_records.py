"""The command line of the converter: what it refuses before any work, and what it prints."""

import pytest

from igan_tf.commands.records import run as run_command
from igan_tf.data import ImageRecords
from tests.records.record_sets import contents, make_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return make_photos(tmp_path_factory.mktemp("photos"), images=4)


def run(capfd, *arguments):
    """Runs the command in this process; returns exit code and everything printed."""
    try:
        run_command(list(map(str, arguments)))
        code, text = 0, ""
    except SystemExit as error:
        # `sys.exit` of a message prints it and exits with 1.
        code, text = (1, f"{error.code}\n") if isinstance(error.code, str) else (error.code, "")
    return code, "".join(capfd.readouterr()) + text


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("--image_size=3", "--image_size must be at least 4. Received: --image_size=3"),
        ("--image_size=1025", "--image_size must be at most 1024. Received: --image_size=1025"),
        ("--image_size=large", "--image_size=large"),
        ("--encoding=gif", "--encoding must be one of raw, jpeg. Received: --encoding=gif"),
        ("--jpeg_quality=0", "--jpeg_quality must be at least 1. Received: --jpeg_quality=0"),
        ("--jpeg_quality=101", "--jpeg_quality must be at most 100. Received: --jpeg_quality=101"),
        ("--num_shards=-1", "--num_shards must be at least 0. Received: --num_shards=-1"),
        ("--num_shards=13", "--num_shards must be at most the number of images, 12. Received: --num_shards=13"),
        ("--seed=-1", "--seed must be at least 0. Received: --seed=-1"),
        ("--processes=-1", "--processes must be at least 0. Received: --processes=-1"),
        ("--max_unreadable=1.5", "--max_unreadable must be at most 1. Received: --max_unreadable=1.5"),
        ("--max_unreadable=nan", "--max_unreadable must be a finite number. Received: --max_unreadable=nan"),
        ("--source=", "--source must be a folder, a tar file or tfds:<name>. Received: --source="),
        ("--source=nowhere", "--source=nowhere does not exist"),
        ("--source=tfds:nosuchset", "--source=tfds:nosuchset: nosuchset is no data set of TFDS, nor prepared in"),
        ("--output_dir=", "--output_dir must be a folder. Received: --output_dir="),
        ("--output=x", "Unknown command line flag 'output'. Did you mean: output_dir"),
        ("extra", "unknown argument: extra"),
    ],
)
def test_a_wrong_value_is_named_and_leaves_nothing(photos, tmp_path, capfd, argument, words):
    code, text = run(capfd, f"--source={photos}", f"--output_dir={tmp_path}/records", argument)
    assert code in (1, 2) and words in text and "Traceback" not in text
    assert list(tmp_path.iterdir()) == []


def test_source_and_output_are_needed(capfd):
    code, text = run(capfd)
    assert code == 1 and "--output_dir must be a folder. Received: --output_dir=" in text


@pytest.mark.parametrize("place", ["", "/records", "/n00/records"])
def test_an_output_in_the_source_is_refused(photos, capfd, place):
    before = contents(photos)
    code, text = run(capfd, f"--source={photos}", f"--output_dir={photos}{place}")
    assert code == 1 and f"--output_dir must not be in --source. Received: --output_dir={photos}{place}" in text
    assert contents(photos) == before


def test_a_conversion_reports_what_it_does(photos, tmp_path, capfd):
    flags = [f"--source={photos}", f"--output_dir={tmp_path}/records", "--image_size=16", "--num_shards=3"]
    code, text = run(capfd, *flags)
    records = ImageRecords(tmp_path / "records")
    assert code == 0
    lines = text.splitlines()
    assert lines[0] == f"12 images of 3 classes in {photos}"
    assert "images/s" in lines[1]
    assert f"{tmp_path}/records: 12 images in 3 shards" in lines[2]
    assert "0 left out" in lines[2] and records.fingerprint() in lines[2]
    # No progress bar where there is no terminal.
    assert "\r" not in text
    assert records.image_shape == (16, 16, 3)
    code, text = run(capfd, *flags)
    assert code == 0 and "every shard is whole" in text and records.fingerprint() in text


def test_help_shows_every_default(capfd):
    code, text = run(capfd, "--help")
    # Without line breaks.
    text = " ".join(text.split())
    assert code == 0
    for words in ("--image_size=128", "--encoding=jpeg", "--jpeg_quality=95", "--max_unreadable=0.01", "at most 1024"):
        assert words in text
