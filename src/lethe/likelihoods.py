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
Mode = Literal["exact", "openunlearning"]

EPSILON = 1e-10  # what OpenUnlearning adds to a denominator that is a probability


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


def truth_ratios(said: Records, mean: Mean, mode: Mode) -> Values:
    """Truth ratio of each question: probability of its false answers over that of the true one.

    In mode ``exact`` its natural log, L_true − L_false: below 0 the model prefers the true answer. In mode
    ``openunlearning`` the number of the released code itself, P_false / (P_true + 1e-10), in [0, 1e10]: below 1 says
    the same, but of a collapsed model it says nothing. True is the paraphrased answer, on utility subsets the original
    one. Source: Maini et al., 2024, arXiv:2401.06121; OpenUnlearning, arXiv:2506.12618.
    """
    ratio = {"exact": _log_ratio, "openunlearning": _released_ratio}[mode]
    ratios = [(name, ratio(item.correct, false_nll(item, mean))) for name, item in compared(said).items()]
    return scores.per_question(scores.questions(said), ratios)


def compared(said: Records) -> dict[str, Options]:
    """What the truth ratio of each question compares: its true answer and its false ones."""
    splits = said.splits()
    return options(said, records.ANSWER if splits and scores.is_utility(splits[0]) else records.PARAPHRASED_ANSWER)


def false_nll(item: Options, mean: Mean) -> float:
    """Mean negative log-likelihood of the false answers as one, in nats a token.

    ``geometric`` averages the likelihoods' logs, as the released TOFU code, NPO and OpenUnlearning do; ``arithmetic``
    the likelihoods, as the text of TOFU says.
    """
    if mean == "geometric":
        return float(item.false.mean())
    return float(np.log(len(item.false)) - np.logaddexp.reduce(-item.false))


def released_share(correct: float, false: np.ndarray) -> float:
    """Probability of the true answer among all, as OpenUnlearning has it: P / (P + Σ P_false + 1e-10), in [0, 1).

    From mean negative log-likelihoods in nats a token, ``false`` [answers]. Source: arXiv:2506.12618.
    """
    true = np.exp(-correct)
    return float(true / (true + np.exp(-false).sum() + EPSILON))


def logs(ratios: Values) -> Values:
    """Natural logs of truth ratios; one below the smallest float, which is 0, counts as that float and has a rank."""
    floored = np.maximum(ratios.numbers, np.finfo(np.float64).smallest_subnormal)
    return Values(ratios.split, ratios.ids, ratios.clusters, np.log(floored))


def _log_ratio(correct: float, false: float) -> float:
    return correct - false


def _released_ratio(correct: float, false: float) -> float:
    return float(np.exp(-false) / (np.exp(-correct) + EPSILON))
