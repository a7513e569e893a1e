"""Model utility: how well everything else is still known.

The harmonic mean of probability, ROUGE-L recall and truth ratio (true better), each on retain and on every
utility subset (Maini et al., 2024, arXiv:2401.06121; nine numbers there). 1: all perfect; exactly 0 as soon
as one of them is 0. On a utility subset with false answers the probability is the one among the options.
Forget and holdout never enter.

A component that not one question of a split can carry (data without false answers has no truth ratio) is left
out, for every model alike: ``n`` counts the components that are there, ``unscored`` those that are not. A component
that is there for some questions and missing for others makes the utility missing. The interval resamples the clusters
of every split.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from lethe import scores, statistics
from lethe.config import Section
from lethe.records import RETAIN, Records
from lethe.scores import Observation, Score, Values
from lethe.statistics import Bootstrap

SCOPE = "model"
RANGE = {"model_utility": (0.0, 1.0)}
DIRECTION = {"model_utility": "higher"}
NEEDS = frozenset({"likelihoods", "generations", "paraphrased_answers", "perturbed_answers"})


class Config(Section):
    """What the mean is taken over: in TOFU all three; without false answers there is no truth ratio."""

    components: list[Literal["probability", "rouge", "truth_ratio"]]


def compute(
    model: Observation, retain_records: Mapping[str, Records], config: Config, bootstrap: Bootstrap
) -> dict[str, Score]:
    """The utility of the model, over its retain split and its utility subsets."""
    splits = [split for split in model.values if split == RETAIN or scores.is_utility(split)]
    parts = [[_part(model.values[split], name) for name in config.components] for split in splits]
    present = [[part for part in group if part is not None and part.n] for group in parts]
    asked, carried = sum(map(len, parts)), sum(map(len, present))
    broken = sum(statistics.is_missing(part, bootstrap) for group in present for part in group)
    n = carried - broken
    if broken or not n:
        return {"model_utility": Score(None, None, None, n, asked - n)}
    observed = harmonic_mean(np.array([part.mean for group in present for part in group]))
    distribution = harmonic_mean(
        np.concatenate([statistics.resampled_means(group, bootstrap) for group in present if group], axis=1)
    )
    low, high = statistics.bounds(distribution, [part for group in present for part in group], bootstrap)
    return {"model_utility": Score(float(observed), low, high, n, asked - n)}


def harmonic_mean(numbers: np.ndarray) -> np.ndarray:
    """Harmonic mean over the last axis, of numbers ≥ 0; exactly 0 when one of them is."""
    with np.errstate(divide="ignore"):
        return np.asarray(numbers.shape[-1] / (1 / numbers).sum(axis=-1))


def _part(values: Mapping[str, Values], name: str) -> Values | None:
    if name == "probability" and "normalised_probability" in values:
        return values["normalised_probability"]
    return values.get(name)
