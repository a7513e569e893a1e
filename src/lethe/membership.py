"""Membership inference: can a model's answers tell what it was trained on from what it never saw?

Members are the forget questions, non-members those of holdout, which no model was trained on and which must be of
the same kind. An attack gives every question a number, higher for a likelier member:

- AUC: the chance that a member has the higher number; 0.5 cannot tell, 1 memorised, below 0.5 the model knows *less*
  about what it unlearned than about what it never saw, which gives it away as well
- TPR at 1 % and at 5 % FPR: the share of the members that can be pointed at with so few false alarms
- difference: the AUC less that of the retain model, whose AUC is not 0.5 where holdout is of another kind
- similarity: 1 − |AUC − AUC of the retain model| / AUC of the retain model, not below 0; 1 is like the retain model
  (OpenUnlearning, arXiv:2506.12618)

The intervals draw the clusters of both sides anew, the same ones for both models. How many questions of either side a
number rests on is counted apart (``sides`` of its :class:`lethe.scores.Score`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, NamedTuple

import numpy as np
from pydantic import Field

from lethe import likelihoods, scores, statistics
from lethe.likelihoods import DropEos
from lethe.records import ANSWER_AFTER_PREFIX, FORGET, HOLDOUT, Likelihood, Records
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

Mode = Literal["standard", "openunlearning", "muse"]
Share = Annotated[float, Field(gt=0, le=1)]  # of the tokens of a target
Attack = Callable[[Records], Values]
Formula = Callable[..., np.ndarray]  # of the AUC of a model and that of the retain model

DIFFERENCE = "_auc_difference"  # the ending of the score that the verdict looks at
_SIMILARITY = "_similarity"
_RATES = {"_tpr_at_1_percent_fpr": 0.01, "_tpr_at_5_percent_fpr": 0.05}
_RANGES = {"_auc": (0.0, 1.0), **dict.fromkeys(_RATES, (0.0, 1.0)), DIFFERENCE: (-1.0, 1.0), _SIMILARITY: (0.0, 1.0)}
_SMALLEST_VARIANCE = 1e-6  # of the log-probability over the vocabulary, as in the released code of OpenUnlearning


class Sides(NamedTuple):
    """What an attack makes of every forget question and of every holdout question."""

    members: Values
    non_members: Values


@dataclass(frozen=True)
class Tokens:
    """The tokens of several targets one after the other; the chunks of a text are one target.

    ``owners`` [tokens] is the place of each token's target among the ``ids``, ascending; ``lengths`` and
    ``zlib_bytes`` are [targets]; ``log_probs``, ``means`` and ``variances`` [tokens] as in the records.
    """

    ids: list[str]
    lengths: np.ndarray
    zlib_bytes: np.ndarray
    owners: np.ndarray
    log_probs: np.ndarray
    means: np.ndarray
    variances: np.ndarray


def ranges(name: str) -> dict[str, tuple[float, float]]:
    """Between which ends the numbers of the attack ``name`` lie."""
    return {name + ending: ends for ending, ends in _RANGES.items()}


def directions(name: str) -> dict[str, str]:
    """Which way the numbers of the attack ``name`` should go."""
    return {name + ending: "higher" if ending == _SIMILARITY else "match_oracle" for ending in _RANGES}


def sides(said: Mapping[str, Records], attack: Attack) -> Sides:
    """The attack on both sides; a split that was not asked has no values."""
    members, non_members = (attack(said.get(split, Records([], []))) for split in (FORGET, HOLDOUT))
    return Sides(members, non_members)


def minus(model: Sides, reference: Sides) -> Sides:
    """What an attack makes of a model, less what it makes of another one that answered the same questions."""
    for mine, other in zip(model, reference, strict=True):
        statistics.require_same_questions([mine, other])
    members, non_members = (
        replace(mine, numbers=mine.numbers - other.numbers) for mine, other in zip(model, reference, strict=True)
    )
    return Sides(members, non_members)


def on_both(model: Mapping[str, Records], retain: Mapping[str, Records], attack: Attack) -> tuple[Sides, Sides]:
    """The sides of the model and of the retain model, attacked in the same way."""
    return sides(model, attack), sides(retain, attack)


def results(name: str, model: Sides, retain: Sides | None, bootstrap: Bootstrap) -> dict[str, Score]:
    """All numbers of the attack ``name``, each missing without both sides or with too many unscored questions.

    Without a retain model that the attack can be compared with, difference and similarity are missing, and no
    question counts for them.
    """
    against: dict[str, Formula] = {name + DIFFERENCE: np.subtract, name + _SIMILARITY: similarity}
    alone = _alone(name, model, bootstrap)
    if retain is None:
        return alone | dict.fromkeys(against, _nothing([model]))
    return alone | compared(model, retain, against, bootstrap)


def compared(model: Sides, retain: Sides, formulas: Mapping[str, Formula], bootstrap: Bootstrap) -> dict[str, Score]:
    """What formulas make of the AUC of the model and that of the retain model (arrays of any one shape).

    Missing where a side of a model is, or where a formula gives NaN. Raises ValueError when model and retain model
    did not answer the same questions.
    """
    for mine, other in zip(model, retain, strict=True):
        statistics.require_same_questions([mine, other])
    if _is_missing([model, retain], bootstrap):
        return dict.fromkeys(formulas, _missing([model, retain]))
    pair = [statistics.auc(*_scored(both)) for both in (model, retain)]
    drawn = [statistics.resampled_aucs(*both, bootstrap) for both in (model, retain)]
    return {
        name: _score([model, retain], float(formula(*map(np.asarray, pair))), formula(*drawn), bootstrap)
        for name, formula in formulas.items()
    }


def combined(attacks: Sequence[tuple[Sides, Sides]], formula: Formula, bootstrap: Bootstrap) -> Score:
    """What a formula makes of the AUCs [attacks, ...] of the model and of the retain model under several attacks.

    ``attacks`` are pairs of model and retain model. Missing where one of them is, or where the formula gives NaN.
    """
    everything = [both for pair in attacks for both in pair]
    if _is_missing(everything, bootstrap):
        return _missing(everything)
    aucs = np.array([[statistics.auc(*_scored(both)) for both in pair] for pair in attacks]).T
    drawn = np.array([[statistics.resampled_aucs(*both, bootstrap) for both in pair] for pair in attacks])
    return _score(everything, float(formula(*aucs)), formula(*drawn.swapaxes(0, 1)), bootstrap)


def similarity(model: np.ndarray, retain: np.ndarray) -> np.ndarray:
    """1 − |AUC − retain AUC| / retain AUC, not below 0; NaN where the AUC of the retain model is 0."""
    return np.asarray(np.maximum(1 - np.abs(model - retain) / np.where(retain > 0, retain, np.nan), 0.0))


def log_likelihoods(said: Records, drop_eos: DropEos) -> Values:
    """Mean log-probability of each answer or text, in nats a token: the LOSS attack's number."""
    found = tokens(likelihoods.known(said), drop_eos)
    return scores.per_question(said, zip(found.ids, mean(found, found.log_probs), strict=True))


def compressed_log_likelihoods(said: Records, drop_eos: DropEos) -> Values:
    """The same over the length of the target's text after zlib compression, in nats a token and byte."""
    found = tokens(likelihoods.known(said), drop_eos)
    return scores.per_question(said, zip(found.ids, mean(found, found.log_probs) / found.zlib_bytes, strict=True))


def prefix_ratios(said: Records, drop_eos: DropEos) -> Values:
    """Mean log-probability behind the prefix over the one without: the ReCaLL attack's number (arXiv:2406.15968).

    Where answers were asked behind a prefix the attack is on these alone: holdout rows that stand in the prefix itself
    and texts are no questions of it. Where none was, all of them are unscored.
    """
    after = tokens([item for item in said.likelihoods if item.kind == ANSWER_AFTER_PREFIX], drop_eos)
    if after.ids:
        asked = set(after.ids)
        said = Records([item for item in said.likelihoods if item.id in asked], [])
    plain = log_likelihoods(said, drop_eos)
    behind = scores.per_question(said, zip(after.ids, mean(after, after.log_probs), strict=True))
    first, second = np.abs(plain.numbers), np.abs(behind.numbers)  # a certain answer has −0 as well as 0
    with np.errstate(divide="ignore", invalid="ignore"):
        return replace(plain, numbers=np.where((first == 0) & (second == 0), 1.0, second / first))


def lowest_log_probs(said: Records, k: float, drop_eos: DropEos, mode: Mode) -> Values:
    """Mean of the share ``k`` of least likely tokens, in nats: the Min-K % attack's number (arXiv:2310.16789)."""
    found = tokens(likelihoods.known(said), drop_eos)
    return scores.per_question(said, zip(found.ids, mean_of_lowest(found, found.log_probs, k, mode), strict=True))


def lowest_z_scores(said: Records, k: float, drop_eos: DropEos, mode: Mode) -> Values:
    """The same with every log-probability in standard deviations from its mean over the vocabulary.

    The Min-K++ % attack's number (arXiv:2404.02936). A variance counts as at least 1e-6, as in OpenUnlearning.
    """
    found = tokens(likelihoods.known(said), drop_eos)
    z_scores = (found.log_probs - found.means) / np.sqrt(np.maximum(found.variances, _SMALLEST_VARIANCE))
    return scores.per_question(said, zip(found.ids, mean_of_lowest(found, z_scores, k, mode), strict=True))


def tokens(targets: Iterable[Likelihood], drop_eos: DropEos) -> Tokens:
    """The tokens that count of every target, in the order of the ids and, within a text, of its chunks."""
    ordered = sorted(targets, key=lambda target: (target.id, target.index))
    places = {identity: place for place, identity in enumerate(dict.fromkeys(target.id for target in ordered))}
    owners = np.array([places[target.id] for target in ordered], dtype=np.int64)
    counted = [likelihoods.num_counted(target, drop_eos) for target in ordered]
    return Tokens(
        ids=list(places),
        lengths=np.bincount(owners, weights=counted, minlength=len(places)),
        zlib_bytes=np.bincount(owners, weights=[target.zlib_bytes for target in ordered], minlength=len(places)),
        owners=np.repeat(owners, counted),
        log_probs=_joined([target.log_probs for target in ordered], counted),
        means=_joined([target.means for target in ordered], counted),
        variances=_joined([target.variances for target in ordered], counted),
    )


def mean(targets: Tokens, numbers: np.ndarray) -> np.ndarray:
    """Mean of numbers [tokens] over the tokens of each target: [targets]; NaN without a token."""
    sums = np.bincount(targets.owners, weights=numbers, minlength=len(targets.ids))
    with np.errstate(invalid="ignore"):
        return np.asarray(sums / targets.lengths)


def mean_of_lowest(targets: Tokens, numbers: np.ndarray, k: float, mode: Mode) -> np.ndarray:
    """Mean of the smallest ⌊k · n⌋ of each target's n numbers: [targets].

    ``standard`` takes at least one, and a target without a token is NaN. ``openunlearning`` does so, too, but gives
    such a target a 0 (the surest member there is). ``muse`` takes none of a target that is too short: NaN.
    """
    counts = np.floor(targets.lengths * k)
    if mode != "muse":
        counts = np.minimum(np.maximum(counts, 1), targets.lengths)
    starts = np.cumsum(targets.lengths) - targets.lengths
    low = np.arange(len(numbers)) - starts[targets.owners] < counts[targets.owners]
    ordered = numbers[np.lexsort((numbers, targets.owners))]
    sums = np.bincount(targets.owners[low], weights=ordered[low], minlength=len(targets.ids))
    empty = 0.0 if mode == "openunlearning" else np.nan
    return np.where(counts > 0, sums / np.maximum(counts, 1), empty)


def _alone(name: str, model: Sides, bootstrap: Bootstrap) -> dict[str, Score]:
    """AUC and TPRs of the attack on one model."""
    if _is_missing([model], bootstrap):
        return dict.fromkeys((name + ending for ending in ("_auc", *_RATES)), _missing([model]))
    resampled = statistics.resampled_aucs(*model, bootstrap)
    found = {name + "_auc": _score([model], statistics.auc(*_scored(model)), resampled, bootstrap)}
    for ending, fpr in _RATES.items():
        resampled = statistics.resampled_tprs(*model, fpr, bootstrap)
        found[name + ending] = _score([model], statistics.tpr_at_fpr(*_scored(model), fpr), resampled, bootstrap)
    return found


def _score(models: list[Sides], value: float, resampled: np.ndarray, bootstrap: Bootstrap) -> Score:
    counted, unscored = _tally(models)
    if np.isnan(value):
        return Score(None, None, None, sum(counted), unscored, counted)
    low, high = statistics.bounds(resampled, [side for both in models for side in both], bootstrap)
    return Score(value, low, high, sum(counted), unscored, counted)


def _scored(both: Sides) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of either side without those that are missing."""
    members, non_members = (side.numbers[~np.isnan(side.numbers)] for side in both)
    return members, non_members


def _is_missing(models: list[Sides], bootstrap: Bootstrap) -> bool:
    return any(statistics.is_missing(side, bootstrap) for both in models for side in both)


def _missing(models: list[Sides]) -> Score:
    """No number: where a side is empty, all that was asked of the other is unscored."""
    counted, unscored = _tally(models)
    if all(side.n for both in models for side in both):
        return Score(None, None, None, sum(counted), unscored, counted)
    return _nothing(models)


def _nothing(models: list[Sides]) -> Score:
    """No number, and no question that counts: all that was asked is unscored."""
    counted, unscored = _tally(models)
    return Score(None, None, None, 0, sum(counted) + unscored, (0, 0))


def _joined(arrays: list[np.ndarray], counted: list[int]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(array[:n] for array, n in zip(arrays, counted, strict=True))])


def _tally(models: list[Sides]) -> tuple[tuple[int, int], int]:
    """How many members and how many non-members all models have a number for, and how many questions not."""
    missing = [np.isnan([side.numbers for side in group]).any(axis=0) for group in zip(*models, strict=True)]
    members, non_members = (int((~side).sum()) for side in missing)
    return (members, non_members), sum(int(side.sum()) for side in missing)
