"""The plan of a conversion that is not finished, as its folder keeps it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igan_tf.errors import DataError
from igan_tf.files import disk, json_files
from igan_tf.records.manifest import FORMAT, SOURCE_SCHEMA, settings_schema

PLAN_NAME = "plan.json"
_OBJECT = json_files.record({}, others=True)
# The first version's had no format.
_OF_ANY_VERSION = json_files.record({"settings": _OBJECT, "source": _OBJECT}, {"format": json_files.WHOLE})
_SCHEMA = json_files.record(
    {"format": json_files.one_of(FORMAT), "settings": settings_schema(FORMAT), "source": SOURCE_SCHEMA}
)


def read_plan(path: Path, output_dir: Path) -> dict[str, Any]:
    """Reads the plan of the conversion into `output_dir`.

    Raises:
        DataError: for an earlier version's, and for what is no plan.
    """
    try:
        saved = json_files.read(path, _OF_ANY_VERSION)
        if saved.get("format", 1) < FORMAT:
            raise of_earlier_version(output_dir, "it is not finished")
        return json_files.check(saved, _SCHEMA, path)
    except (disk.UnusableFile, json_files.DamagedFile) as error:
        raise DataError(f"{error}; remove {output_dir} and begin anew") from error


def of_earlier_version(output_dir: Path, reason: str) -> DataError:
    """The error of a conversion that cannot go on as it began."""
    return DataError(
        f"`output_dir={output_dir}` holds a conversion by an earlier version of igan_tf, which read images in another "
        f"way, and {reason}: convert into another folder"
    )
