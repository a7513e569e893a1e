"""No attack: the model as it was released."""

from collections.abc import Iterator

from torch import nn

from lethe.config import Section


class Config(Section):
    """Nothing to set."""


def conditions(model: nn.Module, config: Config) -> Iterator[str]:
    """One condition, ``none``, in which the model is left alone."""
    yield "none"
