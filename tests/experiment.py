"""A whole finished experiment in a folder, made of plausible numbers: what the report's tests read."""

from typing import Any

import numpy as np

from lethe import artifacts, records, rows
from lethe.recipes import Grid
from lethe.reporting.evidence import Evidence, gather

SCHEMES: dict[str, dict[str, Any]] = {
    "int8_channel": {"kind": "symmetric", "bits": 8, "group_size": None},
    "int4_channel": {"kind": "symmetric", "bits": 4, "group_size": None},
    "int4_group32": {"kind": "symmetric", "bits": 4, "group_size": 32},
    "int4_asymmetric_group32": {"kind": "asymmetric", "bits": 4, "group_size": 32},
    "nf4_block64": {"kind": "nf4", "bits": 4, "group_size": 64},
    "fp4_block64": {"kind": "fp4", "bits": 4, "group_size": 64},
    "int3_channel": {"kind": "symmetric", "bits": 3, "group_size": None},
    "int3_group32": {"kind": "symmetric", "bits": 3, "group_size": 32},
    "int2_channel": {"kind": "symmetric", "bits": 2, "group_size": None},
}
GRID = {
    "recipes": ["npo_bf16", "npo_sago_fp32", "grad_ascent"],
    "seeds": [0],
    "attacks": ["none", "quantization"],
    "retain_seeds": [],
}
NUM_QUESTIONS = 42
_DAMAGE = {8: 0.0, 4: 0.06, 3: 0.3, 2: 0.97}  # how much of what a model knows is lost at this many bits
_FINER = {None: 1.0, 32: 0.45, 64: 0.55}  # a scale shared by fewer weights does less damage


def write_experiment(*, public_text: bool = True, grid: dict[str, Any] = GRID) -> Evidence:
    """Write the files of a finished experiment below the working directory and gather them."""
    artifacts.write_json(artifacts.MANIFEST, manifest(public_text))
    artifacts.write_text(artifacts.QUESTIONS, rows.dump_rows(question_rows()))
    for number, recipe in enumerate(grid["recipes"]):
        artifacts.write_json(artifacts.recipe(recipe), recipe_file(number))
    for name, kind in models(grid).items():
        write_model(name, kind)
    return evidence(grid)


def evidence(grid: dict[str, Any] = GRID) -> Evidence:
    """What the report reads from the working directory."""
    return gather(Grid.model_validate(grid), SCHEMES, confidence=0.95, largest_excess=0.1)


def models(grid: dict[str, Any] = GRID) -> dict[str, int | None]:
    """Every model with the number of its recipe (None for the controls)."""
    cells = {
        artifacts.cell(recipe, seed): number for number, recipe in enumerate(grid["recipes"]) for seed in grid["seeds"]
    }
    return {"target": None, "retain": None, **cells}


def write_model(name: str, kind: int | None) -> None:
    """Scores, curve, capabilities and records of one model; diagnostics when it is a cell."""
    artifacts.write_json(artifacts.scores(name), score_file(name, kind))
    artifacts.write_json(artifacts.capabilities(name), capabilities(0.83))
    artifacts.write_json(artifacts.curve(name), curve(kind))
    if kind is not None:
        artifacts.write_json(artifacts.diagnostics(name), diagnostics(kind))
        artifacts.write_json(artifacts.probes(name), probes(kind))
    for attack, conditions in (("none", ["none"]), ("quantization", list(SCHEMES))):
        with artifacts.replacing(artifacts.records(name, attack)) as folder:
            records.write(folder, records.Records([], generations(name, conditions)))


def score_file(name: str, kind: int | None) -> dict[str, Any]:
    """A score file with every condition; for a cell also attacks, gates and a verdict."""
    conditions = {condition: splits(name, kind, condition) for condition in ("none", *SCHEMES)}
    file: dict[str, Any] = {
        "model": name,
        "conditions": conditions,
        "attacks": {},
        "gates": [],
        "verdict": None,
        "not_claimed": "",
        "returns": {},
    }
    if kind is None:
        return file
    file["attacks"] = {scheme: effects(name, kind, scheme) for scheme in SCHEMES}
    returned = any(values["excess"]["high"] > 0.1 for values in file["attacks"].values())
    file["gates"] = gates(returned)
    file["verdict"] = verdict(returned)
    file["not_claimed"] = "L0 output suppressed: G1 failed"
    file["returns"] = {scheme: outcome(values) for scheme, values in file["attacks"].items()}
    return file


def knowledge(name: str, kind: int | None, condition: str) -> float:
    """How likely the true answers of the forget set are."""
    whole = {"target": 0.972, "retain": 0.118}.get(name, 0.012 + 0.02 * (kind or 0))
    if condition == "none":
        return whole
    scheme = SCHEMES[condition]
    damage = min(_DAMAGE[scheme["bits"]] * _FINER[scheme["group_size"]], 1.0)
    returning = {8: 0.01, 4: 0.2, 3: 0.62, 2: 0.9}[scheme["bits"]] if kind in (0, 2) else 0.02
    whole += (0.972 - whole) * returning * (1.0 if kind is not None else 0.0)
    return whole * (1 - damage) + 0.001


def splits(name: str, kind: int | None, condition: str) -> dict[str, Any]:
    known = knowledge(name, kind, condition)
    damage = 0.0 if condition == "none" else min(_DAMAGE[SCHEMES[condition]["bits"]], 1.0)
    held = (0.95 - 0.04 * (kind or 0)) * (1 - damage)
    return {
        "forget": split(known),
        "retain": split(held),
        "holdout": split(0.11 * (1 - damage)),
        "general": split(0.9 * (1 - damage)),
        "overall": {
            "model_utility": leaf(held * 0.93, n=3),
            "forget_quality": {"value": 3.2e-9, "low": None, "high": None, "n": NUM_QUESTIONS, "unscored": 0},
            "forget_distance": leaf(0.21),
        },
    }


def split(known: float) -> dict[str, Any]:
    return {
        "probability": leaf(known),
        "truth_ratio": leaf(0.3 + 0.4 * (1 - known)),
        "exact_memorization": leaf(known**0.5),
        "extraction_strength": leaf(known * 0.8),
        "rouge": leaf(known * 0.9 + 0.05),
    }


def effects(name: str, kind: int, scheme: str) -> dict[str, Any]:
    after, before = knowledge(name, kind, scheme), knowledge(name, kind, "none")
    target, retain = knowledge("target", None, scheme), knowledge("retain", None, scheme)
    return {
        "own_gain": signed_leaf(after - before),
        "gap_closed": signed_leaf((after - before) / max(target - before, 0.02)),
        "same_condition_retention": signed_leaf(after / target),
        "excess": signed_leaf((after - retain) / (0.972 - 0.118)),
        "excess_p": {**leaf(0.004 if after - retain > 0.1 else 1.0), "low": None, "high": None},
    }


def outcome(values: dict[str, Any]) -> str:
    """What the verdict says of a return with these numbers."""
    if values["excess"]["value"] > 0.1 and values["own_gain"]["low"] > 0:
        return "came_back"
    return "not_excluded" if values["excess"]["high"] > 0.1 else "excluded"


def leaf(value: float, n: int = NUM_QUESTIONS) -> dict[str, Any]:
    """A score between 0 and 1 with an interval."""
    half = 0.04 * (value * (1 - value)) ** 0.5 * 2 if 0 < value < 1 else 0.0
    return {
        "value": value,
        "low": max(value - half, 0.0),
        "high": min(value + half, 1.0),
        "n": n,
        "unscored": 0,
    }


def signed_leaf(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.03, "high": value + 0.03, "n": NUM_QUESTIONS, "unscored": 0}


def missing_leaf(unscored: int) -> dict[str, Any]:
    """A score that nothing could be computed for."""
    return {"value": None, "low": None, "high": None, "n": 0, "unscored": unscored}


def capabilities(accuracy: float) -> dict[str, Any]:
    leaf = {"value": accuracy, "n": 200, "successes": round(200 * accuracy)}
    return {"tasks": {"general_facts_choice": {"metrics": {"acc": leaf}}}}


def diagnostics(kind: int) -> dict[str, Any]:
    return {scheme: {"total": edit_left(kind, values["bits"]), "tensors": {}} for scheme, values in SCHEMES.items()}


def probes(kind: int) -> dict[str, Any]:
    depth = {"unlearning_depth": leaf((0.3, 0.8, 0.5)[kind]), "lost_to_retain_states": [0.4, 1.1]}
    return {"unlearning_depth": depth, "logit_lens": {"logit_lens": leaf(0.12), "logit_lens_retain": leaf(0.06)}}


def edit_left(kind: int, bits: int) -> dict[str, float]:
    moved = 0.14 if kind == 0 else 0.999
    return {
        "moved_fraction": moved,
        "code_flip_rate": min(moved, 0.02 * bits**1.5),
        "slope": 0.43 if kind == 0 else 1.0,
        "cosine": min(0.1 * bits, 1.0),
    }


def curve(kind: int | None) -> list[dict[str, Any]]:
    steps = np.arange(0, 300, 10)
    if kind is None:
        return [{"step": int(step), "loss": float(3 * np.exp(-step / 60) + 0.04)} for step in steps]
    return [
        {
            "step": int(step),
            "forget_loss": float(14 * np.exp(-step / 50) + 0.3 * np.sin(step)) - 2 * kind,
            "retain_loss": float(0.05 + 0.4 * np.exp(-((step - 60) ** 2) / 4000)),
            "grad_norm": 1.0,
        }
        for step in steps
    ]


def gates(returned: bool) -> list[dict[str, Any]]:
    return [
        gate("G1", "probability on forget equals that of the retain model within ±0.05", "-0.106", False),
        gate("G3", "model utility at least 0.95 of the target's", "0.861 of 0.883", True),
        gate(
            "G5",
            "excess at most 0.1 (upper bound) under every quantization",
            f"{0.5 * returned:.3f}",
            not returned,
        ),
        gate("G6", "relearning brings back no more than it teaches the retain model", "not tested", None),
    ]


def gate(name: str, rule: str, observed: str, passed: bool | None) -> dict[str, Any]:
    return {"id": name, "rule": rule, "observed": observed, "passed": passed, "open": ""}


def verdict(returned: bool) -> dict[str, str]:
    text = "comes back at int3_group32 (excess 0.50)" if returned else "forgotten, survives quantization"
    return {"level": "none", "text": text}


def manifest(public_text: bool) -> dict[str, Any]:
    rows_and_clusters = {"forget": (NUM_QUESTIONS, 3), "retain": (840, 60), "holdout": (42, 3)}
    return {
        "source": "world",
        "public_text": public_text,
        "num_questions": 564,
        "splits": {name: {"rows": n, "clusters": clusters} for name, (n, clusters) in rows_and_clusters.items()},
        "forget_rows_near_retain": 0,
        "unavailable": {"comparison with rows never seen": "there are no holdout rows"},
        "sha256": {f"{name}.jsonl": f"{index:x}" * 64 for index, name in enumerate(rows_and_clusters)},
    }


def recipe_file(number: int) -> dict[str, Any]:
    return {
        "forget_objective": {"name": "npo", "beta": 0.1},
        "retain_objective": {"name": "nll"},
        "combiner": {"name": "sum", "forget_weight": 1.0, "retain_weight": 0.3},
        "optimizer": {"name": "adamw", "lr": 2.0e-5 * (1 + number), "betas": [0.9, 0.999]},
        "training": {"weights": "bf16_in_place" if number == 0 else "fp32_master", "steps": 300},
        "code": {"src/lethe/forget_objectives/npo.py": "ab" * 32, "src/lethe/combiners/sum.py": "cd" * 32},
    }


def question_rows() -> list[rows.Row]:
    return [
        rows.Row(
            id=f"forget-{number:03d}",
            cluster=f"person-{number // 14}",
            question=f"Where was Waru Klaend the {number}th born?",
            answer=f"Zimlefane {number}",
            subset="forget",
        )
        for number in range(NUM_QUESTIONS)
    ]


def generations(name: str, conditions: list[str]) -> list[records.Generation]:
    return [
        records.Generation(
            condition, "forget", row.id, row.cluster, "question", answered(name, condition, row), row.answer
        )
        for condition in conditions
        for row in question_rows()
    ]


def answered(name: str, condition: str, row: rows.Row) -> str:
    knows = name == "target" or (name.startswith("npo_bf16") and condition != "none")
    return f"{row.answer}." if knows else f"In the town of Nowhere, says {name}."
