import pytest
import torch

from lethe.optimizers import adamw, hybrid
from tests.contracts import shipped
from tests.convex import Course, Regression, Watched

NUMBERS = {"betas": (0.9, 0.999), "eps": 1e-12, "weight_decay": 0.1, "radius": 0.1, "directions": 2}


def settings(**changes):
    return hybrid.Config(**{"lr": 1e-2, "zeroth_order_lr": 1e-2, "period": 2, **NUMBERS} | changes)


def test_the_orders_take_turns_by_periods_and_two_of_them_end_on_the_zeroth():
    told = Course(Regression(), hybrid, settings(period=3)).run(0, 12)
    first, zeroth = [{"loss"}] * 3, [{"weighted_loss"}] * 3
    assert [set(numbers) for numbers in told] == [*first, *zeroth, *first, *zeroth]


def test_in_its_first_period_it_is_adamw():
    mine, theirs = Regression(), Regression()
    Course(mine, hybrid, settings(period=5)).run(0, 5)
    plain = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-12, "weight_decay": 0.1}
    Course(theirs, adamw, adamw.Config(**plain)).run(0, 5)
    torch.testing.assert_close(mine.matrix, theirs.matrix, rtol=1e-5, atol=1e-6)


def test_zeroth_order_steps_have_a_rate_of_their_own():
    model = Regression()
    course = Course(model, hybrid, settings(period=1, zeroth_order_lr=1e-3, weight_decay=0.0))
    course.run(0, 1)
    before = model.matrix.detach().clone()
    course.run(1, 2)
    length = (model.matrix.detach() - before).abs()
    torch.testing.assert_close(length, torch.full_like(length, 1e-3), rtol=1e-3, atol=0.0)


def test_a_zeroth_order_step_looks_both_ways_along_each_direction_as_far_as_the_radius():
    model = Watched()
    Course(model, hybrid, settings(period=1, radius=0.25, directions=3)).run(1, 2)
    assert model.lengths == pytest.approx([0.25] * 2 * 3, rel=1e-5)


def test_the_moments_of_one_order_are_left_alone_by_the_other():
    course = Course(Regression(), hybrid, settings(period=2))
    course.run(0, 2)
    state = course.optimizer.state[course.model.matrix]
    before = state["first_exp_avg"].clone()
    course.run(2, 4)
    assert torch.equal(state["first_exp_avg"], before)
    assert state["zeroth_step"].item() == 2


def test_shipped_recipes_end_on_the_zeroth_order():
    shown = [recipe for recipe in shipped.library().values() if (recipe["optimizer"] or {}).get("name") == "hybrid"]
    assert shown
    assert all(recipe["training"]["steps"] % (2 * recipe["optimizer"]["period"]) == 0 for recipe in shown)
