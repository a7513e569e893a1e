"""What the probes found of one unlearned model, as the gates read it; what was not probed is None, never zero."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from lethe.scores import Score

_LEAK = re.compile(r"leak_at_(\d+)_difference")


class Probed(NamedTuple):
    """The numbers of the probes that a gate looks at, each None where its probe was not run.

    ``leak``: unlearned minus retain model's chance that one of ``num_draws`` sampled answers holds the true one, the
    most draws that were looked at; ``depth``: unlearning depth, 0 intact, 1 erased; ``linear_probe``: AUC on the
    unlearned model minus that on the retain model; ``logit_lens``: difference of the answer's probability as the lens
    reads it. ``target_leak`` and ``target_linear_probe`` are the same of the target, which knows: what a test shows of
    it is the power that the test has.
    """

    num_draws: int | None
    leak: Score | None
    target_leak: Score | None
    depth: Score | None
    linear_probe: Score | None
    target_linear_probe: Score | None
    logit_lens: Score | None


def read(file: Mapping[str, Mapping[str, Any]]) -> Probed:
    """The numbers of a probe file (:func:`lethe.artifacts.probes`); of an empty one, which names no probe, all None."""
    sampling, linear = file.get("sampling", {}), file.get("linear_probe", {})
    num_draws = max((int(found[1]) for found in map(_LEAK.fullmatch, sampling) if found), default=None)
    return Probed(
        num_draws=num_draws,
        leak=None if num_draws is None else score(sampling[f"leak_at_{num_draws}_difference"]),
        target_leak=_minus_retain(sampling, f"leak_at_{num_draws}", "_target"),
        depth=_score(file.get("unlearning_depth", {}), "unlearning_depth"),
        linear_probe=_minus_retain(linear, "linear_probe"),
        target_linear_probe=_minus_retain(linear, "linear_probe", "_target"),
        logit_lens=_score(file.get("logit_lens", {}), "logit_lens_difference"),
    )


def score(leaf: Mapping[str, Any]) -> Score:
    """The score that a leaf was written from."""
    return Score(leaf["value"], leaf["low"], leaf["high"], leaf["n"], leaf["unscored"])


def _score(numbers: Mapping[str, Any], name: str) -> Score | None:
    return score(numbers[name]) if name in numbers else None


def _minus_retain(numbers: Mapping[str, Any], name: str, ending: str = "") -> Score | None:
    """How far a number lies above that of the retain model, between the ends that both intervals allow at worst.

    The two were not resampled together here; the ends hold whatever goes with what, and are too wide rather than too
    narrow.
    """
    mine, retain = _score(numbers, f"{name}{ending}"), _score(numbers, f"{name}_retain")
    if mine is None or retain is None:
        return None
    return Score(
        _minus(mine.value, retain.value),
        _minus(mine.low, retain.high),
        _minus(mine.high, retain.low),
        mine.n,
        mine.unscored,
    )


def _minus(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second
