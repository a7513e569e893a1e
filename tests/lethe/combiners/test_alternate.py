import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe.combiners import alternate
from tests.encoded import examples
from tests.moments import moment
from tests.small_recipes import component, recipe
from tests.tiny import tiny_model
from tests.unlearned import step_gradients


def settings(ratio, *, forget_weight=1.0, retain_weight=1.0):
    return alternate.Config(
        forget_weight=forget_weight, retain_weight=retain_weight, retain_steps_per_forget_step=ratio
    )


def test_one_to_one_the_turns_alternate_and_forget_begins():
    assert [alternate.turn(step, settings(1)) for step in range(4)] == ["forget", "retain", "forget", "retain"]


@given(ratio=st.integers(1, 9), start=st.integers(0, 100))
def test_every_window_of_a_round_holds_one_forget_step(ratio, start):
    turns = [alternate.turn(step, settings(ratio)) for step in range(start, start + ratio + 1)]
    assert (turns.count("forget"), turns.count("retain")) == (1, ratio)


@given(forget_weight=st.sampled_from([0.0, 0.5, 2.0]), retain_weight=st.sampled_from([0.0, 0.25, 4.0]))
def test_in_its_turn_each_gradient_is_weighed_by_its_own_weight(forget_weight, retain_weight):
    gradient, nothing = torch.tensor([1.0, -2.0]), torch.zeros(2)
    config = settings(1, forget_weight=forget_weight, retain_weight=retain_weight)
    (forget,) = alternate.combine([gradient.clone()], [nothing], config, moment())
    (retain,) = alternate.combine([nothing.clone()], [gradient], config, moment())
    assert torch.equal(forget, forget_weight * gradient)
    assert torch.equal(retain, retain_weight * gradient)


def test_a_step_measures_only_the_loss_whose_turn_it_is():
    rows = examples([("who?", "nobody"), ("where?", "at sea")])
    combiner = component("combiner", "alternate", retain_steps_per_forget_step=2)
    point = recipe(forget_objective="grad_ascent", combiner=combiner)
    gradients = step_gradients(tiny_model(), rows, rows, point)
    forget, retain = ({f"{turn}_loss", f"{turn}_gradient_norm", f"step_along_{turn}"} for turn in ("forget", "retain"))
    assert [set(gradients(step)) for step in range(4)] == [forget, retain, retain, forget]
