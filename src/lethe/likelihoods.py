"""From tokens to one number an answer, in log space: what several metrics make of likelihoods."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from lethe import records, scores
from lethe.records import Likelihood, Records
from lethe.scores import Values

DropEos = Literal["never", "if_ends_turn", "always_last"]
Mean = Literal["geometric", "arithmetic"]


class Options(NamedTuple):
    """Mean negative log-likelihoods, in nats a token, of a question's correct and false answers."""

    correct: float
    false: np.ndarray


def known(said: Records) -> list[Likelihood]:
    """The targets that a model was to know: the answers, and the texts of a corpus."""
    return [item for item in said.likelihoods if item.kind in (records.ANSWER, records.TEXT)]


def mean_nlls(likelihoods: Sequence[Likelihood]) -> np.ndarray:
    """Mean negative log-likelihood of each target, in nats a token: [targets]; NaN for an empty target."""
    lengths = np.array([len(item.log_probs) for item in likelihoods], dtype=np.int64)
    if not lengths.sum():
        return np.full(len(lengths), np.nan)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    log_probs = np.concatenate([item.log_probs for item in likelihoods])
    with np.errstate(invalid="ignore"):
        return -np.bincount(owner, weights=log_probs, minlength=len(lengths)) / lengths


def probabilities(said: Records) -> Values:
    """Length-normalised probability exp(-mean NLL) of each answer or text, in (0, 1]."""
    targets = known(said)
    return scores.per_question(said, zip((item.id for item in targets), np.exp(-mean_nlls(targets)), strict=True))


def hits(likelihood: Likelihood, drop_eos: DropEos) -> np.ndarray:
    """Which target tokens were the model's first choice: [tokens], of those that count."""
    return likelihood.hits[: num_counted(likelihood, drop_eos)]


def num_counted(likelihood: Likelihood, drop_eos: DropEos) -> int:
    """How many of the target tokens count, from the first one on.

    ``drop_eos`` says whether the last token counts: ``if_ends_turn`` leaves it out where it is the end of
    turn, ``always_last`` leaves it out everywhere (as OpenUnlearning does, which loses a real token of plain
    text).
    """
    drops = drop_eos == "always_last" or (drop_eos == "if_ends_turn" and likelihood.ends_turn)
    return max(len(likelihood.log_probs) - drops, 0)


def options(said: Records, correct: str) -> dict[str, Options]:
    """The options of each question that has an answer of kind ``correct`` and false answers."""
    wanted = [item for item in said.likelihoods if item.kind in (correct, records.PERTURBED_ANSWER)]
    true: dict[str, float] = {}
    false: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for item, nll in zip(wanted, mean_nlls(wanted), strict=True):
        if item.kind == correct:
            true[item.id] = float(nll)
        else:
            false[item.id].append((item.index, float(nll)))
    return {
        name: Options(true[name], np.array([nll for _, nll in sorted(false[name])])) for name in true if name in false
    }


def log_truth_ratios(said: Records, mean: Mean) -> Values:
    """Natural log of each question's truth ratio: probability of its false answers over the true one's.

    Below 0 the model prefers the correct answer. ``geometric`` is L_correct − mean(L_false), the aggregation
    of the released TOFU code, NPO and OpenUnlearning; ``arithmetic`` is what the text of TOFU says. The
    correct answer is the paraphrased one, and the original one on utility subsets. Source: Maini et al.,
    2024, arXiv:2401.06121.
    """
    splits = said.splits()
    correct = records.ANSWER if splits and scores.is_utility(splits[0]) else records.PARAPHRASED_ANSWER
    found = options(said, correct)
    ratios = [(name, _log_truth_ratio(item, mean)) for name, item in found.items()]
    return scores.per_question(scores.questions(said), ratios)


def _log_truth_ratio(item: Options, mean: Mean) -> float:
    if mean == "geometric":
        return float(item.correct - item.false.mean())
    return float(item.correct + np.logaddexp.reduce(-item.false) - np.log(len(item.false)))
