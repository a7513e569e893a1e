"""The settings of our own scores, which an imported log is scored with too."""

from typing import NamedTuple

from lethe import config
from lethe.metrics import forget_quality, model_utility, probability, truth_ratio
from lethe.statistics import Bootstrap


class Settings(NamedTuple):
    """What ``params.yaml`` says about the metrics that a log can carry."""

    bootstrap: Bootstrap
    probability: probability.Config
    truth_ratio: truth_ratio.Config
    forget_quality: forget_quality.Config
    model_utility: model_utility.Config


def read() -> Settings:
    """The settings of our own scores. Raises ConfigError when one is missing or does not fit."""
    return Settings(
        bootstrap=config.section(Bootstrap, "score", "bootstrap"),
        probability=config.section(probability.Config, "metrics", "probability"),
        truth_ratio=config.section(truth_ratio.Config, "metrics", "truth_ratio"),
        forget_quality=config.section(forget_quality.Config, "metrics", "forget_quality"),
        model_utility=config.section(model_utility.Config, "metrics", "model_utility"),
    )
