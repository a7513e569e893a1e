"""Cloze accuracy: how often the model finds the true answer likelier than every false one, in the answers' own words.

1: always; one over the number of options: no better than guessing. ``cloze_accuracy`` compares the log-likelihoods of
whole answers, as lm-eval's ``acc``; ``cloze_accuracy_per_token`` divides each by its number of tokens, which takes
the advantage from short answers (lm-eval's ``acc_norm`` divides by characters; Gao et al., 2021). The right option is
the paraphrased answer where there is one, for false answers are worded like it. Several likeliest options share the
point. Questions without false answers are not asked; multiple choice by letters is ``choice_accuracy``.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from lethe import choices, likelihoods, records, scores
from lethe.config import Section
from lethe.likelihoods import DropEos
from lethe.records import Likelihood, Records
from lethe.scores import Values

SCOPE = "split"
RANGE = {"cloze_accuracy": (0.0, 1.0), "cloze_accuracy_per_token": (0.0, 1.0)}
DIRECTION = dict.fromkeys(RANGE, "match_oracle")
NEEDS = frozenset({"likelihoods", "perturbed_answers"})

_KINDS = (records.ANSWER, records.PARAPHRASED_ANSWER, records.PERTURBED_ANSWER)


class Config(Section):
    """Whether the closing token counts; lm-eval has none."""

    drop_eos: DropEos


def compute(said: Records, config: Config) -> dict[str, Values]:
    """The point for every question with false answers, both ways."""
    options = [item for item in said.likelihoods if item.kind in _KINDS and not choices.is_by_letter(item.split)]
    asked = {item.id for item in options if item.kind == records.PERTURBED_ANSWER}
    options = [item for item in options if item.id in asked]
    totals, per_token = _log_likelihoods(options, config.drop_eos)
    values = {
        name: scores.per_question(Records(options, []), _points(options, logs))
        for name, logs in zip(RANGE, (totals, per_token), strict=True)
    }
    return scores.where_asked(values, said)


def _log_likelihoods(options: Sequence[Likelihood], drop_eos: DropEos) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood of each option and its mean a token: [options]; the mean is NaN without a token that counts."""
    lengths = np.array([likelihoods.num_counted(item, drop_eos) for item in options], dtype=np.int64)
    if not lengths.sum():
        return np.full(len(lengths), np.nan), np.full(len(lengths), np.nan)
    log_probs = np.concatenate([item.log_probs[:length] for item, length in zip(options, lengths, strict=True)])
    owner = np.repeat(np.arange(len(lengths)), lengths)
    totals = np.bincount(owner, weights=log_probs, minlength=len(lengths))
    with np.errstate(invalid="ignore"):
        return totals, totals / lengths


def _points(options: Sequence[Likelihood], logs: np.ndarray) -> list[tuple[str, float]]:
    right: dict[str, dict[str, float]] = defaultdict(dict)
    false: dict[str, list[float]] = defaultdict(list)
    for item, log in zip(options, logs.tolist(), strict=True):
        if item.kind == records.PERTURBED_ANSWER:
            false[item.id].append(log)
        else:
            right[item.id][item.kind] = log
    return [
        (name, choices.point(found.get(records.PARAPHRASED_ANSWER, found.get(records.ANSWER, np.nan)), false[name]))
        for name, found in right.items()
    ]
