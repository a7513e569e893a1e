"""Whether target and retain model are controls: one must know what is to be forgotten, the other must not."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from lethe import likelihoods, statistics
from lethe.config import Section
from lethe.errors import ControlError
from lethe.interviews import UNATTACKED, Interview
from lethe.records import FORGET, HOLDOUT, RETAIN, Records
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

_LEAK = "look for forget facts in retain or in the base model's training text."
NO_HOLDOUT = "There is no holdout: whether the retain model knows forget facts any better was not checked."

Probability = Annotated[float, Field(ge=0, le=1)]


class Config(Section):
    """Thresholds on mean answer probabilities."""

    target_min: Probability  # the target on forget and on retain: at least this
    retain_max: Probability  # the retain model on forget: at most this
    holdout_margin: Probability  # by how much it may do better on forget than on holdout, beyond the noise
    holdout_confidence: Annotated[float, Field(gt=0.5, lt=1)]  # of the one-sided bound that tells noise


def observe(target: Interview, retain: Interview, settings: Config, bootstrap: Bootstrap) -> dict[str, Any]:
    """Mean answer probabilities of both controls, each a Score.

    ``retain_model_advantage`` is forget minus holdout of the retain model, with a one-sided bound ``low``; it
    is None, with a ``note``, when the source brings no holdout.
    """
    known = {split: _probabilities(retain, split) for split in (FORGET, HOLDOUT)}
    observed: dict[str, Any] = {
        "target_forget": _mean(_probabilities(target, FORGET), bootstrap),
        "target_retain": _mean(_probabilities(target, RETAIN), bootstrap),
        "retain_model_forget": _mean(known[FORGET], bootstrap),
        "retain_model_holdout": None,
        "retain_model_advantage": None,
    }
    if not known[HOLDOUT].n or not known[FORGET].n:
        return observed | {"note": NO_HOLDOUT}
    observed["retain_model_holdout"] = _mean(known[HOLDOUT], bootstrap)
    observed["retain_model_advantage"] = _advantage(known[FORGET], known[HOLDOUT], settings, bootstrap)
    return observed


def require(observed: Mapping[str, Any], settings: Config) -> None:
    """Raise ControlError with the first rule that the observed numbers break."""
    for split in (FORGET, RETAIN):
        _require_known(observed[f"target_{split}"], split, settings.target_min)
    value = observed["retain_model_forget"].value
    if value is None or value > settings.retain_max:
        raise ControlError(
            f"retain model: mean answer probability on forget is {_shown(value)}, must be at most "
            f"{settings.retain_max:g}; it knows what it was not told: {_LEAK}"
        )
    advantage = observed["retain_model_advantage"]
    if advantage is not None and advantage.low is not None and advantage.low > settings.holdout_margin:
        raise ControlError(
            f"retain model: mean answer probability on forget is {advantage.value:.3f} above that on "
            f"holdout, at least {advantage.low:.3f} with confidence {settings.holdout_confidence:g}, allowed "
            f"{settings.holdout_margin:g}; it was told forget facts: {_LEAK}"
        )


def _require_known(score: Score, split: str, least: float) -> None:
    if score.value is None or score.value < least:
        raise ControlError(
            f"target: mean answer probability on {split} is {_shown(score.value)}, must be at least "
            f"{least:g}; it never learned its facts, so there is nothing to forget: train it "
            "longer in finetune."
        )


def _probabilities(model: Interview, split: str) -> Values:
    return likelihoods.probabilities(model.conditions[UNATTACKED].get(split, Records([], [])))


def _mean(values: Values, bootstrap: Bootstrap) -> Score:
    return statistics.means([values], bootstrap)[0]


def _advantage(forget: Values, holdout: Values, settings: Config, bootstrap: Bootstrap) -> Score:
    # Other people stand in holdout than in forget, so the two splits are resampled independently.
    resampled = [statistics.resampled_means([values], bootstrap)[:, 0] for values in (forget, holdout)]
    # The lower end of a two-sided interval of coverage 2c − 1 is the one-sided bound of confidence c.
    two_sided = bootstrap.model_copy(update={"confidence": 2 * settings.holdout_confidence - 1})
    low, _ = statistics.bounds(resampled[0] - resampled[1], [forget, holdout], two_sided)
    n, unscored = forget.n + holdout.n, forget.unscored + holdout.unscored
    return Score(forget.mean - holdout.mean, low, None, n, unscored)


def _shown(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"
