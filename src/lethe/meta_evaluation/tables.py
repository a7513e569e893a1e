"""The findings of a meta-evaluation as one table and as one JSON document."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from lethe.meta_evaluation.aggregates import Aggregates
from lethe.meta_evaluation.documents import Document, Name
from lethe.meta_evaluation.findings import Attack, Config, Finding, Models
from lethe.scoring import OVERALL

NUMBERS = ("model", "memorization", "privacy", "utility", "overall")
Found = Mapping[Name, Finding]


def table(found: Found, attacks: Sequence[Attack], num_unlearned: int) -> Table:
    """One row a metric, the most worthy of belief first; what no model has a number of stands in the caption.

    The order is that of the smaller of both forms: the published one takes a metric that an attack ruins for robust.
    """
    there = {name: finding for name, finding in found.items() if finding.knowing or finding.ignorant}
    shown = Table(caption=_caption([_shown(name) for name in found if name not in there], bool(attacks)))
    under = [f"{attack.kind}\n{attack.condition}" for attack in attacks]
    left_out = f"left out of {num_unlearned}:\nlost / knows / missing"
    last = ["robustness", "overall", left_out] if attacks else []
    for heading in ("metric", "faithfulness", "knowing +\nignorant", *under, *last):
        shown.add_column(heading, no_wrap=heading == "metric")
    for name in sorted(there, key=lambda name: (*_worth(there[name]), name)):
        shown.add_row(*_row(name, there[name], attacks))
    return shown


def aggregates_table(found: Mapping[str, Aggregates]) -> Table:
    """One row a model, by the path of its score file, with the parts that it lacks."""
    shown = Table(caption="harmonic means, ruled by their smallest part: --json shows the parts")
    for heading in (*NUMBERS, "missing parts"):
        shown.add_column(heading, no_wrap=heading == NUMBERS[0])
    for path, item in found.items():
        numbers = (item.memorization, item.privacy, item.utility, item.overall)
        shown.add_row(path, *map(_number, numbers), ", ".join(item.missing))
    return shown


def aggregates_json(found: Mapping[str, Aggregates], against: Document | None) -> dict[str, Any]:
    """All of it, to six significant digits."""
    models = {path: _rounded(asdict(item)) for path, item in found.items()}
    return {"against": None if against is None else against.path.as_posix(), "models": models}


def as_json(found: Found, models: Models, config: Config) -> dict[str, Any]:
    """All of it, metrics by split and name as in a score file, numbers to six significant digits."""
    metrics: dict[str, dict[str, Any]] = {}
    for (split, name), finding in found.items():
        metrics.setdefault(split, {})[name] = _rounded(asdict(finding))
    return {
        "knowing": _paths(models.knowing),
        "ignorant": _paths(models.ignorant),
        "unlearned": _paths(models.unlearned),
        "retain": None if models.retain is None else models.retain.path.as_posix(),
        "settings": config.model_dump(),
        "metrics": metrics,
    }


def _row(name: Name, finding: Finding, attacks: Sequence[Attack]) -> list[str]:
    pools = f"{finding.knowing} + {finding.ignorant}" + (f", {finding.missing} missing" if finding.missing else "")
    cells = [_shown(name), _number(finding.faithfulness), pools]
    if not attacks:
        return cells
    under = [finding.attacks[attack.condition] for attack in attacks]
    forms = [(it.published, it.symmetric) for it in under]
    forms += [(finding.robustness, finding.robustness_symmetric), (finding.overall, finding.overall_symmetric)]
    return [*cells, *(_both(*pair) for pair in forms), " / ".join(map(str, finding.excluded.values()))]


def _caption(nowhere: Sequence[str], attacked: bool) -> str:
    forms = ["published form / symmetric form, means of the models that are not left out"] if attacked else []
    return "; ".join([*forms, *([f"no model has {', '.join(nowhere)}"] if nowhere else [])])


def _shown(name: Name) -> str:
    split, number = name
    return number if split == OVERALL else f"{split} {number}"


def _number(value: float | None) -> str:
    return "missing" if value is None else f"{value:.3f}"


def _both(published: float | None, symmetric: float | None) -> str:
    return "missing" if published is None or symmetric is None else f"{published:.3f} / {symmetric:.3f}"


def _worth(finding: Finding) -> tuple[float, float]:
    """The less, the more worthy of belief; what is missing comes last."""
    forms = (finding.overall, finding.overall_symmetric)
    overall = min((-1.0 if form is None else form) for form in forms)
    return -overall, -(-1.0 if finding.faithfulness is None else finding.faithfulness)


def _paths(documents: Sequence[Document]) -> list[str]:
    return [document.path.as_posix() for document in documents]


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(item) for name, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value
