"""Early stop: training ends at the first check at which enough has been forgotten, or too much lost.

Excess is held back by when to stop, not by how to step (Unlearning with Control, Wang et al., 2025, arXiv:2406.09179).
After every ``every_steps`` steps a metric is taken, by teacher forcing, of rows that the seed draws once, with
replacement:

- ``nll``: mean NLL of the target tokens, in nats; training ends when it is at ``threshold`` or above;
- ``exact_memorization``: share of the target tokens that are first choices; it ends at ``threshold`` or below;
- ``extraction_strength``: mean over sequences of their longest end of first choices, as a share; likewise.

Of ``forget`` rows it says when the answers are forgotten: LLMU (Yao et al., 2023, arXiv:2310.10683) means to stop at
an NLL. Of all others it says when too much is lost: MUSE (Shi et al., 2024, arXiv:2407.06460) stops after the first
epoch at which less is kept than by the retain model; nothing is taken back then. The schedule of the learning rate is
that of all ``training.steps``.

Which rows: of ``forget`` and ``retain`` some are asked of every model afterwards, so that training is steered by what
is reported. ``validation`` are the retain rows that nobody is asked, and ``general`` rows are asked of nobody, either.
Training may go on on them, and target and retain model have seen the former: what is measured there is no estimate of
what is kept of unseen rows, and no reported number was looked at.

It measures the weights as they stand, also beside weight averaging. In several processes each measures all rows, and
the mean of what they find decides, so that all of them stop at the same step.

Deviation: the token that closes an answer counts as a token of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import torch
from pydantic import PositiveInt, ValidationInfo, field_validator
from torch import Tensor

from lethe import distribution, losses
from lethe.batches import Batch
from lethe.config import Section
from lethe.losses import Context
from lethe.perturbation import Draws

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

Metric = Literal["nll", "exact_memorization", "extraction_strength"]

_BATCH = 16
_NAME = "early_stop_{rows}_{metric}"


class Config(Section):
    """Which metric, of which rows, ends training, and how often one looks."""

    metric: Metric
    rows: Literal["forget", "retain", "general", "validation"]
    num_rows: PositiveInt  # drawn once, by the seed
    threshold: float
    every_steps: PositiveInt

    @field_validator("threshold")
    @classmethod
    def _can_be_reached(cls, threshold: float, info: ValidationInfo) -> float:
        if info.data.get("metric") != "nll" and not 0 <= threshold <= 1:
            raise ValueError(f"{info.data.get('metric')} lies in [0, 1]; choose a number in it")
        return threshold


def after_step(
    model: PreTrainedModel, step: int, config: Config, memory: dict[str, Tensor], context: Context
) -> dict[str, float]:
    """The metric at the weights as they are now, when its time has come.

    Raises DataError where the source has no such rows.
    """
    if (step + 1) % config.every_steps != 0:
        return {}
    return {_name(config): measured(model, config, context)}


def enough(numbers: Mapping[str, float], config: Config) -> bool:
    """Whether the metric is among the numbers of a step and has reached the threshold."""
    value = numbers.get(_name(config))
    if value is None:
        return False
    return value >= config.threshold if config.metric == "nll" else value <= config.threshold


def measured(model: PreTrainedModel, config: Config, context: Context) -> float:
    """The metric of the rows, the same ones whenever it is asked for; the model is asked without dropout."""
    assert context.sample is not None
    draws, training = Draws(), model.training
    torch.manual_seed(context.seed)
    sizes = [min(_BATCH, config.num_rows - start) for start in range(0, config.num_rows, _BATCH)]
    samples = [context.sample(config.rows, size) for size in sizes]
    model.eval()
    with torch.no_grad(), context.precision():
        found = torch.cat([_values(model, batch, config.metric) for batch in samples])
    model.train(training)
    draws.again()
    return distribution.total(float(found.double().mean())) / distribution.size()


def _values(model: PreTrainedModel, batch: Batch, metric: Metric) -> Tensor:
    # One number a target; of extraction strength one a sequence.
    if metric == "nll":
        return -losses.target_log_probs(model, batch)
    hits = losses.log_distributions(model, batch).argmax(dim=-1) == batch.targets
    if metric == "exact_memorization":
        return hits.float()
    ends = [
        part.flip(0).long().cumprod(0).double().mean() for part in hits.split(losses.sequence_lengths(batch).tolist())
    ]
    return torch.stack(ends)


def _name(config: Config) -> str:
    return _NAME.format(rows=config.rows, metric=config.metric)
