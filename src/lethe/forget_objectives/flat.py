"""FLAT (Wang et al., 2024, arXiv:2410.11143): widen an f-divergence between another answer and the one to forget.

With P the mean probability of an answer's tokens, of the other answer y_e and of the true y_f, the loss is
−g(P_e) + f*(g(P_f)), the variational form of the divergence, with f* its conjugate and g its output
activation. For every divergence here it falls as P_e grows and rises with P_f, in [0, 1]. It needs neither
retain rows nor a reference. The pull on a token is its probability times a slowly varying number: an answer
that is most unlikely is learnt slowly.

Deviations: P is averaged over target tokens alone; the release counts padding as 0. Its forms of reverse KL,
squared Hellinger and Neyman χ² push the other answer down, because g is written for −P; here it is the right
way round. ``jeffreys`` is the release's polynomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor
from torch.nn import functional

from lethe import losses, substitutes
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

REFERENCE: Literal["none"] = "none"
UNIT: Literal["sequence"] = "sequence"

Divergence = Literal[
    "kl", "jensen_shannon", "total_variation", "pearson", "jeffreys", "reverse_kl", "squared_hellinger", "neyman"
]

#: For each divergence the activation g(P), and f*(g(P)).
_FUNCTIONS: dict[Divergence, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "kl": (lambda p: p, lambda p: (p - 1).exp()),
    "jensen_shannon": (
        lambda p: math.log(2) + functional.logsigmoid(p),
        lambda p: -functional.logsigmoid(-p) - math.log(2),
    ),
    "total_variation": (lambda p: p.tanh() / 2, lambda p: p.tanh() / 2),
    "pearson": (lambda p: p, lambda p: p.square() / 4 + p),
    "jeffreys": (lambda p: p, lambda p: p + p.square() / 4 + p.pow(3) / 16),
    "reverse_kl": (lambda p: -(-p).exp(), lambda p: p - 1),
    "squared_hellinger": (lambda p: -(-p).expm1(), torch.expm1),
    "neyman": (lambda p: -(-p).expm1(), lambda p: -2 * (-p / 2).expm1()),
}


class Substitute(substitutes.Config):
    """One other answer for a question."""

    draws: Literal[1]


class Config(Section):
    """Which divergence is widened, and towards which answer."""

    divergence: Divergence
    substitute: Substitute


def loss(model: PreTrainedModel, batch: Batch, config: Config, context: Context) -> Tensor:
    """Mean over pairs of −g(P_e) + f*(g(P_f)): a scalar, to minimise."""
    assert batch.substitute is not None
    activation, conjugate = _FUNCTIONS[config.divergence]
    answers, others = losses.pair_log_probs(model, batch, context)
    return (conjugate(_fit(answers, batch)) - activation(_fit(others, batch.substitute))).mean()


def _fit(log_probs: Tensor, batch: Batch) -> Tensor:
    # Mean probability of the tokens of each answer: [batch].
    return losses.sequence_means(log_probs.exp(), batch)
