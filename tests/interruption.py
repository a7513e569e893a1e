"""Training that is killed in the middle: what the tests of resuming share."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from lethe import training


class Killed(BaseException):
    """What a killed process looks like from within."""


def weights(model: torch.nn.Module) -> dict[str, bytes]:
    """Every bit of every parameter, by name."""
    return {name: parameter.detach().numpy().tobytes() for name, parameter in model.named_parameters()}


def killed_at(step: int, run: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run until the batch of ``step`` (from 0) is asked for, and die there."""
    batch_at = training.batch_at

    def until_killed(examples: Any, at: int, size: int, *, seed: int) -> Any:
        if at == step:
            raise Killed
        return batch_at(examples, at, size, seed=seed)

    with monkeypatch.context() as patched:
        patched.setattr(training, "batch_at", until_killed)
        with pytest.raises(Killed):
            run()
    torch.manual_seed(20_000 + step)  # a new process would not stand where the old one stopped drawing
