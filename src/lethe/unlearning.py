"""Unlearning: training at a point of the product space, then an edit of the weights; either may be absent."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lethe import (
    batches,
    distribution,
    editing,
    importance,
    losses,
    masking,
    models,
    perturbation,
    reach,
    references,
    steps,
    training,
)
from lethe.batches import Batch, Example, TopK
from lethe.errors import DataError
from lethe.losses import Context
from lethe.masking import Mask
from lethe.material import Material, Rows
from lethe.recipes import Component, Point, Recipe, Training
from lethe.steps import Setting
from lethe.training import Curve

Share = Callable[[Sequence[Example]], Sequence[Example]]

_REFERENCE_BATCH = 16


def unlearn(model: PreTrainedModel, material: Material, recipe: Recipe) -> Curve:
    """Carry out a recipe on ``model`` in place and return the learning curve.

    Raises NotFiniteError when a loss or gradient is, and what the components say of data that they cannot use.
    """
    _require_distributable(recipe)
    curve: Curve = []
    if recipe.point is not None:
        curve = train(model, material, recipe.point)
    if recipe.edit is not None:
        with distribution.sharded(model, models.blocks) as edited:
            curve = editing.joined(curve, recipe.edit.module.edit(edited, material, recipe.edit.config))
    return curve


def train(model: PreTrainedModel, material: Material, point: Point) -> Curve:
    """Train ``model`` in place to forget; every step takes the next forget rows and retain rows drawn beside them.

    However it ends, the model is an ordinary one of its class, all of whose parameters may move.
    """
    with distribution.sharded(model, models.blocks) as trained:
        return _train(trained, material, point)


def _train(model: PreTrainedModel, material: Material, point: Point) -> Curve:
    forget = referenced(model, _apart(material, point)[0], point.forget_objective, point.training, pad=material.pad)
    given = context(model, material, point)
    retain = material.rows.general if point.retain_split == "general" else material.rows.retain
    retain = referenced(model, retain, point.retain_objective, point.training, pad=material.pad)
    rows = replace(material.rows, forget=forget, retain=retain)
    with masking.entered(model, point.mask, material.seed, material.adapter):
        return _run(model, material, point, rows, given)


def context(model: PreTrainedModel, material: Material, point: Point) -> Context:
    """What losses and wrappers of a point may use, the model as it is now for the reference."""
    return Context(
        references.of(model, point, material.original),
        material.seed,
        first_batch=_first_batch(model, material, point),
        may_branch=not any(getattr(wrapper.module, "GOES_BY_PLACE", False) for wrapper in point.wrappers),
        sample=partial(_sample, material, _apart(material, point)[1], model.device),
        precision=partial(training.in_compute_dtype, point.training, model.device),
    )


def _first_batch(model: PreTrainedModel, material: Material, point: Point) -> float | None:
    objective, settings = point.forget_objective, point.training
    if _reference(objective) != "first_batch":
        return None
    forget, count = _apart(material, point)[0], settings.batch_size * settings.accumulation
    rows = training.batch_at(forget, 0, count, seed=material.seed)
    pieces = steps.collated(rows, point, 0, seed=material.seed, pad=material.pad, device=model.device)
    with torch.no_grad(), training.in_compute_dtype(settings, model.device):
        return float(torch.cat([objective.module.measure(model, batch, objective.config) for batch in pieces]).mean())


def _run(model: PreTrainedModel, material: Material, point: Point, rows: Rows, context: Context) -> Curve:
    memory: dict[str, Tensor] = {}
    mask = _mask(model, rows, point, context, pad=material.pad)
    if context.reference is not None and point.gradient_wrapper is None and not distribution.shards():
        references.share_what_stays(context.reference, model)
    reach.require(model, point, rows.forget, pad=material.pad)
    setting = Setting(model, point, rows.forget, rows.retain, context, material.pad, memory, mask)
    optimizer = point.optimizer.module.build(perturbation.movable(model), point.optimizer.config)
    gradients = steps.gradients(setting)
    if point.optimizer.module.GRADIENT != "plain":
        gradients = point.optimizer.module.gradients(gradients, steps.probe(setting), optimizer)
    curve = training.run(
        model,
        steps.under_remembered_mask(setting, gradients),
        optimizer,
        point.training,
        seed=material.seed,
        checkpoints=material.checkpoints,
        title=material.title,
        mask=mask,
        memory=memory,
        after_step=partial(_told, model, point.wrappers, memory, context),
        enough=lambda numbers: any(_of(one, "enough")(numbers, one.config) for one in point.wrappers),
    )
    for wrapper in point.wrappers:
        _of(wrapper, "finish")(model, wrapper.config, memory)
    return curve


def _told(
    model: PreTrainedModel, wrappers: Sequence[Component], memory: dict[str, Tensor], context: Context, step: int
) -> dict[str, float]:
    """What the wrappers tell of a step that is done, asked in the order of the recipe."""
    told: dict[str, float] = {}
    for wrapper in wrappers:
        told |= _of(wrapper, "after_step")(model, step, wrapper.config, memory, context) or {}
    return told


def _apart(material: Material, point: Point) -> tuple[Sequence[Example], Sequence[Example]]:
    """The forget rows of the steps, and those that an adversary draws from: all of them, unless a wrapper divides."""
    forget, wrapper = material.rows.forget, point.gradient_wrapper
    if wrapper is None or not hasattr(wrapper.module, "apart"):
        return forget, forget
    steps_rows, others = wrapper.module.apart(forget, wrapper.config, material.seed)
    return steps_rows, others


def _sample(
    material: Material,
    adversary: Sequence[Example],
    device: torch.device,
    split: str,
    count: int,
    share: Share = tuple,
) -> Batch:
    rows = adversary if split == "adversary" else getattr(material.rows, split)
    if not rows:
        raise DataError(f"wrapper: no {split} rows to draw from; name a file of them in prepare, or leave it out.")
    drawn = [rows[index] for index in torch.randint(len(rows), (count,)).tolist()]
    return batches.collate(share(drawn), pad=material.pad, device=device)


def _of(component: Component | None, name: str) -> Callable[..., Any]:
    """The function of that name that a component may have; one that does nothing when it has none."""
    function: Callable[..., Any] = getattr(component and component.module, name, lambda *_: None)
    return function


def referenced(
    model: PreTrainedModel, examples: Sequence[Example], objective: Component | None, settings: Training, *, pad: int
) -> Sequence[Example]:
    """The examples with what an objective has to know of the model as it is now, where a frozen copy is not needed."""
    terms = () if objective is None else objective.terms
    if any(_reference(term) == "log_probs" for term in terms):
        examples = with_references(model, examples, settings, pad=pad)
    widths = [term.config.k for term in terms if _reference(term) == "top_k"]
    return with_top_k(model, examples, max(widths), settings, pad=pad) if widths else examples


def with_references(
    model: PreTrainedModel, examples: Sequence[Example], settings: Training, *, pad: int
) -> list[Example]:
    """The examples, and their substitutes, with their summed log-probability under the model as it is now.

    One number each; no second model is needed.
    """
    flat = [example for example in examples for example in (example, *example.substitutes)]
    scored = iter(_scored(model, flat, settings, pad=pad))
    return [replace(next(scored), substitutes=tuple(next(scored) for _ in example.substitutes)) for example in examples]


def with_top_k(
    model: PreTrainedModel, examples: Sequence[Example], k: int, settings: Training, *, pad: int
) -> list[Example]:
    """The examples with the ``k`` likeliest tokens of the model as it is now, where each of their targets stands."""
    found: list[Example] = []
    for start in range(0, len(examples), _REFERENCE_BATCH):
        chunk = examples[start : start + _REFERENCE_BATCH]
        batch = batches.collate(chunk, pad=pad, device=model.device)
        with torch.no_grad(), training.in_compute_dtype(settings, model.device):
            top = losses.top_k(losses.log_distributions(model, batch), k)
        sizes = [example.num_targets for example in chunk]
        parts = zip(
            *(tensor.cpu().split(sizes) for tensor in (top.tokens.int(), top.log_probs, top.log_rest)), strict=True
        )
        found += [replace(example, reference_top_k=TopK(*part)) for example, part in zip(chunk, parts, strict=True)]
    return found


def _scored(model: PreTrainedModel, examples: Sequence[Example], settings: Training, *, pad: int) -> list[Example]:
    scored: list[Example] = []
    with torch.no_grad(), training.in_compute_dtype(settings, model.device):
        for start in range(0, len(examples), _REFERENCE_BATCH):
            chunk = examples[start : start + _REFERENCE_BATCH]
            batch = batches.collate(chunk, pad=pad, device=model.device)
            sums = losses.sequence_sums(losses.target_log_probs(model, batch), batch).tolist()
            scored += [replace(example, reference_log_prob=value) for example, value in zip(chunk, sums, strict=True)]
    return scored


def _mask(model: PreTrainedModel, rows: Rows, point: Point, context: Context, *, pad: int) -> Mask:
    """The mask of a recipe, chosen on the model before training; what an objective draws there hangs on the seed.

    One that is chosen anew in the steps is first chosen in step 0, by its gradient.
    """
    if steps.refresh_steps(point) is not None:
        return Mask(model, {name: True for name, _ in model.named_parameters()})
    torch.manual_seed(context.seed)
    wanted = point.mask.module.SIGNALS
    signals = {name: _signal(name, model, rows, point, context, pad=pad) for name in sorted(wanted)}
    return Mask(model, point.mask.module.select(model, point.mask.config, signals))


def _signal(
    name: str, model: PreTrainedModel, rows: Rows, point: Point, context: Context, *, pad: int
) -> dict[str, Tensor]:
    split, kind = name.split("_")
    examples = rows.forget if split == "forget" else rows.retain
    objective = point.forget_objective if split == "forget" else point.retain_objective
    if kind == "fisher":
        return importance.fisher(model, examples, batch_size=1, pad=pad)
    if kind == "nll":
        return importance.nll_gradient(model, examples, batch_size=point.training.batch_size, pad=pad)
    assert objective is not None

    size, taken = point.training.batch_size, distribution.share_of_any
    starts = range(0, len(examples), size)
    found = steps.collated(examples, point, 0, seed=context.seed, pad=pad, device=model.device, share=taken)
    weights = [distribution.weight_of_any(len(examples[start : start + size])) for start in starts]
    counts = [count * weight for count, weight in zip(steps.counts_of(objective, found), weights, strict=True)]
    total = distribution.total(sum(counts))

    def piece(batch: Batch, count: float) -> Tensor:
        with training.in_compute_dtype(point.training, model.device):
            loss: Tensor = objective.module.loss(model, batch, objective.config, context)
        return loss * (len(examples) * count / total)  # the sum over rows, in batches of whatever size

    named = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    pieces = [partial(piece, *pair) for pair in zip(found, counts, strict=True)]
    _, gradients = perturbation.gradient(pieces, list(named.values()))
    return dict(zip(named, gradients, strict=True))


def _require_distributable(recipe: Recipe) -> None:
    """Raise ConfigError for what several processes would compute otherwise than one; one alone may do everything."""
    if distribution.size() == 1:
        return
    parts = [] if recipe.edit is None else [recipe.edit.config, *dict(recipe.edit.config).values()]
    for part in (recipe.point, *parts):
        if hasattr(part, "training"):
            distribution.require_rows(part.training.batch_size)
    if recipe.edit is not None:
        _of(recipe.edit, "require_distributable")(recipe.edit.config)


def _reference(objective: Component) -> str:
    return str(objective.module.REFERENCE)
