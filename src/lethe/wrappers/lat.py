"""Latent adversarial training: forget even when somebody pushes the residual stream towards remembering.

For each batch of forget rows a perturbation δ of the output of each chosen block, one vector a token of at most
``radius`` in L2, is sought that makes the forget loss as large as it can; the forget gradient is taken under it
(Sheshadri et al., 2024, arXiv:2407.15549; Casper et al., 2024, arXiv:2403.05030). δ starts at zero and takes
``steps`` steps of Adam, each followed by projection onto the ball. With gradient ascent, to make the loss large is to
make the forget answer likely, the "towards" of the paper's attack. It costs ``steps`` forwards and backwards more,
and Adam's moments of δ.

Deviations: the paper's attack may have a loss of its own, which also leads away from a harmless answer, and its model
takes four steps under one attack; here the attack is on the forget loss itself, and is made anew for every step.
Padding may be perturbed too, where it has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lethe import perturbation
from lethe.config import Section
from lethe.errors import ConfigError
from lethe.losses import Context
from lethe.perturbation import Draws, Pieces

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

Decay = Annotated[float, Field(ge=0, lt=1)]


class Config(Section):
    """Where the adversary pushes, how far, and how long it searches."""

    layers: list[NonNegativeInt] = Field(min_length=1)  # blocks whose outputs are perturbed, from 0
    radius: NonNegativeFloat  # largest L2 norm of a token's perturbation; 0: the plain gradient
    steps: PositiveInt
    lr: PositiveFloat  # of Adam on the perturbation
    betas: tuple[Decay, Decay]
    eps: PositiveFloat


def check(model: PreTrainedModel, config: Config) -> None:
    """Raises ConfigError when the model has no such layer."""
    _layers(model, config.layers)


def backward(pieces: Pieces, model: PreTrainedModel, config: Config, context: Context) -> float:
    """Add the gradient under attack; the plain loss is returned.

    Raises ConfigError when the model has no such layer, or the forget loss does not read it.
    """
    if config.radius == 0:
        return perturbation.backward(pieces)
    parameters, total = perturbation.movable(model), 0.0
    for piece in pieces:
        draws = Draws()
        with _Attack(_layers(model, config.layers)) as attack:
            total += _search(piece, attack, config, draws)
            draws.again()
            attack.next_pass()
            piece().backward(inputs=parameters)
    return total


def project(perturbations: list[Tensor], radius: float) -> None:
    """Bring each token's vector [batch, time, width] into the ball, in place."""
    with torch.no_grad():
        for vectors in perturbations:
            vectors.div_((vectors.norm(dim=-1, keepdim=True) / radius).clamp(min=1))


def _search(piece: Callable[[], Tensor], attack: _Attack, config: Config, draws: Draws) -> float:
    plain = value = piece()  # this first pass makes the perturbations, all zero
    found = attack.perturbations
    if not found:
        raise ConfigError("wrapper.layers: the forget loss does not read these blocks; name lower ones.")
    optimizer = torch.optim.Adam(found, lr=config.lr, betas=config.betas, eps=config.eps, maximize=True)
    for step in range(config.steps):
        if step > 0:
            draws.again()
            attack.next_pass()
            value = piece()
        optimizer.zero_grad(set_to_none=True)
        value.backward(inputs=found)
        optimizer.step()
        project(found, config.radius)
    return float(plain.detach())


class _Attack:
    """Inside, each layer adds to each of its outputs, in every pass of a loss, the perturbation that belongs to it.

    A loss may run the model more than once. What runs without gradients is no part of it and is left alone.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.perturbations: list[Tensor] = []
        self._layers, self._next = layers, 0

    def next_pass(self) -> None:
        """The loss is evaluated again, from its first perturbation on."""
        self._next = 0

    def __enter__(self) -> _Attack:
        self._handles = [layer.register_forward_hook(self._add) for layer in self._layers]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _add(self, _: nn.Module, __: Any, output: Any) -> Any:
        if not torch.is_grad_enabled():
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        if self._next == len(self.perturbations):
            self.perturbations.append(torch.zeros_like(hidden, dtype=torch.float32, requires_grad=True))
        hidden = hidden + self.perturbations[self._next].to(hidden.dtype)
        self._next += 1
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _layers(model: PreTrainedModel, numbers: list[int]) -> list[nn.Module]:
    from lethe import models

    blocks = models.blocks(model)
    if max(numbers) >= len(blocks):
        raise ConfigError(
            f"wrapper.layers: {max(numbers)}: the model's blocks are numbered 0 to {len(blocks) - 1}; name one of them."
        )
    return [blocks[number] for number in numbers]
