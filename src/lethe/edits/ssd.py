"""Selective synaptic dampening: shrink the weights that matter much more to the forget rows than to the others.

A weight's importance is the mean over sequences of its squared gradient of the mean answer NLL (diagonal Fisher
information): I_f on the forget rows, I_D on the others. Where I_f > α I_D it becomes θ × min(λ I_D / I_f, 1); every
other weight keeps its bits (Foster et al., 2024, arXiv:2308.07707; λ 1 and α 10 for image classifiers). No step is
trained, and no direction of forgetting is looked at.

``importance``: ``fisher``, or ``label_free``, which takes the mean size of the gradient of the squared norm of the
logits and looks at no answer token (Foster et al., 2024, arXiv:2402.19308).

One of three chooses α:

- ``alpha`` itself;
- ``fraction``: the largest at which that share of the weights is selected. ``forget_share`` is the rule of adaptive
  SSD, ln(1 + 100 |D_f| / |D|) percent, by rows, D the forget and retain rows (Schoepf et al., 2024, arXiv:2402.10098);
- ``search``: the largest share of the weights at which the perplexity of the other rows stays within a budget, or the
  smallest found at which the forget answers reach ``forget_nll``, if that is less.

For language models, by our own design, for the papers have no result on one:

- importances of single sequences, so that they do not depend on a batch size;
- ``skip`` keeps embeddings, heads, norms and biases; a shared weight comes once;
- I_D is raised to a percentile of the positive entries of its tensor: a weight without any gradient on the others
  would become zero however little it matters. A tensor without a positive entry is left alone;
- the search.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt, model_validator
from torch import Tensor, nn

from lethe import distribution, editing, mixing, perturbation, thresholds
from lethe.batches import Example
from lethe.config import Section

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve

COPIES = 5  # the model, two importances, then the gradient of a sequence and its square, or the ratios and the weights

Pair = tuple[nn.Parameter, Tensor, Tensor]  # of what is dampened: itself, I_f and I_D


class Search(mixing.Budget):
    """How large a share of the weights is selected; ``largest`` is at most 1."""

    forget_nll: PositiveFloat | None  # nats a token, of the forget answers, at which enough is forgotten; null: never


class Config(Section):
    """Which weights are selected, and how far they shrink."""

    importance: Literal["fisher", "label_free"]
    alpha: PositiveFloat | None
    fraction: Annotated[float, Field(ge=0, le=1)] | Literal["forget_share"] | None  # of what is not skipped
    search: Search | None
    dampening: PositiveFloat  # λ
    floor_percentile: Annotated[float, Field(ge=0, le=100)]  # of the positive entries of a tensor of I_D
    rows: Literal["retain", "general", "retain_and_forget"]  # what I_D is measured on
    max_rows: PositiveInt | None  # drawn for I_D by the seed; null: all
    skip: list[str]  # patterns (* and ?) of the names of weights that stay as they are

    @model_validator(mode="after")
    def _selects_in_one_way(self) -> Config:
        if [self.alpha, self.fraction, self.search].count(None) != 2:
            raise ValueError("one of alpha, fraction and search is needed, the others are null")
        return self


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Dampen the selected weights; the entry tells α (missing where nothing is selected) and the share selected."""
    if not material.rows.forget:
        return []
    parameters = editing.chosen(model, config.skip)
    pairs = _pairs(model, parameters, material, config)
    total, told = sum(parameter.numel() for parameter in parameters.values()), dict[str, float]()
    if config.search is not None:
        alpha, told = _searched(model, pairs, material, config, config.search)
    elif config.alpha is not None:
        alpha = config.alpha
    else:
        share = _forget_share(material) if config.fraction == "forget_share" else float(config.fraction or 0.0)
        alpha = _alpha(pairs, share)
    count = _dampen(pairs, alpha, config)
    return [{"step": 1, "selected_fraction": count / total} | ({"alpha": alpha} if count else {}) | told]


def dampened(weight: Tensor, of_others: Tensor, of_forget: Tensor, *, alpha: float, dampening: float) -> Tensor:
    """The weight, shrunk where ``of_forget`` > ``alpha`` × ``of_others``; never larger, and never of another sign."""
    factor = (dampening * of_others / of_forget).clamp(max=1)
    return torch.where(of_forget > alpha * of_others, weight * factor, weight)


def floored(importance: Tensor, percentile: float) -> Tensor:
    """The importance, where it is smaller raised to this percentile of its own positive entries."""
    positive = int(distribution.whole((importance > 0).sum()))
    if not positive:
        return importance
    zeros = importance.numel() - positive
    return importance.clamp(min=thresholds.kth_smallest([importance], zeros + round(percentile * (positive - 1) / 100)))


def _alpha(pairs: Sequence[Pair], fraction: float) -> float:
    ratios = [of_forget / of_others for _, of_forget, of_others in pairs]
    total = sum(ratio.numel() for ratio in ratios)
    count = math.floor(fraction * total)
    if count == 0:
        return math.inf
    return thresholds.kth_smallest(ratios, total - count - 1) if count < total else 0.0


def _pairs(
    model: PreTrainedModel, parameters: Mapping[str, nn.Parameter], material: Material, config: Config
) -> list[Pair]:
    from lethe import importance

    measure = importance.fisher if config.importance == "fisher" else importance.label_free
    others = _kept_rows(material, config) + (list(material.rows.forget) if config.rows == "retain_and_forget" else [])
    mine = measure(model, material.rows.forget, batch_size=1, pad=material.pad)
    theirs = measure(model, others, batch_size=1, pad=material.pad)
    pairs = [
        (parameter, mine.pop(name), floored(theirs.pop(name), config.floor_percentile))
        for name, parameter in parameters.items()
    ]
    return [pair for pair in pairs if bool(distribution.whole(pair[2].any()))]


def _dampen(pairs: Sequence[Pair], alpha: float, config: Config) -> int:
    """Dampen in place; how many weights were selected."""
    count = 0
    for parameter, of_forget, of_others in pairs:
        count += int(distribution.whole((of_forget > alpha * of_others).sum()))
        with torch.no_grad():
            parameter.copy_(dampened(parameter, of_others, of_forget, alpha=alpha, dampening=config.dampening))
    return count


def _searched(
    model: PreTrainedModel, pairs: Sequence[Pair], material: Material, config: Config, search: Search
) -> tuple[float, dict[str, float]]:
    """The α of the share that is found, and what the perplexity ratio of the other rows is there; the weights stay."""
    kept, forget = _kept_rows(material, config), list(material.rows.forget)
    before = editing.mean_nll(model, kept, pad=material.pad)

    def at(share: float, read: Callable[[], float]) -> float:
        alpha = _alpha(pairs, share)
        with perturbation.restored([parameter for parameter, _, _ in pairs]):
            _dampen(pairs, alpha, config)
            return read()

    def ratio(share: float) -> float:
        return at(share, lambda: editing.perplexity_ratio(model, kept, before, pad=material.pad))

    def too_much(share: float) -> float:
        return at(share, lambda: editing.mean_nll(model, forget, pad=material.pad)) / (search.forget_nll or math.inf)

    share = mixing.within(ratio, search)
    if share > 0 and too_much(share) > 1:
        # The largest share at which it is not enough yet, and one step of the search further, if that is within the
        # budget: at ``share`` it is enough.
        less = mixing.within(too_much, search.model_copy(update={"largest": share, "perplexity_ratio": 1.0}))
        share = min(share, less * (1 + 2**-search.bisections)) or share / 2**search.halvings
    else:
        mixing.tell_bounds(share, search, material.title)
    return _alpha(pairs, share), {"perplexity_ratio": ratio(share)}


def _kept_rows(material: Material, config: Config) -> list[Example]:
    return editing.kept_rows(material, "general" if config.rows == "general" else "retain", config.max_rows)


def _forget_share(material: Material) -> float:
    forget = len(material.rows.forget)
    return min(1.0, math.log(1 + 100 * forget / (forget + len(material.rows.retain))) / 100)
