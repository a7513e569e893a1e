"""What a rule of training may know of the step that it stands in, and what it may remember until the next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lethe import distribution


@dataclass(frozen=True)
class Moment:
    """A step of training, seen by a combiner: its number from 0, its two losses, and a memory.

    ``memory`` holds named tensors that outlive the step; checkpoints keep it, so that a resumed run remembers the
    same. A rule names its own entries and finds it empty at the first step. ``numbers`` is for the curve: what a rule
    puts there stands in the entry of the step.
    """

    step: int
    forget_loss: float
    retain_loss: float
    memory: dict[str, Tensor]
    numbers: dict[str, float] = field(default_factory=dict)


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
    products = [distribution.dot(one.double(), other.double()) for one, other in zip(left, right, strict=True)]
    return float(torch.stack(products).sum())


def geometry(combined: Sequence[Tensor], forget: Sequence[Tensor], retain: Sequence[Tensor]) -> dict[str, float]:
    """Norms of the two gradients, and how far the step goes down each: an inner product below 0 says who pays."""
    products = [
        _products((ours, ours), (theirs, theirs), (step, ours), (step, theirs))
        for step, ours, theirs in zip(combined, forget, retain, strict=True)
    ]
    forget_square, retain_square, along_forget, along_retain = torch.stack(products).sum(0).tolist()
    return {
        "forget_gradient_norm": forget_square**0.5,
        "retain_gradient_norm": retain_square**0.5,
        "step_along_forget": along_forget,
        "step_along_retain": along_retain,
    }


def geometry_of_sum(
    parameters: Sequence[nn.Parameter], weighed_retain: Sequence[Tensor], forget_weight: float, retain_weight: float
) -> dict[str, float]:
    """The same numbers where ``parameter.grad`` is the weighted sum, of which ``weighed_retain`` is a part.

    The other part is their difference, as exact as fp32 is beside the larger of the two. A gradient whose weight is 0
    has left no trace in the sum, and its numbers are left out.
    """
    parts = (
        (parameter.grad - part, part)
        for parameter, part in zip(parameters, weighed_retain, strict=True)
        if parameter.grad is not None
    )
    products = [_products((ours, ours), (ours, theirs), (theirs, theirs)) for ours, theirs in parts]
    forget_square, product, retain_square = torch.stack(products).sum(0).tolist()
    numbers = {}
    if forget_weight:
        numbers["forget_gradient_norm"] = forget_square**0.5 / forget_weight
        numbers["step_along_forget"] = (forget_square + product) / forget_weight
    if retain_weight:
        numbers["retain_gradient_norm"] = retain_square**0.5 / retain_weight
        numbers["step_along_retain"] = (retain_square + product) / retain_weight
    return numbers


def _products(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    # Of one parameter at a time, while it is in the processor's cache.
    return torch.stack([distribution.dot(*pair) for pair in pairs]).double()
