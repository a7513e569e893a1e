"""Influence functions: one step to where the weights would be had they not been trained on the forget rows.

At a minimum of the training loss, leaving rows out moves the weights by about (1/N) H⁻¹ Σ_f ∇ℓ (Koh & Liang, 2017,
arXiv:1703.04730; for unlearning Jia et al., 2023, arXiv:2304.04934). Here θ + s (C + λ I)⁻¹ Σ_f ∇ℓ, ℓ the mean NLL of
a row's answer, and C by ``inverse``:

- ``diagonal``: the mean over other rows of their squared gradients, an elementwise division;
- ``fisher``: the mean of their outer products Σ g gᵀ / n, by conjugate gradients and Fisher-vector products;
- ``hessian``: the Hessian of the mean loss of those rows, by conjugate gradients and second derivatives. Language
  models do not stand at a minimum: where the curvature is not positive, the iteration ends with what it has.

λ is a percentile of the diagonal of the Fisher matrix over all weights that are not skipped: where C is near zero a
division would explode. With C constant the direction is that of gradient ascent. ``scale`` is s, or ``search`` finds
the largest within a budget of retain perplexity. No step is trained.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt, model_validator
from torch import Tensor

from lethe import batches, distribution, editing, losses, perturbation, thresholds
from lethe.batches import Batch, Example
from lethe.config import Section
from lethe.errors import ConfigError
from lethe.mixing import Budget, tell_bounds, within

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve

COPIES = 10  # conjugate gradients: the model, five vectors, and of a row two gradients with the graph between them

Tensors = list[Tensor]


class Config(Section):
    """Which curvature is inverted, on which rows it is measured, and how far the step goes."""

    inverse: Literal["diagonal", "fisher", "hessian"]
    iterations: PositiveInt | None  # of conjugate gradients, at most; null for the diagonal
    damping_percentile: Annotated[float, Field(ge=0, le=100)]
    rows: editing.KeptRows
    max_rows: PositiveInt | None  # drawn by the seed; null: all
    skip: list[str]  # patterns (* and ?) of the names of weights that stay as they are
    scale: NonNegativeFloat | None  # null: by search
    search: Budget | None

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if (self.scale is None) == (self.search is None):
            raise ValueError("one of scale and search is needed, the other is null")
        if (self.iterations is None) != (self.inverse == "diagonal"):
            raise ValueError("iterations are for fisher and hessian, and null for the diagonal")
        return self


def require_distributable(config: Config) -> None:
    """Raises ConfigError for a Hessian of sharded weights."""
    if config.inverse == "hessian" and distribution.shards():
        raise ConfigError(
            "edit 'influence' with inverse 'hessian' takes the gradient of a gradient, which sharded weights do not "
            "have; launch with --multi_gpu."
        )


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Take the step; the entry tells its scale and damping, and what it did to the perplexity of the other rows.

    Raises ConfigError where the damping is zero, and DataError where the source has no such rows.
    """
    from lethe import importance

    parameters, forget = editing.chosen(model, config.skip), list(material.rows.forget)
    if not forget:
        return []
    rows = editing.kept_rows(material, config.rows, config.max_rows)

    def nll(batch: Batch) -> Tensor:
        return -losses.token_mean(losses.target_log_probs(model, batch))

    found = importance.fisher(model, rows, batch_size=1, pad=material.pad)
    diagonal = [found[name] for name in parameters]
    damping = _damping(diagonal, config.damping_percentile)
    found = importance.summed_gradient(model, forget, nll, batch_size=1, pad=material.pad)
    direction = [found[name] for name in parameters]
    del found
    if config.inverse == "diagonal":
        for one, other in zip(direction, diagonal, strict=True):
            one.div_(other.add_(damping))
    else:
        del diagonal

        def product(vector: Tensors) -> Tensors:
            return curvature_product(model, list(parameters.values()), rows, vector, config.inverse, pad=material.pad)

        direction = solved(product, direction, damping, config.iterations or 0)
    return [_moved(model, list(parameters.values()), direction, rows, material, config) | {"damping": damping}]


def solved(product: Callable[[Tensors], Tensors], target: Tensors, damping: float, iterations: int) -> Tensors:
    """The x with (C + ``damping`` I) x = ``target``, by conjugate gradients; ``product`` multiplies by C.

    They end early where nothing is left, and where the curvature is not positive; if that is at once, x is ``target``.
    """
    solution = [torch.zeros_like(part) for part in target]
    residual, direction = [part.clone() for part in target], [part.clone() for part in target]
    size = _inner(residual, residual)
    for iteration in range(iterations):
        if size == 0:
            break
        bent = [one.add_(other, alpha=damping) for one, other in zip(product(direction), direction, strict=True)]
        curvature = _inner(direction, bent)
        if curvature <= 0:
            return target if iteration == 0 else solution
        _add(solution, direction, size / curvature)
        _add(residual, bent, -size / curvature)
        last, size = size, _inner(residual, residual)
        for one, other in zip(direction, residual, strict=True):
            one.mul_(size / last).add_(other)
    return solution


def curvature_product(
    model: PreTrainedModel,
    parameters: list[torch.nn.Parameter],
    rows: list[Example],
    vector: Tensors,
    kind: str,
    *,
    pad: int,
) -> Tensors:
    """Fisher matrix or Hessian of the mean NLL of rows, times ``vector``."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    total = [torch.zeros_like(part) for part in vector]
    for row in rows if distribution.is_sharded(vector[0]) else distribution.share(rows):
        batch = batches.collate([row], pad=pad, device=model.device)
        with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
            nll = -losses.token_mean(losses.target_log_probs(model, batch))
            first = _gradients(nll, parameters, create_graph=kind == "hessian")
            if kind == "fisher":
                _add(total, first, _inner(first, vector) / len(rows))
            else:
                products = [(one * other).sum() for one, other in zip(first, vector, strict=True)]
                _add(total, _gradients(torch.stack(products).sum(), parameters, create_graph=False), 1 / len(rows))
    return distribution.reduced(total)


def _gradients(value: Tensor, parameters: list[torch.nn.Parameter], *, create_graph: bool) -> Tensors:
    if distribution.is_sharded(parameters[0]):
        found = perturbation.gradient_of(value, parameters)
        return [torch.zeros_like(one) if part is None else part for one, part in zip(parameters, found, strict=True)]
    return list(
        torch.autograd.grad(value, parameters, create_graph=create_graph, allow_unused=True, materialize_grads=True)
    )


def _moved(
    model: PreTrainedModel,
    parameters: list[torch.nn.Parameter],
    direction: Tensors,
    rows: list[Example],
    material: Material,
    config: Config,
) -> dict[str, float]:
    before = editing.mean_nll(model, rows, pad=material.pad)
    origin = [parameter.detach().clone() for parameter in parameters]

    def perplexity_ratio(scale: float) -> float:
        with torch.no_grad():
            for parameter, start, step in zip(parameters, origin, direction, strict=True):
                torch.add(start, step, alpha=scale, out=parameter.data)
        return editing.perplexity_ratio(model, rows, before, pad=material.pad)

    scale = config.scale if config.search is None else within(perplexity_ratio, config.search)
    assert scale is not None
    if config.search is not None:
        tell_bounds(scale, config.search, material.title)
    return {"step": 1, "scale": scale, "perplexity_ratio": perplexity_ratio(scale)}


def _damping(diagonal: Tensors, percentile: float) -> float:
    count = sum(part.numel() for part in diagonal)
    damping = thresholds.kth_smallest(diagonal, round(percentile * (count - 1) / 100))
    if damping == 0:
        raise ConfigError(
            f"edit.damping_percentile: {percentile:g} % of the weights have no gradient on the other rows, so that "
            "the division explodes; raise it, or skip embeddings."
        )
    return damping


def _add(total: Tensors, part: Tensors, factor: float) -> None:
    for one, other in zip(total, part, strict=True):
        one.add_(other, alpha=factor)


def _inner(left: Tensors, right: Tensors) -> float:
    products = [distribution.whole((one.double() * other).sum()) for one, other in zip(left, right, strict=True)]
    return float(torch.stack(products).sum())
