"""OpenUnlearning's four numbers of a model (arXiv:2506.12618), each a harmonic mean, more is better.

- ``memorization``: of 1 − extraction strength, 1 − exact memorization, 1 − paraphrased probability and 1 − truth ratio
  (as knowledge) on forget, in [0, 1]
- ``privacy``: of the similarities to the retain model of LOSS, Zlib, Min-K and Min-K++, in [0, 1]
- ``utility``: of model utility and fluency; over that of another model where one is given, above 1 where it is better
- ``overall``: of these three

A harmonic mean is ruled by its smallest part and exactly 0 when one is: publish the parts. A missing part makes it
missing. Deviation: fluency is the share of different runs of words in the answers to forget questions, not the
verdict of a classifier, which would have to be downloaded.
"""

from dataclasses import dataclass

from lethe.interviews import UNATTACKED
from lethe.meta_evaluation import documents, formulas
from lethe.meta_evaluation.documents import Document, Name
from lethe.records import FORGET
from lethe.scoring import OVERALL, UTILITY

_MEMORIZED = ("extraction_strength", "exact_memorization", "paraphrased_probability", "truth_ratio_knowledge")
_ATTACKS = ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus")
PARTS: dict[str, tuple[Name, ...]] = {
    "memorization": tuple((FORGET, name) for name in _MEMORIZED),
    "privacy": tuple((OVERALL, f"{name}_similarity") for name in _ATTACKS),
    "utility": ((OVERALL, UTILITY), (FORGET, "distinct_ngrams")),
}


@dataclass(frozen=True)
class Aggregates:
    """The four numbers, None where a part is missing, and the parts themselves."""

    memorization: float | None
    privacy: float | None
    utility: float | None
    overall: float | None
    parts: dict[str, float | None]

    @property
    def missing(self) -> list[str]:
        """The parts that the score file does not have a number for."""
        return [name for name, value in self.parts.items() if value is None]


def aggregate(document: Document, against: Document | None) -> Aggregates:
    """The four numbers of an unattacked model; its utility is divided by that of ``against``."""
    found = {
        group: {name: documents.value(document, UNATTACKED, (split, name)) for split, name in names}
        for group, names in PARTS.items()
    }
    memorization = formulas.combined([None if value is None else 1 - value for value in found["memorization"].values()])
    privacy = formulas.combined([*found["privacy"].values()])
    utility = formulas.combined([*found["utility"].values()])
    if against is not None:
        utility = _over(utility, aggregate(against, None).utility)
    parts = {name: value for group in found.values() for name, value in group.items()}
    return Aggregates(memorization, privacy, utility, formulas.combined([memorization, privacy, utility]), parts)


def _over(utility: float | None, whole: float | None) -> float | None:
    return None if utility is None or not whole else utility / whole
