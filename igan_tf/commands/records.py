"""Images to sharded TFRecords: `python -m igan_tf.data.imagenet_records --source=... --output_dir=...`."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igan_tf.commands.flags import CommandLine
from igan_tf.commands.start import ending_in_one_sentence, report
from igan_tf.errors import ConfigError, counted
from igan_tf.records.settings import ConversionSettings, WorkSettings
from igan_tf.settings import Settings, refuse_unused, setting

if TYPE_CHECKING:
    from igan_tf.records.manifest import Manifest

# The library's names of arguments that have flags of other names.
_ARGUMENTS = {"data_dir": "tfds_data_dir", "split": "tfds_split"}

# Each process of the converter imports this file: what it does not need is imported where it is used.


@dataclasses.dataclass(frozen=True)
class PlaceSettings(Settings):
    """What is converted, and where to."""

    topic = "What is converted"

    source: str = setting(
        "",
        "A folder with one folder of images a class; ILSVRC2012_img_train.tar, read in place; or tfds:<name>, prepared "
        "data of TFDS.",
        path=True,
    )
    output_dir: str = setting("", "Folder of the records.", path=True)
    tfds_data_dir: str = setting("", "TFDS's folder, of `source=tfds:<name>`; empty: TFDS's own.", path=True)
    tfds_split: str = setting("train", "Split of `source=tfds:<name>`.")

    def check(self) -> None:
        if not self.output_dir:
            raise ConfigError("`output_dir` must be a folder. Received: output_dir=")


def command_line() -> CommandLine:
    """The command's flags: what is converted, then the settings of the conversion."""
    line = CommandLine(
        "python -m igan_tf.data.imagenet_records",
        "Converts images to sharded TFRecords. The same command continues an interrupted conversion, and mends a "
        "finished one of which shards were lost.",
    )
    line.add_settings(PlaceSettings)
    line.add_settings(ConversionSettings)
    line.add_settings(WorkSettings)
    return line


def run(arguments: Sequence[str]) -> None:
    """Runs one conversion; errors of the user's end it with one message."""
    line = command_line()
    with ending_in_one_sentence(line, _ARGUMENTS):
        line.parse(arguments)
        try:
            manifest = _convert(line)
        except KeyboardInterrupt:
            print("igan_tf: stopped; finished shards are kept, the same command continues", file=sys.stderr)
            raise
    size = sum(shard.bytes for shard in manifest.shards)
    report(
        f"{line.output_dir}: {counted(manifest.images, 'image')} in {counted(len(manifest.shards), 'shard')}, "
        f"{size / 1e6:.1f} MB, "
        f"{manifest.unreadable} left out, digest {manifest.digest[:16]}"
    )


def _convert(line: CommandLine) -> Manifest:
    from igan_tf.records.converter import convert
    from igan_tf.records.processes import start_fork_server
    from igan_tf.records.sources import open_source

    place, settings, work = line.read(PlaceSettings), line.read(ConversionSettings), line.read(WorkSettings)
    refuse_unused(settings, line.typed)
    for name in ("tfds_data_dir", "tfds_split"):
        if name in line.typed and not place.source.startswith("tfds:"):
            raise ConfigError(
                f"`{name}` is for `source=tfds:<name>`. Received: {name}={getattr(place, name)} source={place.source}"
            )
    start_fork_server(without_interrupts=True)
    source = open_source(place.source, place.tfds_data_dir, place.tfds_split)
    images, classes = counted(len(source.entries), "image"), counted(len(source.class_names), "class")
    found = f"{images} of {classes} in {place.source}"
    report("; ".join(filter(None, [found, source.left_out])))
    if Path(place.output_dir).resolve().is_relative_to(Path(place.source).resolve()):
        raise ConfigError(f"`output_dir` must not be in `source`. Received: output_dir={place.output_dir}")
    return convert(source, place.output_dir, settings, work.processes, work.max_unreadable, report)
