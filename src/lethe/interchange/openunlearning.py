"""A log of OpenUnlearning's evaluator, told in our own scores.

Every number is recomputed from per-example values where the log has them, with the settings that ``params.yaml`` has
for our own models, so that published models stand in the same tables. Where there is only an aggregate it is copied
and says so. What our tables have and the log cannot give is null with a reason.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lethe import artifacts
from lethe.errors import DataError
from lethe.interchange import answers, attacks, layout, leaves, logs, quality
from lethe.interchange.layout import Split
from lethe.interchange.leaves import Leaf
from lethe.interchange.logs import Log
from lethe.interchange.settings import Settings
from lethe.metrics import model_utility
from lethe.records import FORGET
from lethe.scores import Observation, Values
from lethe.scoring import OVERALL

Splits = dict[str, dict[str, Leaf]]

_LAST_TOKEN = "as OpenUnlearning defines it: the last token is left out"
_ONE_OVER_N = f"{_LAST_TOKEN}, and an answer whose last token is missed has 1/n, not 0"


def document(path: Path, retain_path: Path | None, chosen: Settings) -> dict[str, Any]:
    """The imported log as one JSON document, its scores where our score files have them.

    Raises DataError when a log does not fit, or when that of the retain model was asked something else.
    """
    log = logs.read(path)
    retain = None if retain_path is None else logs.read(retain_path)
    if retain is not None and retain.benchmark != log.benchmark:
        raise DataError(
            f"{retain.path}: a log of {retain.benchmark}, {log.path} of {log.benchmark}; give one of the same."
        )
    found = scores(log, retain, chosen)
    return {
        "benchmark": log.benchmark,
        "log": _source(path),
        "retain_log": None if retain_path is None else _source(retain_path),
        "settings": {name: section.model_dump() for name, section in chosen._asdict().items()},
        "conditions": {
            "none": {
                split: {name: leaf.as_json() for name, leaf in numbers.items()} for split, numbers in found.items()
            }
        },
    }


def scores(log: Log, retain: Log | None, chosen: Settings) -> Splits:
    """Every number by split and name; ``overall`` holds those of the whole model."""
    if log.benchmark == layout.MUSE:
        found, overall = _muse_splits(log, chosen), {}
    else:
        values = {split.name: _values(log, split, chosen) for split in layout.SPLITS}
        found = {split.name: _tofu_split(log, split, values[split.name], chosen) for split in layout.SPLITS}
        overall = _utility(log, values, found, chosen) | quality.scores(log, retain, chosen)
    for split, name, source in layout.MEMORIZATION:
        if split == FORGET or log.name([source]):
            found[split][name] = _memorization(log, split, name, source, chosen)
    return {**found, OVERALL: overall | attacks.scores(log, retain, chosen.bootstrap)}


def _source(path: Path) -> dict[str, str]:
    return {"path": path.as_posix(), "sha256": artifacts.sha256(path)}


def _values(log: Log, split: Split, chosen: Settings) -> dict[str, Values]:
    """The per-example values of one TOFU split that the log holds, under our names."""
    found = answers.probabilities(log, split, chosen.probability) | answers.paraphrased_probabilities(log, split)
    found |= answers.forms_of_truth_ratio(log, split, chosen.truth_ratio)
    for name, field in (("rouge", "rougeL_recall"), ("rouge_f1", "rougeL_f1")):
        rouge = answers.values(log, split.name, field, split.rouge)
        found |= {} if rouge is None else {name: rouge}
    return found


def _tofu_split(log: Log, split: Split, values: dict[str, Values], chosen: Settings) -> dict[str, Leaf]:
    names: dict[str, tuple[str, ...]] = {"probability": split.probability}
    if split.normalised_probability:
        names["normalised_probability"] = split.normalised_probability
    else:
        names["paraphrased_probability"] = split.correct
    names |= {"truth_ratio": split.truth_ratio, "truth_ratio_knowledge": (), "rouge": split.rouge, "rouge_f1": ()}
    return {name: _leaf(values.get(name), log.aggregate(peers), chosen) for name, peers in names.items()}


def _muse_splits(log: Log, chosen: Settings) -> Splits:
    found: Splits = {}
    for split, f1, recall, source in layout.MUSE_ROUGE:
        for name, field, aggregate in (
            (f1, "rougeL_f1", log.aggregate([source])),
            (recall, "rougeL_recall", None),
        ):
            found.setdefault(split, {})[name] = _leaf(answers.values(log, split, field, [source]), aggregate, chosen)
    return found


def _memorization(log: Log, split: str, name: str, source: str, chosen: Settings) -> Leaf:
    note = _ONE_OVER_N if name == "extraction_strength" else _LAST_TOKEN
    return _leaf(answers.values(log, split, "score", [source]), log.aggregate([source]), chosen, note)


def _leaf(values: Values | None, aggregate: float | None, chosen: Settings, note: str | None = None) -> Leaf:
    if values is None:
        return leaves.taken(aggregate, leaves.NOTHING, note)
    return leaves.mean(values, aggregate, chosen.bootstrap, note)


def _utility(log: Log, values: dict[str, dict[str, Values]], found: Splits, chosen: Settings) -> dict[str, Leaf]:
    """The harmonic mean of all components on retain, real authors and world facts: nine in TOFU."""
    peer = log.aggregate([layout.MODEL_UTILITY])
    splits = [split for split in layout.SPLITS if split.name != FORGET]
    names = [(split.name, _component(split, name)) for split in splits for name in chosen.model_utility.components]
    parts = {f"{split} {name}": found[split][name] for split, name in names}
    lacking = ", ".join(name for name, part in parts.items() if part.score.value is None)
    copied = ", ".join(name for name, part in parts.items() if part.origin == "copied")
    if lacking:
        leaf = leaves.taken(
            peer, f"of its components the log lacks {lacking}", f"not recomputed: the log lacks {lacking}"
        )
    elif copied:
        numbers = np.array([part.score.value for part in parts.values()], dtype=np.float64)
        leaf = leaves.derived(float(model_utility.harmonic_mean(numbers)), peer, f"rests on copied {copied}")
    else:
        observation = Observation({}, {split.name: values[split.name] for split in splits})
        score = model_utility.compute(observation, {}, chosen.model_utility, chosen.bootstrap)
        leaf = leaves.recomputed(score[layout.MODEL_UTILITY], peer)
    return {layout.MODEL_UTILITY: leaf}


def _component(split: Split, name: str) -> str:
    return "normalised_probability" if name == "probability" and split.normalised_probability else name
