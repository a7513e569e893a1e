"""The settings of our own scores, which an imported log is scored with too, and whose numbers are taken."""

from typing import NamedTuple

from lethe import config
from lethe.config import Section
from lethe.metrics import forget_quality, model_utility, truth_ratio
from lethe.statistics import Bootstrap


class Numbers(Section):
    """Whether truth ratios and normalised probabilities are the log's own, its 1e-10 included, or made of its answers.

    With the log's own a published number is met to the digit, of a collapsed model too, where the 1e-10 decides it.
    """

    as_published: bool


class Settings(NamedTuple):
    """What ``params.yaml`` says about the metrics that a log can carry, and whose numbers are taken."""

    bootstrap: Bootstrap
    truth_ratio: truth_ratio.Config
    forget_quality: forget_quality.Config
    model_utility: model_utility.Config
    numbers: Numbers


def read(as_published: bool) -> Settings:
    """The settings of our own scores. Raises ConfigError when one is missing or does not fit."""
    return Settings(
        bootstrap=config.section(Bootstrap, "score", "bootstrap"),
        truth_ratio=config.section(truth_ratio.Config, "metrics", "truth_ratio"),
        forget_quality=config.section(forget_quality.Config, "metrics", "forget_quality"),
        model_utility=config.section(model_utility.Config, "metrics", "model_utility"),
        numbers=Numbers(as_published=as_published),
    )
