"""Every setting of a study: its default, its meaning and what it may be, each stated here and nowhere else."""

import dataclasses
import math

CHOICES = ("real", "generated")
FEEDBACK = ("off", "on", "both")


class StudyError(ValueError):
    """A setting, a source or a study directory that cannot be used; the message names it and the value received."""


def _setting(default, help_text, choices=None, low=None, high=None):
    return dataclasses.field(
        default=default, metadata={"help": help_text, "choices": choices, "low": low, "high": high}
    )


@dataclasses.dataclass(frozen=True)
class StudySettings:
    """What a study asks of its annotators. It is fixed when the study is made."""

    title: str = _setting("Real or generated?", "Heading of the annotators' pages.")
    consent: str = _setting(
        "I take part of my own will. My answers and how long they take are stored under a random number, without my "
        "name, and may be published. I may stop at any time.",
        "The sentence that an annotator agrees to before the first image.",
    )
    trials: int = _setting(100, "Answers of each annotator that count; half of the images are real.", low=2, high=5000)
    block_size: int = _setting(25, "Answers between two pauses.", low=1, high=5000)
    practice: int = _setting(6, "Images to practise on, before those that count; 0: none.", low=0, high=100)
    feedback: str = _setting(
        "off",
        "Whether an annotator is told after each answer if it was right: off, on, or both: every other annotator, at "
        "random.",
        choices=FEEDBACK,
    )
    feedback_seconds: float = _setting(1.2, "How long the right answer shows.", low=0.2, high=10)
    images_per_source: int = _setting(
        1000, "Images taken from each source, at random; a run directory generates so many.", low=1, high=100_000
    )
    interval_width: float = _setting(
        0.05, "Wanted width of the 95% interval of the accuracy; how many votes it needs is printed.", low=0.001, high=1
    )

    def __post_init__(self):
        for field in dataclasses.fields(self):
            _check(field, getattr(self, field.name))
        for name in ("trials", "practice"):
            value = getattr(self, name)
            if value % 2:
                raise StudyError(f"--{name} must be even: half of the images are real. Received: --{name}={value}")
        for name in ("title", "consent"):
            if not getattr(self, name).strip():
                raise StudyError(f"--{name} must not be empty. Received: --{name}=")

    @property
    def num_blocks(self):
        return math.ceil(self.trials / self.block_size)


def _check(field, value):
    """Raises a StudyError if `value` is not one that `field` allows."""
    name, limits = field.name, field.metadata
    if limits["choices"] and value not in limits["choices"]:
        raise StudyError(f"--{name} must be one of {', '.join(limits['choices'])}. Received: --{name}={value}")
    # Written so that NaN fails, too.
    if limits["low"] is not None and not value >= limits["low"]:
        raise StudyError(f"--{name} must be at least {limits['low']}. Received: --{name}={value}")
    if limits["high"] is not None and not value <= limits["high"]:
        raise StudyError(f"--{name} must be at most {limits['high']}. Received: --{name}={value}")
