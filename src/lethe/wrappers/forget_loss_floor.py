"""A floor under the forget loss: below it the forget gradient is nothing, and only the retain gradient goes on.

What is forgotten enough is not pushed further: the end that LLMU (Yao et al., 2023, arXiv:2310.10683) puts to its
ascent, and the control of the loss of Unlearning with Control (Wang et al., 2025, arXiv:2406.09179). For gradient
ascent, whose loss has no lower bound, the floor is minus the NLL, in nats a token, at which the forget rows count as
forgotten.

It may stand beside a wrapper that takes the forget gradient in its own way, and drops all of what that one took: beside
``lat`` the gradient under attack, beside ``ilu`` the penalty too. The loss that decides is always the plain one, at the
weights as they stand. The other wrapper measures it on its way, and so runs below the floor as well.

Deviation: LLMU stops the whole training past its threshold, as ``early_stop`` does; here a step whose loss lies above
the floor again has its gradient again. Momentum goes on moving the weights for some steps.
"""

from lethe.config import Section


class Config(Section):
    """Where forgetting is enough."""

    floor: float  # of the forget loss of a step


def has_gradient(loss: float, config: Config) -> bool:
    """Whether a step of this plain forget loss, that of all processes, has its forget gradient."""
    return loss >= config.floor
