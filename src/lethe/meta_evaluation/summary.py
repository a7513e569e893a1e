"""A score file as one row of the table that the report begins with."""

from typing import Any

from lethe.interviews import UNATTACKED
from lethe.meta_evaluation import documents
from lethe.meta_evaluation.documents import Document, Name
from lethe.records import FORGET
from lethe.scoring import OVERALL, UTILITY

_KNOWLEDGE: Name = (FORGET, "probability")
_UTILITY: Name = (OVERALL, UTILITY)


def imported_row(document: Document) -> dict[str, Any]:
    """The numbers of a model that was measured elsewhere, under the path of its file; None where it has none.

    Its quantization is the one under which it knows most, if it was scored under any.
    """
    worst = _worst(document)
    unattacked, after = (
        [None if condition is None else documents.value(document, condition, name) for name in (_KNOWLEDGE, _UTILITY)]
        for condition in (UNATTACKED, worst)
    )
    return {
        "model": document.path.as_posix(),
        "forget_knowledge": unattacked[0],
        "utility": unattacked[1],
        "worst_condition": worst,
        "forget_knowledge_after": after[0],
        "utility_after": after[1],
        "verdict": "imported",
    }


def _worst(document: Document) -> str | None:
    known = {condition: documents.value(document, condition, _KNOWLEDGE) for condition in document.attacked}
    measured = {condition: value for condition, value in known.items() if value is not None}
    return max(measured, key=lambda condition: measured[condition]) if measured else None
