"""Sampling: whether an answer that is not the likeliest any more still comes out when many are drawn.

``leak_at_k``: the chance that at least one of k drawn answers to a forget question holds the true one; 0: never, 1:
always; as the retain model's: as if it had never been seen. ``leak_at_k_difference`` is that of the unlearned model
minus that of the retain model. ``recall_at_k``: ROUGE-L recall of the best of k, a graded leak. Estimates from all
draws without bias (:mod:`lethe.statistics.sampling`); leak@k, arXiv:2511.04934, graded as in arXiv:2410.03523.

An answer leaks when the true one stands in it word for word, wherever, in any case and punctuation; with
``least_recall`` when its ROUGE-L recall is as large as that, for answers that are whole sentences. An empty answer is
no leak and counts as a draw. Deviation: no second model judges what an answer means.

Where not one draw leaked, "never" would say too much: ``leak_upper_bound`` is the largest mean chance of a leak a draw
that this leaves open (Clopper-Pearson, one-sided), and the intervals of leak_at_k reach as far as it allows.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from pydantic import Field, PositiveInt, model_validator

from lethe import overlap, sampled_generation, statistics
from lethe.config import Section
from lethe.records import FORGET
from lethe.residuals import Question, Subjects
from lethe.scores import Score, Values
from lethe.statistics.proportions import clopper_pearson_upper
from lethe.statistics.sampling import expected_maximum, leak_at_k

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from lethe.statistics import Bootstrap

logger = logging.getLogger(__name__)


class Config(Section):
    """How answers are drawn, and which of them leak."""

    samples: PositiveInt  # answers drawn to each question
    temperature: Annotated[float, Field(gt=0)]
    top_p: Annotated[float, Field(gt=0, le=1)]
    ks: Annotated[list[PositiveInt], Field(min_length=1)]
    seed: int
    stemmer: bool  # whether ROUGE compares the stems of words
    least_recall: Annotated[float, Field(gt=0, le=1)] | None

    @model_validator(mode="after")
    def _draws_enough(self) -> Config:
        if max(self.ks) > self.samples:
            raise ValueError(f"ks: {max(self.ks)} is more than the {self.samples} samples; draw more or lower it")
        return self


class Drawn(NamedTuple):
    """What the answers of one model are worth: [questions, samples], NaN where a true answer has no word."""

    leaks: np.ndarray
    recalls: np.ndarray

    @property
    def never_leaks(self) -> bool:
        """Whether something was drawn, and none of it leaked."""
        return bool((self.leaks == 0).any() and not (self.leaks == 1).any())


def probe(subjects: Subjects, config: Config, bootstrap: Bootstrap) -> dict[str, Score | list[float]]:
    """For each k leak@k of the three models, the difference, and the expected recall of the best of k."""
    models = {"": subjects.unlearned, "_retain": subjects.retain, "_target": subjects.target}
    drawn = {ending: draw(subjects, model, config) for ending, model in models.items()}
    found: dict[str, Score | list[float]] = {"leak_upper_bound": upper_bound(drawn[""], bootstrap.confidence)}
    for k in config.ks:
        leaks = [_values(subjects, _leak_at_k(one.leaks, k)) for one in drawn.values()]
        reach = [_reach(one, k, bootstrap.confidence) for one in drawn.values()]
        for ending, score, above in zip(drawn, statistics.means(leaks, bootstrap), reach, strict=True):
            found[f"leak_at_{k}{ending}"] = _widened(score, 0.0, above)
        difference = statistics.difference(leaks[0], leaks[1], bootstrap)
        found[f"leak_at_{k}_difference"] = _widened(difference, reach[1], reach[0])
        recalls = [_values(subjects, expected_maximum(one.recalls, k)) for one in drawn.values()]
        for ending, score in zip(drawn, statistics.means(recalls, bootstrap), strict=True):
            found[f"recall_at_{k}{ending}"] = score
    return found


def draw(subjects: Subjects, model: PreTrainedModel, config: Config) -> Drawn:
    """Draw answers to every question and look what they hold of the true one."""
    prompts = [question.answer.ids[: -question.answer.num_targets] for question in subjects.questions]
    shares = sampled_generation.shares_prompt(model, prompts, stop=subjects.stop)
    if not shares:
        logger.warning(
            "%s cannot share a prompt among answers; reading it for every token, slower", type(model).__name__
        )
    leaks, recalls = [], []
    for question, prompt in zip(subjects.questions, prompts, strict=True):
        true = _text(subjects, question.answer.ids[len(prompt) :])
        said = _answers(subjects, model, question, prompt, config, shares)
        recall = [overlap.rouge_l(true, text, config.stemmer).recall for text in said]
        recalls.append(recall)
        leaks.append([contains(true, text) for text in said] if config.least_recall is None else recall)
    held = np.array(leaks)
    if config.least_recall is not None:
        held = np.where(np.isnan(held), held, held >= config.least_recall)
    return Drawn(held, np.array(recalls))


def contains(true: str, text: str) -> float:
    """1 where the words of the true answer stand in the text one after the other, else 0; NaN for one without a word.

    Words are runs of letters and digits of any script, their case and compatibility forms made alike.
    """
    wanted, said = (_words(each) for each in (true, text))
    if not wanted:
        return float("nan")
    return float(tuple(wanted) in overlap.ngrams(said, len(wanted)))


def upper_bound(drawn: Drawn, confidence: float) -> Score:
    """The largest mean chance of a leak a draw that draws without one leave open; missing where one leaked."""
    scored = ~np.isnan(drawn.leaks)
    n = int(scored.any(axis=1).sum())
    bound = clopper_pearson_upper(0, int(scored.sum()), confidence) if drawn.never_leaks else None
    return Score(bound, None, None, n, len(drawn.leaks) - n)


def _answers(
    subjects: Subjects,
    model: PreTrainedModel,
    question: Question,
    prompt: tuple[int, ...],
    config: Config,
    shares_prompt: bool,
) -> list[str]:
    texts: list[str] = []
    for start in range(0, config.samples, subjects.batch_size):
        places = range(start, min(start + subjects.batch_size, config.samples))
        tokens = sampled_generation.sampled(
            model,
            prompt,
            sampled_generation.draws(config.seed, question.id, places, subjects.max_new_tokens),
            temperature=config.temperature,
            top_p=config.top_p,
            stop=subjects.stop,
            shares_prompt=shares_prompt,
        )
        texts += [_text(subjects, answer) for answer in tokens]
    return texts


def _text(subjects: Subjects, tokens: tuple[int, ...] | list[int]) -> str:
    return str(subjects.tokenizer.decode(list(tokens), skip_special_tokens=True)).strip()


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def _leak_at_k(leaks: np.ndarray, k: int) -> np.ndarray:
    """Leak@k of every question from its draws [questions, samples]; NaN where a question has no number."""
    drawn = leaks.shape[1]
    counts = leaks.sum(axis=1)
    return np.array([np.nan if np.isnan(count) else leak_at_k(drawn, int(count), k) for count in counts])


def _reach(drawn: Drawn, k: int, confidence: float) -> float:
    """How large leak@k may be though nothing leaked; 0 where something did, which the bootstrap then speaks of.

    1 − (1 − p)^k is concave in p, so the mean over questions is at most that of their mean chance.
    """
    bound = upper_bound(drawn, confidence).value
    return 0.0 if bound is None else 1 - (1 - bound) ** k


def _widened(score: Score, below: float, above: float) -> Score:
    if score.low is None or score.high is None:
        return score
    return Score(score.value, score.low - below, score.high + above, score.n, score.unscored)


def _values(subjects: Subjects, numbers: np.ndarray) -> Values:
    ids = tuple(question.id for question in subjects.questions)
    return Values(FORGET, ids, tuple(question.cluster for question in subjects.questions), numbers)
