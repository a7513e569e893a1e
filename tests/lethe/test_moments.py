import torch

from lethe import moments


def of(*values):
    """A gradient of one tensor for each value, or list of values."""
    return [torch.tensor(value if isinstance(value, list) else [value]) for value in values]


def test_products_are_taken_in_fp64():
    # 4097² is odd and above 2²⁴: fp32 has only even numbers there.
    assert moments.inner(of(4097.0), of(4097.0)) == 4097**2


def test_the_geometry_of_two_tasks():
    # g_f = (3, 4; 0), g_r = (0, −1; 2), step = (3, 3; 2): norms 5 and √5, products 9 + 12 and −3 + 4.
    found = moments.geometry(of([3.0, 3.0], 2.0), {"forget": of([3.0, 4.0], 0.0), "retain": of([0.0, -1.0], 2.0)})
    assert found == {
        "forget_gradient_norm": 5.0,
        "retain_gradient_norm": 5**0.5,
        "step_along_forget": 21.0,
        "step_along_retain": 1.0,
    }


def test_numbers_of_many_tensors_are_summed_in_fp64():
    # 2²⁶ + 1, of which fp32 would lose the 1.
    gradient = of(2.0**13, 1.0)
    assert moments.geometry(gradient, {"forget": gradient})["step_along_forget"] == 2**26 + 1
