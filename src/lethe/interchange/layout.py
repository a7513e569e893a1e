"""What OpenUnlearning's evaluator calls its metrics, and which number of ours each of them holds.

Its log is one flat object: the name of a metric, and under it ``agg_value`` and mostly ``value_by_index``, an object
from the number of a row to the fields of that example. Metrics that others were made from stand beside them.
Source: github.com/locuslab/open-unlearning, arXiv:2506.12618.
"""

from typing import NamedTuple

from lethe.records import FORGET, RETAIN

TOFU, MUSE = "TOFU", "MUSE"
QUESTIONS_PER_AUTHOR = 20  # of TOFU's forget, retain and holdout rows, which stand in the order of their authors
AUTHORED = frozenset({"forget", "retain", "holdout"})


class Split(NamedTuple):
    """The metrics of one TOFU split; the first name that a log has counts."""

    name: str
    probability: tuple[str, ...]
    correct: tuple[str, ...]  # the true answer of the truth ratio
    false: tuple[str, ...]
    truth_ratio: tuple[str, ...]
    rouge: tuple[str, ...]
    normalised_probability: tuple[str, ...]


def _split(name: str, prefix: str, correct: str, normalised: bool) -> Split:
    return Split(
        name=name,
        probability=(f"{prefix}_Q_A_Prob",),
        correct=(f"{prefix}_{correct}",),
        false=(f"{prefix}_Q_A_PERT_Prob",),
        truth_ratio=(f"{prefix}_truth_ratio", f"{prefix}_Truth_Ratio"),
        rouge=(f"{prefix}_Q_A_ROUGE",),
        normalised_probability=(f"{prefix}_Q_A_Prob_normalised",) if normalised else (),
    )


SPLITS = (
    _split(FORGET, "forget", "Q_A_PARA_Prob", normalised=False),
    _split(RETAIN, "retain", "Q_A_PARA_Prob", normalised=False),
    _split("real_authors", "ra", "Q_A_Prob", normalised=True),
    _split("world_facts", "wf", "Q_A_Prob", normalised=True),
)
MUSE_ROUGE = (  # split, our name of the F1 and of the recall, the log's name
    (FORGET, "knowledge_memorization", "rouge", "forget_knowmem_ROUGE"),
    (FORGET, "verbatim_memorization", "verbatim_rouge", "forget_verbmem_ROUGE"),
    (RETAIN, "knowledge_memorization", "rouge", "retain_knowmem_ROUGE"),
)
MEMORIZATION = (
    (FORGET, "exact_memorization", "exact_memorization"),
    (FORGET, "extraction_strength", "extraction_strength"),
    (RETAIN, "extraction_strength", "retain_extraction_strength"),
)
ATTACKS = {  # our names first
    "mia_loss": "mia_loss",
    "mia_zlib": "mia_zlib",
    "mia_min_k": "mia_min_k",
    "mia_min_k_plus_plus": "mia_min_k_plus_plus",
    "mia_grad_norm": "mia_gradnorm",
    "mia_reference": "mia_reference",
}
PRIVLEAK, PRIVLEAK_ATTACK = "privleak", "mia_min_k"
FORGET_QUALITY, MODEL_UTILITY = "forget_quality", "model_utility"

TOFU_NAMES = frozenset(name for split in SPLITS for names in split[1:] for name in names) | {
    FORGET_QUALITY,
    MODEL_UTILITY,
}
MUSE_NAMES = frozenset(names[-1] for names in MUSE_ROUGE)
SHARED_NAMES = frozenset(names[-1] for names in MEMORIZATION) | {*ATTACKS.values(), PRIVLEAK}
