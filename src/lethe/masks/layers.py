r"""Only chosen layers may move: the parameters whose names match one of a list of regular expressions.

RMU (Li et al., 2024, arXiv:2403.03218), for example, edits ``layers\.(5|6|7)\.mlp\.down_proj\.weight``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pydantic import Field

from lethe.config import Pattern, Section
from lethe.errors import ConfigError
from lethe.masking import Signals

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel

SIGNALS: frozenset[str] = frozenset()


class Config(Section):
    """The layers that may move."""

    patterns: list[Pattern] = Field(min_length=1)  # searched for anywhere in a name


def select(model: PreTrainedModel, config: Config, signals: Signals) -> dict[str, bool]:
    """Parameter name to whether one of the patterns is found in it; a shared weight has one name.

    Raises ConfigError for a pattern that is found in no name.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in config.patterns:
        if not any(re.search(pattern, name) for name in names):
            raise ConfigError(
                f"mask.patterns: {pattern!r} matches no parameter of this model; "
                f"write it for names such as {names[-1]!r}."
            )
    return {name: any(re.search(pattern, name) for pattern in config.patterns) for name in names}
