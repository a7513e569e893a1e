"""The per-example numbers of a log as our own records and values.

A log holds an answer twice, as ``avg_loss`` and as ``prob``. A model in bfloat16 rounds each of them, so that they
differ in the third digit. The log's own aggregates take the probability from ``prob`` and the truth ratio from
``avg_loss``: so do we, and what is recomputed is what was published.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np

from lethe import likelihoods, records, scores
from lethe.errors import DataError
from lethe.interchange import layout, logs
from lethe.interchange.logs import Log
from lethe.likelihoods import Mean, Mode
from lethe.metrics import paraphrased_probability, probability, truth_ratio
from lethe.records import Likelihood, Records
from lethe.scores import Values

ROUTES = ("answers", "scores")  # where truth ratios come from: the better one first
FULL_DIGITS = float(np.finfo(np.float32).tiny)  # below it ``prob`` loses its digits and then is 0

Field = Literal["avg_loss", "prob"]  # which of the two counts where a log has both


def values(log: Log, split: str, field: str, names: Sequence[str], *parts: str) -> Values | None:
    """One field of every example of a metric, NaN where it is no finite number; None without examples of it."""
    examples = log.examples(names, *parts)
    if examples is None:
        return None
    where = f"{log.path}: {log.name(names)}"
    logs.require_field(examples, [field], where)
    ids, clusters = zip(*(_names(log, split, row) for row in examples), strict=True)
    found = [logs.number(fields.get(field), f"{where}, row {row}: {field}") for row, fields in examples.items()]
    numbers = np.array(found, dtype=np.float64)
    return Values(split, ids, clusters, np.where(np.isfinite(numbers), numbers, np.nan))


def probabilities(log: Log, split: layout.Split, chosen: probability.Config) -> dict[str, Values]:
    """The probability of the answers and, where it is known, the one among the options."""
    answers = _likelihoods(log, split.name, records.ANSWER, split.probability, "prob")
    false = _likelihoods(log, split.name, records.PERTURBED_ANSWER, split.false, "prob")
    found = probability.compute(Records([*answers, *false], []), chosen) if answers else {}
    if split.normalised_probability and "normalised_probability" not in found:
        shares = values(log, split.name, "prob", split.normalised_probability)
        return found if shares is None else {**found, "normalised_probability": shares}
    return found


def paraphrased_probabilities(log: Log, split: layout.Split) -> dict[str, Values]:
    """The probability of the paraphrased answers, of a split whose truth ratio takes these for the true ones."""
    if scores.is_utility(split.name):
        return {}
    found = _likelihoods(log, split.name, records.PARAPHRASED_ANSWER, split.correct, "prob")
    settings = paraphrased_probability.Config()
    return paraphrased_probability.compute(Records(found, []), settings) if found else {}


def forms_of_truth_ratio(log: Log, split: layout.Split, chosen: truth_ratio.Config) -> dict[str, Values]:
    """The truth ratio's forms, made of the answers; without these of the log's own ratios what they tell."""
    said = _compared(log, split)
    if said is not None:
        return truth_ratio.compute(said, chosen)
    ratios = truth_ratios(log, split, chosen.mean, chosen.mode, "scores")
    return {} if ratios is None else truth_ratio.of_ratios(ratios, chosen.mode)


def truth_ratios(log: Log, split: layout.Split, mean: Mean, mode: Mode, route: str) -> Values | None:
    """Each question's truth ratio as the mode has it; None when the log does not hold them on this route.

    From the ``answers`` (mean negative log-likelihood of the true and of each false one) they are computed as ours
    are. The ``scores`` are the log's own ratios, which are geometric and carry its additive 1e-10 in both modes.
    """
    if route == "answers":
        said = _compared(log, split)
        return None if said is None else likelihoods.truth_ratios(said, mean, mode)
    ratios = values(log, split.name, "score", split.truth_ratio) if mean == "geometric" else None
    return likelihoods.logs(ratios) if ratios is not None and mode == "exact" else ratios


def require_same_questions(pair: Sequence[Values], both: tuple[Log, Log], what: str) -> None:
    """Raise DataError unless the values of the model and of the retain model are of the same rows."""
    mine, other = (item.ids for item in pair)
    if mine != other:
        rows = "other rows than" if len(mine) == len(other) else f"{len(other)} rows, not of {len(mine)} as"
        log, retain = both
        raise DataError(f"{retain.path}: its {what} are of {rows} in {log.path}; give the log on the same split.")


def _compared(log: Log, split: layout.Split) -> Records | None:
    """The true and the false answers that a truth ratio compares; None when the log lacks one side."""
    kind = records.ANSWER if scores.is_utility(split.name) else records.PARAPHRASED_ANSWER
    correct = _likelihoods(log, split.name, kind, split.correct, "avg_loss")
    false = _likelihoods(log, split.name, records.PERTURBED_ANSWER, split.false, "avg_loss")
    return Records([*correct, *false], []) if correct and false else None


def _likelihoods(log: Log, split: str, kind: str, names: Sequence[str], first: Field) -> list[Likelihood]:
    examples = log.examples(names)
    if examples is None:
        return []
    where = f"{log.path}: {log.name(names)}"
    logs.require_field(examples, ["avg_loss", "prob"], where)
    return [
        item
        for row in examples
        for item in _row(log, split, kind, row, _nlls(examples[row], f"{where}, row {row}", first))
    ]


def _row(log: Log, split: str, kind: str, row: int, nlls: np.ndarray) -> Iterable[Likelihood]:
    """The answers of one row. Several correct ones become one target: their mean is its mean."""
    identity, cluster = _names(log, split, row)
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


def _nlls(fields: Mapping[str, Any], where: str, first: Field) -> np.ndarray:
    """Mean negative log-likelihood of each answer of a row, from the ``first`` field or where it is null the other."""
    losses, probabilities = (_numbers(fields.get(name), f"{where}: {name}") for name in get_args(Field))
    sizes = {len(losses), len(probabilities)}
    if len(sizes) > 1 and None not in (fields.get(name) for name in get_args(Field)):
        raise DataError(
            f"{where}: avg_loss and prob are of {min(sizes)} and {max(sizes)} answers; give as many of each."
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        surprises = -np.log(probabilities)
    if first == "prob":
        return np.where((probabilities >= FULL_DIGITS) | np.isnan(losses), surprises, losses)
    return np.where(np.isnan(losses), surprises, losses)


def _numbers(value: Any, where: str) -> np.ndarray:
    listed = value if isinstance(value, list) else [value]
    return np.array([logs.number(item, where) for item in listed], dtype=np.float64)


def _names(log: Log, split: str, row: int) -> tuple[str, str]:
    identity = f"{split}-{row:06d}"
    if log.benchmark == layout.TOFU and split in layout.AUTHORED:
        return identity, f"{split}-author-{row // layout.QUESTIONS_PER_AUTHOR:04d}"
    return identity, identity
