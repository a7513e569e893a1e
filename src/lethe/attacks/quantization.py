"""Quantization: fewer bits a weight, and with them perhaps the edit that was meant to remove the knowledge.

A weight that unlearning has moved by less than a step can round to the same code as before ("Catastrophic
Failure of LLM Unlearning via Quantization", arXiv:2410.16454). The weights of linear layers are quantized and
dequantized in place, in memory only; embeddings, the output head and biases stay as they are, as in released
quantizers.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any

from torch import Tensor, nn

from lethe.config import Section
from lethe.errors import ArtifactError, ConfigError
from lethe.quantizers import Scheme, quantize

logger = logging.getLogger(__name__)


class Config(Section):
    """Which weights are quantized and how. Each scheme is one condition, under its own name."""

    skip: list[str]  # patterns (* and ?) of the names of weights that stay as they are
    schemes: dict[str, Scheme]


def conditions(model: nn.Module, config: Config) -> Iterator[str]:
    """Put the model's linear layers under each scheme in turn, and yield the scheme's name.

    The weights are back, bit for bit, when the iteration ends or is given up. Raises ConfigError when the
    model has no linear layer to quantize.
    """
    weights = _linear_weights(model, config.skip)
    originals = {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}
    try:
        for name, scheme in config.schemes.items():
            for key, weight in weights.items():
                weight.data.copy_(quantize(originals[key].to(weight.device), scheme)[1])
            yield name
    finally:
        for key, weight in weights.items():
            weight.data.copy_(originals[key])


def diagnose(before: dict[str, Tensor], after: dict[str, Tensor], config: Config) -> dict[str, Any]:
    """What each scheme does to the edit ``after - before``, in ``total`` and for each of its ``tensors``.

    - ``moved_fraction``: share of weights that unlearning changed at all, 0 to 1
    - ``code_flip_rate``: share of weights whose code changed, 0 to 1
    - ``slope``: what survives of the edit along its own direction, <Q(after) - Q(before), edit> / <edit,
      edit>; 1 where rounding is fair on average, below 1 where the edit is trapped in its buckets; None
      without an edit
    - ``cosine``: between the edit and what quantization leaves of it, -1 to 1; None when either is nothing at
      all

    Raises ArtifactError when the two checkpoints do not hold the same tensors.
    """
    _require_same_tensors(before, after)
    names = [name for name in before if before[name].dim() == 2 and not _is_skipped(name, config.skip)]
    return {label: _scheme_diagnosis(before, after, names, scheme) for label, scheme in config.schemes.items()}


@dataclass(frozen=True)
class _Sums:
    """Sums over weights from which the four diagnostics follow, for one tensor or for many."""

    weights: int
    moved: int
    flipped: int
    edit_squared: float
    edit_times_left: float
    left_squared: float

    def __add__(self, other: "_Sums") -> "_Sums":
        return _Sums(*(mine + theirs for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True)))

    def ratios(self) -> dict[str, float | None]:
        norms = (self.edit_squared * self.left_squared) ** 0.5
        return {
            "moved_fraction": _ratio(self.moved, self.weights),
            "code_flip_rate": _ratio(self.flipped, self.weights),
            "slope": _ratio(self.edit_times_left, self.edit_squared),
            "cosine": _ratio(self.edit_times_left, norms),
        }


def _scheme_diagnosis(
    before: dict[str, Tensor], after: dict[str, Tensor], names: list[str], scheme: Scheme
) -> dict[str, Any]:
    sums = {name: _edit_sums(before[name], after[name], scheme) for name in names}
    total = sum(sums.values(), start=_Sums(0, 0, 0, 0.0, 0.0, 0.0))
    return {"total": total.ratios(), "tensors": {name: value.ratios() for name, value in sums.items()}}


def _edit_sums(before: Tensor, after: Tensor, scheme: Scheme) -> _Sums:
    codes_before, values_before = quantize(before, scheme)
    codes_after, values_after = quantize(after, scheme)
    edit = (after.float() - before.float()).double().flatten()
    left = (values_after - values_before).double().flatten()  # what quantization leaves of the edit
    return _Sums(
        weights=edit.numel(),
        moved=int((edit != 0).sum()),
        flipped=int((codes_after != codes_before).sum()),
        edit_squared=float(edit @ edit),
        edit_times_left=float(edit @ left),
        left_squared=float(left @ left),
    )


def _ratio(numerator: float, denominator: float) -> float | None:
    quotient = numerator / denominator if denominator > 0 else math.nan
    return quotient if math.isfinite(quotient) else None


def _linear_weights(model: nn.Module, skip: list[str]) -> dict[str, nn.Parameter]:
    linear = {
        f"{name}.weight": module.weight for name, module in model.named_modules() if isinstance(module, nn.Linear)
    }
    chosen = {name: weight for name, weight in linear.items() if not _is_skipped(name, skip)}
    if not chosen:
        raise ConfigError(
            f"attacks.quantization.skip: no weight is left to quantize among {len(linear)} linear "
            "layers; shorten the list, or drop 'quantization' from grid.attacks for this architecture."
        )
    left_alone = [name for name in linear if name not in chosen]
    logger.info("quantizing %d weights; left alone: %s", len(chosen), ", ".join(left_alone) or "none")
    return chosen


def _is_skipped(name: str, skip: list[str]) -> bool:
    return any(fnmatch(name, pattern) for pattern in skip)


def _require_same_tensors(before: dict[str, Tensor], after: dict[str, Tensor]) -> None:
    shapes = [{name: tuple(tensor.shape) for name, tensor in weights.items()} for weights in (before, after)]
    if shapes[0] != shapes[1]:
        different = sorted(name for name, _ in shapes[0].items() ^ shapes[1].items())
        raise ArtifactError(
            f"The two checkpoints differ in {different[0]!r}: only models of one architecture can be "
            "compared; run `dvc repro` to make both from the same target."
        )
