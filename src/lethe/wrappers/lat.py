"""Latent adversarial training: forget even when somebody pushes the residual stream towards remembering.

For each batch of forget rows a perturbation δ of the output of each chosen block, one vector a token of at most
``radius`` in L2, is sought that serves an adversary best; the forget gradient is taken under it, the retain gradient
without (Sheshadri et al., 2024, arXiv:2407.15549; Casper et al., 2024, arXiv:2403.05030). δ starts at zero and takes
``steps`` steps of AdamW, each followed by projection onto the ball. It is one for all answers to a question, by the
place of a token in its row. ``model_steps`` optimizer steps in turn see the same rows under the same δ.

What the adversary wants: with ``toward_away`` null, a large forget loss; with gradient ascent that is to make the
forget answer likely. Otherwise, whatever the forget loss, a small

    t × NLL of the forget answer  −  a × mean log(1 − p) of what it leads away from,

which is the paper's attack: toward the harmful answer, away from a harmless one.

It costs (``steps`` + 1) / ``model_steps`` forwards and backwards more a step, twice as many with ``toward_away``, and
a forward for the plain loss.

Deviations: the release begins with a new optimizer of the model after each attack; here its moments go on. On chats it
perturbs the tokens of the prompt alone; here all of them, as its unlearning does. Its attack averages over the tokens
of a batch; here every sequence counts the same, so that no row's attack hangs on the rows beside it. Padding may be
perturbed too, where it has no effect.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from lethe import distribution, losses, perturbation
from lethe.batches import Batch
from lethe.config import Section
from lethe.errors import ConfigError
from lethe.losses import Context
from lethe.perturbation import Draws, Piece

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

GOES_BY_PLACE = True

Decay = Annotated[float, Field(ge=0, lt=1)]


class TowardAway(Section):
    """What an adversary with a loss of its own leads to, and away from."""

    toward_weight: NonNegativeFloat  # t, of the forget answers
    away_weight: NonNegativeFloat  # a
    away_from: Literal["substitute", "retain", "general"]  # what the objective teaches instead, or rows drawn beside
    token_probability_floor: float = Field(ge=0, lt=1)  # tokens less likely than that are away already


class Config(Section):
    """Where the adversary pushes, to what end, how far, and how long it searches."""

    layers: list[NonNegativeInt] = Field(min_length=1)  # blocks whose outputs are perturbed, from 0
    toward_away: TowardAway | None  # null: it makes the forget loss large
    radius: NonNegativeFloat  # largest L2 norm of a token's perturbation; 0: the plain gradient
    steps: PositiveInt
    lr: PositiveFloat  # of AdamW on the perturbation
    betas: tuple[Decay, Decay]
    eps: PositiveFloat
    weight_decay: NonNegativeFloat
    model_steps: PositiveInt  # optimizer steps on the same rows under the same attack


def check(model: PreTrainedModel, config: Config) -> None:
    """Raises ConfigError when the model has no such layer."""
    _layers(model, config.layers)


def backward(pieces: Sequence[Piece], model: PreTrainedModel, config: Config, context: Context) -> float:
    """Add the gradient under attack; the plain loss is returned.

    Raises ConfigError when the model has no such layer, or the forget loss does not read it, and DataError where the
    source has no rows to lead away from.
    """
    if config.radius == 0:
        return perturbation.backward(pieces)
    parameters, draws, is_new, total = perturbation.movable(model), Draws(), _is_new(config, context), 0.0
    others = [_away_from(piece.batch, config, context) if is_new else None for piece in pieces]
    draws.again()
    for number, (piece, other) in enumerate(zip(pieces, others, strict=True)):
        draws = Draws()
        total += perturbation.loss([piece])
        with _Attack(_layers(model, config.layers), piece.batch, other) as attack:
            if is_new:
                _search(partial(_worth, piece, other, model, config, context), attack, config, draws)
            _remember(attack, context.memory, f"lat.{number}", config)
            draws.again()
            perturbation.backward_into(attack.on(piece), parameters)
    return total


def project(perturbations: Sequence[Tensor], radius: float) -> None:
    """Bring each token's vector [batch, time, width] into the ball, in place."""
    with torch.no_grad():
        for vectors in perturbations:
            vectors.div_((vectors.norm(dim=-1, keepdim=True) / radius).clamp(min=1))


def _is_new(config: Config, context: Context) -> bool:
    # Whether no attack on the rows of this step is remembered; not every step need have taken a forget gradient.
    if config.model_steps == 1:
        return True
    rows = torch.tensor(context.step // config.model_steps)
    known = context.memory.get("lat.rows")
    context.memory["lat.rows"] = rows
    return known is None or int(known) != int(rows)


def _away_from(batch: Batch, config: Config, context: Context) -> Batch | None:
    if config.toward_away is None:
        return None
    if config.toward_away.away_from == "substitute":
        return batch.substitute
    assert context.sample is not None
    return context.sample(config.toward_away.away_from, distribution.total(len(batch)), distribution.share)


def _worth(piece: Piece, other: Batch | None, model: PreTrainedModel, config: Config, context: Context) -> Tensor:
    """What the adversary has of the stream as it is."""
    aim = config.toward_away
    if aim is None:
        return piece()
    assert other is not None
    with context.precision():
        toward = losses.mean_nll(model, piece.batch)
        away = losses.mean_unlikelihood(model, other, aim.token_probability_floor)
    return -(aim.toward_weight * toward + aim.away_weight * away)


def _search(worth: Callable[[], Tensor], attack: _Attack, config: Config, draws: Draws) -> None:
    draws.again()
    value = attack.on(worth)  # this first pass makes the perturbations, all zero
    found = list(attack.perturbations.values())
    settings = {"lr": config.lr, "betas": config.betas, "eps": config.eps, "weight_decay": config.weight_decay}
    optimizer = torch.optim.AdamW(found, **settings, maximize=True)
    for step in range(config.steps):
        if step > 0:
            draws.again()
            value = attack.on(worth)
        optimizer.zero_grad(set_to_none=True)
        value.backward(inputs=found)
        optimizer.step()
        project(found, config.radius)


def _remember(attack: _Attack, memory: dict[str, Tensor], name: str, config: Config) -> None:
    # An attack that was just found is kept for the steps to come, one of an earlier step taken up again. Every process
    # keeps that on the rows of all, so that a checkpoint of the first has it whole, and takes up that on its own.
    if config.model_steps == 1:
        return
    for place, layer in enumerate(config.layers):
        if place in attack.perturbations:
            memory[f"{name}.{layer}"] = distribution.of_all_rows(attack.perturbations[place].detach())
        elif f"{name}.{layer}" in memory:
            attack.perturbations[place] = distribution.of_own_rows(distribution.whole(memory[f"{name}.{layer}"]))


class _Attack:
    """Inside, each layer adds its perturbation to its output, row by row and place by place.

    A loss may run the model on several answers to a row. What runs without gradients is no part of it and is left
    alone. ``perturbations`` [rows, time, width] are made by the first pass, by the place of the layer in the list.
    """

    def __init__(self, layers: Sequence[nn.Module], batch: Batch, other: Batch | None) -> None:
        self.perturbations: dict[int, Tensor] = {}
        read = [one for one in (batch, batch.substitute, other) if one is not None]
        self._layers, self._shape = layers, (len(batch), max(one.input_ids.shape[1] for one in read))
        self._is_read = False

    def __enter__(self) -> _Attack:
        self._handles = [
            layer.register_forward_hook(partial(self._add, place)) for place, layer in enumerate(self._layers)
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def on(self, loss: Callable[[], Tensor]) -> Tensor:
        """The loss under the attack. Raises ConfigError when it reads none of the layers."""
        self._is_read = False
        value = loss()
        if not self._is_read:
            raise ConfigError("wrapper.layers: the forget loss does not read these blocks; name lower ones.")
        return value

    def _add(self, place: int, _: nn.Module, __: Any, output: Any) -> Any:
        if not torch.is_grad_enabled():
            return output
        self._is_read = True
        hidden = output[0] if isinstance(output, tuple) else output
        if place not in self.perturbations:
            self.perturbations[place] = hidden.new_zeros(
                *self._shape, hidden.shape[-1], dtype=torch.float32, requires_grad=True
            )
        vectors = self.perturbations[place][:, : hidden.shape[1]]
        hidden = hidden + vectors.repeat_interleave(len(hidden) // len(vectors), dim=0).to(hidden.dtype)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def _layers(model: PreTrainedModel, numbers: list[int]) -> list[nn.Module]:
    from lethe import models

    blocks = models.blocks(model)
    if max(numbers) >= len(blocks):
        raise ConfigError(
            f"wrapper.layers: {max(numbers)}: the model's blocks are numbered 0 to {len(blocks) - 1}; name one of them."
        )
    return [blocks[number] for number in numbers]
