"""From records to the score file of one model: metrics × conditions × splits, attacks, verdict."""

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Annotated, Any

from pydantic import Field

from lethe import artifacts, config, interviews, membership, prompted, recovery, registry, statistics, verdict
from lethe.config import Section
from lethe.gates import COMPARED, Findings, Gate, Limits, judge
from lethe.interviews import UNATTACKED, Interview
from lethe.probed import Probed
from lethe.records import FORGET, Records
from lethe.scores import Observation, Score, Values
from lethe.statistics import Bootstrap

OVERALL, UTILITY = "overall", "model_utility"

logger = logging.getLogger(__name__)


class Config(Section):
    """How numbers become scores, and scores a verdict."""

    bootstrap: Bootstrap
    smallest_denominator: Annotated[float, Field(gt=0)]  # a ratio over less than this is missing
    gates: Limits


@dataclass(frozen=True)
class Metric:
    """A metric with its settings."""

    name: str
    module: ModuleType
    config: Section


def metrics() -> list[Metric]:
    """Every metric that has a block in ``params.yaml``, with its settings."""
    modules = {name: registry.load("metrics", name) for name in config.block("metrics")}
    return [Metric(name, module, config.section(module.Config, "metrics", name)) for name, module in modules.items()]


def score(
    model: Interview,
    target: Interview,
    retain: Interview,
    another_retain: Interview | None,
    probes: Probed,
    wanted: Sequence[Metric],
    settings: Config,
) -> dict[str, Any]:
    """The score file of one model; target and retain model have no attacks, prompts, gates and verdict.

    ``settings`` says how each metric was set, because its name does not: ``rouge`` is with stems or without.

    One more retain model has them: what a model is told that truly never saw the forget set. ``another_retain`` is a
    retain model that is neither ``model`` nor ``retain``, if there is one: the reference of the reference attack.
    ``probes`` are looked at by gates alone.

    Raises ArtifactError when a control was not asked the same questions under the same conditions.
    """
    for control in (target, retain, *([] if another_retain is None else [another_retain])):
        interviews.require_same_questions(model, control)
    observations = observe_all(model, another_retain, wanted)
    conditions = condition_scores(observations, retain, wanted, settings.bootstrap)
    _log_missing(conditions[UNATTACKED], wanted)
    file: dict[str, Any] = {
        "model": model.model,
        "settings": {metric.name: metric.config.model_dump(mode="json") for metric in wanted},
        "conditions": conditions,
        "attacks": {},
        "prompts": {},
        "gates": [],
        "verdict": None,
        "not_claimed": "",
        "returns": {},
    }
    if model.model not in artifacts.CONTROLS:
        pairs = _compared(observations[UNATTACKED], retain, wanted)
        whole = _target_utility(target, retain, wanted, settings.bootstrap)
        overall = conditions[UNATTACKED][OVERALL]
        file |= _judged(model, target, retain, pairs, overall, whole, probes, settings)
    return file


def condition_scores(
    observations: Mapping[str, Observation], retain: Interview, wanted: Sequence[Metric], bootstrap: Bootstrap
) -> dict[str, dict[str, dict[str, Score]]]:
    """Every score of a model by condition, split and name; those of the whole model stand under ``overall``."""
    conditions = _split_scores(observations, bootstrap)
    for condition, observation in observations.items():
        overall = _overall(observation, retain.conditions[condition], wanted, bootstrap)
        conditions[condition][OVERALL] = _comparable(overall, conditions[UNATTACKED].get(OVERALL, overall))
    return conditions


def observe_all(model: Interview, another_retain: Interview | None, wanted: Sequence[Metric]) -> dict[str, Observation]:
    """What a model said under each condition, with the values of all split metrics, beside another retain model."""
    others = {} if another_retain is None else another_retain.conditions
    return {
        condition: replace(observe(splits, wanted), another_retain=others.get(condition))
        for condition, splits in model.conditions.items()
    }


def observe(splits: Mapping[str, Records], wanted: Sequence[Metric]) -> Observation:
    """What one model said under one condition, with the values of all split metrics."""
    values: dict[str, dict[str, Values]] = {split: {} for split in splits}
    for split, said in splits.items():
        for metric in wanted:
            if metric.module.SCOPE == "split":
                values[split] |= metric.module.compute(said, metric.config)
    return Observation(splits, values)


def as_json(file: Any) -> Any:
    """A score file in plain dictionaries and lists, every score as its leaf."""
    if isinstance(file, Score):
        return file.as_json()
    if isinstance(file, (Gate, verdict.Verdict)):
        return file._asdict()
    if isinstance(file, dict):
        return {name: as_json(value) for name, value in file.items()}
    return [as_json(value) for value in file] if isinstance(file, list) else file


def headline(file: Mapping[str, Any]) -> dict[str, float | str | None]:
    """The few flat numbers that ``dvc metrics`` shows, from a score file in its JSON form.

    Each is a column of every model in ``dvc exp show``: what else was measured stands in the score file.
    """
    plain = file["conditions"][UNATTACKED]
    numbers: dict[str, float | str | None] = {
        "forget_probability": _value(plain, FORGET, "probability"),
        "forget_quality_log10_p": _value(plain, OVERALL, "forget_quality_log10_p"),
        "model_utility": _value(plain, OVERALL, UTILITY),
    }
    return numbers | _worst_attack(file) | ({"verdict": file["verdict"]["text"]} if file["verdict"] else {})


def _worst_attack(file: Mapping[str, Any]) -> dict[str, float | str | None]:
    attacked = {name: scores for name, scores in file["conditions"].items() if name != UNATTACKED}
    found = {name: _value(scores, FORGET, "probability") for name, scores in attacked.items()}
    worst = max(found, key=lambda name: found[name] or 0.0, default=None)
    if worst is None:
        return {}
    numbers: dict[str, float | str | None] = {"worst_attack": worst, "worst_forget_probability": found[worst]}
    bounds = [scores["excess"]["high"] for scores in file["attacks"].values()]
    return numbers | ({"worst_excess_upper": None if None in bounds else max(bounds)} if bounds else {})


def _value(scores: Mapping[str, Any], split: str, metric: str) -> float | None:
    leaf = scores.get(split, {}).get(metric)
    return None if leaf is None else leaf["value"]


def _split_scores(
    observations: Mapping[str, Observation], bootstrap: Bootstrap
) -> dict[str, dict[str, dict[str, Score]]]:
    """The scores of the split metrics by condition, split and name; what rests on the same questions is resampled once.

    Metrics of one split may rest on different questions: some read plain texts alone, others questions alone.
    """
    found: dict[str, dict[str, dict[str, Score]]] = {condition: {} for condition in observations}
    alike: dict[tuple[str, tuple[str, ...]], list[tuple[str, str, Values]]] = defaultdict(list)
    for condition, observation in observations.items():
        for split, values in observation.values.items():
            found[condition][split] = {}
            for name, item in values.items():
                alike[split, item.ids].append((condition, name, item))
    for (split, _), group in alike.items():
        scores = statistics.means([item for _, _, item in group], bootstrap)
        for (condition, name, _), score in zip(group, scores, strict=True):
            found[condition][split][name] = score
    return found


def _overall(
    observation: Observation,
    retain_records: Mapping[str, Records],
    wanted: Sequence[Metric],
    bootstrap: Bootstrap,
) -> dict[str, Score]:
    found: dict[str, Score] = {}
    for metric in wanted:
        if metric.module.SCOPE == "model":
            found |= metric.module.compute(observation, retain_records, metric.config, bootstrap)
    return found


def _comparable(overall: dict[str, Score], unattacked: Mapping[str, Score]) -> dict[str, Score]:
    # Without answers under an attack the utility would rest on fewer components than the one it is compared with.
    found, whole = overall.get(UTILITY), unattacked.get(UTILITY)
    if found is None or whole is None or found.n == whole.n:
        return overall
    return overall | {UTILITY: Score(None, None, None, found.n, found.unscored)}


def _judged(
    model: Interview,
    target: Interview,
    retain: Interview,
    pairs: Mapping[str, tuple[Values, Values]],
    overall: Mapping[str, Score],
    target_utility: Score,
    probes: Probed,
    settings: Config,
) -> dict[str, Any]:
    """What an attack or another prompt brought out of the model, the gates, and what follows from them."""
    limits, bootstrap = settings.gates, settings.bootstrap
    attacks = recovery.attack_scores(
        model, target, retain, bootstrap, settings.smallest_denominator, limits.largest_excess
    )
    prompts = prompted.prompt_scores(model, target, retain, bootstrap, limits.largest_leak)
    found = Findings(
        differences=_differences(pairs, settings),
        equivalence_p=_equivalence_p(pairs, settings),
        utility=_utility(overall),
        target_utility=target_utility,
        membership=_membership(overall),
        gain={condition: attacks[condition]["own_gain"] for condition in model.quantized},
        excess={condition: attacks[condition]["excess"] for condition in model.quantized},
        excess_p={condition: attacks[condition]["excess_p"].value for condition in model.quantized},
        prompts={kind: scores["difference"] for kind, scores in prompts.items()},
        target_prompts={kind: scores["target_difference"] for kind, scores in prompts.items()},
        prompts_p={kind: scores["leak_p"].value for kind, scores in prompts.items()},
        probed=probes,
        num_not_finite=interviews.num_not_finite(model),
    )
    judged = judge(found, limits)
    return {
        "attacks": attacks,
        "prompts": prompts,
        "gates": judged,
        "verdict": verdict.verdict(found, judged, limits),
        "not_claimed": verdict.not_claimed(judged),
        "returns": verdict.returns(found, limits),
    }


def _compared(
    observation: Observation, retain: Interview, wanted: Sequence[Metric]
) -> dict[str, tuple[Values, Values]]:
    """What the equivalence gate compares: a metric's values of the model and of the retain model on forget."""
    retain_forget = {FORGET: retain.conditions[UNATTACKED].get(FORGET, Records([], []))}
    controls = observe(retain_forget, wanted).values[FORGET]
    values = observation.values.get(FORGET, {})
    return {name: (values[name], controls[name]) for name in COMPARED if name in values}


def _differences(pairs: Mapping[str, tuple[Values, Values]], settings: Config) -> dict[str, Score]:
    bootstrap = settings.bootstrap.model_copy(update={"confidence": settings.gates.equivalence_confidence})
    return {
        name: statistics.difference(*pairs[name], bootstrap) if name in pairs else Score(None, None, None, 0, 0)
        for name in COMPARED
    }


def _equivalence_p(pairs: Mapping[str, tuple[Values, Values]], settings: Config) -> dict[str, float | None]:
    margin = settings.gates.equivalence_margin
    return {
        name: statistics.equivalence_p(*pairs[name], margin, settings.bootstrap) if name in pairs else None
        for name in COMPARED
    }


def _membership(overall: Mapping[str, Score]) -> dict[str, Score]:
    ending = membership.DIFFERENCE
    return {name.removesuffix(ending): score for name, score in overall.items() if name.endswith(ending)}


def _target_utility(target: Interview, retain: Interview, wanted: Sequence[Metric], bootstrap: Bootstrap) -> Score:
    needed = [metric for metric in wanted if metric.module.SCOPE == "split" or metric.name == UTILITY]
    observation = observe(target.conditions[UNATTACKED], needed)
    return _utility(_overall(observation, retain.conditions[UNATTACKED], needed, bootstrap))


def _utility(overall: Mapping[str, Score]) -> Score:
    return overall.get(UTILITY, Score(None, None, None, 0, 0))


def _log_missing(scores: Mapping[str, Mapping[str, Score]], wanted: Sequence[Metric]) -> None:
    for metric in wanted:
        where = [
            split
            for split, found in scores.items()
            if any(found[name].value is None for name in metric.module.RANGE if name in found)
        ]
        if where:
            needs = ", ".join(sorted(metric.module.NEEDS)).replace("_", " ")
            logger.info("%s is missing on %s; it needs %s.", metric.name, ", ".join(where), needs)
