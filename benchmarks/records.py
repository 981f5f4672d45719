"""The conversion to records against its image work alone, and the speed of reading them."""

import concurrent.futures
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

from igan_tf.records.settings import ConversionSettings
from igan_tf.records.shards import convert_image
from igan_tf.records.sources import open_source

# Of ImageNet's usual size. Few are made, each stands in the set many times.
PHOTO_SIZE = (500, 375)
PHOTOS = 50
# Enough that starting processes (0.3 s) and the last shard, at which all but one wait, weigh nearly as little as
# among ImageNet's 1.28 million.
CONVERTED, READ = 10_000, 2_500
CLASSES = 10
ROUNDS = 3
BATCH = 16


def records_throughput_ratio():
    """Images/s of a whole conversion over those of decoding, resizing and encoding alone, with as many processes.

    The conversion starts its processes, reads and writes files, and ends with the manifest; the image work alone begins
    with all files in the memory of running processes. Both use every processor; they take turns.
    """
    from igan_tf.images.reading import available_processors
    from igan_tf.records.converter import convert

    processes, settings = available_processors(), ConversionSettings()
    rates = {"conversion": [], "image work alone": []}
    with tempfile.TemporaryDirectory() as folder:
        source = make_photos(Path(folder) / "photos", CONVERTED)
        for number in range(ROUNDS):
            rates["image work alone"].append(_rate_alone(source, settings, processes))
            start = time.perf_counter()
            convert(source, Path(folder) / f"records-{number}", settings, processes, 0.0, report=_ignore)
            rates["conversion"].append(len(source.entries) / (time.perf_counter() - start))
    best = {name: max(values) for name, values in rates.items()}
    details = {name: ", ".join(f"{rate:.0f}" for rate in values) + " images/s" for name, values in rates.items()}
    details |= {"images": len(source.entries), "photos": PHOTO_SIZE, "processes": processes, "settings": settings}
    return {"value": best["conversion"] / best["image work alone"], "details": details}


def folder_reading_ratio():
    """Images/s of `dataset=folder` over those of decoding and resizing alone, with as many threads.

    The data set lists and sniffs the folder, opens files and ends with an array; the image work alone begins with all
    files in memory. They take turns.
    """
    from igan_tf.data import load_data
    from igan_tf.experiments.configs import build_config
    from igan_tf.images.decoding import decode, fitted
    from igan_tf.images.reading import available_processors

    rates = {"folder": [], "image work alone": []}
    with tempfile.TemporaryDirectory() as folder:
        photos = Path(folder) / "photos"
        source = make_photos(photos, READ)
        for number in range(PHOTOS):
            (photos / f"{number}.JPEG").unlink()
        config = build_config(dataset="folder", data_dir=str(photos), image_size=128, test_fraction=0.0)
        contents = [Path(entry.path).read_bytes() for entry in source.entries]
        for _ in range(ROUNDS):
            with concurrent.futures.ThreadPoolExecutor(available_processors()) as threads:
                start = time.perf_counter()
                list(threads.map(lambda content: fitted(decode(content, config), (128, 128), config), contents))
                rates["image work alone"].append(len(contents) / (time.perf_counter() - start))
            start = time.perf_counter()
            load_data(config)
            rates["folder"].append(len(contents) / (time.perf_counter() - start))
    details = {name: ", ".join(f"{rate:.0f}" for rate in values) + " images/s" for name, values in rates.items()}
    return {"value": max(rates["folder"]) / max(rates["image work alone"]), "details": details}


def records_reading_rate():
    """Images/s that the reader delivers as float32 batches of 16, mirrored at random, from JPEG records of 128x128."""
    from igan_tf.data import ImageRecords, RecordBatches
    from igan_tf.images.reading import available_processors
    from igan_tf.records.converter import convert

    with tempfile.TemporaryDirectory() as folder:
        source = make_photos(Path(folder) / "photos", READ)
        convert(source, Path(folder) / "records", ConversionSettings(), available_processors(), 0.0, report=_ignore)
        start = time.perf_counter()
        records = ImageRecords(Path(folder) / "records")
        opening = time.perf_counter() - start
        batches = RecordBatches(records, BATCH, seed=1, flip=True)
        rates = []
        for epoch in range(ROUNDS + 1):
            start = time.perf_counter()
            for batch in batches.epoch(epoch):
                batch["images"].numpy()
            rates.append(batches.steps_per_epoch * BATCH / (time.perf_counter() - start))
    size = sum(shard.bytes for shard in records.manifest.shards)
    details = {
        "epochs after the first": ", ".join(f"{rate:.0f}" for rate in rates[1:]) + " images/s",
        "opening": f"{1e3 * opening:.0f} ms for {len(records)} images of {size / 1e6:.1f} MB in all",
    }
    return {"value": sorted(rates[1:])[ROUNDS // 2], "details": details}


def _ignore(line):
    pass


def make_photos(folder, count):
    """A source of `count` JPEG files with coarse and fine structure."""
    from PIL import Image

    folder.mkdir()
    for number in range(PHOTOS):
        coarse = Image.effect_noise((9 + number % 7, 8), 120).resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
        fine = Image.effect_noise(PHOTO_SIZE, 30)
        bands = [coarse, Image.blend(coarse, fine, 0.3), coarse.transpose(Image.Transpose.ROTATE_180)]
        Image.merge("RGB", bands).save(folder / f"{number}.JPEG", quality=92)
    for index in range(count):
        class_folder = folder / f"class-{index % CLASSES}"
        class_folder.mkdir(parents=True, exist_ok=True)
        os.link(folder / f"{index % PHOTOS}.JPEG", class_folder / f"{index:06d}.JPEG")
    return open_source(str(folder))


def _rate_alone(source, settings, processes):
    """Images/s of `convert_image` alone, over all processes."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes)
    parts = [[entry.path for entry in source.entries[number::processes]] for number in range(processes)]
    with concurrent.futures.ProcessPoolExecutor(processes, context, _set_barrier, (barrier,)) as pool:
        seconds = list(pool.map(_convert_alone, parts, [settings] * processes))
    return len(source.entries) / max(seconds)


def _set_barrier(barrier):
    global _barrier
    _barrier = barrier


def _convert_alone(paths, settings):
    contents = [Path(path).read_bytes() for path in paths]
    _barrier.wait()
    start = time.perf_counter()
    for content in contents:
        convert_image(content, settings)
    return time.perf_counter() - start
