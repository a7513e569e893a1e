"""Selective synaptic dampening: shrink the weights that matter much more to the forget rows than to the others.

A weight's importance is the mean over sequences of its squared gradient of the mean answer NLL (diagonal Fisher
information): I_f on the forget rows, I_D on the others. Where I_f > α I_D it becomes θ × min(λ I_D / I_f, 1); every
other weight keeps its bits (Foster et al., 2024, arXiv:2308.07707; λ 1 and α 10 for image classifiers). No step is
trained, and no direction of forgetting is looked at.

For language models, by our own design, for the paper has no result on one:

- importances of single sequences, so that they do not depend on a batch size;
- ``skip`` keeps embeddings, heads, norms and biases; a shared weight comes once;
- I_D is raised to a percentile of the positive entries of its tensor: a weight without any gradient on the others
  would become zero however little it matters. A tensor without a positive entry is left alone;
- α by ``fraction``: the largest at which that share of the weights is selected, as adaptive SSD takes α from the
  percentiles of I_f / I_D (arXiv:2402.10098).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor

from lethe import editing, thresholds
from lethe.batches import Example
from lethe.config import Section

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve

COPIES = 5  # the model, two importances, the gradient of a sequence, and its square or the ratios


class Config(Section):
    """Which weights are selected, and how far they shrink."""

    alpha: PositiveFloat | None  # null: by fraction
    fraction: Annotated[float, Field(ge=0, le=1)] | None  # of the weights that are not skipped; null: by alpha
    dampening: PositiveFloat  # λ
    floor_percentile: Annotated[float, Field(ge=0, le=100)]  # of the positive entries of a tensor of I_D
    rows: Literal["retain", "general", "retain_and_forget"]  # what I_D is measured on
    max_rows: PositiveInt | None  # drawn for I_D by the seed; null: all
    skip: list[str]  # patterns (* and ?) of the names of weights that stay as they are

    @model_validator(mode="after")
    def _selects_in_one_way(self) -> Config:
        if (self.alpha is None) == (self.fraction is None):
            raise ValueError("one of alpha and fraction is needed, the other is null")
        return self


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Dampen the selected weights; the entry tells α (missing where nothing is selected) and the share selected."""
    from lethe import importance

    parameters, forget = editing.chosen(model, config.skip), list(material.rows.forget)
    if not forget:
        return []
    mine = importance.fisher(model, forget, batch_size=1, pad=material.pad)
    others = importance.fisher(model, _other_rows(material, config), batch_size=1, pad=material.pad)
    pairs = [
        (parameter, mine.pop(name), floored(others.pop(name), config.floor_percentile))
        for name, parameter in parameters.items()
    ]
    pairs = [pair for pair in pairs if bool(pair[2].any())]
    del mine, others
    alpha = config.alpha or _alpha([of_forget / of_others for _, of_forget, of_others in pairs], config.fraction or 0.0)
    count = 0
    for parameter, of_forget, of_others in pairs:
        count += int((of_forget > alpha * of_others).sum())
        with torch.no_grad():
            parameter.copy_(dampened(parameter, of_others, of_forget, alpha=alpha, dampening=config.dampening))
    share = count / sum(parameter.numel() for parameter in parameters.values())
    return [{"step": 1, "selected_fraction": share} | ({"alpha": alpha} if count else {})]


def dampened(weight: Tensor, of_others: Tensor, of_forget: Tensor, *, alpha: float, dampening: float) -> Tensor:
    """The weight, shrunk where ``of_forget`` > ``alpha`` × ``of_others``; never larger, and never of another sign."""
    factor = (dampening * of_others / of_forget).clamp(max=1)
    return torch.where(of_forget > alpha * of_others, weight * factor, weight)


def floored(importance: Tensor, percentile: float) -> Tensor:
    """The importance, where it is smaller raised to this percentile of its own positive entries."""
    positive = importance[importance > 0]
    if not len(positive):
        return importance
    return importance.clamp(min=thresholds.kth_smallest([positive], round(percentile * (len(positive) - 1) / 100)))


def _alpha(ratios: list[Tensor], fraction: float) -> float:
    total = sum(ratio.numel() for ratio in ratios)
    count = math.floor(fraction * total)
    if count == 0:
        return math.inf
    return thresholds.kth_smallest(ratios, total - count - 1) if count < total else 0.0


def _other_rows(material: Material, config: Config) -> list[Example]:
    if config.rows == "retain_and_forget":
        return editing.kept_rows(material, "retain", config.max_rows) + list(material.rows.forget)
    return editing.kept_rows(material, config.rows, config.max_rows)
