"""Pairs of gradients for the laws of rules that see all weights as one vector."""

import torch
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

#: The fixture that all rules share: ⟨g_f, g_r⟩ = −3, ‖g_f‖² = 30, ‖g_r‖² = 31.
FORGET, RETAIN = [1.0, -2.0, 3.0, 0.0, 4.0], [2.0, 1.0, -1.0, 5.0, 0.0]
WEIGHTS = st.floats(0.01, 8)
#: Two gradients over a few tensors, none near zero: [forget or retain, tensor, coordinate].
GRADIENTS = arrays.arrays("float32", (2, 3, 4), elements=st.floats(-8, 8, width=32, allow_subnormal=False)).map(
    lambda drawn: torch.from_numpy(drawn) + torch.tensor([9.0, 0.0, 0.0, 0.0])
)


def fixture() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The worked example, cut into two tensors."""
    forget, retain = torch.tensor(FORGET), torch.tensor(RETAIN)
    return [forget[:2].clone(), forget[2:].clone()], [retain[:2].clone(), retain[2:].clone()]


def dot(left, right) -> float:
    """Inner product as one vector."""
    pairs = zip(left, right, strict=True)
    return sum(torch.dot(one.flatten().double(), other.flatten().double()).item() for one, other in pairs)


def norm(gradient) -> float:
    """Length as one vector."""
    return dot(gradient, gradient) ** 0.5
