"""No mask: every weight may move."""

from transformers import PreTrainedModel

from lethe.config import Section


class Config(Section):
    """Nothing to choose."""


def select(model: PreTrainedModel, config: Config) -> dict[str, bool]:
    """Every parameter name to True."""
    return {name: True for name, _ in model.named_parameters()}
