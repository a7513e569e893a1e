"""Stable sequential unlearning: one task vector for many requests, learnt with wrong answers and by salient weights.

For each request in turn the weights go on from those of the last one and minimise NLL(request) + ε NLL(the same
prompts with answers of other rows of the request), each gradient gated by m = 1[|g| ≥ mean + k std] over all of its
entries. In the end the model is θ_o − s (θ_ft − θ_o): what was removed before stays in the vector (Dou et al., 2024,
arXiv:2406.10952; s = 1). No retain row is looked at.

A prompt is all before the answer; of a text it is its first half. Wrong answers are drawn anew in every step, with
replacement, ``wrong_answers`` for each row.

``gate``: ``paper`` applies m ⊙ g. ``release`` applies m ⊙ g + g, as the released loop does, whose second backward
adds the gradient to the gated one, so that nothing is gated. ``none`` applies g.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from lethe import editing, losses
from lethe.batches import Batch, Example
from lethe.errors import DataError

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

    from lethe.material import Material
    from lethe.training import Curve, Gradients

COPIES = 6  # the model, where it began, gradients of two losses and two moments


class Config(editing.Fitting):
    """What a request is, how each is learnt, and how far back it goes."""

    requests: Literal["clusters", "all"]  # one for each cluster, in the order of the rows, or all rows as one
    wrong_answer_weight: float = Field(ge=0)  # ε
    wrong_answers: PositiveInt  # K, for each row of a step
    gate: Literal["paper", "release", "none"]
    gate_deviations: float  # k
    scale: float  # s


def edit(model: PreTrainedModel, material: Material, config: Config) -> Curve:
    """Negate the task vector of all requests; the curves of the requests follow each other.

    Raises DataError for a request of one row where wrong answers are asked for.
    """
    origin, curves = editing.copied(model), []
    for number, rows in enumerate(_requests(material, config)):
        gradients = _gradients(model, rows, material, config)
        curves.append(editing.train(model, gradients, config, material, phase=f"request-{number}"))
    editing.move_away(model, origin, config.scale)
    return editing.joined(*curves)


def mismatched(example: Example, other: Example) -> Example:
    """The prompt of one row with the answer of another."""
    answer = other.ids[len(_prompt(other)) :]
    return replace(other, row=example.row, ids=(*_prompt(example), *answer), num_targets=len(answer))


def gate(model: nn.Module, form: str, deviations: float) -> None:
    """Apply the saliency mask of these gradients to them, in place."""
    found = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    threshold = _threshold(found, deviations)
    for gradient in found:
        salient = gradient.abs() >= threshold
        gradient.mul_(salient if form == "paper" else salient + 1)


def _requests(material: Material, config: Config) -> list[list[Example]]:
    groups: dict[str, list[Example]] = {}
    for example in material.rows.forget:
        name = material.rows.clusters[example.row] if config.requests == "clusters" else "all"
        groups.setdefault(name, []).append(example)
    if config.wrong_answer_weight > 0:
        for name, rows in groups.items():
            if len(rows) == 1:
                raise DataError(
                    f"edit: request {name!r} has one row, and no other to take a wrong answer from; "
                    "set requests to all, or wrong_answer_weight to 0."
                )
    return list(groups.values())


def _gradients(model: PreTrainedModel, rows: list[Example], material: Material, config: Config) -> Gradients:
    def gradients(step: int) -> dict[str, float]:
        examples = editing.rows_of_step(rows, step, config, material)
        numbers = {"loss": editing.backward(model, examples, _nll(model), config.training, pad=material.pad)}
        if config.wrong_answer_weight > 0:
            wrong = _wrong(examples, rows, config.wrong_answers)
            weight = config.wrong_answer_weight
            numbers["wrong_answer_loss"] = editing.backward(
                model, wrong, _nll(model), config.training, pad=material.pad, weight=weight
            )
        if config.gate != "none":
            gate(model, config.gate, config.gate_deviations)
        return numbers

    return gradients


def _nll(model: PreTrainedModel) -> editing.TokenMean:
    def loss(_: Sequence[Example], batch: Batch) -> Tensor:
        return -losses.token_mean(losses.target_log_probs(model, batch))

    return loss


def _wrong(examples: list[Example], rows: list[Example], count: int) -> list[Example]:
    # By torch's own generator, which every step seeds.
    found = []
    for example in examples:
        own = rows.index(example)
        for drawn in torch.randint(len(rows) - 1, (count,)).tolist():
            found.append(mismatched(example, rows[drawn + (drawn >= own)]))
    return found


def _prompt(example: Example) -> tuple[int, ...]:
    length = len(example.ids) - example.num_targets
    return example.ids[: length if example.ends_turn else max(length, len(example.ids) // 2)]


def _threshold(gradients: list[Tensor], deviations: float) -> float:
    count = sum(gradient.numel() for gradient in gradients)
    mean: float = sum(float(gradient.abs().sum(dtype=torch.float64)) for gradient in gradients) / count
    squares: float = sum(float((gradient.abs().double() - mean).square().sum()) for gradient in gradients)
    return mean + deviations * math.sqrt(squares / max(1, count - 1))
