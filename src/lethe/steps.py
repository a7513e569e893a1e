"""What one optimizer step of a recipe puts into ``parameter.grad``, and the numbers that it tells of it.

Gradients are accumulated over the whole window, and summed over all processes, before any rule that is not linear sees
them: combining the pieces one by one would be another algorithm.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lethe import batches, distribution, losses, moments, perturbation, substitutes, training
from lethe.batches import Batch, Example
from lethe.losses import Context
from lethe.masking import Mask
from lethe.moments import Moment, Probe
from lethe.perturbation import Piece, movable
from lethe.recipes import Component, Point
from lethe.training import Gradients

LOSSES = ("forget_loss", "retain_loss")


@dataclass(frozen=True)
class Setting:
    """What stays the same from step to step."""

    model: PreTrainedModel
    point: Point
    forget: Sequence[Example]
    retain: Sequence[Example]
    context: Context
    pad: int
    memory: dict[str, Tensor]
    mask: Mask


class _Taken(NamedTuple):
    """A loss over the whole window, its gradient, zeros where it has none, and which weights it reaches."""

    loss: float
    gradient: list[Tensor]
    reached: list[bool]


def gradients(setting: Setting) -> Gradients:
    """The function from the number of a step to the gradient of that step."""
    joint = _joint if distribution.size() == 1 else _summed
    ways = {"joint": joint, "separate": _separate, "turns": _in_turn}
    mode = setting.point.combiner.module.MODE
    if mode == "joint" and (setting.point.forget_wrappers or refresh_steps(setting.point) is not None):
        mode = "separate" if setting.point.retain_objective is not None else "turns"
    return partial(ways[mode], setting)


def under_remembered_mask(setting: Setting, compute: Gradients) -> Gradients:
    """The same gradients; each step begins under the mask that was chosen last, though it was before a run resumed."""

    def gradient(step: int) -> dict[str, float]:
        _select_remembered(setting)
        return compute(step)

    return gradient


def refresh_steps(point: Point) -> int | None:
    """After how many steps the mask is chosen anew; None when it never is."""
    return getattr(point.mask.config, "refresh_steps", None)


def probe(setting: Setting) -> Probe:
    """What an optimizer may measure beside the gradient of a step."""
    return Probe(movable(setting.model), partial(_loss, setting), partial(_sampled_gradient, setting))


def windows(setting: Setting, step: int) -> list[list[Batch]]:
    """Forget and retain batches of a step: the next forget rows, and retain rows drawn with replacement."""
    settings, seed = setting.point.training, setting.context.seed
    step //= setting.point.steps_per_batch  # a wrapper may take several on the same rows
    count = settings.batch_size * settings.accumulation
    forget = training.batch_at(setting.forget, step, count, seed=seed)
    if setting.point.retain_objective is None:
        return [_pieces(setting, forget, step)]
    retain = training.beside(forget, setting.retain, step, seed=seed, alike=setting.point.matches_lengths)
    return [_pieces(setting, rows, step) for rows in (forget, retain)]


def terms(setting: Setting, step: int) -> list[list[Piece]]:
    """For each objective its pieces over the window, whose sum is its value on the whole window."""
    objectives = (setting.point.forget_objective, setting.point.retain_objective)
    return [
        _terms(setting, objective, window)
        for objective, window in zip(objectives, windows(setting, step), strict=False)
        if objective is not None
    ]


def _pieces(setting: Setting, rows: list[Example], step: int) -> list[Batch]:
    device, seed = setting.model.device, setting.context.seed
    return collated(rows, setting.point, step, seed=seed, pad=setting.pad, device=device, share=distribution.share)


def collated(
    rows: Sequence[Example],
    point: Point,
    step: int,
    *,
    seed: int,
    pad: int,
    device: torch.device,
    share: Callable[[Sequence[Any]], Sequence[Any]] = tuple,
) -> list[Batch]:
    """The rows in batches of ``batch_size``, with the substitutes that a step draws for those that have some.

    Of each batch only the ``share`` is made: all of it, or what one of several processes takes.
    """
    size, wanted = point.training.batch_size, substitute(point.forget_objective)
    starts = range(0, len(rows), size)
    found = [batches.collate(share(rows[start : start + size]), pad=pad, device=device) for start in starts]
    if wanted is None or not rows[0].substitutes:
        return found
    others = substitutes.drawn(rows, wanted.draws, step, seed=seed)
    of_row = [others[start : start + wanted.draws] for start in range(0, len(others), wanted.draws)]
    drawn = [[one for row in share(of_row[start : start + size]) for one in row] for start in starts]
    return [
        replace(batch, substitute=batches.collate(chunk, pad=pad, device=device))
        for batch, chunk in zip(found, drawn, strict=True)
    ]


def substitute(objective: Component) -> Any:
    """The settings of the substitutes that an objective asks for; None when it asks for none."""
    return getattr(objective.config, "substitute", None)


def counts_of(objective: Component, window: Sequence[Batch]) -> list[int]:
    """How much each batch of a window counts in the mean over all of it: its targets, its rows, or what is kept."""
    if objective.module.UNIT == "own":
        return [objective.module.count(batch, objective.config) for batch in window]
    return [len(batch.targets) if objective.module.UNIT == "token" else len(batch) for batch in window]


def _terms(setting: Setting, objective: Component, window: list[Batch]) -> list[Piece]:
    counts = counts_of(objective, window)
    total = max(1, distribution.total(sum(counts)))  # where nothing is kept, as of answers of one token

    def value(count: int, batch: Batch) -> Tensor:
        with training.in_compute_dtype(setting.point.training, setting.model.device):
            loss: Tensor = objective.module.loss(setting.model, batch, objective.config, setting.context)
        return loss * (count / total)

    return [Piece(batch, partial(value, count)) for batch, count in zip(window, counts, strict=True)]


def _joint(setting: Setting, step: int) -> dict[str, float]:
    """The gradient of the weighted sum: that of two backwards and the combiner ``sum``, with one copy less to keep."""
    parameters, found = movable(setting.model), terms(setting, step)
    weights = (setting.point.combiner.config.forget_weight, setting.point.combiner.config.retain_weight)
    sums, retain = [0.0] * len(found), None
    for pieces in zip(*found, strict=True):
        values = [piece() for piece in pieces]
        weighed = [weight * value for weight, value in zip(weights, values, strict=False)]
        if len(weighed) == 1:
            weighed[0].backward()
        else:
            retain = _added(retain, perturbation.backward_together(weighed[0], weighed[1], parameters))
        sums = [total + value.item() for total, value in zip(sums, values, strict=True)]
    numbers = dict(zip(LOSSES, sums, strict=False))
    whole = _gated(setting, [parameter.grad for parameter in parameters])
    if retain is None:
        return numbers | moments.geometry_alone(whole, weights[0])
    return numbers | moments.geometry_of_sum(whole, _gated(setting, retain), *weights)


def _added(before: list[Tensor] | None, more: list[Tensor]) -> list[Tensor]:
    return more if before is None else [one.add_(other) for one, other in zip(before, more, strict=True)]


def _summed(setting: Setting, step: int) -> dict[str, float]:
    """The same for several processes: a sharded weight has no gradient but that of a backward of its own."""
    weights = (setting.point.combiner.config.forget_weight, setting.point.combiner.config.retain_weight)
    found = [_taken(setting, partial(perturbation.backward, pieces)) for pieces in terms(setting, step)]
    combined = [_weighted_sum(weights, parts) for parts in zip(*(one.gradient for one in found), strict=True)]
    return _put(setting, combined, **dict(zip(("forget", "retain"), found, strict=False)))


def _weighted_sum(weights: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    first, *others = [weight * part for weight, part in zip(weights, parts, strict=False)]
    return sum(others, first)


def _separate(setting: Setting, step: int) -> dict[str, float]:
    """Two gradients, one for each objective over the whole window, and then the combiner, in place."""
    forget_pieces, retain_pieces = terms(setting, step)
    forget = _forget_taken(setting, forget_pieces, step)
    retain = _taken(setting, partial(perturbation.backward, retain_pieces))
    combined, numbers = _combine(setting, step, forget, retain)
    return _put(setting, combined, forget=forget, retain=retain) | numbers


def _in_turn(setting: Setting, step: int) -> dict[str, float]:
    """The gradient of one objective alone: the one whose turn it is, or the only one there is."""
    combiner, alone = setting.point.combiner, setting.point.retain_objective is None
    turn = "forget" if alone else combiner.module.turn(step, combiner.config)
    pieces = terms(setting, step)[0 if turn == "forget" else 1]
    plain = partial(perturbation.backward, pieces)
    mine = _forget_taken(setting, pieces, step) if turn == "forget" else _taken(setting, plain)
    nothing = _Taken(0.0, [torch.zeros_like(gradient) for gradient in mine.gradient], mine.reached)
    combined, numbers = _combine(setting, step, *((mine, nothing) if turn == "forget" else (nothing, mine)))
    return _put(setting, combined, **{turn: mine}) | numbers


def _put(setting: Setting, combined: list[Tensor], **tasks: _Taken) -> dict[str, float]:
    """Make it the gradient of the step, and tell of it and of the tasks that it is made of.

    What no task reaches gets none: zeros would let weight decay at it.
    """
    reached = [any(either) for either in zip(*(task.reached for task in tasks.values()), strict=True)]
    for parameter, gradient, is_reached in zip(movable(setting.model), combined, reached, strict=True):
        parameter.grad = gradient if is_reached else None
    told = {f"{name}_loss": task.loss for name, task in tasks.items()}
    parts = {name: _gated(setting, task.gradient) for name, task in tasks.items()}
    return told | moments.geometry(_gated(setting, combined), parts)


def _gated(setting: Setting, tensors: Sequence[Tensor | None]) -> Iterator[Tensor | None]:
    return map(setting.mask.gated, movable(setting.model), tensors)


def _refresh_mask(setting: Setting, step: int, forget: list[Tensor]) -> None:
    """Choose the mask by this step's forget gradient, when its time has come."""
    every, mask, model = refresh_steps(setting.point), setting.point.mask, setting.model
    if every is not None and step % every == 0:
        named = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
        signals = {"forget_gradient": dict(zip(named, forget, strict=True))}
        chosen = mask.module.select(model, mask.config, signals)
        setting.memory.update({f"mask.{name}": torch.as_tensor(choice) for name, choice in chosen.items()})
        _select_remembered(setting)


def _select_remembered(setting: Setting) -> None:
    names = [name for name, _ in setting.model.named_parameters()]
    if refresh_steps(setting.point) is not None and f"mask.{names[0]}" in setting.memory:
        setting.mask.select(setting.model, {name: setting.memory[f"mask.{name}"] for name in names})


def _loss(setting: Setting, step: int) -> float:
    weights = (setting.point.combiner.config.forget_weight, setting.point.combiner.config.retain_weight)
    with torch.no_grad():
        values = [distribution.total(perturbation.loss(pieces)) for pieces in terms(setting, step)]
    return float(sum(weight * value for weight, value in zip(weights, values, strict=False)))


def _sampled_gradient(setting: Setting, step: int) -> tuple[list[Tensor], int]:
    pieces = [batch for window in windows(setting, step) for batch in window]
    count = distribution.total(sum(len(batch.targets) for batch in pieces))
    generator = distribution.own_draws(setting.model.device)
    for batch in pieces:
        with training.in_compute_dtype(setting.point.training, setting.model.device):
            log_probs = losses.log_distributions(setting.model, batch)
        drawn = torch.multinomial(log_probs.detach().exp(), 1, generator=generator)
        (-log_probs.gather(1, drawn).sum() / count).backward()
    return perturbation.taken(movable(setting.model)), count


def _combine(setting: Setting, step: int, forget: _Taken, retain: _Taken) -> tuple[list[Tensor], dict[str, float]]:
    combiner, moment = setting.point.combiner, Moment(step, forget.loss, retain.loss, setting.memory)
    kept = [gradient.clone() for gradient in forget.gradient]  # the combiner writes over the other
    return list(combiner.module.combine(kept, retain.gradient, combiner.config, moment)), moment.numbers


def _forget_taken(setting: Setting, pieces: list[Piece], step: int) -> _Taken:
    """The forget gradient as the wrappers have it: zeros where one drops it, after a mask has been chosen by it."""
    found = _taken(setting, partial(_forget_backward, setting, pieces, step))
    _refresh_mask(setting, step, found.gradient)
    if all(gate.module.has_gradient(found.loss, gate.config) for gate in setting.point.gates):
        return found
    return found._replace(gradient=[torch.zeros_like(gradient) for gradient in found.gradient])


def _forget_backward(setting: Setting, pieces: list[Piece], step: int) -> float:
    wrapper = setting.point.gradient_wrapper
    if wrapper is None:
        return perturbation.backward(pieces)
    context = replace(setting.context, step=step, memory=setting.memory)
    with perturbation.gradients_where_reached(movable(setting.model)):
        return float(wrapper.module.backward(pieces, setting.model, wrapper.config, context))


def _taken(setting: Setting, backward: Callable[[], float]) -> _Taken:
    parameters = movable(setting.model)
    loss = distribution.total(backward())
    reached = distribution.anywhere([parameter.grad is not None for parameter in parameters])
    return _Taken(loss, perturbation.taken(parameters), reached)
