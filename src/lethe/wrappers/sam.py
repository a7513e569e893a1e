"""Sharpness-aware minimisation: the forget gradient at the worst place nearby, so that forgetting is flat.

g = ∇L_f(θ + ρ ∇L_f(θ) / ‖∇L_f(θ)‖), the norm over all weights that may move (Foret et al., 2021, arXiv:2010.01412). For
unlearning only the forget term is perturbed; retain gradients are taken at θ (Fan et al., 2025, arXiv:2502.05374). It
costs one forward and backward more, and a copy of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from lethe import perturbation
from lethe.config import Section
from lethe.losses import Context
from lethe.perturbation import Draws, Pieces

if TYPE_CHECKING:  # seconds of import, which a stage that needs settings alone is spared
    from transformers import PreTrainedModel


class Config(Section):
    """How near."""

    rho: float = Field(ge=0)  # L2 distance in the space of all weights; 0: the plain gradient


def backward(pieces: Pieces, model: PreTrainedModel, config: Config, context: Context) -> float:
    """Add the gradient at the perturbed weights; the plain loss, at the weights as they stand, is returned."""
    if config.rho == 0:
        return perturbation.backward(pieces)
    parameters, draws = perturbation.movable(model), Draws()
    loss, gradient = perturbation.gradient(pieces, parameters)
    norm = perturbation.norm(gradient)
    draws.again()
    with perturbation.moved(parameters, gradient, config.rho / norm if norm != 0 else 0.0):
        perturbation.backward(pieces)
    return loss
