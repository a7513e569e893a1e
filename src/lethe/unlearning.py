"""Unlearning as a point of a product: forget objective × retain objective × combiner × optimizer × mask."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lethe import batches, losses, models, training
from lethe.batches import Batch, Example
from lethe.checkpoints import Checkpoints
from lethe.losses import Context
from lethe.recipes import Component, Recipe, Training
from lethe.training import Curve, Gradients

_REFERENCE_BATCH = 16


def unlearn(
    model: PreTrainedModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    recipe: Recipe,
    *,
    pad: int,
    seed: int,
    checkpoints: Checkpoints,
    title: str,
) -> Curve:
    """Carry out a recipe on ``model`` in place and return the learning curve.

    Each step takes the next forget batch and, with it, a retain batch drawn with replacement.
    """
    if _reference(recipe.forget_objective) == "log_probs":
        forget = with_references(model, forget, recipe.training, pad=pad)
    gradients = step_gradients(model, forget, retain, recipe, pad=pad, seed=seed)
    optimizer = recipe.optimizer.module.build(select(model, recipe.mask), recipe.optimizer.config)
    return training.run(model, gradients, optimizer, recipe.training, seed=seed, checkpoints=checkpoints, title=title)


def select(model: PreTrainedModel, mask: Component) -> list[torch.nn.Parameter]:
    """Freeze what the mask keeps, and return the parameters that may move."""
    movable = mask.module.select(model, mask.config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(movable[name])
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def with_references(
    model: PreTrainedModel, examples: Sequence[Example], settings: Training, *, pad: int
) -> list[Example]:
    """The examples with their summed log-probability under the model as it is now: one number each, no second model."""
    scored: list[Example] = []
    with torch.no_grad(), training.in_compute_dtype(settings, model.device):
        for start in range(0, len(examples), _REFERENCE_BATCH):
            chunk = examples[start : start + _REFERENCE_BATCH]
            batch = batches.collate(chunk, pad=pad, device=model.device)
            sums = losses.sequence_sums(losses.target_log_probs(model, batch), batch).tolist()
            scored += [replace(example, reference_log_prob=value) for example, value in zip(chunk, sums, strict=True)]
    return scored


def step_gradients(
    model: PreTrainedModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    recipe: Recipe,
    *,
    pad: int,
    seed: int,
) -> Gradients:
    """What one step of the recipe puts into ``parameter.grad``."""
    objectives = (recipe.forget_objective, recipe.retain_objective)
    needs_model = any(_reference(objective) == "model" for objective in objectives)
    context = Context(reference=models.frozen_copy(model) if needs_model else None)
    combine = _joint if not recipe.combiner.module.SEPARATE or recipe.retain_objective is None else _separate
    size, pieces = recipe.training.batch_size, recipe.training.accumulation

    def gradients(step: int) -> dict[str, float]:
        chosen = [
            training.batch_at(forget, step, size * pieces, seed=seed),
            training.sample_at(retain, step, size * pieces, seed=seed),
        ]
        windows = [_pieces(rows, size, pad, model.device) for rows in chosen]
        terms = [
            _terms(model, objective, window, context, recipe)
            for objective, window in zip(objectives, windows, strict=True)
            if objective is not None
        ]
        return combine(model, terms, recipe)

    return gradients


def _pieces(rows: list[Example], size: int, pad: int, device: torch.device) -> list[Batch]:
    return [batches.collate(rows[start : start + size], pad=pad, device=device) for start in range(0, len(rows), size)]


def _terms(
    model: PreTrainedModel, objective: Component, window: list[Batch], context: Context, recipe: Recipe
) -> list[Callable[[], Tensor]]:
    """The objective over an accumulation window, as pieces whose sum is its value on the whole window."""
    counts = [len(batch.targets) if objective.module.UNIT == "token" else len(batch) for batch in window]
    total = sum(counts)

    def piece(batch: Batch, count: int) -> Tensor:
        with training.in_compute_dtype(recipe.training, model.device):
            loss: Tensor = objective.module.loss(model, batch, objective.config, context)
        return loss * (count / total)

    return [partial(piece, batch, count) for batch, count in zip(window, counts, strict=True)]


def _joint(model: PreTrainedModel, terms: list[list[Callable[[], Tensor]]], recipe: Recipe) -> dict[str, float]:
    """One backward of the weighted sum: the same gradient as two backwards and the combiner ``sum``, at less cost."""
    weights = (recipe.combiner.config.forget_weight, recipe.combiner.config.retain_weight)
    sums = [0.0] * len(terms)
    for pieces in zip(*terms, strict=True):
        values = [piece() for piece in pieces]
        torch.stack([weight * value for weight, value in zip(weights, values, strict=False)]).sum().backward()
        sums = [total + value.item() for total, value in zip(sums, values, strict=True)]
    return dict(zip(("forget_loss", "retain_loss"), sums, strict=False))


def _separate(model: PreTrainedModel, terms: list[list[Callable[[], Tensor]]], recipe: Recipe) -> dict[str, float]:
    """Two backwards, one for each objective over the whole window, and then the combiner, tensor by tensor in place."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    sums, gradients = [], []
    for pieces in terms:
        sums.append(_backward(pieces))
        gradients.append([_taken(parameter) for parameter in parameters])
    combined = recipe.combiner.module.combine(*gradients, recipe.combiner.config)
    for parameter, gradient in zip(parameters, combined, strict=True):
        parameter.grad = gradient
    return dict(zip(("forget_loss", "retain_loss"), sums, strict=True))


def _backward(pieces: list[Callable[[], Tensor]]) -> float:
    total = 0.0
    for piece in pieces:
        value = piece()
        value.backward()
        total += value.item()
    return total


def _taken(parameter: torch.nn.Parameter) -> Tensor:
    gradient, parameter.grad = parameter.grad, None
    return torch.zeros_like(parameter) if gradient is None else gradient


def _reference(objective: Component | None) -> str:
    return "none" if objective is None else str(objective.module.REFERENCE)
