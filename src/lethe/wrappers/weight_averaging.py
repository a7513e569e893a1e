"""Weight averaging: the model that comes out is the mean of the weights along the way, which lies in flatter ground.

Stochastic weight averaging (SWA, Izmailov et al., 2018, arXiv:1803.05407): training goes on as without it, and after
the last step every weight becomes the plain mean of what it was after the chosen steps; for unlearning Fan et al.,
2025, arXiv:2502.05374. It costs one more copy of the weights that move, in memory and in checkpoints. With
``bf16_in_place`` the mean is not rounded; saving rounds it as it rounds every model.

Nothing sees the mean before the last step: early stop beside it measures the weights as they stand, and the step at
which it ends counts like any other.
"""

from __future__ import annotations

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lethe.config import Section
from lethe.errors import ConfigError
from lethe.losses import Context

_COUNT, _MEAN = "weight_averaging.count", "weight_averaging.mean."


class Config(Section):
    """Which steps count."""

    start_step: int = Field(ge=0)  # the first one, from 0; that of the last step: nothing is averaged
    every_steps: PositiveInt


def after_step(model: nn.Module, step: int, config: Config, memory: dict[str, Tensor], context: Context) -> None:
    """Take the weights as they are now into the mean, when this step counts."""
    if step < config.start_step or (step - config.start_step) % config.every_steps != 0:
        return
    memory[_COUNT] = memory.get(_COUNT, torch.tensor(0)) + 1
    share = 1 / int(memory[_COUNT])
    for name, parameter in _moving(model).items():
        if share == 1:
            memory[_MEAN + name] = parameter.detach().clone()
        else:
            memory[_MEAN + name].lerp_(parameter.detach(), share)


def finish(model: nn.Module, config: Config, memory: dict[str, Tensor]) -> None:
    """Put the mean in place of the weights. Raises ConfigError when no step has counted."""
    if _COUNT not in memory:
        raise ConfigError(
            f"wrapper.start_step: training ended before step {config.start_step}, so there is nothing to average; "
            "set it below training.steps, and below the step at which an early stop may end training."
        )
    with torch.no_grad():
        for name, parameter in _moving(model).items():
            parameter.copy_(memory[_MEAN + name])


def _moving(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
