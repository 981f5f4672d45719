"""Finds the images in a folder."""

from pathlib import Path

from igan_tf.errors import DataError
from igan_tf.files import StrPath

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# A sampled folder's plan: the first while files are missing, then the second.
UNFINISHED_SAMPLES, FINISHED_SAMPLES = "samples.unfinished.json", "samples.json"


def image_files(folder: StrPath) -> list[Path]:
    """The image files in a folder and its subfolders, sorted."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def refuse_unfinished(folder: StrPath) -> None:
    """Raises a DataError for a folder of samples of which files are missing."""
    if (Path(folder) / UNFINISHED_SAMPLES).exists():
        raise DataError(
            f"the folder {folder} is not finished: it holds {UNFINISHED_SAMPLES}; the command that began it continues"
        )
