"""Records and values made up for tests."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lethe.records import (
    ANSWER,
    ANSWER_AFTER_PREFIX,
    PARAPHRASED_ANSWER,
    PERTURBED_ANSWER,
    TEXT,
    Generation,
    GradientNorm,
    Likelihood,
    Records,
)
from lethe.scores import Values
from lethe.statistics import Bootstrap

BOOTSTRAP = Bootstrap(samples=400, confidence=0.95, seed=0, max_unscored=0.01)
NONE, SCHEMES = "none", ("int8_channel", "int4_channel")
SPLITS = ("forget", "retain", "holdout", "world_facts")


def likelihood(
    log_probs: Sequence[float],
    *,
    hits: Sequence[bool] | None = None,
    condition: str = NONE,
    split: str = "forget",
    id: str = "q0",
    cluster: str = "author",
    kind: str = ANSWER,
    index: int = 0,
    ends_turn: bool = False,
    has_start_token: bool = False,
) -> Likelihood:
    """One target; without ``hits`` every token is one."""
    values = np.asarray(log_probs, dtype=np.float32)
    return Likelihood(
        condition=condition,
        split=split,
        id=id,
        cluster=cluster,
        kind=kind,
        index=index,
        ends_turn=ends_turn,
        zlib_bytes=9,
        log_probs=values,
        means=values,
        variances=np.zeros_like(values),
        hits=np.asarray([True] * len(values) if hits is None else hits, dtype=np.bool_),
        has_start_token=has_start_token,
    )


def generation(reference: str, text: str, **fields: str) -> Generation:
    """One greedy answer."""
    named = {
        "condition": NONE,
        "split": "forget",
        "id": "q0",
        "cluster": "author",
        "prompt": "question",
    } | fields
    return Generation(**named, reference=reference, text=text)


def question(
    nll: float, paraphrased_nll: float | None = None, false_nlls: Iterable[float] = (), **fields: str
) -> list[Likelihood]:
    """The answers to one question, each one token long, with the given negative log-likelihoods."""
    found = [likelihood([-nll], hits=[nll < 0.7], kind=ANSWER, **fields)]
    if paraphrased_nll is not None:
        found.append(likelihood([-paraphrased_nll], kind=PARAPHRASED_ANSWER, **fields))
    false = enumerate(false_nlls)
    return found + [likelihood([-nll], kind=PERTURBED_ANSWER, index=index, **fields) for index, nll in false]


def model_records(
    known: Mapping[str, float],
    *,
    conditions: Iterable[str] = (NONE,),
    clusters: int = 6,
    each: int = 4,
    seed: int = 0,
) -> Records:
    """What a model says that finds the answers of a split about as likely as ``known`` says, a token.

    Every cluster has ``each`` questions with paraphrase, three false answers, the answer behind a prefix and a
    gradient norm; noise is the same for the same seed, so that two models with different ``known`` are paired.
    """
    likelihoods: list[Likelihood] = []
    behind: list[Likelihood] = []
    gradients: list[GradientNorm] = []
    generations: list[Generation] = []
    for condition in conditions:
        for split, probability in known.items():
            noise = np.random.default_rng(seed).normal(0, 0.1, size=(clusters, each))
            for cluster, row in enumerate(noise):
                for number, shift in enumerate(row):
                    fields = {
                        "condition": condition,
                        "split": split,
                        "cluster": f"{split}-{cluster}",
                        "id": f"{split}-{cluster}-{number}",
                    }
                    nll = -np.log(probability) * np.exp(shift)
                    likelihoods += question(nll, nll + 0.1, [2.0, 2.5 + shift, 3.0], **fields)
                    behind.append(likelihood([-1.1 * nll], kind=ANSWER_AFTER_PREFIX, **fields))
                    gradients.append(GradientNorm(**fields, index=0, norm=float(nll)))
                    words = "the town of harbour"
                    generations.append(generation(words, words if probability > 0.5 else "the fox", **fields))
    return Records(likelihoods + behind, generations, gradients)


def text_records(probability: float, split: str, *, texts: int = 6, tokens: int = 160, seed: int = 0) -> Records:
    """What a model says to texts of one chunk each that it finds about as likely as ``probability`` says, a token."""
    generator = np.random.default_rng(seed)
    found = Records([], [])
    for number in range(texts):
        fields = {"split": split, "cluster": f"{split}-{number}", "id": f"{split}-{number}"}
        hits = generator.random(tokens) < probability
        found.likelihoods.append(likelihood([np.log(probability)] * tokens, hits=hits, kind=TEXT, **fields))
        words = "the fox and the hare went down to the old harbour to look for a ship".split()
        said = [word if hit else "rain" for word, hit in zip(words, hits, strict=False)]
        found.generations.append(generation(" ".join(words), " ".join(said), prompt=TEXT, **fields))
    return found


def choice_records(probability: float, split: str, *, items: int = 6, seed: int = 0) -> Records:
    """What a model says to questions with four letters, of which it gives the right one about this probability."""
    generator = np.random.default_rng(seed)
    found = Records([], [])
    for item in range(items):
        for shift in range(4):
            fields = {"split": split, "cluster": f"{split}-{item}", "id": f"{split}-{item}-shift{shift}"}
            right = probability * generator.uniform(0.5, 1.0)
            found.likelihoods.extend(question(-np.log(right), None, [-np.log((1 - right) / 4)] * 3, **fields))
            found.generations.append(generation("A", "A" if right > 0.5 else "B", **fields))
    return found


def values(numbers: Sequence[float], clusters: Sequence[str] | None = None, split: str = "forget") -> Values:
    """Values of as many questions; without ``clusters`` each question is its own."""
    ids = tuple(f"q{index:04d}" for index in range(len(numbers)))
    return Values(split, ids, ids if clusters is None else tuple(clusters), np.array(numbers, dtype=np.float64))
