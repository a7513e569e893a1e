"""Which way the numbers of every metric really go, held against the direction that it declares.

Four models are asked the same: one that knows everything, one that gave up the forget set, one that gave up all, and
two that never saw the forget set and guess half of it, of which one is the retain model. A third one is the reference
of the reference attack. A new metric is held to this without an edit here.
"""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lethe import config, registry, scores, scoring
from lethe.metrics import rwku, rwku_membership
from lethe.records import ANSWER_AFTER_PREFIX, HOLDOUT, RETAIN, Records
from lethe.scores import Observation
from lethe.scoring import Metric
from tests.synthetic_records import BOOTSTRAP, choice_records, model_records, text_records

BLOCKS = config.read_params(Path(__file__).parents[2] / "params.yaml")["metrics"]
KNOWN, LOST, GUESSED = 0.999, 0.02, 0.28
TEXTS = ("forget_texts", "retain_texts", *rwku_membership.SPLITS.values())
LETTERS = ("forget_by_letter", "world_by_letter")
QUESTIONS = ("forget", RETAIN, HOLDOUT, "world_facts", *rwku.BY_ATTACK.values(), *rwku.LEVELS.values())
MODELS, REFERENCE = ("oracle", "alike", "knowing", "forgotten", "broken"), "reference"
# Numbers that these models cannot show, with the reason: no other may stay unseen, and none of these may be seen.
_ALIKE = "retain models differ by noise alone and point nobody out, as does a model that forgot: 0, the least there is"
UNSEEN_NUMBERS = {
    "normalised_probability": "it is made of the false answers of utility questions, never on forget",
    "mia_reference_tpr_at_1_percent_fpr": _ALIKE,
    "mia_reference_tpr_at_5_percent_fpr": _ALIKE,
}


def metrics() -> list[Metric]:
    modules = {name: registry.load("metrics", name) for name in registry.names("metrics")}
    return [Metric(name, module, config.parse(module.Config, BLOCKS[name], name)) for name, module in modules.items()]


def as_models_say(said: Records) -> Records:
    """With a vocabulary whose spread is the same everywhere, and a prefix that helps by the same number of nats."""
    likelihoods = [
        replace(
            item,
            log_probs=item.log_probs - (0.3 if item.kind == ANSWER_AFTER_PREFIX else 0),
            means=np.full_like(item.means, -5.0),
            variances=np.ones_like(item.variances),
        )
        for item in said.likelihoods
    ]
    return Records(likelihoods, said.generations, said.gradients)


def answers(forget: float, kept: float, seed: int) -> Records:
    """What a model says that finds tokens of what is to be forgotten, and of everything else, about so likely."""
    known = {split: forget if scores.is_forget(split) else kept for split in QUESTIONS} | {HOLDOUT: GUESSED}
    parts = [model_records(known, seed=seed)]
    for split in (*TEXTS, *LETTERS):
        made = text_records if split in TEXTS else choice_records
        parts.append(made(forget if scores.is_forget(split) else kept, split, seed=seed))
    return as_models_say(
        Records(
            [item for part in parts for item in part.likelihoods],
            [item for part in parts for item in part.generations],
            [item for part in parts for item in part.gradients],
        )
    )


def half_of_the_clusters(first: Records, second: Records) -> Records:
    """Every other author of the first, the rest of the second."""

    def chosen(name: str) -> list:
        pairs = zip(getattr(first, name), getattr(second, name), strict=True)
        return [one if int(one.cluster.rsplit("-", 1)[1]) % 2 else other for one, other in pairs]

    return Records(chosen("likelihoods"), chosen("generations"), chosen("gradients"))


def never_saw(seed: int) -> Records:
    return half_of_the_clusters(answers(KNOWN, KNOWN, seed), answers(LOST, KNOWN, seed))


@pytest.fixture(scope="module")
def numbers() -> dict[str, dict[str, dict[str, float]]]:
    """Every number by metric's number, split and model; numbers of the whole model stand under ``overall``."""
    unlearned = [answers(*known, seed=1) for known in ((KNOWN, KNOWN), (LOST, KNOWN), (LOST, LOST))]
    models = dict(zip(MODELS, [never_saw(0), never_saw(1), *unlearned], strict=True))
    models[REFERENCE] = never_saw(3)
    asked = {model: {split: said.where(split=split) for split in said.splits()} for model, said in models.items()}
    reference = asked.pop(REFERENCE)
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for model, splits in asked.items():
        wanted = metrics()
        observation = replace(scoring.observe(splits, wanted), another_retain=reference)
        for split, values in observation.values.items():
            for name, item in values.items():
                found[name][split][model] = item.mean
        for metric in wanted:
            for name, value in of_the_model(metric, observation, asked["oracle"]).items():
                found[name][scoring.OVERALL][model] = value
    return found


def of_the_model(metric: Metric, observation: Observation, retain: dict[str, Records]) -> dict[str, float]:
    if metric.module.SCOPE == "split":
        return {}
    found = metric.module.compute(observation, retain, metric.config, BOOTSTRAP)
    return {name: np.nan if score.value is None else score.value for name, score in found.items()}


def observed(of: dict[str, float]) -> str | None:
    """The direction that these values of one number show: None when it is the same for all, or missing."""
    oracle, alike, knowing, forgotten, broken = (of[model] for model in MODELS)
    if min(knowing, forgotten) < oracle < max(knowing, forgotten):
        nearer = abs(alike - oracle) < min(abs(knowing - oracle), abs(forgotten - oracle))
        return "match_oracle" if nearer else "neither"
    worse = [broken] if alike == knowing == forgotten else [knowing, forgotten]  # what forgetting has no part in
    if alike > max(worse):
        return "higher"
    return "lower" if alike < min(worse) else None


def declared() -> dict[str, str]:
    return {name: better for metric in metrics() for name, better in metric.module.DIRECTION.items()}


def shown(numbers) -> dict[str, set[str]]:
    """For every number the directions that it shows: on the splits to be forgotten, or of the whole model."""
    return {
        name: {way for split, of in splits.items() if _is_directed(split) and (way := observed(of))}
        for name, splits in numbers.items()
    }


def _is_directed(split: str) -> bool:
    return split == scoring.OVERALL or scores.is_forget(split)


def test_every_number_goes_the_way_that_its_metric_declares(numbers):
    found = shown(numbers)
    expected = {name: {better} for name, better in declared().items() if name not in UNSEEN_NUMBERS}
    assert {name: found.get(name, set()) for name in expected} == expected


def test_what_cannot_be_seen_is_named_and_really_cannot(numbers):
    found = shown(numbers)
    assert {name for name in declared() if not found.get(name)} == set(UNSEEN_NUMBERS)


def test_on_what_is_to_be_kept_more_of_every_number_is_better(numbers):
    kept = {name: set() for metric in metrics() if metric.module.SCOPE == "split" for name in metric.module.DIRECTION}
    for name, ways in kept.items():
        for split, of in numbers[name].items():
            if not _is_directed(split) and split != HOLDOUT and not np.isnan(of["knowing"]):
                ways.add(np.sign(of["knowing"] - of["broken"]))
    assert {name: ways for name, ways in kept.items() if -1 in ways or 1 not in ways} == {}
