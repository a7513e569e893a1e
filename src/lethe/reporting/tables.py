"""The report's tables as values: which number stands where. How they look is the template's business."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lethe import artifacts
from lethe.interviews import UNATTACKED
from lethe.reporting.evidence import Estimate, Evidence, Model, estimate

ATTACK_QUANTITIES = {
    "own_gain": "gained by the attack",
    "gap_closed": "share of the forgetting undone",
    "same_condition_retention": "share of the attacked target's knowledge",
    "excess": "excess over the attacked retain model",
    "excess_p": "p of no more excess than allowed, adjusted by Holm",
}
PROMPT_QUANTITIES = {
    "recall": "recall of the true answers",
    "target_recall": "recall by the target",
    "retain_recall": "recall by the retain model",
    "difference": "difference",
    "leak_p": "p of leaking no more than allowed, adjusted by Holm",
}
DIAGNOSTIC_QUANTITIES = {
    "moved_fraction": "Moved fraction: share of the weights that unlearning changed at all.",
    "code_flip_rate": "Code flip rate: share of the weights that round to another code than before.",
    "slope": "Slope: how much of the edit is left along its own direction; 1 is all, less is trapped.",
    "cosine": "Cosine between the edit and what rounding leaves of it; 1 is the same direction, 0 is noise.",
}
GATE_NAMES = {
    "G0": "integrity",
    "G1": "like the retain model",
    "G2": "not over-forgotten",
    "G3": "utility",
    "G4": "membership",
    "G5": "quantization",
    "G6": "relearning",
    "G7": "sampling and prompts",
    "G8": "hidden states",
}
_FIRST_SPLITS, _LAST_SPLIT = ("forget", "retain", "holdout"), "overall"

Cell = Estimate | str
Row = tuple[str, Sequence[Cell]]


@dataclass(frozen=True)
class Table:
    """A table with a header for every column and every row."""

    corner: str
    columns: list[str]
    rows: Sequence[Row]


class SummaryRow(NamedTuple):
    """A model before and after its worst quantization, which leaves it the most forget knowledge."""

    model: str
    forget_knowledge: Estimate
    utility: Estimate
    worst_condition: str | None
    forget_knowledge_after: Estimate
    utility_after: Estimate
    matched_extraction: Estimate
    verdict: str | None


class Chip(NamedTuple):
    """A gate in a word, and how one cell fared: passed, failed or (None) open, and then what was lacking."""

    name: str
    rule: str
    passed: bool | None
    lacking: str


class GateRow(NamedTuple):
    """One rule and, for each cell, ``observed`` and ``passed``; None for a cell without scores."""

    id: str
    name: str
    rule: str
    cells: list[dict[str, Any] | None]


def summary(evidence: Evidence) -> list[SummaryRow]:
    """One row for the target, the retain model and every cell, in this order."""
    attacked, matched = evidence.attacked_conditions(), _matched(evidence)
    return [_summary_row(model, attacked, matched[model.name]) for model in evidence.models]


def as_records(rows: list[SummaryRow]) -> list[dict[str, Any]]:
    """The summary as plain values; None where nothing was measured."""
    return [
        {name: value.value if isinstance(value, Estimate) else value for name, value in row._asdict().items()}
        for row in rows
    ]


def forget_knowledge(model: Model, condition: str) -> Estimate:
    """The headline: mean probability of the forget set's true answers, 0 to 1, lower is more forgotten."""
    return model.score(condition, "forget", "probability")


def utility(model: Model, condition: str) -> Estimate:
    """What the model is still good for: the harmonic mean of the utility scores, 0 to 1, higher is better."""
    return model.score(condition, "overall", "model_utility")


def by_condition(evidence: Evidence) -> Table:
    """Forget knowledge of every model in full precision and under every scheme."""
    conditions = [UNATTACKED, *evidence.attacked_conditions()]
    rows = [
        (
            evidence.condition_label(condition),
            [forget_knowledge(model, condition) for model in evidence.models],
        )
        for condition in conditions
    ]
    return Table("condition", [model.name for model in evidence.models], rows)


def attack_effects(evidence: Evidence, model: Model) -> Table:
    """What every scheme did to one cell, against the target and the retain model under the same scheme."""
    rows = [
        (
            evidence.condition_label(condition),
            [estimate(model.attacks[condition].get(name)) for name in ATTACK_QUANTITIES],
        )
        for condition in evidence.attacked_conditions()
        if condition in model.attacks
    ]
    return Table("condition", list(ATTACK_QUANTITIES.values()), rows)


def prompt_effects(model: Model) -> Table:
    """What every kind of prompt brought out of one cell, against the retain model; empty without other prompts."""
    rows = [
        (kind.replace("_", " "), [estimate(found.get(name)) for name in PROMPT_QUANTITIES])
        for kind, found in model.prompts.items()
    ]
    return Table("prompt", list(PROMPT_QUANTITIES.values()), rows)


def metrics(evidence: Evidence, condition: str) -> Table:
    """Every metric of every split under one condition, one column a model."""
    scored = [model.conditions.get(condition, {}) for model in evidence.models]
    splits = sorted({split for splits in scored for split in splits}, key=_split_order)
    rows: list[Row] = []
    for split in splits:
        names = sorted({name for splits in scored for name in splits.get(split, {})})
        rows += [
            (
                f"{split}: {name.replace('_', ' ')}",
                [model.score(condition, split, name) for model in evidence.models],
            )
            for name in names
        ]
    return Table("split: metric", [model.name for model in evidence.models], rows)


def diagnostics(evidence: Evidence) -> dict[str, Table]:
    """What every scheme does to the edits that unlearning made to the weights: a table for each quantity."""
    columns = [cell.name for cell in evidence.cells]
    return {
        meaning: Table(
            "scheme",
            columns,
            [
                (scheme.label, [_diagnostic(cell, scheme.name, quantity) for cell in evidence.cells])
                for scheme in evidence.schemes.values()
            ],
        )
        for quantity, meaning in DIAGNOSTIC_QUANTITIES.items()
    }


def gates(evidence: Evidence) -> list[GateRow]:
    """Every gate that any cell was held against, with what each cell showed."""
    found = [{gate["id"]: gate for gate in cell.gates} for cell in evidence.cells]
    rules = {gate["id"]: gate["rule"] for gates in found for gate in gates.values()}
    return [
        GateRow(name, GATE_NAMES.get(name, name), rule, [gates.get(name) for gates in found])
        for name, rule in sorted(rules.items())
    ]


def chips(model: Model) -> list[Chip]:
    """The gates of one cell: those that failed, those that passed, those that are open."""
    found = [
        Chip(GATE_NAMES.get(gate["id"], gate["id"]), gate["rule"], gate["passed"], gate["open"]) for gate in model.gates
    ]
    return sorted(found, key=lambda chip: (False, True, None).index(chip.passed))


def probes(evidence: Evidence) -> Table:
    """What the probes found in each cell, one row a number; empty when no probe was run."""
    found = [_probed(cell) for cell in evidence.cells]
    missing = Estimate(reason="not probed")
    rows: list[Row] = [
        (name, [estimate(numbers[name]) if name in numbers else missing for numbers in found])
        for name in sorted({name for numbers in found for name in numbers}, key=_with_numbers_by_size)
    ]
    return Table("probe", [cell.name for cell in evidence.cells], rows)


def parameters(evidence: Evidence) -> Table:
    """Every number and hash that a recipe stands for, one column a recipe."""
    flat = {name: dict(flattened(values)) for name, values in evidence.recipes.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    return Table("parameter", list(flat), [(key, [flat[name].get(key, "–") for name in flat]) for key in keys])


def flattened(values: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as (dotted key, text) pairs; a local path, which names a person, is left out."""
    pairs: list[tuple[str, str]] = []
    for key, value in values.items():
        if isinstance(value, list) and value and all(isinstance(inner, dict) for inner in value):
            value = dict(enumerate(value))  # several wrappers of a recipe
        if isinstance(value, dict):
            pairs += flattened(value, f"{prefix}{key}.")
        else:
            pairs.append((f"{prefix}{key}", _as_text(value)))
    return pairs


def _summary_row(model: Model, attacked: list[str], matched: Estimate) -> SummaryRow:
    worst = _worst(model, attacked)
    verdict = (model.scores or {}).get("verdict")
    return SummaryRow(
        model=model.name,
        forget_knowledge=forget_knowledge(model, UNATTACKED),
        utility=utility(model, UNATTACKED),
        worst_condition=worst,
        forget_knowledge_after=forget_knowledge(model, worst) if worst else _unattacked(model),
        utility_after=utility(model, worst) if worst else _unattacked(model),
        matched_extraction=matched,
        verdict=verdict["text"] if verdict else None,
    )


def _worst(model: Model, attacked: list[str]) -> str | None:
    known = {condition: forget_knowledge(model, condition).value for condition in attacked}
    measured = {condition: value for condition, value in known.items() if value is not None}
    return max(measured, key=lambda condition: measured[condition]) if measured else None


def _matched(evidence: Evidence) -> dict[str, Estimate]:
    """By model. That of the retain model is its own, without a mixture, and the same beside every cell."""
    name, not_probed = (
        "matched_extraction_strength",
        Estimate(reason="no probe brought it to the utility of the others"),
    )
    target, retain = artifacts.CONTROLS
    probed = {cell.name: (cell.probes or {}).get("matched_utility") for cell in evidence.cells}
    own = next((leaves[f"{name}_retain"] for leaves in probed.values() if leaves), None)
    return {
        target: Estimate(reason="every mixture begins at it"),
        retain: estimate(own),
        **{cell: estimate(leaves[name]) if leaves else not_probed for cell, leaves in probed.items()},
    }


def _unattacked(model: Model) -> Estimate:
    return Estimate(reason=f"{model.name} was not quantized" if model.scores else f"{model.name} was not scored")


def _split_order(split: str) -> tuple[int, str]:
    if split in _FIRST_SPLITS:
        return _FIRST_SPLITS.index(split), split
    return len(_FIRST_SPLITS) + (split == _LAST_SPLIT), split


def _diagnostic(cell: Model, scheme: str, quantity: str) -> Estimate:
    if cell.diagnostics is None:
        return Estimate(reason=f"{cell.name} was not diagnosed")
    value = cell.diagnostics.get(scheme, {}).get("total", {}).get(quantity)
    return Estimate(value=value) if value is not None else Estimate(reason="there is no edit to compare")


def _probed(cell: Model) -> dict[str, dict[str, Any]]:
    numbers = [pair for probe in (cell.probes or {}).values() for pair in probe.items()]
    return {name.replace("_", " "): leaf for name, leaf in numbers if isinstance(leaf, dict)}


def _with_numbers_by_size(name: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_as_text(item) for item in value)
    text = "none" if value is None else str(value)
    return "(a local path)" if text.startswith(("/", "~", "\\")) or text[1:3] == ":\\" else text
