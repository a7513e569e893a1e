r"""Only the neurons that the forget answers hang on may move, and the attention beside them, fixed for the run: SIMU.

A neuron k of an MLP is row k of the weights into it and column k of the weight out of it. Its attribution is
|Σ_t a_k ∂L_f/∂a_k|, how much the forget loss of θ_o would change, to first order, if its activation a_k were taken away
at every place t of every forget row; that is |Σ_j W_jk ∂L_f/∂W_jk| over the weight W out of it. In each layer the
neurons are critical that reach the share ``threshold`` of the layer's highest attribution (Agarwal et al., 2025,
arXiv:2510.07822, whose optimizer is Sophia). The paper masks momentum, curvature and weights; a gradient that is masked
and weights that are put back, as under every mask here, move the same weights by as much.

Deviation: the paper has released no code and its attribution may gather gradients in another way; this is the first
order of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from pydantic import Field
from torch import Tensor

from lethe import distribution
from lethe.config import Pattern, Section
from lethe.errors import ConfigError, NotFiniteError
from lethe.masking import Signals, whole

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

SIGNALS: frozenset[str] = frozenset({"forget_gradient"})


class Config(Section):
    r"""Where neurons are, and which are critical; of a Llama ``mlp\.(gate|up)_proj`` and ``mlp\.down_proj\.weight``."""

    into: Pattern  # in names of what has a row for each neuron: the weights of a linear layer, and its bias
    out: Pattern  # in names of the weights that have a column for each neuron of the same MLP
    also: list[Pattern]  # in names of what moves as a whole: attention
    threshold: float = Field(ge=0, le=1)  # of the highest attribution in a layer; 0: every neuron moves


def check(model: PreTrainedModel, config: Config) -> None:
    """Raises ConfigError where the patterns match no MLP."""
    _mlps([name for name, _ in model.named_parameters()], config)


def select(model: PreTrainedModel, config: Config, signals: Signals) -> dict[str, bool | Tensor]:
    """Parameter name to what may move.

    Raises ConfigError where the patterns match no MLP, and NotFiniteError for an attribution that is not finite.
    """
    gradients, weights = signals["forget_gradient"], dict(model.named_parameters())
    answers: dict[str, bool | Tensor] = {
        name: any(re.search(pattern, name) for pattern in config.also) for name in weights
    }
    for out, intos in _mlps(list(weights), config).items():
        found = attributions(weights[out].detach(), gradients[out])
        if not bool(torch.isfinite(found).all()):
            raise NotFiniteError(
                f"mask: an attribution of {out!r} is not finite; the forget loss has no finite gradient."
            )
        critical = found >= config.threshold * found.max()
        answers[out] = whole(critical.unsqueeze(0))
        for into in intos:
            answers[into] = whole(critical.reshape(-1, *[1] * (weights[into].dim() - 1)))
    return answers


def attributions(weight: Tensor, gradient: Tensor) -> Tensor:
    """|Σ_j W_jk G_jk| of each neuron k, of a weight out of an MLP [outputs, neurons] and its gradient: [neurons]."""
    return distribution.whole((weight * gradient).sum(dim=0)).abs()


def _mlps(names: Sequence[str], config: Config) -> dict[str, list[str]]:
    """The weight out of each MLP to what has a row for each of its neurons."""
    found = {}
    for out in _matched(config.out, names, "out"):
        mlp = out.rpartition(".")[0].rpartition(".")[0]
        found[out] = _matched(config.into, [name for name in names if name.startswith(f"{mlp}.")], "into")
    return found


def _matched(pattern: str, names: Sequence[str], field: str) -> list[str]:
    found = [name for name in names if re.search(pattern, name)]
    if not found:
        raise ConfigError(
            f"mask.{field}: {pattern!r} matches no parameter of an MLP; write it for names such as {names[-1]!r}."
        )
    return found
