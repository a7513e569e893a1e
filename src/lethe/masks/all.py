"""No mask: every weight may move."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lethe.config import Section
from lethe.masking import Signals

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

SIGNALS: frozenset[str] = frozenset()


class Config(Section):
    """Nothing to choose."""


def select(model: PreTrainedModel, config: Config, signals: Signals) -> dict[str, bool]:
    """Every parameter name to True."""
    return {name: True for name, _ in model.named_parameters()}
