"""What is said of every metric: its faithfulness on two pools of models, its robustness on unlearned ones.

Robustness is a mean over unlearned models that are worth asking. Left out, and counted, are those that lost too much
utility and those that the metric still takes for knowing before any attack (OpenUnlearning, arXiv:2506.12618).
Deviation: utility is compared with the mean of the knowing models; with several attacks robustness is the harmonic
mean over all of them, for relearning and one quantization the published one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from lethe.config import Section
from lethe.errors import ArtifactError
from lethe.interviews import UNATTACKED
from lethe.meta_evaluation import documents, formulas
from lethe.meta_evaluation.documents import Document, Name
from lethe.meta_evaluation.formulas import Pair

Kind = Literal["quantization", "relearning"]
REASONS = LOST, KNOWS, MISSING = ("utility lost", "still knowing", "missing")


class Config(Section):
    """Which unlearned models are worth asking."""

    largest_utility_loss: Annotated[float, Field(ge=0, lt=1)]  # share of the knowing models' utility


class Attack(NamedTuple):
    """A condition of the score files, and what was done to the models under it."""

    condition: str
    kind: Kind


class Models(NamedTuple):
    """Models that were trained on the forget set, never saw it, or unlearned it; and the retain model to relearn."""

    knowing: Sequence[Document]
    ignorant: Sequence[Document]
    unlearned: Sequence[Document]
    retain: Document | None


@dataclass(frozen=True)
class Robustness:
    """The mean of both forms over ``n`` models; None without one."""

    kind: Kind
    published: float | None
    symmetric: float | None
    n: int


@dataclass(frozen=True)
class Finding:
    """What is said of one metric; None is missing.

    ``knowing`` and ``ignorant`` count the models with a number, ``missing`` those of both pools without one;
    ``excluded`` counts the unlearned models that were not asked, by reason.
    """

    faithfulness: float | None
    knowing: int
    ignorant: int
    missing: int
    threshold: float | None
    attacks: dict[str, Robustness]
    excluded: dict[str, int]
    robustness: float | None
    robustness_symmetric: float | None
    overall: float | None
    overall_symmetric: float | None


def evaluate(models: Models, attacks: Sequence[Attack], config: Config) -> dict[Name, Finding]:
    """What is said of every metric of knowledge that some model of the pools carries, by its split and name.

    Raises ArtifactError when a model stands in both pools, when the pools share no metric, when a model was not scored
    under an attack, when relearning has no retain model to compare with, or when metrics were not set alike.
    """
    _require_apart(models)
    retain = [] if models.retain is None else [models.retain]
    documents.require_same_settings([*models.knowing, *models.ignorant, *models.unlearned, *retain])
    _require_conditions(models, attacks)
    found = {
        name: _finding(name, models, attacks, _kept_utility(models.knowing, config))
        for name in documents.names([*models.knowing, *models.ignorant])
    }
    if all(finding.faithfulness is None for finding in found.values()):
        first, second = models.knowing[0].path, models.ignorant[0].path
        raise ArtifactError(
            f"{first}, {second}: no metric of knowledge has a number in both pools; score all models by the same ones."
        )
    return found


def _finding(name: Name, models: Models, attacks: Sequence[Attack], least: float | None) -> Finding:
    knowing, ignorant = (_known(pool, name) for pool in (models.knowing, models.ignorant))
    faithful = formulas.faithfulness(knowing, ignorant)
    cut = None if faithful is None else formulas.threshold(knowing, ignorant)
    reasons = [_reason(document, name, cut, least) for document in models.unlearned]
    kept = [document for document, reason in zip(models.unlearned, reasons, strict=True) if reason is None]
    under = {attack.condition: _robustness(kept, models.retain, name, attack) for attack in attacks}
    published = formulas.combined([it.published for it in under.values()])
    symmetric = formulas.combined([it.symmetric for it in under.values()])
    return Finding(
        faithfulness=faithful,
        knowing=len(knowing),
        ignorant=len(ignorant),
        missing=len(models.knowing) + len(models.ignorant) - len(knowing) - len(ignorant),
        threshold=cut,
        attacks=under,
        excluded={reason: reasons.count(reason) for reason in REASONS},
        robustness=published,
        robustness_symmetric=symmetric,
        overall=formulas.combined([faithful, published]),
        overall_symmetric=formulas.combined([faithful, symmetric]),
    )


def _reason(document: Document, name: Name, cut: float | None, least: float | None) -> str | None:
    """Why an unlearned model is not asked; None when it is."""
    utility, known = documents.utility(document), documents.knowledge(document, UNATTACKED, name)
    if utility is not None and least is not None and utility < least:
        return LOST
    if utility is None or least is None or known is None or cut is None:
        return MISSING
    return KNOWS if known > cut else None


def _robustness(kept: Sequence[Document], retain: Document | None, name: Name, attack: Attack) -> Robustness:
    pairs = [pair for document in kept if (pair := _pair(document, attack, name)) is not None]
    if attack.kind == "quantization":
        published = [formulas.quantization(pair) for pair in pairs]
        symmetric = [formulas.symmetric_quantization(pair) for pair in pairs]
    else:
        control = None if retain is None else _pair(retain, attack, name)
        published = [formulas.relearning(pair, control) for pair in pairs if control is not None]
        symmetric = [formulas.symmetric_relearning(pair, control) for pair in pairs if control is not None]
    return Robustness(attack.kind, formulas.mean(published), formulas.mean(symmetric), len(published))


def _pair(document: Document, attack: Attack, name: Name) -> Pair | None:
    before, after = (documents.knowledge(document, condition, name) for condition in (UNATTACKED, attack.condition))
    return None if before is None or after is None else Pair(before, after)


def _known(pool: Sequence[Document], name: Name) -> list[float]:
    found = [documents.knowledge(document, UNATTACKED, name) for document in pool]
    return [known for known in found if known is not None]


def _kept_utility(knowing: Sequence[Document], config: Config) -> float | None:
    """The least utility of an unlearned model that is worth asking."""
    whole = formulas.mean([utility for it in knowing if (utility := documents.utility(it)) is not None])
    return None if whole is None else (1 - config.largest_utility_loss) * whole


def _require_apart(models: Models) -> None:
    ignorant = {document.path.resolve() for document in models.ignorant}
    both: Path | None = next((it.path for it in models.knowing if it.path.resolve() in ignorant), None)
    if both is not None:
        raise ArtifactError(f"{both}: stands among the knowing and the ignorant models; leave it in one pool.")


def _require_conditions(models: Models, attacks: Sequence[Attack]) -> None:
    if bool(models.unlearned) != bool(attacks):
        lacking = "a condition of --quantization or --relearning" if models.unlearned else "--unlearned score files"
        raise ArtifactError(f"robustness needs unlearned models and an attack: give {lacking}, too.")
    conditions = [attack.condition for attack in attacks]
    twice = next((condition for condition in conditions if conditions.count(condition) > 1), None)
    if twice is not None:
        raise ArtifactError(f"condition {twice!r} is named twice; name every attack once.")
    for attack in attacks:
        if attack.kind == "relearning" and models.retain is None:
            raise ArtifactError(f"relearning under {attack.condition!r} needs --retain, the retain model's score file.")
        controls = [models.retain] if attack.kind == "relearning" and models.retain is not None else []
        for document in (*models.unlearned, *controls):
            documents.require_condition(document, attack.condition)
