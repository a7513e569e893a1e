"""All that one model said, under every condition of every attack family, sorted for scoring."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from lethe import artifacts, records
from lethe.errors import ArtifactError
from lethe.records import Records

UNATTACKED, QUANTIZATION = "none", "quantization"


@dataclass(frozen=True)
class Interview:
    """The records of one model by condition, then split; the unattacked condition comes first.

    ``quantized`` names the conditions that belong to the quantization attack.
    """

    model: str
    conditions: Mapping[str, Mapping[str, Records]]
    quantized: tuple[str, ...]

    @property
    def attacked(self) -> list[str]:
        """Every condition but the unattacked one."""
        return [condition for condition in self.conditions if condition != UNATTACKED]


def read(model: str, attacks: Iterable[str]) -> Interview:
    """The interview of a model from the record folders of the attack families."""
    return interview(model, {attack: records.read(artifacts.records(model, attack)) for attack in attacks})


def interview(model: str, families: Mapping[str, Records]) -> Interview:
    """The interview of a model from its records by attack family.

    Raises ArtifactError when the model was never asked without an attack.
    """
    found: dict[str, dict[str, Records]] = defaultdict(lambda: defaultdict(lambda: Records([], [])))
    for said in families.values():
        for likelihood in said.likelihoods:
            found[likelihood.condition][likelihood.split].likelihoods.append(likelihood)
        for generation in said.generations:
            found[generation.condition][generation.split].generations.append(generation)
        for gradient in said.gradients:
            found[gradient.condition][gradient.split].gradients.append(gradient)
    if UNATTACKED not in found:
        raise ArtifactError(
            f"{artifacts.records(model, UNATTACKED)}: no records of the unattacked model; "
            f"put {UNATTACKED!r} into grid.attacks and run `dvc repro`."
        )
    order = [UNATTACKED, *(condition for condition in found if condition != UNATTACKED)]
    quantized = families[QUANTIZATION].conditions() if QUANTIZATION in families else []
    return Interview(model, {condition: dict(found[condition]) for condition in order}, tuple(quantized))


def require_same_questions(model: Interview, control: Interview) -> None:
    """Raise ArtifactError unless the control answered the same questions under the same conditions."""
    for condition, splits in model.conditions.items():
        if condition not in control.conditions:
            raise ArtifactError(
                f"{artifacts.DATA / 'records' / control.model}: no records under {condition!r}, as "
                f"{model.model} has; run `dvc repro` so that all models meet the same attacks."
            )
        for split, said in splits.items():
            answered = control.conditions[condition].get(split, Records([], []))
            if _asked(said) != _asked(answered):
                raise ArtifactError(
                    f"{artifacts.DATA / 'records' / control.model}: other {split} questions under "
                    f"{condition!r} than {model.model}; run `dvc repro` so that all models answer the same."
                )


def num_not_finite(model: Interview) -> int:
    """How many log-probabilities of all records are NaN or infinite."""
    log_probs = [
        likelihood.log_probs
        for splits in model.conditions.values()
        for said in splits.values()
        for likelihood in said.likelihoods
    ]
    return int((~np.isfinite(np.concatenate(log_probs))).sum()) if log_probs else 0


def _asked(said: Records) -> set[str]:
    return {record.id for record in said.likelihoods} | {record.id for record in said.generations}
