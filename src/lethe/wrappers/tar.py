"""Tamper resistance: the forget gradient after an adversary has fine-tuned the model on forget rows.

From the weights θ as they stand an adversary takes ``inner_steps`` steps of AdamW down the NLL of forget rows, at a
learning rate drawn from ``lrs``. After every ``every``-th of them, at θ_k, the gradient of the forget loss is taken,
and

    g = scale × Σ_k exp(decay × (k − inner_steps)) ∇L_f(θ_k),

with k from 1, stands for the gradient at θ: first order, without the way back through the adversary's steps. θ itself
does not change (Tamirisa et al., 2024, arXiv:2408.00761; 64 inner steps, every fourth, scale 4, decay 0.0625, and the
negative entropy of the forget rows for the loss: ``max_entropy``). It costs ``inner_steps`` steps of fine-tuning for
each of its own, a copy of the weights, the sum of gradients and the adversary's moments.

Deviations: the release keeps forget rows apart for the loss, which the adversary does not see, warms some adversaries
up, mixes in benign ones, and drops the gradient where the loss is below a bound; here the rows of the loss are those
of the step, the adversary's are drawn from all, and it moves what the recipe's mask lets move. Its first stage, a
random mapping of forget rows, is another recipe.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lethe import losses, perturbation
from lethe.config import Section
from lethe.losses import Context
from lethe.perturbation import Draws, Pieces

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """The adversary, and how what it leads to is weighed."""

    inner_steps: PositiveInt
    batch_size: PositiveInt  # forget rows in a step of the adversary
    lrs: list[PositiveFloat] = Field(min_length=1)  # one is drawn for each step of the model
    betas: tuple[Decay, Decay]
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    every: PositiveInt  # steps of the adversary between two gradients
    scale: NonNegativeFloat
    decay: NonNegativeFloat  # 0: all gradients count the same


def backward(pieces: Pieces, model: PreTrainedModel, config: Config, context: Context) -> float:
    """Add the sum of the gradients after tampering; the plain loss, at the weights as they stand, is returned."""
    parameters, draws = perturbation.movable(model), Draws()
    loss = perturbation.loss(pieces)
    after = Draws()
    held = [parameter.grad for parameter in parameters]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    lr = config.lrs[int(torch.randint(len(config.lrs), ()))]
    with perturbation.restored(parameters):
        adversary = torch.optim.AdamW(
            parameters, lr=lr, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, fused=True
        )
        for step in range(1, config.inner_steps + 1):
            _tamper(model, adversary, config, context)
            if step % config.every == 0:
                here = _gradient(pieces, parameters, draws)
                weight = config.scale * math.exp(config.decay * (step - config.inner_steps))
                for one, other in zip(total, here, strict=True):
                    one.add_(other, alpha=weight)
    for parameter, before in zip(parameters, held, strict=True):
        parameter.grad = before
    perturbation.add_to_gradients(parameters, total)
    after.again()  # what is drawn next does not hang on the wrapper
    return loss


def _tamper(model: PreTrainedModel, adversary: torch.optim.Optimizer, config: Config, context: Context) -> None:
    assert context.sample is not None
    batch = context.sample("forget", config.batch_size)
    with context.precision():
        loss = -losses.token_mean(losses.target_log_probs(model, batch))
    adversary.zero_grad(set_to_none=True)
    loss.backward()
    adversary.step()
    adversary.zero_grad(set_to_none=True)


def _gradient(pieces: Pieces, parameters: list[nn.Parameter], draws: Draws) -> list[Tensor]:
    # The pieces draw what they drew at the beginning; the adversary goes on where it stood.
    adversary = Draws()
    draws.again()
    _, gradient = perturbation.gradient(pieces, parameters)
    adversary.again()
    return gradient
