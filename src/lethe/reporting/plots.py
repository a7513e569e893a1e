"""The experiment as flat lists of records, for ``dvc plots``; what was not measured is left out."""

from typing import Any

from lethe.interviews import UNATTACKED
from lethe.reporting.evidence import Evidence
from lethe.reporting.figures import loss_names
from lethe.reporting.tables import SummaryRow, forget_knowledge, utility


def curves(evidence: Evidence) -> list[dict[str, Any]]:
    """One point for each model, loss and step."""
    return [
        {"model": model.name, "loss": name, "step": row["step"], "value": row[name]}
        for model in evidence.models
        for name in loss_names(model)
        for row in model.curve
        if row.get(name) is not None
    ]


def bits(evidence: Evidence) -> list[dict[str, Any]]:
    """One point for each model and condition, from full precision down to the coarsest scheme."""
    return [
        {
            "model": model.name,
            "condition": evidence.condition_label(condition),
            "forget_knowledge": forget_knowledge(model, condition).value,
            "utility": utility(model, condition).value,
        }
        for condition in [UNATTACKED, *evidence.attacked_conditions()]
        for model in evidence.models
        if forget_knowledge(model, condition).value is not None
    ]


def tradeoff(rows: list[SummaryRow]) -> list[dict[str, Any]]:
    """Two points for each model: in full precision and under its worst quantization."""
    points = [(row.model, "full precision", row.forget_knowledge, row.utility) for row in rows]
    points += [(row.model, "worst quantization", row.forget_knowledge_after, row.utility_after) for row in rows]
    return [
        {"model": model, "weights": weights, "forget_knowledge": known.value, "utility": useful.value}
        for model, weights, known, useful in points
        if known.value is not None and useful.value is not None
    ]
