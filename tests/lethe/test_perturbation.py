import pytest
import torch
from torch import nn

from lethe import perturbation


def parameters(*values):
    return [nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in values]


def quadratic(theta):
    """Two pieces whose sum is (θ₁² + 4 θ₂²) / 2: the Hessian is diag(1, 4)."""
    return [lambda: theta[0] ** 2 / 2, lambda: 2 * theta[1] ** 2]


def test_loss_and_gradient_of_pieces_are_those_of_their_sum_and_leave_grad_alone():
    (theta,) = parameters([3.0, 1.0])
    theta.grad = torch.tensor([7.0, 7.0], dtype=torch.float64)
    loss, gradient = perturbation.gradient(quadratic(theta), [theta])
    assert loss == perturbation.loss(quadratic(theta)) == 9 / 2 + 2
    assert gradient[0].tolist() == [3, 4]
    assert theta.grad.tolist() == [7, 7]


def test_a_parameter_that_the_loss_does_not_see_has_a_zero_gradient():
    theta, other = parameters([3.0, 1.0], [1.0])
    assert perturbation.gradient(quadratic(theta), [theta, other])[1][1].tolist() == [0]


def test_backward_adds_so_many_times_the_gradient():
    (theta,) = parameters([3.0, 1.0])
    theta.grad = torch.ones(2, dtype=torch.float64)
    assert perturbation.backward(quadratic(theta), 0.5) == 6.5  # the sum itself
    assert theta.grad.tolist() == [1 + 1.5, 1 + 2]


def test_a_hessian_product_is_taken_piece_by_piece():
    (theta,) = parameters([3.0, 1.0])
    vector = [torch.tensor([1.0, 10.0], dtype=torch.float64)]
    perturbation.add_hessian_product(quadratic(theta), [theta], vector, weight=2.0)
    assert theta.grad.tolist() == [2, 80]


def test_the_norm_is_that_of_one_long_vector():
    assert perturbation.norm([torch.tensor([[1.0], [2.0]]), torch.tensor(2.0)]) == pytest.approx(3)


def test_moved_weights_are_back_bit_for_bit_although_something_breaks():
    (theta,) = parameters([0.1, 1e-9])
    before = theta.detach().clone()

    def broken():
        with perturbation.moved([theta], [torch.full((2,), 1e9, dtype=torch.float64)], 3.0):
            assert theta.tolist() == pytest.approx([3e9, 3e9])
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert torch.equal(theta, before)
    assert not torch.equal(theta + 3e9 - 3e9, before)


def test_a_second_pass_draws_the_same():
    draws = perturbation.Draws()
    first = torch.rand(3)
    draws.again()
    assert torch.equal(torch.rand(3), first)


def test_what_a_backward_reaches_has_a_gradient_of_zeros_if_need_be_and_all_else_has_none():
    reached, dropped, untouched = (torch.ones(2, requires_grad=True) for _ in range(3))
    parameters = [reached, dropped, untouched]
    with perturbation.gradients_where_reached(parameters):
        (2 * reached + dropped).sum().backward()
        dropped.grad, untouched.grad = None, torch.zeros(2)
    assert reached.grad.tolist() == [2, 2]
    assert dropped.grad.tolist() == [0, 0]
    assert untouched.grad is None
    assert not any(parameter._backward_hooks for parameter in parameters)
