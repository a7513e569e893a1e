"""What other prompts than the plain question bring out of a model: true answers it would give when asked otherwise.

The leak of a greedy answer is its ROUGE-L recall of the true one by the rules of RWKU (Jin et al., 2024,
arXiv:2406.10890), 0 to 1, up to the first line break; ``difference`` is that of the unlearned minus that of the retain
model on the same prompts: 0 as if it had never seen the data. ``target_difference`` is that of the target, which knows:
prompts by which it does not leak either have no power. ``leak_p`` is the p-value of the one-sided test that the
difference is above the limit, adjusted by Holm over all kinds of prompt: whoever names the worst kind has picked it.

Kinds are those that the records hold: the adversarial prompts of RWKU's level 3, and questions in other words
(``infer.<data>.generate_paraphrased``), which attack nothing: a model that stands them alone has stood no attack.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lethe import scores, statistics
from lethe.interviews import UNATTACKED, Interview
from lethe.metrics import rwku
from lethe.records import FORGET, Generation, Records
from lethe.scores import PARAPHRASED, Score, Values
from lethe.statistics import Bootstrap

_ADVERSARIAL = f"{rwku.LEVELS['rwku_adversarial']}_"


def prompt_scores(
    model: Interview, target: Interview, retain: Interview, bootstrap: Bootstrap, largest_leak: float
) -> dict[str, dict[str, Score]]:
    """The recall of the three models, both differences and ``leak_p`` of every kind of prompt without an attack.

    Empty where only plain questions were asked.
    """
    mine, known, theirs = (leaks(said.conditions[UNATTACKED]) for said in (model, target, retain))
    differences = {kind: statistics.difference(mine[kind], theirs[kind], bootstrap) for kind in mine}
    tests = [_p(mine[kind], theirs[kind], differences[kind], largest_leak, bootstrap) for kind in mine]
    found = {}
    for kind, p in zip(mine, statistics.holm(tests), strict=True):
        recalls = statistics.means([said[kind] for said in (mine, known, theirs)], bootstrap)
        n, unscored = differences[kind].n, differences[kind].unscored
        found[kind] = {
            **dict(zip(("recall", "target_recall", "retain_recall"), recalls, strict=True)),
            "difference": differences[kind],
            "target_difference": statistics.difference(known[kind], theirs[kind], bootstrap),
            "leak_p": Score(None if np.isnan(p) else p, None, None, n, unscored),
        }
    return found


def leaks(splits: Mapping[str, Records]) -> dict[str, Values]:
    """The recall of every answer to another prompt than the plain question, by kind of prompt, in order."""
    asked = {name.removeprefix(_ADVERSARIAL): name for name in sorted(splits) if name.startswith(_ADVERSARIAL)}
    said = {kind: [it for it in splits[name].generations if it.prompt == "question"] for kind, name in asked.items()}
    forget = splits.get(FORGET, Records([], [])).generations
    said[PARAPHRASED] = [it for it in forget if it.prompt == PARAPHRASED]
    return {kind: _recalls(answers) for kind, answers in said.items() if answers}


def _recalls(answers: list[Generation]) -> Values:
    recalls = ((it.id, rwku.recall(it.reference, it.text)) for it in answers)
    return scores.per_question(Records([], answers), recalls)


def _p(mine: Values, theirs: Values, difference: Score, limit: float, bootstrap: Bootstrap) -> float:
    if difference.value is None:
        return float("nan")
    surplus = replace(mine, numbers=mine.numbers - theirs.numbers - limit)
    return statistics.mean_above_zero_p(surplus, bootstrap.samples, bootstrap.seed)
