"""Logs as OpenUnlearning's evaluator writes them, made of given numbers with its formulas, its 1e-10 included.

Its models run in bfloat16 or in more digits: ``rounding`` is applied to every loss, and again to its probability.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import hmean, ks_2samp

EPSILON = 1e-10
UTILITY = [
    *("retain_Q_A_Prob", "retain_Q_A_ROUGE", "retain_Truth_Ratio"),
    *("ra_Q_A_Prob_normalised", "ra_Q_A_ROUGE", "ra_Truth_Ratio"),
    *("wf_Q_A_Prob_normalised", "wf_Q_A_ROUGE", "wf_Truth_Ratio"),
]

Block = dict[str, Any]
Rounding = Callable[[Any], np.ndarray]


def write(path: Path, log: Any) -> Path:
    """The log as a file."""
    path.write_text(json.dumps(log))
    return path


def exact(numbers: Any) -> np.ndarray:
    """The numbers as they are."""
    return np.asarray(numbers, dtype=np.float64)


def bfloat16(numbers: Any) -> np.ndarray:
    """The numbers with the eight binary digits of bfloat16."""
    return torch.tensor(exact(numbers)).to(torch.bfloat16).to(torch.float64).numpy()


def probability(losses: Any, rounding: Rounding = exact) -> Block:
    """Mean negative log-likelihoods [rows] or, for several answers each, [rows, answers]."""
    losses = rounding(losses)
    probs = rounding(np.exp(-losses))
    rows = zip(probs.tolist(), losses.tolist(), strict=True)
    return block(probs.mean(), [{"prob": prob, "avg_loss": loss} for prob, loss in rows])


def normalised(correct: Any, false: Any, rounding: Rounding = exact) -> Block:
    """The probability of the correct answer among the options."""
    mine, others = (rounding(np.exp(-rounding(losses))) for losses in (correct, false))
    others = others.sum(axis=1)
    shares = mine / (mine + others + EPSILON)
    return block(shares.mean(), [{"prob": share} for share in shares])


def truth_ratio(correct: Any, false: Any, form: str, rounding: Rounding = exact) -> Block:
    """Truth ratios of the geometric mean, in the form ``closer_to_1_better`` or ``true_better``."""
    ratios = np.exp(-rounding(false).mean(axis=1)) / (np.exp(-rounding(correct)) + EPSILON)
    closer = np.minimum(ratios, 1 / (ratios + EPSILON))
    aggregate = closer if form == "closer_to_1_better" else np.maximum(0, 1 - ratios)
    return block(aggregate.mean(), [{"score": ratio} for ratio in ratios])


def rouge(recalls: Any, f1s: Any, kind: str) -> Block:
    """ROUGE of every generation; the aggregate is that of ``kind``."""
    pairs = zip(recalls, f1s, strict=True)
    texts = {"input": "[INST] Who? [/INST]", "ground_truth": "A name.", "generation": "Another name."}
    rows = [{"rouge1_recall": r, "rougeL_f1": f, "rougeL_recall": r, **texts} for r, f in pairs]
    return block(np.mean([row[kind] for row in rows]), rows)


def scored(numbers: Any) -> Block:
    """A metric with one score an example."""
    return block(np.mean(numbers), [{"score": number} for number in numbers])


def attack(forget: Sequence[float], holdout: Sequence[float]) -> Block:
    """A membership attack: the chance that a forget score is below a holdout score, by counting all pairs."""
    wins = [(a < b) + 0.5 * (a == b) for a in forget for b in holdout]
    auc = sum(wins) / len(wins)
    return {"forget": scored(forget), "holdout": scored(holdout), "auc": auc, "agg_value": auc}


def privleak(model: Block, retain: Block | None) -> Block:
    """PrivLeak from the areas of two logs; without the second 0.5 is taken for it."""
    ref = 1 - (0.5 if retain is None else retain["agg_value"])
    return {"agg_value": ((1 - model["agg_value"]) - ref) / (ref + EPSILON) * 100}


def block(aggregate: Any, rows: Sequence[Block]) -> Block:
    """A metric with the fields of each row."""
    return {"agg_value": float(aggregate), "value_by_index": {str(row): dict(f) for row, f in enumerate(rows)}}


def tofu(
    seed: int,
    retain: Block | None = None,
    forget: int = 40,
    others: Sequence[int] = (40, 10, 9),
    rounding: Rounding = exact,
    losses: tuple[float, float] = (0.05, 5),
) -> Block:
    """A whole TOFU log of random numbers; with the log of a retain model, forget quality and PrivLeak too.

    ``losses``: the smallest and the largest of an answer, in nats a token; those of a collapsed model are above 30.
    """
    random = np.random.default_rng(seed)
    log: Block = {}
    for prefix, size in zip(("forget", "retain", "ra", "wf"), (forget, *others), strict=True):
        log |= _split(random, prefix, size, rounding, losses)
    log["model_utility"] = {"agg_value": float(hmean([log[name]["agg_value"] for name in UTILITY]))}
    for name in ("loss", "zlib", "min_k", "min_k_plus_plus", "gradnorm", "reference"):
        log[f"mia_{name}"] = attack(random.normal(0, 1, forget).round(1), random.normal(0.5, 1, forget).round(1))
    log["exact_memorization"], log["extraction_strength"] = (scored(random.random(forget)) for _ in range(2))
    log["privleak"] = privleak(log["mia_min_k"], retain and retain["mia_min_k"])
    samples = [scores(each["forget_truth_ratio"]) for each in (log, retain) if each is not None]
    log["forget_quality"] = {"agg_value": float(ks_2samp(*samples).pvalue) if retain else None}
    return log


def scores(metric: Block) -> list[float]:
    """The scores of the examples of a metric."""
    return [row["score"] for row in metric["value_by_index"].values()]


def _split(
    random: np.random.Generator, prefix: str, size: int, rounding: Rounding, losses: tuple[float, float]
) -> Block:
    # Mostly at most 5 nats a token: a probability of at least e^-5 = 0.0067, to which 1e-10 adds 1.5e-8 of itself.
    utility = prefix in ("ra", "wf")
    answer, paraphrase = random.uniform(*losses, size), random.uniform(*losses, size)
    false = random.uniform(*losses, (size, 3 if utility else 5))
    correct = answer if utility else paraphrase
    recalls = random.random(size)
    log = {
        f"{prefix}_Q_A_Prob": probability(answer, rounding),
        f"{prefix}_Q_A_PERT_Prob": probability(false, rounding),
        f"{prefix}_Q_A_ROUGE": rouge(recalls, recalls**2, "rougeL_recall"),
    }
    if prefix == "forget":
        log["forget_truth_ratio"] = truth_ratio(correct, false, "closer_to_1_better", rounding)
    else:
        log[f"{prefix}_Truth_Ratio"] = truth_ratio(correct, false, "true_better", rounding)
    if utility:
        return log | {f"{prefix}_Q_A_Prob_normalised": normalised(answer, false, rounding)}
    return log | {f"{prefix}_Q_A_PARA_Prob": probability(paraphrase, rounding)}
