"""What `--mode=sample` writes, while it is drawn: one .npz, one grid, or a folder."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from igan_tf.errors import ConfigError, counted
from igan_tf.experiments.latents import OneClass, between, random_latents, read_latents, round_trip, sweeps
from igan_tf.experiments.nearest import beside_nearest
from igan_tf.experiments.runs import build_model, read_checkpoint
from igan_tf.experiments.sample_folder import SampleFolder, progress, sampling_plan
from igan_tf.files import StrPath, disk, durable
from igan_tf.images.grids import image_grid, write_gif, write_png

# 32 x 32: of 128x128 images a picture of 4,129 pixels a side.
GRID_LIMIT = 1024


def sample_run(
    run_dir: StrPath,
    output: str,
    count: int,
    seed: int,
    file_format: str | None = None,
    report: Callable[[str], Any] = print,
    nearest: bool = False,
    data_dir: str = "",
    latents: str = "",
    sample_class: int | None = None,
) -> dict[str, Any]:
    """Everything that `--mode=sample` does. Memory does not grow with the number of images but for a grid.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        output: See `output_kind`.
        count: Number of images.
        seed: Of latents and noise: image i is a function of the run's newest weights, `seed` and i.
        file_format: "png" or "npz", of the files in a folder; None: "png".
        report: Called with each line for the user.
        nearest: Whether each image of a grid has its nearest training image beside it, see `beside_nearest`.
        data_dir: Where the run's data lies now; empty: where it lay.
        latents: An .npy of latents, an image each in the place of `count`; empty: they are drawn.
        sample_class: The class for which the run's discriminator takes the samples that are kept; None: any.

    Returns:
        Dict of what was written where, and of the distances of `nearest`.

    Raises:
        ConfigError, CheckpointError, DataError: of which each names the flag or file.
    """
    found: dict[str, Any] = {}
    try:
        given = read_latents(latents) if latents else None
        count = count if given is None else len(given)
        kind = output_kind(output, count, file_format)
        if kind == "folder" and (given is not None or sample_class is not None):
            name, value = ("latents", latents) if given is not None else ("sample_class", sample_class)
            raise ConfigError(
                f"`{name}` goes with `output=FILE.npz` or FILE.png. Received: {name}={value} output={output}"
            )
        if nearest and (kind != "png" or 2 * count > GRID_LIMIT):
            raise ConfigError(
                f"`nearest` needs a grid, `output=FILE.png`, of at most {GRID_LIMIT // 2} samples. "
                f"Received: output={output} num_samples={count}"
            )
        # All of it, before anything is written: a trainer may go on, and remove it.
        saved = read_checkpoint(run_dir, warn=report)
        if kind == "folder":
            plan = sampling_plan(file_format or "png", count, seed, run_dir, saved.position["step"], saved.sha256)
            SampleFolder(output, plan, report).fill(lambda: build_model(run_dir, saved))
            return {"images": count, "output": output}
        model = build_model(run_dir, saved)
        one_class = None if sample_class is None else OneClass(model, sample_class)
        if given is not None:
            batches = model.generate_from(given, seed)
        else:
            batches = one_class.batches(count, seed) if one_class else model.generate_batches(count, seed)
        if kind == "npz":
            write_npz(output, batches, count)
        else:
            images, columns = np.concatenate(list(batches)), None
            if nearest:
                images, found = beside_nearest(images, run_dir, saved, seed, data_dir)
                columns = 2 * math.ceil(math.sqrt(count / 2))
            write_png(output, image_grid(images, columns))
        if one_class:
            found["of_the_class"] = f"{one_class.accepted} of {counted(one_class.drawn, 'sample')}"
    except OSError as error:
        raise ConfigError(f"`output={output}` cannot be written: {error}") from error
    return {"images": count, "output": output, **found}


def walk(run_dir: StrPath, output: str, kind: str, count: int, steps: int, seed: int) -> dict[str, Any]:
    """Everything that `--mode=interpolate` and `--mode=sweep` do.

    Args:
        run_dir: The run directory, or one draw's folder in it.
        output: A .png, a grid with a walk in each row, or a .gif, a film without an end.
        kind: "interpolate": from one random latent to another, in a film on to the next and back to the first; or
            "sweep": one random latent of which one coordinate after the other moves through its range.
        count: Number of images.
        steps: Images of each walk.
        seed: Of latents and noise.

    Returns:
        Dict of what was written where.

    Raises:
        ConfigError, CheckpointError: of which each names the flag or file.
    """
    path = Path(output)
    if path.suffix not in (".png", ".gif") or not disk.takes_file(path):
        raise ConfigError(
            f"`output` of `mode={kind}` must be a .png or .gif in a folder that can be written. "
            f"Received: output={output}"
        )
    if count % steps or count > GRID_LIMIT:
        raise ConfigError(
            f"`num_samples` must be a multiple of `walk_steps` of at most {GRID_LIMIT}. "
            f"Received: num_samples={count} walk_steps={steps}"
        )
    rows = count // steps
    model = build_model(run_dir, read_checkpoint(run_dir))
    if kind == "sweep" and rows > model.latent_size:
        raise ConfigError(
            f"`num_samples` must be at most {model.latent_size * steps}: z has {model.latent_size} coordinates, with "
            f"`walk_steps` images each. Received: num_samples={count} walk_steps={steps}"
        )
    if kind == "sweep":
        low, high = model.latent_range
        latents = sweeps(random_latents(model, 1, seed)[0], low, high, rows, steps)
    elif path.suffix == ".gif":
        latents = round_trip(random_latents(model, rows, seed), steps)
    else:
        ends = random_latents(model, 2 * rows, seed)
        latents = between(ends[::2], ends[1::2], steps)
    images = np.concatenate(list(model.generate_from(latents, seed)))
    try:
        if path.suffix == ".gif":
            write_gif(output, images)
        else:
            write_png(output, image_grid(images, columns=steps))
    except OSError as error:
        raise ConfigError(f"`output={output}` cannot be written: {error}") from error
    return {"images": count, "output": output}


def output_kind(output: str, count: int, file_format: str | None = None) -> str:
    """What `--output` asks for: "npz" or "png" by its ending; "folder" if it ends with a slash or has no suffix.

    Raises:
        ConfigError: for anything else, or a place where it cannot be written.
    """
    path = Path(output)
    received = f"Received: output={output}"
    if output and (output.endswith("/") or not path.suffix):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"`output` must end with .npz or .png, or name a folder. {received}, which is a file")
        return "folder"
    if path.suffix not in (".npz", ".png"):
        raise ConfigError(f"`output` must end with .npz or .png, or with / for a folder of files. {received}")
    if file_format:
        raise ConfigError(f"`format` is of the files in a folder, `output=FOLDER/`. {received} format={file_format}")
    if path.suffix == ".png" and count > GRID_LIMIT:
        raise ConfigError(
            f"a grid shows at most {GRID_LIMIT} images; `output=samples.npz` takes any number, `output=FOLDER/` gives "
            f"each a file. {received} num_samples={count}"
        )
    if not disk.takes_file(path):
        raise ConfigError(f"`output` must be a file in a folder that exists and can be written. {received}")
    return path.suffix[1:]


def write_npz(path: StrPath, batches: Iterable[np.ndarray], count: int) -> None:
    """Streams `count` images, that `batches` yields, into the .npz `path`, as its array `images`, compressed."""
    with (
        durable.durable_file(path) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
        # Its size is not known before it is compressed.
        archive.open("images.npy", "w", force_zip64=True) as member,
        progress(count) as bar,
    ):
        for number, images in enumerate(batches):
            if not number:
                header = np.lib.format.header_data_from_array_1_0(images)
                np.lib.format.write_array_header_1_0(member, {**header, "shape": (count, *images.shape[1:])})
            member.write(np.ascontiguousarray(images).data)
            bar.update(len(images))
