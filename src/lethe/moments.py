"""What a rule of training may know of the step that it stands in, and what it may remember until the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Moment:
    """A step of training, seen by a combiner: its number from 0, its two losses, and a memory.

    ``memory`` holds named tensors that outlive the step; checkpoints keep it, so that a resumed run remembers the
    same. A rule names its own entries and finds it empty at the first step.
    """

    step: int
    forget_loss: float
    retain_loss: float
    memory: dict[str, Tensor]


@dataclass(frozen=True)
class Probe:
    """What an optimizer that finds its own gradient may measure: everything is a function of the number of the step.

    ``loss`` is the weighted sum of both losses at the weights as they stand; no gradient is kept. ``sampled_gradient``
    is the gradient of the mean NLL of labels that the model itself draws on the rows of the step, one tensor a
    parameter, and the number of those labels (the estimator of Sophia, arXiv:2305.14342).
    """

    parameters: list[nn.Parameter]
    loss: Callable[[int], float]
    sampled_gradient: Callable[[int], tuple[list[Tensor], int]]


def inner(left: Sequence[Tensor], right: Sequence[Tensor]) -> float:
    """Inner product of two gradients, each as one long vector, in fp64."""
    products = [torch.dot(*(tensor.flatten().double() for tensor in pair)) for pair in zip(left, right, strict=True)]
    return float(torch.stack(products).sum())
