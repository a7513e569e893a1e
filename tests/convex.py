"""Softmax regression: a convex loss with labels, so that every optimizer finds what it may ask for."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from lethe.checkpoints import Checkpoints
from lethe.moments import Probe


class Regression(nn.Module):
    """Three classes from four features; ``extra`` has no part in the loss and ``frozen`` is in no optimizer."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.features = torch.randn(64, 4, generator=generator)
        self.labels = (self.features @ torch.randn(4, 3, generator=generator)).argmax(-1)
        self.matrix = nn.Parameter(torch.randn(4, 3, generator=generator))
        self.bias = nn.Parameter(torch.zeros(3))
        self.extra = nn.Parameter(torch.randn(2, 2, generator=generator))
        self.frozen = nn.Parameter(torch.randn(3, generator=generator), requires_grad=False)

    def log_probs(self) -> Tensor:
        return torch.log_softmax(self.features @ self.matrix + self.bias, dim=-1)

    def loss(self, step: int = 0) -> float:
        with torch.no_grad():
            return nn.functional.nll_loss(self.log_probs(), self.labels).item()

    def plain(self, step: int) -> dict[str, float]:
        loss = nn.functional.nll_loss(self.log_probs(), self.labels)
        loss.backward()
        return {"loss": loss.item()}

    def sampled_gradient(self, step: int) -> tuple[list[Tensor], int]:
        log_probs = self.log_probs()
        drawn = torch.multinomial(log_probs.detach().exp(), 1).squeeze(-1)
        gradients = torch.autograd.grad(nn.functional.nll_loss(log_probs, drawn), [self.matrix, self.bias])
        return [*gradients, torch.zeros_like(self.extra)], len(drawn)

    def moved(self) -> list[nn.Parameter]:
        return [parameter for parameter in self.parameters() if parameter.requires_grad]


class Watched(Regression):
    """A loss of 0 everywhere; ``lengths`` tells how far from the start each look at it was taken."""

    def __init__(self) -> None:
        super().__init__()
        self.lengths: list[float] = []
        self._start = nn.utils.parameters_to_vector(self.moved()).detach()

    def loss(self, step: int = 0) -> float:
        self.lengths.append((nn.utils.parameters_to_vector(self.moved()) - self._start).norm().item())
        return 0.0


class Course:
    """An optimizer at work on a regression; ``flat`` puts a loss that is the same everywhere in its place."""

    def __init__(self, model: Regression, module: Any, config: Any, *, flat: bool = False) -> None:
        self.model = model
        self.optimizer = module.build(model.moved(), config)
        self._gradients = self._flat if flat else model.plain
        if module.GRADIENT != "plain":
            loss: Callable[[int], float] = (lambda step: 1.0) if flat else model.loss
            probe = Probe(model.moved(), loss, model.sampled_gradient)
            self._gradients = module.gradients(self._gradients, probe, self.optimizer)

    def run(self, start: int, stop: int) -> list[dict[str, float]]:
        """The numbers of these steps, each seeded by its own number as the training loop does."""
        told = []
        for step in range(start, stop):
            torch.manual_seed(step)
            self.optimizer.zero_grad(set_to_none=True)
            numbers = self._gradients(step)
            self.optimizer.step()
            told.append(numbers)
        return told

    def save(self, checkpoints: Checkpoints, step: int) -> None:
        checkpoints.save(step, self.model, self.optimizer, [], {})

    def restore(self, checkpoints: Checkpoints) -> int:
        return checkpoints.restore(self.model, self.optimizer, {})[0]

    def bits(self) -> dict[str, bytes]:
        return {name: parameter.detach().numpy().tobytes() for name, parameter in self.model.named_parameters()}

    def _flat(self, step: int) -> dict[str, float]:
        for parameter in self.model.moved():
            parameter.grad = torch.zeros_like(parameter)
        return {}
