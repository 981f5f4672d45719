"""How image files are read: the same settings for training, scoring, records and the visual Turing test."""

import dataclasses

from igan_tf.settings import Settings, setting

FITS = ("crop", "pad", "stretch")


@dataclasses.dataclass(frozen=True)
class UnreadableSettings(Settings):
    """What becomes of files that cannot be read."""

    topic = "Image files"

    max_unreadable: float = setting(
        0.01,
        "Part of the images that may be unreadable, 0 to 1; they are left out and listed.",
        low=0,
        high=1,
        free=True,
    )


@dataclasses.dataclass(frozen=True)
class DecodingSettings(Settings):
    """What decides on the pixels of an image read from a file."""

    topic = "Image files"

    fit: str = setting(
        "crop",
        "How an image gets another aspect ratio: crop to the largest part in its centre, pad with `background`, or "
        "stretch.",
        choices=FITS,
    )
    background: str = setting("white", "What transparent pixels are laid over: a colour's name, or #rrggbb.")
    # Pillow itself refuses images of more than 178.9 megapixels.
    max_megapixels: float = setting(
        89.0, "The largest image that is decoded; larger ones count as unreadable.", above=0, high=178, free=True
    )

    def check(self) -> None:
        super().check()
        # Pillow, which knows colours, takes a while to be imported.
        if self.background == DecodingSettings.background:
            return
        try:
            _rgb(self.background)
        except ValueError as error:
            raise self.Error(
                "`background` must be a colour's name such as white, or #rrggbb. "
                f"Received: background={self.background}"
            ) from error

    @property
    def fit_in_words(self) -> str:
        """`fit`, and what padding is of."""
        return f"pad with {self.background}" if self.fit == "pad" else self.fit

    @property
    def background_rgb(self) -> tuple[int, int, int]:
        """Red, green and blue of `background`, from 0 to 255."""
        return _rgb(self.background)


@dataclasses.dataclass(frozen=True)
class ImageFileSettings(DecodingSettings, UnreadableSettings):
    """How the image files of a folder are read."""


# The defaults.
IMAGE_FILES = ImageFileSettings()


def _rgb(colour: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    red, green, blue, *alpha = ImageColor.getrgb(colour)
    if alpha:
        raise ValueError("a background is opaque")
    return red, green, blue
