"""Two answers to a question in one row, behind the question once: what a loss of pairs reads in one forward.

Behind the true answer stands the other one, at the positions that it has by itself, and neither of its tokens looks at
the true answer. Every state is that of two rows, to rounding; a question that both begin with is computed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from lethe import distribution
from lethe.batches import Batch

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Branches:
    """A batch whose rows are question, answer and substitute, right-padded.

    ``input_ids`` and ``position_ids`` are [batch, time]; ``attention_mask`` [batch, 1, time, time] is True where a
    place (third) looks at another (fourth); ``predicts`` are the rows and columns of the places whose state predicts
    a target, and ``targets`` [targets] these: all of the answers, then all of the substitutes.
    """

    input_ids: Tensor
    position_ids: Tensor
    attention_mask: Tensor
    predicts: tuple[Tensor, Tensor]
    targets: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What a model is called with."""
        return {
            "input_ids": self.input_ids,
            "position_ids": self.position_ids,
            "attention_mask": self.attention_mask,
        }


def joined(batch: Batch) -> Branches:
    """The batch and its substitutes, one for each row, as branches of the beginning that they have in common."""
    other = batch.substitute
    assert other is not None
    assert len(other) == len(batch)

    shared, length = _shared(batch, other), batch.attention_mask.sum(1, keepdim=True)
    longest = int((length + other.attention_mask.sum(1, keepdim=True) - shared).max())
    place = torch.arange(longest, device=length.device).expand(len(batch), -1)
    is_other = place >= length
    position = torch.where(is_other, place - length + shared, place)
    ids = torch.where(is_other, _at(other.input_ids, position), _at(batch.input_ids, position))

    is_hidden = is_other[:, :, None] & (~is_other & (place >= shared))[:, None, :]
    looks = (place[:, :, None] >= place[:, None, :]) & ~is_hidden
    widest = max(batch.input_ids.shape[1], other.input_ids.shape[1]) - 1  # of padding any position will do
    return Branches(
        ids,
        position.clamp(max=widest),
        looks.unsqueeze(1),
        _predicting(batch, other, shared, length),
        torch.cat([batch.targets, other.targets]),
    )


def _shared(batch: Batch, other: Batch) -> Tensor:
    """With how many tokens, none of them a target, both answers of a row begin: [batch, 1]."""
    width = min(batch.input_ids.shape[1], other.input_ids.shape[1])
    alike = (batch.input_ids[:, :width] == other.input_ids[:, :width]).int().cumprod(1).sum(1)
    prompts = [one.attention_mask.sum(1) - one.predicts.sum(1) for one in (batch, other)]
    return torch.minimum(alike, torch.minimum(*prompts)).unsqueeze(1)


def _at(ids: Tensor, position: Tensor) -> Tensor:
    return ids.gather(1, position.clamp(max=ids.shape[1] - 1))


def _predicting(batch: Batch, other: Batch, shared: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    rows, columns = batch.predicts.nonzero(as_tuple=True)
    other_rows, places = other.predicts.nonzero(as_tuple=True)
    common, start = shared[other_rows, 0], length[other_rows, 0]
    moved = torch.where(places < common, places, start + places - common)
    return torch.cat([rows, other_rows]), torch.cat([columns, moved])


def are_read(model: PreTrainedModel) -> bool:
    """Whether the model reads branches as it reads rows: by attention that sees all of them and takes their mask."""
    if model not in _READERS:
        _READERS[model] = _attends_to_all(model) and _reads_alike(model)
    return _READERS[model]


_READERS: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


def _attends_to_all(model: PreTrainedModel) -> bool:
    # A window or a recurrence counts places, of which the branches have others.
    settings = model.config.get_text_config()
    kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
    windowed = getattr(settings, "sliding_window", None) and getattr(settings, "use_sliding_window", True)
    return settings._attn_implementation == "sdpa" and kinds == {"full_attention"} and not windowed


def _reads_alike(model: PreTrainedModel) -> bool:
    # No configuration says whether masks and positions are heeded: two answers of two tokens, in two rows and in one.
    def rows(*ids: int) -> Batch:
        found = torch.tensor([ids], device=model.device) % model.config.get_text_config().vocab_size
        predicts = torch.zeros_like(found, dtype=torch.bool)
        predicts[:, 1:-1] = True
        return Batch(found, torch.ones_like(found), predicts, found[0, 2:], torch.zeros_like(found[0, 2:]), None)

    batch, other = rows(1, 2, 3, 4), rows(1, 2, 5, 6)
    one = joined(Batch(**{**vars(batch), "substitute": other}))
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            apart = [_states(model, each.inputs)[each.predicts] for each in (batch, other)]
            together = _states(model, one.inputs)[one.predicts]
    except (TypeError, ValueError, RuntimeError, IndexError):  # a model that takes no such inputs says so in its way
        return False
    finally:
        model.train(was_training)
    expected = torch.cat(apart).float()
    tolerance = max(1e-4, 4 * torch.finfo(model.dtype).eps)
    return bool((together.float() - expected).abs().max() <= tolerance * expected.abs().max())


def _states(model: PreTrainedModel, inputs: dict[str, Tensor]) -> Tensor:
    from lethe import models

    return distribution.inside(model, lambda: models.hidden_states(model, **inputs))
