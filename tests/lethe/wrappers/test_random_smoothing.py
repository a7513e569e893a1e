from dataclasses import replace

import torch

from lethe.wrappers import random_smoothing
from tests.lethe.wrappers import slopes


def noise(sigma, step=0, seed=0):
    """The noise that a step felt: with L = ‖θ‖² / 2 the gradient at θ + ε is θ + ε."""
    model = torch.nn.Linear(100, 100, bias=False)
    config = random_smoothing.Config(sigma=sigma)
    loss = lambda: model.weight.square().sum() / 2  # noqa: E731
    random_smoothing.backward([loss], model, config, replace(slopes.context(step), seed=seed))
    return (model.weight.grad - model.weight).detach()


def test_the_noise_is_normal_with_the_given_width():
    # Ten thousand draws: the mean is within 4 σ/√n of zero and the width within 4 σ/√(2n) of σ, but once in 10⁴ runs.
    found = noise(0.5)
    assert abs(found.mean().item()) < 4 * 0.5 / 100
    assert abs(found.std().item() - 0.5) < 4 * 0.5 / 2**0.5 / 100


def test_every_step_and_every_run_draw_anew_and_the_same_step_the_same():
    assert not torch.allclose(noise(0.5), noise(0.5, step=1), atol=1e-3)
    assert not torch.allclose(noise(0.5), noise(0.5, seed=1), atol=1e-3)
    torch.testing.assert_close(noise(0.5, step=1), noise(0.5, step=1), atol=1e-6, rtol=0)


def test_the_loss_that_is_returned_is_that_without_noise():
    model = slopes.network()
    config = random_smoothing.Config(sigma=0.5)
    expected = slopes.loss_at(slopes.vector(model))
    assert random_smoothing.backward(slopes.pieces(model), model, config, slopes.context()) == expected
