"""What a rule of training may know of the step that it stands in, and what it may remember until the next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lethe import distribution

#: One tensor a parameter, in order; None where no loss reaches it.
Gradient = Iterable[Tensor | None]


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


def geometry(combined: Gradient, tasks: Mapping[str, Gradient]) -> dict[str, float]:
    """The norm of each task's gradient, and how far the step goes down it: a product below 0 says who pays.

    Combined and tasks' gradients are those of the weights that may move, zero at elements that a mask keeps: so are
    these norms, ``gradient_norm`` and the products, and no product is above that of its two norms. The step is the
    combined gradient before clipping and the optimizer's rule.
    """
    products = [
        _products(*((one, one) for one in gradients), *((step, one) for one in gradients))
        for step, *gradients in zip(combined, *tasks.values(), strict=True)
    ]
    found = torch.stack(products).sum(0).tolist()
    norms = {f"{name}_gradient_norm": square**0.5 for name, square in zip(tasks, found, strict=False)}
    return norms | {f"step_along_{name}": product for name, product in zip(tasks, found[len(tasks) :], strict=True)}


def geometry_of_sum(
    combined: Gradient, weighed_retain: Gradient, forget_weight: float, retain_weight: float
) -> dict[str, float]:
    """The same numbers where the step is the weighted sum, of which ``weighed_retain`` is a part.

    The other part is their difference, as exact as fp32 is beside the larger of the two. A gradient whose weight is 0
    has left no trace in the sum, and its numbers are left out.
    """
    parts = ((step - part, part) for step, part in zip(combined, weighed_retain, strict=True) if step is not None)
    products = [_products((ours, ours), (ours, theirs), (theirs, theirs)) for ours, theirs in parts]
    forget_square, product, retain_square = torch.stack(products).sum(0).tolist()
    numbers = _along("forget", forget_square, product, forget_weight) if forget_weight else {}
    return numbers | (_along("retain", retain_square, product, retain_weight) if retain_weight else {})


def geometry_alone(combined: Gradient, weight: float) -> dict[str, float]:
    """The same numbers where the step is the forget gradient times its weight, and there is no other."""
    square = torch.stack([_products((step, step)) for step in combined if step is not None]).sum().item()
    return _along("forget", square, 0.0, weight) if weight else {}


def _along(task: str, square: float, product: float, weight: float) -> dict[str, float]:
    return {f"{task}_gradient_norm": square**0.5 / weight, f"step_along_{task}": (square + product) / weight}


def _products(*pairs: tuple[Tensor, Tensor]) -> Tensor:
    # Of one parameter at a time, while it is in the processor's cache.
    return torch.stack([distribution.dot(*pair) for pair in pairs]).double()
