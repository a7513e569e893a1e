"""A number of an imported log, and whether it was computed here or taken over."""

import math
from dataclasses import dataclass
from typing import Literal

from lethe import statistics
from lethe.scores import Score, Values
from lethe.statistics import Bootstrap

Origin = Literal["recomputed", "derived", "copied", "missing"]

NEEDS_RETAIN = "needs --retain, the log of the retain model"
NOTHING = "the log has neither per-example values nor an aggregate of it"


@dataclass(frozen=True)
class Leaf:
    """A score with its ``origin``.

    ``recomputed``: from per-example values; ``derived``: from other numbers here of which one was copied; ``copied``:
    the log's own aggregate; ``missing``: null, and ``note`` says why. ``peer`` is what the log itself says, if it does.
    """

    score: Score
    origin: Origin
    peer: float | None
    note: str | None

    def as_json(self) -> dict[str, float | int | str | None]:
        """The leaf of our score files, with origin, peer and note; how many a copied number rests on is not known."""
        counts = {"n": None, "unscored": None} if self.origin in ("copied", "derived") else {}
        peer = Score(self.peer, None, None, 0, 0).as_json()["value"]
        return {**self.score.as_json(), **counts, "origin": self.origin, "peer": peer, "note": self.note}


def recomputed(score: Score, peer: float | None, note: str | None = None) -> Leaf:
    """A score from per-example values; missing when too few of them are there."""
    if score.value is None:
        return Leaf(score, "missing", peer, _too_few(score))
    return Leaf(score, "recomputed", peer, note)


def mean(values: Values, peer: float | None, bootstrap: Bootstrap, note: str | None = None) -> Leaf:
    """The mean of per-example values with its interval."""
    (score,) = statistics.means([values], bootstrap)
    return recomputed(score, peer, note)


def taken(aggregate: float | None, lacking: str, note: str | None = None) -> Leaf:
    """The log's aggregate; without one the number is missing because the log is ``lacking`` something."""
    if aggregate is None:
        return missing(lacking)
    return Leaf(Score(aggregate, None, None, 0, 0), "copied", aggregate, note)


def derived(value: float, peer: float | None, note: str) -> Leaf:
    """A number that rests on a copied one; NaN where it has no value."""
    if math.isnan(value):
        return missing("its denominator is 0", peer)
    return Leaf(Score(value, None, None, 0, 0), "derived", peer, note)


def missing(note: str, peer: float | None = None) -> Leaf:
    """No number, and why."""
    return Leaf(Score(None, None, None, 0, 0), "missing", peer, note)


def _too_few(score: Score) -> str:
    asked = score.n + score.unscored
    return f"{score.unscored} of {asked} could not be scored" if score.unscored else "its denominator is 0"
