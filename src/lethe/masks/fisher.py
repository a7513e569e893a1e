"""Single weights move that matter to the forget set more than to the retain set, by Fisher information, for the run.

S = F_f / (F_r + floor), with F the mean squared gradient of the NLL of single sequences at θ_o: the ratio by which
Selective Synaptic Dampening chooses weights (Foster et al., 2024, arXiv:2308.07707), here to gate training instead of
to dampen. The highest ratios move; a tie with the last of them moves too. The objectives of the recipe do not enter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field, PositiveFloat
from torch import Tensor

from lethe import thresholds
from lethe.config import Section
from lethe.masking import Signals, whole
from lethe.thresholds import Threshold

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

SIGNALS: frozenset[str] = frozenset({"forget_fisher", "retain_fisher"})


class Config(Section):
    """How many weights move."""

    fraction: float = Field(gt=0, le=1)  # of all weights, those with the highest ratios
    floor: PositiveFloat  # below it the retain information is noise, and a ratio over it would be too


def select(model: PreTrainedModel, config: Config, signals: Signals) -> dict[str, bool | Tensor]:
    """Parameter name to the elements that may move. Raises NotFiniteError for a ratio that is not finite."""
    forget, retain = signals["forget_fisher"], signals["retain_fisher"]
    scores = {name: values / (retain[name] + config.floor) for name, values in forget.items()}
    threshold = Threshold(kind="top_fraction", value=config.fraction)
    return {name: whole(choice) for name, choice in thresholds.high(scores, threshold).items()}
