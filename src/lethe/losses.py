"""The shared mathematics of objectives: log-probabilities of targets and their sums. Tensors in, tensors out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lethe import branches, distribution
from lethe.batches import Batch, TopK
from lethe.branches import Branches
from lethe.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


#: So many logits are held in fp32 at a time: 256 MiB. A batch that has no more is read at once.
LOGITS_AT_ONCE = 2**26


@dataclass(frozen=True)
class Context:
    """What a loss may use beside the model and the batch.

    ``reference`` is a frozen copy of the model before unlearning, of its lower blocks where no more is looked at, or
    None; ``seed`` is that of the run, for what is drawn once; ``first_batch`` is what the forget objective has
    measured on the rows of the first step before that step, or None; ``may_branch`` allows two answers to share a row
    (:func:`pair_log_probs`). What is drawn anew in every step comes from
    torch's own generator, which every step seeds. ``step`` is the number of the step, from 0; ``sample`` draws so many
    rows of a split (``forget``, ``retain``, ``general`` or ``adversary``, the forget rows that an adversary may see) by
    torch's own generator, as a batch, or the ``share`` of these that a process takes; in ``precision()`` stands every
    forward; ``memory`` holds named tensors that outlive the step and are part of checkpoints. Wrappers alone are told
    these four.
    """

    reference: PreTrainedModel | None
    seed: int
    first_batch: float | None = None
    may_branch: bool = False
    step: int = 0
    sample: Callable[..., Batch] | None = None
    precision: Callable[[], AbstractContextManager[object]] = nullcontext
    memory: dict[str, Tensor] = field(default_factory=dict)


def target_log_probs(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Natural-log probability of every target token, fp32: [targets]."""
    return _of_logits(_log_probs, model, batch, batch.targets)


def pair_log_probs(model: PreTrainedModel, batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
    """Natural-log probability of every target, and of every target of the substitutes, one for each row: fp32.

    Where the model and the recipe allow it, one forward reads both, and what they have in common once.
    """
    assert batch.substitute is not None
    if not (context.may_branch and branches.are_read(model)):
        return target_log_probs(model, batch), target_log_probs(model, batch.substitute)
    both = branches.joined(batch)
    found = _of_logits(_log_probs, model, both, both.targets)
    return found[: len(batch.targets)], found[len(batch.targets) :]


def log_distributions(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Natural-log probability of every token where a target is predicted, fp32: [targets, vocabulary].

    All of it stays in memory until the backward pass; a loss that needs some numbers of each takes
    :func:`of_distributions`.
    """
    from lethe import models  # seconds of import, which a stage that needs the settings of a loss alone is spared

    return models.target_logits(model, batch.input_ids, batch.attention_mask, batch.predicts).log_softmax(dim=-1)


def of_distributions(
    compute: Callable[..., Tensor],
    model: PreTrainedModel,
    batch: Batch,
    *given: Tensor,
    reference: PreTrainedModel | None = None,
) -> Tensor:
    """What ``compute`` makes of the distribution at every target, in memory for some of them at a time.

    ``compute`` gets natural-log probabilities [rows, vocabulary], fp32, of ``model`` and then of ``reference``, if
    there is one, through which no gradient flows, and the same rows of each of ``given`` [targets, ...]. It has to look
    at each row by itself; it returns [rows, ...], and all of that comes back as [targets, ...].
    """

    def of_logits(logits: Tensor, *others: Tensor) -> Tensor:
        return compute(logits.log_softmax(dim=-1), *others)

    return _of_logits(of_logits, model, batch, *given, reference=reference)


def in_chunks(compute: Callable[..., Tensor], vocabulary: int, *columns: Tensor) -> Tensor:
    """``compute`` of ``columns`` [rows, ...], of so many rows at a time that they have ``LOGITS_AT_ONCE`` logits.

    Where that is not all of them, what it holds on the way is not kept, but made anew in the backward pass.
    """
    from torch.utils.checkpoint import checkpoint

    rows = max(1, LOGITS_AT_ONCE // vocabulary)
    if len(columns[0]) <= rows:
        return compute(*columns)
    chunks = zip(*(column.split(rows) for column in columns), strict=True)
    return torch.cat([checkpoint(compute, *chunk, use_reentrant=False) for chunk in chunks])


def block_outputs(model: PreTrainedModel, batch: Batch, layer: int) -> Tensor:
    """Residual stream after block ``layer`` (from 0) where a target is predicted, fp32: [targets, width].

    No block above runs: it costs (layer + 1) / L of a pass. Raises ConfigError for a layer that the model does not
    have, and for one that no weight which may move has a part in.
    """
    from lethe import models  # seconds of import, as below

    found = models.block_output(model, layer, **batch.inputs)
    if torch.is_grad_enabled() and not found.requires_grad:
        raise ConfigError(
            f"layer {layer}: the mask lets no weight up to there move; name a higher layer, or widen the mask."
        )
    return found[batch.predicts].float()


def hidden_states(model: PreTrainedModel, batch: Batch) -> Tensor:
    """All hidden states that transformers gives out where a target is predicted, fp32: [layers + 1, targets, width].

    They are the embeddings, the output of each block but the last, and the normed output of the last.
    """

    def read() -> Tensor:
        states = model.base_model(**batch.inputs, use_cache=False, output_hidden_states=True).hidden_states
        return torch.stack([state[batch.predicts].float() for state in states])

    return distribution.inside(model, read)


def picked(values: Tensor, tokens: Tensor) -> Tensor:
    """Of each row of ``values`` [targets, vocabulary] the one at its token of ``tokens`` [targets]: [targets]."""
    return values.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)


def without(values: Tensor, tokens: Tensor) -> Tensor:
    """``values`` [targets, vocabulary] with minus infinity at the token of each row in ``tokens`` [targets]."""
    return values.scatter(-1, tokens.unsqueeze(-1), -torch.inf)


def mean_unlikelihood(model: PreTrainedModel, batch: Batch, probability_floor: float) -> Tensor:
    """Mean over sequences of the mean of −log(1 − p) of a sequence's targets: a scalar in [0, inf).

    To lower it is to push the targets away (unlikelihood, Welleck et al., 2019, arXiv:1908.04319); those whose p is
    below the floor count as 0, as in HarmBench (Mazeika et al., 2024, arXiv:2402.04249).
    """

    def unlikelihoods(distributions: Tensor, targets: Tensor) -> Tensor:
        unlikely = picked(distributions.detach(), targets).exp() < probability_floor
        return (-without(distributions, targets).logsumexp(-1)).masked_fill(unlikely, 0.0)

    return sequence_means(of_distributions(unlikelihoods, model, batch, batch.targets), batch).mean()


def soft_cross_entropies(probabilities: Tensor, log_distributions: Tensor) -> Tensor:
    """Cross-entropy −Σ q log p with soft targets q, both [targets, vocabulary], in nats: [targets]."""
    return -(probabilities * log_distributions).sum(-1)


def mean_nll(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean over sequences of the mean NLL of a sequence's targets, in nats: a scalar in [0, inf)."""
    return -sequence_means(target_log_probs(model, batch), batch).mean()


def places(batch: Batch) -> Tensor:
    """Place of every target token in its own sequence, from 0: [targets]."""
    lengths = sequence_lengths(batch)
    starts = lengths.cumsum(0) - lengths
    return torch.arange(len(batch.owner), device=batch.owner.device) - starts[batch.owner]


def ranks(values: Tensor, batch: Batch) -> Tensor:
    """Rank of every token's value [targets] in its own sequence, 0 for the largest; of equals the first: [targets]."""
    falling = values.argsort(descending=True, stable=True)
    order = falling[batch.owner[falling].argsort(stable=True)]
    return torch.empty_like(order).index_put((order,), places(batch))


def mean_over_kept(values: Tensor, kept: Tensor, batch: Batch) -> Tensor:
    """Mean over sequences of the mean of the values [targets] that are ``kept`` [targets, bool]: a scalar.

    A sequence of which nothing is kept counts as 0.
    """
    counts = sequence_sums(kept.to(values.dtype), batch)
    return (sequence_sums(torch.where(kept, values, 0.0), batch) / counts.clamp(min=1)).mean()


def steering_direction(width: int, seed: int) -> Tensor:
    """A random unit vector of the positive orthant (RMU, arXiv:2403.03218), the same for a seed: [width]."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed))
    return drawn / drawn.norm()


def distance_from_steering_point(stream: Tensor, length: float | Tensor, seed: int) -> Tensor:
    """Mean squared distance, a dimension, of rows [targets, width] from ``length`` times the direction of the seed.

    ``length`` is one for all, or [targets, 1]. What the misdirecting losses (RMU and its adaptive forms) minimise: a
    scalar in [0, inf).
    """
    direction = steering_direction(stream.shape[-1], seed).to(stream.device)
    return token_mean((stream - length * direction).square().mean(-1))


def top_k(log_distributions: Tensor, k: int) -> TopK:
    """The ``k`` likeliest tokens of each row [targets, vocabulary], or all where they are fewer."""
    log_probs, tokens = log_distributions.topk(min(k, log_distributions.shape[-1]))
    rest = log_distributions.scatter(-1, tokens, -torch.inf).logsumexp(-1)
    return TopK(tokens, log_probs, rest)


def sequence_sums(values: Tensor, batch: Batch) -> Tensor:
    """Sum of a per-token value [targets] over each sequence: [batch]."""
    return torch.zeros(len(batch), dtype=values.dtype, device=values.device).index_add(0, batch.owner, values)


def sequence_means(values: Tensor, batch: Batch) -> Tensor:
    """Mean of a per-token value [targets] over each sequence: [batch]."""
    return sequence_sums(values, batch) / sequence_lengths(batch)


def sequence_lengths(batch: Batch) -> Tensor:
    """Number of target tokens of each sequence: [batch]."""
    return batch.predicts.sum(dim=1)


def token_mean(values: Tensor) -> Tensor:
    """Mean over all target tokens of the batch: a scalar (the reduction of ``outputs.loss`` in transformers)."""
    return values.mean()


def vocabulary_size(model: PreTrainedModel) -> int:
    """The number of tokens that the model may say."""
    return int(model.config.get_text_config().vocab_size)


def _of_logits(
    compute: Callable[..., Tensor],
    model: PreTrainedModel,
    batch: Batch | Branches,
    *given: Tensor,
    reference: PreTrainedModel | None = None,
) -> Tensor:
    from lethe import models

    known = () if reference is None else (_known_states(reference, batch),)
    head = None if reference is None else _frozen_head(reference)

    def part(states: Tensor, *others: Tensor) -> Tensor:
        if head is not None:
            with torch.no_grad():
                others = (head(others[0]).log_softmax(dim=-1), *others[1:])
        return compute(models.logits_of(model, states), *others)

    def read() -> Tensor:
        return in_chunks(part, vocabulary_size(model), _states(model, batch), *known, *given)

    return distribution.inside(model, read)


def _states(model: PreTrainedModel, batch: Batch | Branches) -> Tensor:
    from lethe import models

    return models.hidden_states(model, **batch.inputs)[batch.predicts]


def _known_states(reference: PreTrainedModel, batch: Batch | Branches) -> Tensor:
    with torch.no_grad():
        return distribution.inside(reference, lambda: _states(reference, batch))


def _frozen_head(reference: PreTrainedModel) -> Callable[[Tensor], Tensor]:
    # Without a word between processes each time that it is called: one may have more chunks than another.
    from lethe import models

    head: Any = reference.get_output_embeddings()
    if not (models.has_plain_head(reference) and distribution.is_sharded(head.weight)):
        return partial(models.logits_of, reference)
    weight, bias = (None if one is None else distribution.whole(one.detach()) for one in (head.weight, head.bias))
    return lambda states: torch.nn.functional.linear(states, weight, bias).float()


def _log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    return -torch.nn.functional.cross_entropy(logits, targets, reduction="none")
