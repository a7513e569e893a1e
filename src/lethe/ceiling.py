"""Where an unlearned model's scores lie among those of several retain models: the honest ceiling.

Retain models that differ in nothing but their seed are not equal. No unlearned model can be asked to be closer to one
of them than they are to each other, and only a score outside of their spread tells it from them.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lethe import artifacts, interviews, recovery, scoring, statistics
from lethe.interviews import Interview
from lethe.scores import Score
from lethe.scoring import Config, Metric

Scores = Mapping[str, Mapping[str, Score]]
_P = "excess_p"  # a p-value lies nowhere among others


class RetainModels(NamedTuple):
    """The retain model that all are compared with, and ``others`` that differ from it in their seed alone."""

    first: Interview
    others: list[Interview]

    def another_than(self, model: str) -> Interview | None:
        """The first of the others that is not ``model`` itself; None where there is none."""
        return next((it for it in self.others if it.model != model), None)


def read(first: Interview, seeds: Iterable[int], attacks: Sequence[str]) -> RetainModels:
    """All retain models: the first one, and one more for every seed."""
    return RetainModels(first, [interviews.read(artifacts.retain(seed), attacks) for seed in seeds])


def places(
    file: Mapping[str, Any],
    model: Interview,
    target: Interview,
    retain: RetainModels,
    wanted: Sequence[Metric],
    settings: Config,
) -> dict[str, Any]:
    """Where the scores of ``file`` lie, under its own keys: ``conditions`` and ``attacks``.

    Empty without other retain models, and for a control, which is held against none.
    A number that compares with the first retain model is held against the others alone: compared with itself the first
    one would be perfect. A number that fewer than two retain models have is left out.

    Raises ArtifactError when a retain model was asked other questions.
    """
    if not retain.others or model.model in artifacts.CONTROLS or artifacts.retain_seed(model.model) is not None:
        return {}
    for other in retain.others:
        interviews.require_same_questions(model, other)
    once = settings.bootstrap.model_copy(update={"samples": 1})  # the intervals of the others are not shown
    measured = [
        scoring.condition_scores(
            scoring.observe_all(it, retain.another_than(it.model), wanted), retain.first, wanted, once
        )
        for it in (retain.first, *retain.others)
    ]
    attacked = [
        recovery.attack_scores(
            it, target, retain.first, once, settings.smallest_denominator, settings.gates.largest_excess
        )
        for it in retain.others
    ]
    apart = {name for it in wanted if "retain_model" in it.module.NEEDS for name in it.module.RANGE}
    confidence = settings.bootstrap.confidence
    return {
        "conditions": {
            condition: _places(mine, [it[condition] for it in measured], apart, confidence)
            for condition, mine in file["conditions"].items()
        },
        "attacks": _places(file["attacks"], attacked, frozenset(), confidence),
    }


def _places(mine: Scores, theirs: Sequence[Scores], apart: Iterable[str], confidence: float) -> dict[str, Any]:
    found: dict[str, dict[str, Any]] = {group: {} for group in mine}
    for group, scores in mine.items():
        for name, score in scores.items():
            among = theirs[1:] if name in apart else theirs
            values = [it[group][name].value for it in among if name in it.get(group, {})]
            numbers = [value for value in values if value is not None]
            if name != _P and score.value is not None and len(numbers) == len(among) > 1:
                found[group][name] = place(score.value, numbers, confidence)
    return found


def place(value: float, numbers: Sequence[float], confidence: float) -> dict[str, float | int | bool | None]:
    """A score among those of retain models: their spread, its ``deviations`` from their mean, whether it is ``within``.

    Within is between ``low`` and ``high``, where one more retain model would lie with this confidence;
    ``deviations`` is None where the retain models do not differ.
    """
    spread = statistics.retain_spread(numbers, confidence)
    tolerance = 1e-9 * max(abs(spread.mean), abs(value))  # of rounding, where all of them agree
    away = None if spread.deviation <= tolerance else (value - spread.mean) / spread.deviation
    within = spread.low - tolerance <= value <= spread.high + tolerance
    numbers_shown = {"value": value, **spread._asdict(), "deviations": away}
    return {**{name: _rounded(number) for name, number in numbers_shown.items()}, "within": within}


def _rounded(number: float | int | None) -> float | int | None:
    return float(f"{number:.6g}") if isinstance(number, float) else number
