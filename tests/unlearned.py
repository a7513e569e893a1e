"""Unlearning on examples made in memory: what an unlearning run is given, and the gradient of its steps."""

import copy
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel

from lethe import steps, unlearning
from lethe.batches import Example
from lethe.checkpoints import Checkpoints
from lethe.masking import Mask
from lethe.material import Material, Rows
from lethe.recipes import Point
from lethe.steps import Setting
from lethe.training import Gradients
from tests.tiny import tiny_tokenizer

PAD = int(tiny_tokenizer().pad_token_id)


def material(
    model: PreTrainedModel,
    forget: Sequence[Example],
    retain: Sequence[Example],
    folder: Path,
    *,
    general: Sequence[Example] = (),
    validation: Sequence[Example] = (),
    seed: int = 0,
    fingerprint: str = "run",
) -> Material:
    """These rows in two clusters, with checkpoints under ``folder`` and the model as it is now for its original."""
    original = copy.deepcopy(model)
    return Material(
        Rows(
            forget, retain, general, validation, {example.row: "ab"[index % 2] for index, example in enumerate(forget)}
        ),
        original=lambda: copy.deepcopy(original),
        pad=PAD,
        seed=seed,
        checkpoints=Checkpoints(folder / fingerprint, fingerprint),
        title="unlearn npo-0",
    )


def step_gradients(
    model: PreTrainedModel, forget: Sequence[Example], retain: Sequence[Example], point: Point
) -> Gradients:
    """The gradient of each step of a point without a mask of its own, the model as it is now for its reference."""
    given = material(model, forget, retain, Path("unused"), general=retain)
    context = unlearning.context(model, given, point)
    mask = Mask(model, {name: True for name, _ in model.named_parameters()})
    retain = unlearning.referenced(model, retain, point.retain_objective, point.training, pad=PAD)
    return steps.gradients(Setting(model, point, forget, retain, context, PAD, {}, mask))
