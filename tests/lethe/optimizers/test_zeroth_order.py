import pytest
import torch

from lethe.optimizers import zeroth_order
from tests.convex import Course, Regression, Watched

CONFIG = zeroth_order.Config(lr=1e-2, betas=(0.9, 0.999), eps=1e-12, weight_decay=0.0, radius=0.1, directions=4)


def test_no_gradient_is_ever_taken():
    model = Regression()
    model.plain = None
    told = Course(model, zeroth_order, CONFIG).run(0, 3)
    assert [set(numbers) for numbers in told] == [{"weighted_loss"}] * 3


def test_its_first_step_is_that_of_adamw_whatever_the_scale_of_the_loss():
    steps = []
    for scale in (1.0, 1000.0):
        model = Regression()
        plain_loss = model.loss
        model.loss = lambda step, scale=scale, loss=plain_loss: scale * loss(step)
        before = model.matrix.detach().clone()
        Course(model, zeroth_order, CONFIG).run(0, 1)
        steps.append(model.matrix.detach() - before)
        torch.testing.assert_close(steps[-1].abs(), torch.full_like(before, 1e-2), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-6)


def test_a_step_looks_both_ways_along_each_direction_as_far_as_the_radius():
    model = Watched()
    Course(model, zeroth_order, CONFIG).run(0, 1)
    assert model.lengths == pytest.approx([CONFIG.radius] * 2 * CONFIG.directions, rel=1e-5)
