"""One recipe on the shipped world, in this process: unlearn as the stage does, ask as the stage does, score."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import adaptation
from benchmarks.adaptation import Settings
from lethe import (
    artifacts,
    batches,
    config,
    inference,
    interviews,
    likelihoods,
    material,
    models,
    recipes,
    recovery,
    registry,
    scoring,
    splits,
    statistics,
    unlearning,
)
from lethe.attacks import none, quantization
from lethe.batches import Encoding
from lethe.checkpoints import Checkpoints
from lethe.edits import model_mixing
from lethe.errors import NotFiniteError
from lethe.interviews import QUANTIZATION, UNATTACKED, Interview
from lethe.material import Material
from lethe.metrics import model_utility
from lethe.records import FORGET, HOLDOUT, RETAIN, Records
from lethe.rows import Row, read_rows
from lethe.scores import Values

_LIKELIHOODS_OF_FORGET = {"generate_under_attack": False, "gradient_norms": False, "not_generated": [FORGET]}


@dataclass(frozen=True)
class World:
    """The finished default run that recipes are tried on, and how its models are asked and scored."""

    settings: Settings
    tokenizer: PreTrainedTokenizerBase
    encoding: Encoding
    asking: inference.Config
    asked: list[Row]  # what the page needs: forget answers, and all of retain and utility
    validation: list[Row]  # retain rows that no model is asked about otherwise
    schemes: quantization.Config
    scoring: scoring.Config
    utility: model_utility.Config
    metrics: list[scoring.Metric]


@dataclass(frozen=True)
class Attempt:
    """A model after a recipe at one factor, what it was made of, the processor's time, and its forget knowledge."""

    model: PreTrainedModel
    material: Material
    processor_minutes: float
    known: float


def open_world(settings: Settings) -> World:
    """Read the finished run under ``data/``. Raises ArtifactError or DataError where a part of it is missing."""
    data = str(config.block("data"))
    questions = read_rows(artifacts.QUESTIONS)
    schemes = config.section(quantization.Config, "attacks", QUANTIZATION)
    utility = config.section(model_utility.Config, "metrics", "model_utility")
    asking = config.section(inference.Config, "infer", data)
    return World(
        settings=settings,
        tokenizer=models.load_tokenizer(artifacts.model("target")),
        encoding=config.section(Encoding, "encoding", data),
        asking=asking.model_copy(update=_LIKELIHOODS_OF_FORGET),
        asked=[_answer_alone(row) if row.subset == FORGET else row for row in questions if row.subset != HOLDOUT],
        validation=_validation(questions, settings.validation_rows),
        schemes=schemes.model_copy(update={"schemes": {name: schemes.schemes[name] for name in settings.schemes}}),
        scoring=config.section(scoring.Config, "score"),
        utility=utility,
        metrics=[_metric(name) for name in utility.components],
    )


def control(world: World, name: str) -> Interview:
    """What target or retain model say."""
    return interview(world, name, models.load(artifacts.model(name), dtype=world.asking.compute_dtype))


def control_scores(world: World, said: Interview) -> dict[str, Any]:
    """The numbers of a control's row: there is nothing to match and no excess."""
    return {"forget_knowledge": _forget_knowledge(world, said), "utility": _utility(world, said)}


def recipe_scores(world: World, name: str, controls: Mapping[str, Interview]) -> dict[str, Any]:
    """All numbers of a recipe's row, at the smallest factor of its learning rates that forgets.

    Raises what the recipe raises where it cannot run here.
    """
    values = adaptation.adapted(name, recipes.resolve(name), world.settings)
    factors, start = adaptation.tried_factors(values, world.settings)
    limit = _limit(world, controls)
    attempts = _attempts(world, name, values, factors, start, limit)
    forgetting = [factor for factor, attempt in attempts.items() if attempt.known <= limit]
    factor = min(forgetting, default=max(attempts))
    attempt = attempts[factor]
    said = interview(world, name, attempt.model)
    limits = world.scoring
    attacks = recovery.attack_scores(
        said, controls["target"], controls["retain"], limits.bootstrap, limits.smallest_denominator, 0.0
    )
    return {
        "factor": factor if len(factors) > 1 else None,
        "forgets": bool(forgetting),
        "tried": {f"{tried:g}": round(attempt.known, 4) for tried, attempt in attempts.items()},
        "forget_knowledge": _forget_knowledge(world, said),
        "utility": _utility(world, said),
        "excess": {scheme: attacks[scheme]["excess"].as_json() for scheme in world.settings.schemes},
        "processor_minutes": round(attempt.processor_minutes, 3),
        **_matched(world, attempt),
    }


def interview(world: World, name: str, model: PreTrainedModel) -> Interview:
    """Everything that a model says without attack, and its forget answers under each scheme."""
    forget = [row for row in world.asked if row.subset == FORGET]
    return interviews.interview(
        name,
        {
            UNATTACKED: _ask(world, model, world.asked, none.conditions(model, none.Config())),
            QUANTIZATION: _ask(world, model, forget, quantization.conditions(model, world.schemes)),
        },
    )


def _limit(world: World, controls: Mapping[str, Interview]) -> float:
    """The forget knowledge at which the excess without attack is as large as the gates allow."""
    target, retain = (recovery.knowledge(controls[name], UNATTACKED).mean for name in ("target", "retain"))
    return retain + world.scoring.gates.largest_excess * (target - retain)


def _attempts(
    world: World, name: str, values: Mapping[str, Any], factors: Sequence[float], start: int, limit: float
) -> dict[float, Attempt]:
    """The attempts at a recipe, by factor. Raises NotFiniteError when not one of them is finite."""
    attempts: dict[float, Attempt] = {}
    broken: list[NotFiniteError] = []

    def forgets(factor: float) -> bool:
        try:
            attempts[factor] = _attempt(world, name, adaptation.faster(values, factor, world.settings.scaled_rates))
        except NotFiniteError as error:
            broken.append(error)
            return True  # too fast; a smaller one is looked for
        return attempts[factor].known <= limit

    adaptation.search(forgets, factors, start)
    if not attempts:
        raise broken[-1]
    return attempts


def _attempt(world: World, name: str, values: Mapping[str, Any]) -> Attempt:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.json"
        artifacts.write_json(path, values)
        recipe, target = recipes.from_resolved(path), artifacts.model("target")
        rows = material.read(world.tokenizer, recipe, world.encoding, seed=world.settings.seed)
        given = Material(
            rows,
            original=partial(models.load, target),
            pad=int(world.tokenizer.pad_token_id),
            seed=world.settings.seed,
            checkpoints=Checkpoints(Path(folder) / "scratch", name),
            title=name,
        )
        model, began = models.load(target), time.process_time()
        unlearning.unlearn(model, given, recipe)
        minutes = (time.process_time() - began) / 60
    _as_released(model)
    return Attempt(model, given, minutes, _known(world, model).mean)


def _as_released(model: PreTrainedModel) -> None:
    # A stage saves its model in the dtype of the release, and it is asked as it was saved.
    dtype = models.DTYPES[str(config.block("release_dtype"))]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))


def _matched(world: World, attempt: Attempt) -> dict[str, Any]:
    """Forget knowledge after going back towards the target until enough is kept, and how much of the way is left."""
    rows = batches.encode_rows(world.tokenizer, world.validation, world.encoding)
    held = replace(attempt.material, rows=replace(attempt.material.rows, retain=rows))
    share = model_mixing.edit(attempt.model, held, world.settings.mixing)[0]["mix"]
    _as_released(attempt.model)
    score = statistics.means([_known(world, attempt.model)], world.scoring.bootstrap)[0]
    return {"matched_forget_knowledge": score.as_json(), "matched_share": round(share, 4)}


def _known(world: World, model: PreTrainedModel) -> Values:
    """The probability of every forget answer."""
    forget = [row for row in world.asked if row.subset == FORGET]
    return likelihoods.probabilities(_ask(world, model, forget, [FORGET]))


def _forget_knowledge(world: World, said: Interview) -> dict[str, Any]:
    known = recovery.knowledge(said, UNATTACKED)
    return statistics.means([known], world.scoring.bootstrap)[0].as_json()


def _utility(world: World, said: Interview) -> dict[str, Any]:
    splits = {split: records for split, records in said.conditions[UNATTACKED].items() if split != FORGET}
    observation = scoring.observe(splits, world.metrics)
    found = model_utility.compute(observation, {}, world.utility, world.scoring.bootstrap)
    return found["model_utility"].as_json()


def _ask(world: World, model: PreTrainedModel, rows: Sequence[Row], conditions: Any) -> Records:
    return inference.ask(model, world.tokenizer, rows, conditions, world.encoding, world.asking)


def _metric(name: str) -> scoring.Metric:
    module = registry.load("metrics", name)
    return scoring.Metric(name, module, config.section(module.Config, "metrics", name))


def _validation(questions: Sequence[Row], count: int) -> list[Row]:
    free = splits.unasked(read_rows(artifacts.RETAIN), questions)
    spread = [free[index * len(free) // count] for index in range(min(count, len(free)))]
    return [_answer_alone(row.model_copy(update={"subset": RETAIN})) for row in spread]


def _answer_alone(row: Row) -> Row:
    return row.model_copy(update={"paraphrased_answer": None, "perturbed_answers": ()})
