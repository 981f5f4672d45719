"""Sets of records whose digests are right and whose contents are not what a converter makes."""

import hashlib
import json

from igan_tf.records.example import encode_image
from igan_tf.records.tfrecords import frame

HUGE = 10**12
OUTSIDE = "../outside/train-00000-of-00006.tfrecord"


def forge(folder, change):
    """Changes what the manifest of `folder` says, and gives it the digest of what it then says."""
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    content.pop("digest", None)
    content["digest"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps(content))


def forge_shard(folder, number, payloads):
    """Puts whole records into the place of those of a shard, and their digest into the manifest."""
    framed = b"".join(map(frame, payloads))

    def change(content):
        shard = content["shards"][number]
        (folder / shard["name"]).write_bytes(framed)
        shard.update(bytes=len(framed), sha256=hashlib.sha256(framed).hexdigest())

    forge(folder, change)


def example(size=4, label=0, payload=None, encoding="raw"):
    """A serialized example of a black image, or of other bytes in its place."""
    return encode_image(bytes(size * size * 3) if payload is None else payload, encoding, size, size, label)


def _of_a_shard(**changes):
    return lambda content: content["shards"][1].update(changes)


def _huge(content):
    """As many images as would fill a memory, in all the places that say how many there are."""
    content.update(images=HUGE)
    content["source"].update(images=HUGE + content["unreadable"])
    content["shards"][0].update(records=HUGE - sum(shard["records"] for shard in content["shards"][1:]))


def _one_more(content):
    """A record more than the shards hold, which all the sums have."""
    content["images"] += 1
    content["source"]["images"] += 1
    content["shards"][-1]["records"] += 1
    content["shards"][-1]["bytes"] = HUGE


# Name -> what is changed in a manifest of 30 raw images of 4x4 pixels in six shards.
FORGERIES = {
    "a shard above the folder": _of_a_shard(name=OUTSIDE),
    "a shard at an absolute path": _of_a_shard(name="/etc/passwd"),
    "a shard in a folder within": _of_a_shard(name="sub/train-00001-of-00006.tfrecord"),
    "a shard of another set's name": _of_a_shard(name="train-00001-of-00007.tfrecord"),
    "a shard's name and a line's end": _of_a_shard(name="train-00001-of-00006.tfrecord\n"),
    "a shard twice": lambda content: content["shards"].__setitem__(1, content["shards"][0]),
    "shards in another order": lambda content: content["shards"].reverse(),
    "a shard less": lambda content: content["shards"].pop(),
    "no shards": lambda content: content.update(shards=[], images=0),
    "a shard that is no object": lambda content: content["shards"].__setitem__(1, "train-00001-of-00006.tfrecord"),
    "a number of records below 0": _of_a_shard(records=-5),
    "a number of records that is true": _of_a_shard(records=True),
    "a number of bytes beyond all": _of_a_shard(bytes=2**64),
    "more bytes than records take": _of_a_shard(bytes=HUGE),
    "a digest that is none": _of_a_shard(sha256="../../etc/passwd"),
    "an entry more of a shard": _of_a_shard(url="http://localhost/"),
    "10^12 images": _huge,
    "10^12 images in one place": lambda content: content.update(images=HUGE),
    "10^12 images of the source": lambda content: content["source"].update(images=HUGE),
    "more records than the shard's part": _one_more,
    "another number of unreadable images": lambda content: content.update(unreadable=1),
    "images of 2^31 pixels": lambda content: content["settings"].update(image_size=2**31),
    "images of -4 pixels": lambda content: content["settings"].update(image_size=-4),
    "images of no whole size": lambda content: content["settings"].update(image_size=4.0),
    "an encoding of neither kind": lambda content: content["settings"].update(encoding="pickle"),
    "another number of shards": lambda content: content["settings"].update(num_shards=99999),
    "a setting more": lambda content: content["settings"].update(module="os"),
    "a setting less": lambda content: content["settings"].pop("image_size"),
    "a setting less, which there is since format 2": lambda content: content["settings"].pop("fit"),
    "a colour that is none": lambda content: content["settings"].update(background="nothing"),
    "a format of before": lambda content: content.update(format=0),
    "no settings": lambda content: content.update(settings=None),
    "a source more": lambda content: content["source"].update(path="/"),
    "an entry more": lambda content: content.update(extra=0),
    "an entry less": lambda content: content.pop("source"),
    "no classes": lambda content: content.update(class_names=[]),
    "classes that are one text": lambda content: content.update(class_names="abc"),
    "classes that are numbers": lambda content: content.update(class_names=[1, 2, 3]),
    "a format that is text": lambda content: content.update(format="2"),
    "NaN": lambda content: content.update(unreadable=float("nan")),
}
