"""Every setting of a study: its default, its meaning and what it may be."""

import dataclasses
import math
import re

from igan_tf.errors import InputError
from igan_tf.images.settings import FITS, ImageFileSettings
from igan_tf.settings import setting

CHOICES = ("real", "generated")
FEEDBACK = ("off", "on", "both")
# The first is a letter or digit: a spreadsheet takes a field that begins with + or - for a formula.
SOURCE_NAME = re.compile(r"[^\W_][\w .+-]{0,39}")


class StudyError(InputError):
    """A setting, a source or a study directory cannot be used."""


@dataclasses.dataclass(frozen=True)
class StudyImageSettings(ImageFileSettings):
    """How a study's image files are read; by default none is resampled, which would give a source away."""

    fit: str = setting(
        "",
        "Brings the image files of folders to the size of the first generator's images: crop to the largest part in "
        "the centre, pad with `background`, or stretch; empty: all must have one size.",
        choices=("", *FITS),
    )

    def of_files(self) -> ImageFileSettings:
        """The same settings for reading files."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(ImageFileSettings)}
        return ImageFileSettings(**{**values, "fit": self.fit or ImageFileSettings.fit})


# The defaults.
STUDY_IMAGES = StudyImageSettings()


@dataclasses.dataclass(frozen=True)
class StudySettings(StudyImageSettings):
    """What a study asks of its annotators, and how its images are read. It is fixed when the study is made.

    Raises:
        StudyError: that names the setting and the value received.
    """

    Error = StudyError
    topic = "What annotators see"

    title: str = setting("Real or generated?", "Heading of the annotators' pages.")
    consent: str = setting(
        "I take part of my own will. Each of my answers, its time and how long it took are stored, without my name, "
        "under a number that says how many began before me, and may be published. I may stop at any time.",
        "The sentence that an annotator agrees to before the first image.",
    )
    trials: int = setting(100, "Answers of each annotator that count; half of the images are real.", low=2, high=5000)
    block_size: int = setting(25, "Answers between two pauses.", low=1, high=5000)
    practice: int = setting(6, "Images to practise on, before those that count; 0: none.", low=0, high=100)
    feedback: str = setting(
        "off",
        "Whether an annotator is told after each answer if it was right: off, on, or both: every other annotator, at "
        "random.",
        choices=FEEDBACK,
    )
    feedback_seconds: float = setting(
        1.2, "How long the right answer shows.", low=0.2, high=10, used_with=("feedback=on", "feedback=both")
    )
    images_per_source: int = setting(
        1000, "Images taken from each source, at random; a run directory generates so many.", low=1, high=100_000
    )
    interval_width: float = setting(
        0.05, "Wanted width of the 95% interval of the accuracy; how many votes it needs is printed.", low=0.001, high=1
    )

    def check(self) -> None:
        """Refuses odd numbers of trials, half of which are to be real, and empty texts."""
        super().check()
        for name in ("trials", "practice"):
            value = getattr(self, name)
            if value % 2:
                raise StudyError(f"`{name}` must be even: half of the images are real. Received: {name}={value}")
        for name in ("title", "consent"):
            value = getattr(self, name)
            if not value.strip():
                raise StudyError(f"`{name}` must not be empty. Received: {name}={value}")

    @property
    def num_blocks(self) -> int:
        """How many blocks the trials make, the last of which may be shorter."""
        return math.ceil(self.trials / self.block_size)
