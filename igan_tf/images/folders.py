"""Which files of a folder are images."""

from pathlib import Path

from igan_tf.errors import DataError

# What a folder of images may hold.
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
# What `--mode=sample` keeps in a folder: the first while files are missing, then the second.
UNFINISHED_SAMPLES, FINISHED_SAMPLES = "samples.unfinished.json", "samples.json"


def image_files(folder):
    """The image files in a folder and its subfolders, sorted."""
    return sorted(path for path in Path(folder).rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())


def npz_files(folder):
    """The .npz files of a folder that holds no image files, as `--mode=sample --format=npz` writes it, sorted."""
    found = sorted(Path(folder).glob("*.npz"))
    return [] if found and image_files(folder) else found


def refuse_unfinished(folder):
    """Raises a DataError for a folder that `--mode=sample` has not finished."""
    if (Path(folder) / UNFINISHED_SAMPLES).exists():
        raise DataError(
            f"the folder {folder} is not finished: it holds {UNFINISHED_SAMPLES}; the command that began it continues"
        )
