"""Small runs of the ImageNet recipe, and what they need."""

from tests.records.record_sets import convert_here, make_photos

# Two epochs of three steps of two images on thin networks; every technique on.
SETTINGS = {
    "dataset": "imagenet",
    "batch_size": 2,
    "epochs": 2,
    "generator_norm": "virtual",
    "reference_size": 2,
    "minibatch_discrimination": True,
    "label_smoothing": 0.25,
    "adam": "outside",
    "gf_dim": 8,
    "df_dim": 2,
    "latent_size": 4,
    "flip": True,
}


def make_records(folder, images=2, image_size=32):
    """Three classes' records; returns their folder."""
    convert_here(make_photos(folder / "photos", images=images), folder / "records", image_size=image_size)
    return folder / "records"


def as_arguments(**settings):
    """The settings as flags."""
    return [
        f"--{name}" if value is True else f"--no{name}" if value is False else f"--{name}={value}"
        for name, value in settings.items()
    ]
