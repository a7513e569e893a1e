"""All that a report rests on, read from the files of the finished stages. What is not there stays missing."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from lethe import artifacts, ledger
from lethe.interviews import UNATTACKED
from lethe.recipes import Grid

_CODEBOOKS = ("nf4", "fp4")


class Estimate(NamedTuple):
    """One number with its interval, or the reason why there is none."""

    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    unscored: int | None = None
    reason: str = ""


@dataclass(frozen=True)
class NamedScheme:
    """A way to round weights: its name in the records, bits a weight, and how weights share a scale."""

    name: str
    kind: str
    bits: int
    group_size: int | None

    @property
    def family(self) -> str:
        """The scheme without its bit width: what keeps one marker in the figures."""
        if self.kind in _CODEBOOKS:
            return self.kind.upper()
        shared = f"groups of {self.group_size}" if self.group_size else "per channel"
        return shared + {"asymmetric": ", asymmetric", "symmetric_clipped": ", clipped"}.get(self.kind, "")

    @property
    def label(self) -> str:
        """How the scheme is called in a table."""
        if self.kind in _CODEBOOKS:
            return f"{self.family}, {self.bits} bits"
        return f"{self.bits} bits, {self.family}"


@dataclass(frozen=True)
class Model:
    """What is known about one model. ``recipe`` is None for the target and the retain model."""

    name: str
    recipe: str | None
    scores: dict[str, Any] | None
    curve: list[dict[str, Any]]
    diagnostics: dict[str, Any] | None
    capabilities: dict[str, Any] | None
    probes: dict[str, Any] | None

    @property
    def conditions(self) -> dict[str, Any]:
        """The scores by condition, then split, then metric; empty when the model was not scored."""
        return (self.scores or {}).get("conditions") or {}

    @property
    def attacks(self) -> dict[str, Any]:
        """For every condition, what the attack brought back; empty for controls and without an attack."""
        return (self.scores or {}).get("attacks") or {}

    @property
    def prompts(self) -> dict[str, Any]:
        """For every kind of prompt beside the plain question, what it brought out; empty where none was put."""
        return (self.scores or {}).get("prompts") or {}

    @property
    def returns(self) -> dict[str, str]:
        """What the verdict says of a return under every quantization; empty for controls and without one."""
        return (self.scores or {}).get("returns") or {}

    @property
    def gates(self) -> list[dict[str, Any]]:
        """The rules that the model was held against; empty for controls."""
        return (self.scores or {}).get("gates") or []

    def score(self, condition: str, split: str, metric: str) -> Estimate:
        """A score of this model; an Estimate without value, but with a reason, when there is none."""
        if self.scores is None:
            return Estimate(reason=f"{self.name} was not scored")
        if condition not in self.conditions:
            return Estimate(reason=f"{self.name} was not run under {condition}")
        if split not in self.conditions[condition]:
            return Estimate(reason=f"there are no questions of the split {split}")
        return estimate(self.conditions[condition].get(split, {}).get(metric))


@dataclass(frozen=True)
class Evidence:
    """What every table and figure is made from.

    ``models`` holds target, retain and then the cells; ``schemes`` go from the most bits to the fewest.
    ``confidence`` is that of all intervals. ``largest_excess`` is the limit of the quantization gate: more
    excess than this is a return. ``weights`` holds the md5 that ``dvc.lock`` has of each model's folder.
    """

    grid: Grid
    models: list[Model]
    schemes: dict[str, NamedScheme]
    confidence: float
    largest_excess: float
    manifest: dict[str, Any] = field(default_factory=dict)
    recipes: dict[str, dict[str, Any]] = field(default_factory=dict)
    weights: dict[str, str] = field(default_factory=dict)

    @property
    def controls(self) -> list[Model]:
        """The target and the retain model."""
        return [model for model in self.models if model.recipe is None]

    @property
    def cells(self) -> list[Model]:
        """The unlearned models, recipe by recipe."""
        return [model for model in self.models if model.recipe is not None]

    @property
    def text_is_public(self) -> bool:
        """Whether questions and answers may be shown; only an explicit yes of the manifest counts."""
        return self.manifest.get("public_text") is True

    def condition_label(self, condition: str) -> str:
        """How a condition is called in a table."""
        if condition == UNATTACKED:
            return "full precision"
        return self.schemes[condition].label if condition in self.schemes else condition

    def readable(self, text: str) -> str:
        """A text of the score files with the names of schemes replaced by their labels."""
        return re.sub(r"\w+", lambda word: self.condition_label(word[0]) if word[0] in self.schemes else word[0], text)

    def attacked_conditions(self) -> list[str]:
        """Every scheme, from the most bits to the fewest, and then what else any model was run under."""
        seen = {condition for model in self.models for condition in model.conditions}
        return [*self.schemes, *sorted(seen - {UNATTACKED} - set(self.schemes))]


def gather(grid: Grid, schemes: dict[str, Any], *, confidence: float, largest_excess: float) -> Evidence:
    """Read what the stages left for this grid; ``schemes`` is that block of the quantization attack."""
    named = [NamedScheme(name=name, **values) for name, values in schemes.items()]
    cells = {artifacts.cell(recipe, seed): recipe for recipe in grid.recipes for seed in grid.seeds}
    models = {**dict.fromkeys(artifacts.CONTROLS), **cells}
    return Evidence(
        grid=grid,
        models=[_model(name, recipe) for name, recipe in models.items()],
        schemes={scheme.name: scheme for scheme in sorted(named, key=lambda scheme: -scheme.bits)},
        confidence=confidence,
        largest_excess=largest_excess,
        manifest=_if_there(artifacts.MANIFEST) or {},
        recipes={name: _if_there(artifacts.recipe(name)) or {} for name in grid.recipes},
        weights=_weights(list(models)),
    )


def estimate(leaf: dict[str, Any] | None) -> Estimate:
    """A leaf of the score files as an Estimate; says why when it has no value."""
    if leaf is None:
        return Estimate(reason="not part of this model's scores")
    fields: dict[str, Any] = {name: leaf.get(name) for name in ("value", "low", "high", "n", "unscored")}
    if fields["value"] is None:
        return Estimate(**fields, reason=_why_missing(fields["n"], fields["unscored"]))
    return Estimate(**fields)


def _why_missing(n: int | None, unscored: int | None) -> str:
    if unscored:
        return f"{unscored} could not be scored"
    return "not defined for these numbers" if n else "no question has what it needs"


def _model(name: str, recipe: str | None) -> Model:
    return Model(
        name=name,
        recipe=recipe,
        scores=_if_there(artifacts.scores(name)),
        curve=_if_there(artifacts.curve(name)) or [],
        diagnostics=_if_there(artifacts.diagnostics(name)) if recipe else None,
        capabilities=_if_there(artifacts.capabilities(name)),
        probes=_if_there(artifacts.probes(name)) if recipe else None,
    )


def _weights(models: list[str]) -> dict[str, str]:
    # DVC writes a stage's entry before it begins the next one, so the lock speaks of the models that answered.
    hashes = ledger.written(ledger.read()) if ledger.LOCK.is_file() else {}
    folders = {name: artifacts.model(name).as_posix() for name in models}
    return {name: hashes[folder] for name, folder in folders.items() if folder in hashes}


def _if_there(path: Path) -> Any:
    return artifacts.read_json(path) if path.is_file() else None
