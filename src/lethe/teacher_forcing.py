"""The teacher-forced pass: what likelihood metrics need of a target, a prompt is read once for all answers.

The answers to a prompt are laid one behind the other after it, as branches of a tree: a token sees the
prompt, its own answer up to itself, and nothing else, and every answer's positions go on from the prompt. One
forward pass then gives what a pass for each answer would give. Copying the prompt's key-value cache for every
answer gives the same, at the price of the copies and of a second forward.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from lethe import models
from lethe.batches import Example

_PROMPT, _PADDING = 0, -1
_LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**27}  # what fits the cache of a core; what keeps an accelerator busy
_TREE_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # nats a token, on average: rounding, not leakage


@dataclass(frozen=True)
class TokenStatistics:
    """One entry a target token, fp32: the fields of the same name in ``records.Likelihood``."""

    log_probs: np.ndarray
    means: np.ndarray
    variances: np.ndarray
    hits: np.ndarray

    def is_finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(np.isfinite(values).all() for values in (self.log_probs, self.means, self.variances))


@dataclass(frozen=True)
class Forest:
    """Prompts with their answers, one tree a row, padded on the right.

    ``input_ids``, ``positions`` and ``branches`` are [batch, time]; ``branches`` holds 0 for a prompt, k for
    its k-th answer and -1 for padding. Target number i is ``targets[i]``, predicted at row ``rows[i]`` and
    column ``columns[i]``. ``examples`` and ``sizes`` say, answer by answer, whose targets these are and how
    many.
    """

    input_ids: Tensor
    positions: Tensor
    branches: Tensor
    rows: Tensor
    columns: Tensor
    targets: Tensor
    examples: tuple[int, ...]
    sizes: tuple[int, ...]


def share_prompts(examples: Sequence[Example]) -> list[list[int]]:
    """Indices of examples in groups of one row and prompt. A text has no prompt to share and stays alone."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for index, example in enumerate(examples):
        prompt = example.ids[: -example.num_targets]
        key = (example.row, prompt) if example.ends_turn else (index,)
        groups.setdefault(key, []).append(index)
    return list(groups.values())


def tree_length(examples: Sequence[Example]) -> int:
    """How many tokens a tree of examples that share their prompt feeds to the model."""
    prompt = len(examples[0].ids) - examples[0].num_targets
    return prompt + sum(example.num_targets - 1 for example in examples)


def plant(examples: Sequence[Example], groups: Sequence[Sequence[int]], *, pad: int) -> Forest:
    """The trees of some groups of examples as one forest."""
    trees = [_Tree.grown([examples[index] for index in group]) for group in groups]
    width = max(len(tree.ids) for tree in trees)
    members = [index for group in groups for index in group]
    return Forest(
        input_ids=_padded([tree.ids for tree in trees], width, pad),
        positions=_padded([tree.positions for tree in trees], width, 0),
        branches=_padded([tree.branches for tree in trees], width, _PADDING),
        rows=torch.tensor([row for row, tree in enumerate(trees) for _ in tree.columns]),
        columns=torch.tensor([column for tree in trees for column in tree.columns]),
        targets=torch.tensor([target for index in members for target in _targets(examples[index])]),
        examples=tuple(members),
        sizes=tuple(examples[index].num_targets for index in members),
    )


def score(model: PreTrainedModel, forest: Forest) -> Iterator[tuple[int, TokenStatistics]]:
    """The statistics of every example of a forest, with the example's index."""
    with torch.no_grad():
        columns = [values.split(forest.sizes) for values in _token_statistics(model, forest)]
    for index, *values in zip(forest.examples, *columns, strict=True):
        yield index, TokenStatistics(*(value.numpy() for value in values))


def reads_trees(
    model: PreTrainedModel, examples: Sequence[Example], groups: Sequence[Sequence[int]], *, pad: int
) -> bool:
    """Whether the model scores answers on a tree as it does one by one: tried on the two largest trees.

    Models with a recurrent state, position biases of their own or a window narrower than a tree do not. Where no
    prompt has two answers, the tree is made of one answer twice.
    """
    by_size = sorted(groups, key=lambda group: (len(group) > 1, tree_length([examples[index] for index in group])))
    trial = [group if len(group) > 1 else [*group, *group] for group in by_size[-2:]]
    alone = dict(score(model, plant(examples, [[index] for group in trial for index in group], pad=pad)))
    try:
        on_trees = dict(score(model, plant(examples, trial, pad=pad)))
    except (TypeError, ValueError, RuntimeError):
        return False  # every architecture refuses positions or masks in its own way
    differences = [np.abs(on_trees[index].log_probs - alone[index].log_probs) for index in alone]
    return bool(np.concatenate(differences).mean() <= _TREE_TOLERANCE[model.dtype])


@dataclass
class _Tree:
    ids: list[int]
    positions: list[int]
    branches: list[int]
    columns: list[int]  # where each target is predicted

    @classmethod
    def grown(cls, examples: Sequence[Example]) -> "_Tree":
        prompt = examples[0].ids[: -examples[0].num_targets]
        tree = cls([*prompt], [*range(len(prompt))], [_PROMPT] * len(prompt), columns=[])
        for number, example in enumerate(examples, start=1):
            fed = _targets(example)[:-1]  # nothing follows the last target
            tree.columns += [len(prompt) - 1, *range(len(tree.ids), len(tree.ids) + len(fed))]
            tree.ids += fed
            tree.positions += range(len(prompt), len(prompt) + len(fed))
            tree.branches += [number] * len(fed)
        return tree


def _token_statistics(model: PreTrainedModel, forest: Forest) -> list[Tensor]:
    device = model.device
    inputs = {name: tensor.to(device) for name, tensor in _inputs(forest, model.dtype).items()}
    hidden = models.hidden_states(model, **inputs)[forest.rows.to(device), forest.columns.to(device)]
    head = models.head_in_fp32(model)
    size = max(1, _LOGITS_AT_ONCE[device.type] // model.config.get_text_config().vocab_size)
    chunks = zip(hidden.split(size), forest.targets.to(device).split(size), strict=True)
    statistics = [_statistics(head(rows), targets) for rows, targets in chunks]
    return [torch.cat(values).cpu() for values in zip(*statistics, strict=True)]


def _statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    hits = logits.argmax(-1) == targets
    log_probs = functional.log_softmax(logits, dim=-1)
    of_targets = log_probs.gather(1, targets[:, None]).squeeze(1)
    log_probs.clamp_(min=-1e4)  # a masked word has log-probability -inf and probability 0, and 0 * -inf is NaN
    probs = log_probs.exp()
    means = torch.linalg.vecdot(probs, log_probs)
    variances = torch.linalg.vecdot(probs, log_probs.sub_(means[:, None]).square_())
    return of_targets, means, variances, hits


def _inputs(forest: Forest, dtype: torch.dtype) -> dict[str, Tensor]:
    if forest.branches.max() <= 1:  # no answer has a neighbour: an ordinary right-padded batch, which every model reads
        return {"input_ids": forest.input_ids, "attention_mask": (forest.branches != _PADDING).long()}
    mask = _tree_mask(forest.branches, dtype)
    return {"input_ids": forest.input_ids, "attention_mask": mask, "position_ids": forest.positions}


def _tree_mask(branches: Tensor, dtype: torch.dtype) -> Tensor:
    """What each token sees, as a mask [batch, 1, time, time] to be added to the attention scores."""
    time = branches.shape[1]
    earlier = torch.ones(time, time, dtype=torch.bool).tril()
    in_prompt_or_own_branch = (branches == _PROMPT)[:, None, :] | (branches[:, :, None] == branches[:, None, :])
    hidden = ~(earlier & in_prompt_or_own_branch)
    return torch.zeros(hidden.shape, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)[:, None]


def _targets(example: Example) -> tuple[int, ...]:
    return example.ids[-example.num_targets :]


def _padded(rows: Sequence[Sequence[int]], width: int, filler: int) -> Tensor:
    return torch.tensor([[*row, *[filler] * (width - len(row))] for row in rows])
