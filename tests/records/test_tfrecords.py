"""Examples and files against TensorFlow's own, byte for byte."""

import numpy as np
import pytest
import tensorflow as tf

from igan_tf.records import tfrecords
from igan_tf.records.example import ExampleError, decode_features, encode_image

# The lengths around which a length takes another byte.
PAYLOADS = [b"", b"a", bytes(127), bytes(128), b"\xff" * 16384, np.random.default_rng(0).bytes(49152)]


def tensorflow_example(payload, key, height, width, label):
    def integer(value):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    features = {
        "height": integer(height),
        "width": integer(width),
        "depth": integer(3),
        "label": integer(label),
        key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[payload])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True)


@pytest.mark.parametrize("payload", PAYLOADS, ids=len)
@pytest.mark.parametrize(("encoding", "key"), [("raw", "image_raw"), ("jpeg", "image_jpeg")])
@pytest.mark.parametrize("label", [0, 127, 128, 999])
def test_an_example_has_tensorflows_bytes(payload, encoding, key, label):
    assert encode_image(payload, encoding, 128, 300, label) == tensorflow_example(payload, key, 128, 300, label)


def test_features_are_read_back():
    serialized = tensorflow_example(b"pixels", "image_raw", 4, 5, 7)
    assert decode_features(serialized, "image_raw", "label", "height") == [b"pixels", 7, 4]
    # A zero is written like other values.
    assert decode_features(encode_image(b"p", "raw", 4, 4, 0), "label") == [0]


def test_what_is_no_example_is_named():
    with pytest.raises(ExampleError, match=r"not a tf\.train\.Example"):
        decode_features(b"\xff\xff\xff", "label")
    with pytest.raises(ExampleError, match="no feature 'label'"):
        decode_features(b"", "label")
    several = tf.train.Feature(int64_list=tf.train.Int64List(value=[1, 2]))
    example = tf.train.Example(features=tf.train.Features(feature={"label": several}))
    with pytest.raises(ExampleError, match="'label' has 2 values"):
        decode_features(example.SerializeToString(), "label")


@pytest.fixture
def file(tmp_path):
    """A file that TensorFlow wrote."""
    path = tmp_path / "a.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for payload in PAYLOADS:
            writer.write(payload)
    return path


def test_a_file_has_tensorflows_bytes(file):
    assert b"".join(map(tfrecords.frame, PAYLOADS)) == file.read_bytes()


def test_single_records_are_found_and_read(file):
    spans = tfrecords.record_spans(file)
    with open(file, "rb") as opened:
        found = [tfrecords.read_record(opened.fileno(), *span) for span in reversed(spans)]
    assert found == PAYLOADS[::-1]


def test_every_cut_within_a_record_is_found(tmp_path):
    content = b"".join(map(tfrecords.frame, (b"one", b"two")))
    path = tmp_path / "a.tfrecord"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        if length in (0, len(content) // 2):
            # Between records: a matter for the manifest.
            assert len(tfrecords.record_spans(path)) == (length > 0)
        else:
            with pytest.raises(tfrecords.RecordError, match="cut"):
                tfrecords.record_spans(path)


def test_every_flipped_bit_is_found(tmp_path):
    content = tfrecords.frame(b"some data")
    path = tmp_path / "a.tfrecord"
    for bit in range(8 * len(content)):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        with pytest.raises(tfrecords.RecordError), open(path, "rb") as opened:
            tfrecords.read_record(opened.fileno(), *tfrecords.record_spans(path)[0])
