"""Losses and gradients at other weights than the present ones, which come back bit for bit: what wrappers share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lethe import distribution
from lethe.batches import Batch
from lethe.errors import ConfigError

#: Losses, each a scalar, whose values sum to the loss of a step at the weights as they stand; of several processes each
#: has pieces of its own.
Pieces = Sequence[Callable[[], Tensor]]


@dataclass(frozen=True)
class Piece:
    """What one batch has in the loss of a step; called, a scalar at the weights as they stand."""

    batch: Batch
    value: Callable[[Batch], Tensor]

    def __call__(self) -> Tensor:
        """Its value now."""
        return self.value(self.batch)


def movable(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that a gradient may reach, in order."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def backward(pieces: Pieces, weight: float = 1.0) -> float:
    """Add ``weight`` times the gradient of the sum of the pieces to ``parameter.grad``, and return the sum."""
    total = 0.0
    for piece in pieces:
        value = piece()
        (value if weight == 1 else weight * value).backward()
        total += value.item()
    return total


def backward_into(value: Tensor, parameters: Sequence[nn.Parameter]) -> None:
    """Add the gradient of a loss to ``parameter.grad`` of these; to whatever else it reaches only of sharded weights.

    Those stand for others in the graph, which is left to know them.
    """
    is_sharded = any(distribution.is_sharded(parameter) for parameter in parameters)
    value.backward(inputs=None if is_sharded else list(parameters))


def backward_together(forget: Tensor, retain: Tensor, parameters: list[nn.Parameter]) -> list[Tensor]:
    """Add the gradient of the sum of two losses to ``parameter.grad``, and return that of ``retain`` alone.

    The backward of ``forget`` begins with the gradient of ``retain`` in place. So each weight adds up its terms in the
    order of one backward of the sum, and the result is the same to the last bit, tied embeddings included.
    """
    alone = torch.autograd.grad(retain, parameters, allow_unused=True)
    reached = [pair for pair in zip(parameters, alone, strict=True) if pair[1] is not None]
    torch.autograd.backward(
        [forget, *(parameter for parameter, _ in reached)], [torch.ones_like(forget), *(part for _, part in reached)]
    )
    return [torch.zeros_like(one) if part is None else part for one, part in zip(parameters, alone, strict=True)]


def loss(pieces: Pieces) -> float:
    """The sum of the pieces, without a gradient."""
    with torch.no_grad():
        return float(sum(piece().item() for piece in pieces))


def gradient(pieces: Pieces, parameters: Sequence[nn.Parameter]) -> tuple[float, list[Tensor]]:
    """The sum of the pieces and its gradient, one tensor a parameter; ``parameter.grad`` is left as it was.

    In several processes the sum is that of the own pieces, the gradient that of the pieces of all.
    """
    held = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    total = backward(pieces)
    found = [
        torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.detach() for parameter in parameters
    ]
    for parameter, before in zip(parameters, held, strict=True):
        parameter.grad = before
    return total, distribution.reduced(found)


def taken(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """What stands in ``parameter.grad``, summed over all processes, zeros where nothing does; afterwards it is None."""
    found = [torch.zeros_like(one) if one.grad is None else one.grad for one in parameters]
    for parameter in parameters:
        parameter.grad = None
    return distribution.reduced(found)


def gradient_of(value: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """The gradient of one loss that every process has, where it reaches; ``parameter.grad`` has to be None, and is.

    That of a sharded model is a sum over all processes, so that each counts its share of the same loss.
    """
    if not any(distribution.is_sharded(parameter) for parameter in parameters):
        return list(torch.autograd.grad(value, parameters, allow_unused=True))
    (value / distribution.size()).backward()
    found = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return found


def add_hessian_product(
    pieces: Pieces, parameters: Sequence[nn.Parameter], vector: Sequence[Tensor], *, weight: float
) -> None:
    """Add ``weight`` times Hessian × ``vector`` to ``parameter.grad``: a second backward through the first.

    The Hessian is that of the sum of the pieces, so it may be taken piece by piece.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    for piece in pieces:
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            first = torch.autograd.grad(piece(), parameters, create_graph=True, allow_unused=True)
            products = [(one * other).sum() for one, other in zip(first, vector, strict=True) if one is not None]
            (weight * torch.stack(products).sum()).backward()


def require_second_derivatives(model: nn.Module, wrapper: str) -> None:
    """Raise ConfigError for a model whose gradients have no gradient: one that is sharded."""
    if any(distribution.is_sharded(parameter) for parameter in model.parameters()):
        raise ConfigError(
            f"wrapper {wrapper!r} takes the gradient of a gradient, which sharded weights do not have; "
            "launch with --multi_gpu."
        )


def add_to_gradients(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    """Add one tensor to each ``parameter.grad``; one that was summed over processes counts once in the sum to come."""
    for parameter, value in zip(parameters, values, strict=True):
        if distribution.is_first() or distribution.is_sharded(value):
            parameter.grad = value if parameter.grad is None else parameter.grad.add_(value)


def count_once(parameters: Sequence[nn.Parameter]) -> None:
    """Leave gradients that were summed over processes to the first one alone, so that the next sum holds them once."""
    for parameter in parameters:
        if parameter.grad is not None and not (distribution.is_first() or distribution.is_sharded(parameter)):
            parameter.grad = None


@contextmanager
def gradients_where_reached(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Afterwards a parameter has a gradient, zeros if need be, where a backward inside computed one, and else None."""
    found: set[int] = set()

    def reach(index: int, _: Tensor) -> None:
        found.add(index)

    handles = [
        parameter.register_post_accumulate_grad_hook(partial(reach, index))
        for index, parameter in enumerate(parameters)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    for index, parameter in enumerate(parameters):
        here = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        parameter.grad = here if index in found else None


def norm(tensors: Sequence[Tensor]) -> float:
    """L2 norm of all tensors as one vector, in fp64."""
    norms = [distribution.whole(torch.linalg.vector_norm(tensor, dtype=torch.float64)) for tensor in tensors]
    return float(torch.linalg.vector_norm(torch.stack(norms)))


@contextmanager
def restored(parameters: Sequence[Tensor]) -> Iterator[None]:
    """Whatever happens to the values of these parameters inside, afterwards they are back, bit for bit.

    Taking away what was added would not do: (θ + ε) − ε is not θ in floating point.
    """
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)


@contextmanager
def moved(parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], length: float) -> Iterator[None]:
    """Inside, the parameters stand ``length`` times ``direction`` away; afterwards they are back, bit for bit."""
    with restored(parameters):
        with torch.no_grad():
            for parameter, step in zip(parameters, direction, strict=True):
                parameter.add_(step, alpha=length)
        yield


class Draws:
    """The state of torch's generators now, so that a second pass draws the same dropout and the same labels."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []

    def again(self) -> None:
        """Stand again where the generators stood."""
        torch.set_rng_state(self._cpu)
        if self._cuda:
            torch.cuda.set_rng_state_all(self._cuda)
