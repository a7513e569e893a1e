"""The per-example numbers of a log as our own records and values."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lethe import likelihoods, records, scores
from lethe.errors import DataError
from lethe.interchange import layout, logs
from lethe.interchange.logs import Examples, Log
from lethe.likelihoods import Mean
from lethe.metrics import probability
from lethe.records import Likelihood, Records
from lethe.scores import Values

ROUTES = ("answers", "scores")  # where truth ratios come from: the best one first


def values(log: Log, split: str, field: str, names: Sequence[str], *parts: str) -> Values | None:
    """One field of every example of a metric; None when the log has no examples of it."""
    examples = log.examples(names, *parts)
    if examples is None:
        return None
    where = f"{log.path}: {log.name(names)}"
    logs.require_field(examples, [field], where)
    ids, clusters = zip(*(_names(log, split, row) for row in examples), strict=True)
    numbers = [logs.number(fields.get(field), f"{where}, row {row}: {field}") for row, fields in examples.items()]
    return Values(split, ids, clusters, np.array(numbers, dtype=np.float64))


def probabilities(log: Log, split: layout.Split) -> dict[str, Values]:
    """The probability of the answers and, where it is known, the one among the options."""
    answers = _likelihoods(log, split.name, records.ANSWER, split.probability)
    false = _likelihoods(log, split.name, records.PERTURBED_ANSWER, split.false)
    found = probability.compute(Records([*answers, *false], []), probability.Config()) if answers else {}
    if split.normalised_probability and "normalised_probability" not in found:
        shares = values(log, split.name, "prob", split.normalised_probability)
        return found if shares is None else {**found, "normalised_probability": shares}
    return found


def log_truth_ratios(log: Log, split: layout.Split, mean: Mean, route: str) -> Values | None:
    """Natural log of each question's truth ratio; None when the log does not hold them on this route.

    From the ``answers`` (mean negative log-likelihood of the true and of each false one) they are computed as ours
    are. The ``scores`` are the log's own ratios, which are geometric and carry its additive 1e-10.
    """
    if route == "answers":
        kind = records.ANSWER if scores.is_utility(split.name) else records.PARAPHRASED_ANSWER
        correct = _likelihoods(log, split.name, kind, split.correct)
        false = _likelihoods(log, split.name, records.PERTURBED_ANSWER, split.false)
        return likelihoods.log_truth_ratios(Records([*correct, *false], []), mean) if correct and false else None
    ratios = values(log, split.name, "score", split.truth_ratio) if mean == "geometric" else None
    if ratios is None:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):  # a ratio that fell below the smallest float is exactly 0
        return Values(ratios.split, ratios.ids, ratios.clusters, np.log(ratios.numbers))


def best_log_truth_ratios(log: Log, split: layout.Split, mean: Mean) -> Values | None:
    """The log truth ratios on the first route that the log holds."""
    found = (log_truth_ratios(log, split, mean, route) for route in ROUTES)
    return next((item for item in found if item is not None), None)


def require_same_questions(pair: Sequence[Values], both: tuple[Log, Log], what: str) -> None:
    """Raise DataError unless the values of the model and of the retain model are of the same rows."""
    mine, other = (item.ids for item in pair)
    if mine != other:
        rows = "other rows than" if len(mine) == len(other) else f"{len(other)} rows, not of {len(mine)} as"
        log, retain = both
        raise DataError(f"{retain.path}: its {what} are of {rows} in {log.path}; give the log on the same split.")


def _likelihoods(log: Log, split: str, kind: str, names: Sequence[str]) -> list[Likelihood]:
    examples = log.examples(names)
    if examples is None:
        return []
    where = f"{log.path}: {log.name(names)}"
    logs.require_field(examples, ["avg_loss", "prob"], where)
    return [item for row in examples for item in _row(log, split, kind, row, examples, where)]


def _row(log: Log, split: str, kind: str, row: int, examples: Examples, where: str) -> Iterable[Likelihood]:
    """The answers of one row. Several correct ones become one target: their mean is its mean."""
    identity, cluster = _names(log, split, row)
    nlls = _nlls(examples[row], f"{where}, row {row}")
    targets = nlls[:, None] if kind == records.PERTURBED_ANSWER else [nlls]
    for index, target in enumerate(targets):
        yield _likelihood(split, identity, cluster, kind, index, target)


def _likelihood(split: str, identity: str, cluster: str, kind: str, index: int, nlls: np.ndarray) -> Likelihood:
    # A log knows no tokens: an answer is one token with the answer's mean, and what else a token has is unknown.
    unknown = np.full(len(nlls), np.nan)
    return Likelihood(
        condition="none",
        split=split,
        id=identity,
        cluster=cluster,
        kind=kind,
        index=index,
        ends_turn=False,
        zlib_bytes=0,
        log_probs=-nlls,
        means=unknown,
        variances=unknown,
        hits=np.zeros(len(nlls), dtype=np.bool_),
    )


def _nlls(fields: Mapping[str, Any], where: str) -> np.ndarray:
    """Mean negative log-likelihood of each answer of a row, from ``avg_loss``, else from ``prob``."""
    if fields.get("avg_loss") is not None:
        return _numbers(fields["avg_loss"], f"{where}: avg_loss")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(-np.log(_numbers(fields.get("prob"), f"{where}: prob")))


def _numbers(value: Any, where: str) -> np.ndarray:
    listed = value if isinstance(value, list) else [value]
    return np.array([logs.number(item, where) for item in listed], dtype=np.float64)


def _names(log: Log, split: str, row: int) -> tuple[str, str]:
    identity = f"{split}-{row:06d}"
    if log.benchmark == layout.TOFU and split in layout.AUTHORED:
        return identity, f"{split}-author-{row // layout.QUESTIONS_PER_AUTHOR:04d}"
    return identity, identity
