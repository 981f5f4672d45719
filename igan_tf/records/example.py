"""Writes and reads the `tf.train.Example` of one image without TensorFlow.

The features are those of the published ImageNet records: `height`, `width`, `depth`, `label` (int64) and `image_raw`,
the pixels' bytes by rows, three a pixel. Compressed pixels stand in `image_jpeg` instead, a JPEG file, so that nobody
takes the one for the other.
"""

import functools
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

PAYLOAD_KEYS = {"raw": "image_raw", "jpeg": "image_jpeg"}

_FIELD = descriptor_pb2.FieldDescriptorProto
# The messages of tensorflow/core/example, as far as images need them: name -> fields (name, number, type, repeated).
# A map is a list of entries on the wire; declared as a list it has an order, and equal examples have equal bytes.
_MESSAGES = {
    "BytesList": [("value", 1, _FIELD.TYPE_BYTES, True)],
    "Int64List": [("value", 1, _FIELD.TYPE_INT64, True)],
    "Feature": [("bytes_list", 1, "BytesList", False), ("int64_list", 3, "Int64List", False)],
    "Entry": [("key", 1, _FIELD.TYPE_STRING, False), ("value", 2, "Feature", False)],
    "Features": [("feature", 1, "Entry", True)],
    "Example": [("features", 1, "Features", False)],
}


class ExampleError(ValueError):
    """Bytes are no example, or lack the feature asked for."""


def encode_image(payload: bytes, encoding: str, height: int, width: int, label: int) -> bytes:
    """Serializes the example of one RGB image.

    Args:
        payload: The image's bytes: `height * width * 3` of them, or a JPEG file.
        encoding: "raw" or "jpeg": which of the two.
        height, width: In pixels.
        label: The class, from 0.

    Returns:
        The same bytes as `tf.train.Example.SerializeToString(deterministic=True)`.
    """
    values = {"height": height, "width": width, "depth": 3, "label": label, PAYLOAD_KEYS[encoding]: payload}
    example = _example_class()()
    for key in sorted(values):
        entry = example.features.feature.add(key=key)
        if isinstance(values[key], bytes):
            entry.value.bytes_list.value.append(values[key])
        else:
            entry.value.int64_list.value.append(values[key])
    return example.SerializeToString()


def decode_features(serialized: bytes, *keys: str) -> list[Any]:
    """Reads features of one value each, bytes or int, from a serialized example.

    Args:
        serialized: The example.
        *keys: The names of the features.

    Returns:
        Their values.

    Raises:
        ExampleError: that names the feature that is missing or has another number of values.
    """
    example = _example_class()()
    try:
        example.ParseFromString(serialized)
    except DecodeError as error:
        raise ExampleError("not a tf.train.Example") from error
    features = {entry.key: entry.value for entry in example.features.feature}
    return [_single(features, key) for key in keys]


def _single(features: dict[str, Any], key: str) -> Any:
    if key not in features:
        raise ExampleError(f"the example has no feature {key!r}")
    values = [*features[key].bytes_list.value, *features[key].int64_list.value]
    if len(values) != 1:
        raise ExampleError(f"the feature {key!r} has {len(values)} values instead of one")
    return values[0]


@functools.cache
def _example_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(name="image_example.proto", package="image_example", syntax="proto3")
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, repeated in fields:
            field = message.field.add(name=name, number=number)
            field.label = _FIELD.LABEL_REPEATED if repeated else _FIELD.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".image_example.{kind}"
            else:
                field.type = kind
    # The default pool holds TensorFlow's messages of the same form.
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("image_example.Example"))
