"""Converts images to sharded TFRecords: `python -m igan_tf.data.imagenet_records --source=... --output_dir=...`.

The source is a folder with one folder of images a class, the original ILSVRC2012_img_train.tar (read in place, never
unpacked), or tfds:<name>, a data set that TFDS has prepared. The same command continues an interrupted conversion, and
mends a finished one of which shards were lost.
"""

import argparse
import dataclasses
import sys
from pathlib import Path

from igan_tf.commands.flags import in_flags

# The library's names of arguments that have flags of other names.
_ARGUMENTS = {"data_dir": "tfds_data_dir", "split": "tfds_split"}

# Each process of the converter imports this file: what it does not need is imported where it is used.


def main(arguments=None):
    """Runs one conversion; errors of the user's end it with one message."""
    from igan_tf.errors import DataError, InputError
    from igan_tf.records.converter import convert
    from igan_tf.records.processes import start_fork_server
    from igan_tf.records.settings import ConversionSettings, WorkSettings
    from igan_tf.records.sources import open_source

    options = _parser(ConversionSettings, WorkSettings).parse_args(arguments)
    try:
        settings, work = (_read(options, kind) for kind in (ConversionSettings, WorkSettings))
        if not options.output_dir:
            raise DataError("--output_dir must be a folder. Received: --output_dir=")
        start_fork_server()
        source = open_source(options.source, options.tfds_data_dir, options.tfds_split)
        _report(f"{len(source.entries)} images of {len(source.class_names)} classes in {options.source}")
        if Path(options.output_dir).resolve().is_relative_to(Path(options.source).resolve()):
            raise DataError(f"--output_dir must not be in --source. Received: --output_dir={options.output_dir}")
        manifest = convert(source, options.output_dir, settings, work.processes, work.max_unreadable, _report)
    except InputError as error:
        sys.exit(f"igan_tf: {in_flags(error, vars(options), _ARGUMENTS)}")
    except KeyboardInterrupt:
        print("igan_tf: stopped; finished shards are kept, the same command continues", file=sys.stderr)
        sys.exit(130)
    size = sum(shard.bytes for shard in manifest.shards)
    _report(
        f"{options.output_dir}: {manifest.images} images in {len(manifest.shards)} shards, {size / 1e6:.1f} MB, "
        f"{manifest.unreadable} left out, digest {manifest.digest[:16]}"
    )


def _read(options, settings_class):
    return settings_class(**{field.name: getattr(options, field.name) for field in dataclasses.fields(settings_class)})


def _parser(*settings_classes):
    parser = argparse.ArgumentParser(
        prog="python -m igan_tf.data.imagenet_records",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--source", required=True, help="folder of class folders, tar of tars, or tfds:<name>")
    parser.add_argument("--output_dir", required=True, help="folder of the records")
    fields = [field for settings_class in settings_classes for field in dataclasses.fields(settings_class)]
    for field in fields:
        help_text = in_flags(field.metadata["help"], {field.name for field in fields})
        parser.add_argument(f"--{field.name}", type=field.type, default=field.default, help=help_text)
    parser.add_argument("--tfds_data_dir", default="", help="TFDS's folder, of --source=tfds:<name>")
    parser.add_argument("--tfds_split", default="train", help="split of --source=tfds:<name>")
    return parser


def _report(line):
    print(line, flush=True)
