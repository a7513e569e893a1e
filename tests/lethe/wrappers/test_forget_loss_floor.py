import math

import pytest
import torch

from lethe.wrappers import forget_loss_floor
from tests import unlearned
from tests.encoded import examples
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

FORGET = examples([("lose 1?", "xyz"), ("lose 2?", "x")], tiny_model(1))
RETAIN = examples([("keep 1?", "zy"), ("keep 2?", "x")])


@pytest.mark.parametrize(("loss", "has"), [(-4.9, True), (-5.0, True), (-5.1, False), (math.nan, False)])
def test_a_loss_on_the_floor_has_its_gradient_and_one_below_it_has_none(loss, has):
    assert forget_loss_floor.has_gradient(loss, forget_loss_floor.Config(floor=-5.0)) == has


def first_step(**parts):
    """Numbers of the first step, and the gradient that it leaves."""
    model = tiny_model()
    point = recipe(combiner=component("combiner", "sum", forget_weight=1.0, retain_weight=1.0), **parts)
    numbers = unlearned.step_gradients(model, FORGET, RETAIN, point)(0)
    return numbers, torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def under(floor, *others):
    wrappers = [*others, component("wrapper", "forget_loss_floor", floor=floor)]
    return first_step(wrapper=wrappers, training=training(batch_size=2))


def test_the_plain_loss_decides_though_another_takes_the_gradient_elsewhere():
    # The last number that is not above the loss at the weights as they stand, and the next one: with ρ = 0.5, SAM's
    # gradient comes from weights at which the loss is larger by about ρ times the norm of the gradient.
    sam = component("wrapper", "sam", rho=0.5)
    plain = first_step(training=training(batch_size=2))[0]["forget_loss"]
    kept, with_push = under(plain, sam)
    dropped, without = under(math.nextafter(plain, math.inf), sam)
    assert kept["forget_loss"] == dropped["forget_loss"] == plain
    assert (kept["forget_gradient_norm"] > 0, dropped["forget_gradient_norm"]) == (True, 0)
    assert (with_push - without).norm().item() == pytest.approx(kept["forget_gradient_norm"], rel=1e-4)
    assert without.norm().item() == pytest.approx(dropped["retain_gradient_norm"], rel=1e-5)


def test_a_mask_that_is_chosen_anew_is_chosen_by_the_gradient_that_is_dropped():
    # Zeros would choose all: as many scores as there are would reach the threshold.
    mask = component("mask", "saliency", granularity="element", refresh_steps=1)
    settings = {"mask": mask, "training": training(batch_size=2)}
    floor = component("wrapper", "forget_loss_floor", floor=1e9)
    alone, beside = (first_step(wrapper=wrapper, **settings)[0] for wrapper in ("sam", ["sam", floor]))
    assert beside["forget_gradient_norm"] == 0
    assert beside["retain_gradient_norm"] == pytest.approx(alone["retain_gradient_norm"], rel=1e-6)
    assert beside["retain_gradient_norm"] < first_step(training=training(batch_size=2))[0]["retain_gradient_norm"]
