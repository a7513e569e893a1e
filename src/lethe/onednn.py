"""Products of linear layers on a CPU by oneDNN, which uses the widest instructions of every make.

MKL, which torch calls otherwise, keeps to older ones on AMD and takes twice as long. The sums are the same in another
order: results differ by rounding alone, and so do gradients, of any order.
"""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_FEWEST_ROWS = 8  # fewer are multiplied before oneDNN has been called
# oneDNN writes a program for every number of rows, which takes milliseconds and half a MiB. In training batches of as
# many rows come again and again; in inference few rows are filled up.
_FEW_ROWS, _STEP = 128, 16
_TOLERANCE = 1e-5  # of the largest number
_LEFT_ALONE = ContextVar("left_alone", default=False)


@contextmanager
def linear_layers(model: nn.Module) -> Iterator[None]:
    """For a while, let the linear layers of ``model`` that have no forward of their own multiply by :func:`linear`."""
    layers = [module for module in model.modules() if type(module) is nn.Linear and "forward" not in vars(module)]
    for layer in layers:
        layer.forward = functools.partial(_forward, layer)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


@contextmanager
def left_alone() -> Iterator[None]:
    """For a while, let torch multiply as it does by itself."""
    token = _LEFT_ALONE.set(True)
    try:
        yield
    finally:
        _LEFT_ALONE.reset(token)


def linear(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``values`` [..., inputs] times ``weight`` [outputs, inputs], plus ``bias`` [outputs], as torch has it."""
    if not (_takes(values, weight) and _is_there()):
        return functional.linear(values, weight, bias)
    if torch.is_grad_enabled():
        product: Tensor = _Product.apply(values, weight, bias)
        return product
    rows = values.numel() // values.shape[-1]
    if rows > _FEW_ROWS or rows % _STEP == 0 or not torch.is_inference_mode_enabled():
        return _by_onednn(values, weight, bias)
    filled = functional.pad(values.reshape(rows, -1), (0, 0, 0, -rows % _STEP))
    return _by_onednn(filled, weight, bias)[:rows].view(*values.shape[:-1], -1)


class _Product(torch.autograd.Function):  # type: ignore[misc]
    """The product with its gradients, which are products again and so have gradients themselves."""

    @staticmethod
    def forward(context: Any, values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.save_for_backward(values, weight)
        return _by_onednn(values, weight, bias)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), (values, weight) = gradients, context.saved_tensors
        for_values, for_weight, for_bias = context.needs_input_grad
        rows, row_gradients = values.flatten(0, -2), gradient.flatten(0, -2)
        return (
            linear(gradient, weight.t(), None) if for_values else None,
            linear(row_gradients.t(), rows.t(), None) if for_weight else None,
            row_gradients.sum(0) if for_bias else None,
        )


def _forward(layer: nn.Linear, values: Tensor) -> Tensor:
    return linear(values, layer.weight, layer.bias)


def _takes(values: Tensor, weight: Tensor) -> bool:
    if _LEFT_ALONE.get() or torch.is_autocast_enabled("cpu"):  # which then multiplies in halves
        return False
    on_cpu = values.is_cpu and weight.is_cpu
    in_fp32: bool = values.dtype == weight.dtype == torch.float32  # halves of it go through oneDNN by themselves
    return on_cpu and in_fp32 and bool(values.numel() >= _FEWEST_ROWS * values.shape[-1] > 0)


def _by_onednn(values: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(values, weight, bias, "none", [], "")
    return product


@functools.cache
def _is_there() -> bool:
    """Whether this build of torch has the operator, and it gives what ``linear`` gives: tried once on small numbers."""
    values, weight = torch.linspace(-1, 1, 24 * 40).view(24, 40), torch.linspace(1, -2, 72 * 40).view(72, 40)
    expected = functional.linear(values, weight)
    try:
        found = _by_onednn(values, weight, None)
    except (AttributeError, RuntimeError):
        return False
    return bool((found - expected).abs().max() <= _TOLERANCE * expected.abs().max())
