"""Moments of a training, as a combiner sees them."""

from lethe.moments import Moment


def moment(step: int = 0, forget_loss: float = 1.0, retain_loss: float = 1.0) -> Moment:
    """A step with an empty memory."""
    return Moment(step, forget_loss, retain_loss, {})
