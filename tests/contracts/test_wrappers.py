"""What every wrapper of the forget gradient owes."""

import contextlib
from dataclasses import replace

import pytest
import torch

from lethe import registry, unlearning
from lethe.recipes import Recipe
from tests import unlearned
from tests.encoded import examples
from tests.interruption import killed_at, weights
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

# Four answers of unequal length, so that pieces have unequal token counts.
FORGET = examples([(f"lose {n}?", "xyz"[n % 3] * (1 + 4 * n)) for n in range(4)], tiny_model(1))
RETAIN = examples([(f"keep {n}?", "abc"[n % 3] * (9 - 2 * n)) for n in range(4)])
#: Settings at which a wrapper does nothing, for those that have such settings.
NOTHING = {
    "curvature": {"weight": 0.0},
    "early_stop": {},
    "forget_loss_floor": {"floor": -1e9},
    "gradient_penalty": {"weight": 0.0},
    "ilu": {"weight": 0.0},
    "lat": {"radius": 0.0},
    "random_smoothing": {"sigma": 0.0},
    "sam": {"rho": 0.0},
    "straight_through": {"weight": 0.0},
    "tar": {"inner_steps": 1, "every": 1, "scale": 1.0, "lrs": [1e-30]},
    "weight_averaging": {},
}
#: Settings at which the gradient of the very first step is another, where it is not at the small settings.
STRONG = {"forget_loss_floor": {"floor": 1e9}}
#: Settings at which what a wrapper takes is nearly so many times the plain gradient, if all its passes draw the same.
NEARLY = {
    "curvature": (1, {"weight": 1.0, "distance": 1e-4}),
    "random_smoothing": (1, {"sigma": 1e-8}),
    "sam": (1, {"rho": 1e-6}),
    "straight_through": (3, {"scheme": {"kind": "symmetric", "bits": 16, "group_size": None}, "ramp_steps": 0}),
}
NAMES = registry.names("wrappers")
#: What a wrapper does: each has one of these.
ROLES = ("backward", "has_gradient", "after_step")
#: Those that take the forget gradient, those that leave or drop it, and those that look at the iterates.
TAKING, GATES = ([name for name in NAMES if hasattr(registry.load("wrappers", name), one)] for one in ROLES[:2])
LOOKING = [name for name in NAMES if name not in (*TAKING, *GATES)]
every_wrapper = pytest.mark.parametrize("name", NAMES)


def with_dropout():
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.2
    return model


def forget_only(wrapper, **changes):
    """A point whose step is the forget gradient, taken through the wrapper, and nothing else."""
    alone = component("combiner", "sum", forget_weight=1.0, retain_weight=0.0)
    parts = {"retain_objective": None, "retain_rows": None, "combiner": alone}
    return recipe(wrapper=wrapper, training=training(**changes), **parts)


def step(model, wrapper, frozen=(), **changes):
    """The forget loss that one step reports, and the gradient that it leaves; dropout is on, as in training."""
    gradients = unlearned.step_gradients(model, FORGET, RETAIN, forget_only(wrapper, **changes))
    for parameter in frozen:
        parameter.requires_grad_(False)
    model.train()
    torch.manual_seed(5)
    loss = gradients(1)["forget_loss"]
    return loss, torch.cat([parameter.grad.flatten() for parameter in model.parameters() if parameter.requires_grad])


@every_wrapper
def test_the_weights_are_back_bit_for_bit(name):
    model = with_dropout()
    before = weights(model)
    step(model, component("wrapper", name))
    assert weights(model) == before


@every_wrapper
@pytest.mark.parametrize("passes", [1, 2, 3, 4, 5])
def test_the_weights_are_back_although_a_pass_breaks(name, passes, monkeypatch):
    model, left = tiny_model(), [passes]
    before, forward = weights(model), model.model.forward

    def breaking(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise KeyError
        return forward(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", breaking)
    with contextlib.suppress(KeyError):  # a wrapper of fewer passes is done before
        step(model, component("wrapper", name), batch_size=2, accumulation=2)
    assert weights(model) == before


@every_wrapper
def test_the_same_step_gives_the_same_bits(name):
    wrapper = component("wrapper", name)
    first, second = (step(with_dropout(), wrapper) for _ in range(2))
    assert first[0] == second[0]
    assert torch.equal(first[1], second[1])


@every_wrapper
def test_the_loss_that_it_returns_is_the_plain_one(name):
    assert step(with_dropout(), component("wrapper", name))[0] == pytest.approx(step(with_dropout(), None)[0], rel=1e-6)


@pytest.mark.parametrize("name", NOTHING)
def test_without_strength_it_is_the_plain_gradient(name):
    found = step(with_dropout(), component("wrapper", name, **NOTHING[name]))
    assert found[0] == step(with_dropout(), None)[0]
    assert torch.equal(found[1], step(with_dropout(), None)[1])


@pytest.mark.parametrize("name", NEARLY)
def test_all_passes_of_a_step_draw_the_same_dropout(name):
    times, changes = NEARLY[name]
    plain, found = step(with_dropout(), None)[1], step(with_dropout(), component("wrapper", name, **changes))[1]
    assert (found - times * plain).norm() <= 1e-2 * plain.norm()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "tar"])  # its adversary reaches every weight
@pytest.mark.parametrize("strength", [None, {}])
def test_what_the_forget_loss_does_not_reach_gets_no_gradient(name, strength):
    model = tiny_model()
    changes = NOTHING[name] if strength is None else STRONG.get(name, {})
    rmu = component("forget_objective", "rmu", layer=0)
    point = replace(forget_only(component("wrapper", name, **changes)), forget_objective=rmu)
    unlearned.step_gradients(model, FORGET, RETAIN, point)(0)
    for parameter in model.model.layers[0].parameters():
        assert parameter.grad is not None
    if name != "ilu" or strength is None:  # its rows go through the whole model
        assert all(parameter.grad is None for parameter in model.model.layers[1].parameters())


@pytest.mark.parametrize("name", [name for name in NOTHING if NOTHING[name]])
def test_with_strength_it_is_another(name):
    wrapper = component("wrapper", name, **STRONG.get(name, {}))
    plain, found = step(tiny_model(), None)[1], step(tiny_model(), wrapper)[1]
    assert (found - plain).norm() > 1e-3 * plain.norm()


@every_wrapper
def test_pieces_give_the_step_of_the_whole_batch(name):
    wrapper = component("wrapper", name)
    whole_loss, whole = step(tiny_model(), wrapper, batch_size=4)
    loss, pieces = step(tiny_model(), wrapper, batch_size=1, accumulation=4)
    assert loss == pytest.approx(whole_loss, rel=1e-5)
    assert (pieces - whole).norm() <= 1e-3 * whole.norm()


@every_wrapper
def test_it_adds_to_the_gradient_that_is_there(name):
    def taken(start):
        model = tiny_model()
        point = forget_only(component("wrapper", name), batch_size=2, accumulation=2)
        gradients = unlearned.step_gradients(model, FORGET, RETAIN, point)
        for parameter in model.parameters():
            parameter.grad = torch.full_like(parameter, start)
        torch.manual_seed(5)
        gradients(0)
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    torch.testing.assert_close(taken(1.0) - 1, taken(0.0), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", NOTHING)
def test_what_is_drawn_after_it_is_what_is_drawn_after_a_plain_pass(name):
    def next_draw(wrapper):
        step(with_dropout(), wrapper)
        return torch.rand(1).item()

    assert next_draw(component("wrapper", name)) == next_draw(None)


@every_wrapper
def test_weights_that_may_not_move_get_no_gradient(name):
    model = tiny_model()
    step(model, component("wrapper", name), frozen=[model.model.embed_tokens.weight])
    assert model.model.embed_tokens.weight.grad is None
    assert model.lm_head.weight.grad is not None


def unlearn(model, wrappers, folder, place="run", **changes):
    point = recipe(wrapper=wrappers, training=training(batch_size=2, **changes))
    given = unlearned.material(model, FORGET, RETAIN, folder, fingerprint=place)
    return unlearning.unlearn(model, given, Recipe(point, None))


#: NPO begins at 2/0.1 × log 2 = 13.9 and comes below this floor in the second of six steps.
PASSED = component("wrapper", "forget_loss_floor", floor=13.0)


@pytest.mark.parametrize(
    "wrappers",
    [*([name] for name in NAMES), ["sam", *LOOKING], [*reversed(LOOKING), "lat"], ["sam", PASSED], [PASSED, "lat"]],
)
@pytest.mark.parametrize("killed", [2, 5])
def test_a_killed_run_goes_on_and_ends_with_the_same_bits(wrappers, killed, tmp_path, monkeypatch):
    undisturbed, resumed = with_dropout(), with_dropout()
    expected = unlearn(undisturbed, wrappers, tmp_path, "undisturbed")
    killed_at(killed, lambda: unlearn(with_dropout(), wrappers, tmp_path, "killed"), monkeypatch)
    assert unlearn(resumed, wrappers, tmp_path, "killed") == expected
    assert weights(resumed) == weights(undisturbed)


def test_a_wrapper_takes_the_gradient_or_drops_it_or_looks_at_the_iterates():
    assert all((TAKING, GATES, LOOKING))
    for name in NAMES:
        assert sum(hasattr(registry.load("wrappers", name), role) for role in ROLES) == 1, name


@pytest.mark.parametrize("name", TAKING)
def test_above_the_floor_the_gradient_is_the_one_that_another_takes(name):
    alone, open_floor = (
        step(with_dropout(), component("wrapper", name)),
        component("wrapper", "forget_loss_floor", floor=0.0),
    )
    for order in ([name, open_floor], [open_floor, name]):
        loss, gradient = step(with_dropout(), order)
        assert loss == alone[0] > 0
        assert torch.equal(gradient, alone[1])


@pytest.mark.parametrize("name", TAKING)
def test_below_the_floor_nothing_is_left_of_the_gradient_that_another_takes(name):
    model, alone = with_dropout(), step(with_dropout(), component("wrapper", name))
    before = weights(model)
    loss, gradient = step(model, [name, component("wrapper", "forget_loss_floor", floor=1e9)])
    assert (loss, weights(model)) == (alone[0], before)
    assert gradient.shape == alone[1].shape  # zeros where it reached, so that weight decay goes on there
    assert not gradient.any()


@pytest.mark.parametrize("name", TAKING)
def test_below_the_floor_the_retain_gradient_goes_on_alone(name):
    def gradient(wrappers, forget_weight):
        combiner = component("combiner", "sum", forget_weight=forget_weight, retain_weight=2.0)
        model = tiny_model()
        unlearned.step_gradients(model, FORGET, RETAIN, recipe(wrapper=wrappers, combiner=combiner))(0)
        return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])

    found = gradient([name, component("wrapper", "forget_loss_floor", floor=1e9)], forget_weight=1.0)
    assert found.any()
    torch.testing.assert_close(found, gradient(None, forget_weight=0.0), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("wrappers", [["sam", PASSED], [PASSED, "straight_through"]])
def test_a_floor_ends_the_push_of_another_while_training_goes_on(wrappers, tmp_path):
    found = unlearn(tiny_model(), wrappers, tmp_path)
    pushed = [entry["forget_gradient_norm"] > 0 for entry in found]
    assert pushed == [entry["forget_loss"] >= 13.0 for entry in found]
    assert len(set(pushed)) == 2


@every_wrapper
def test_what_it_remembers_and_tells_begins_with_its_name(name, tmp_path):
    """So that two in one recipe never write over each other."""
    told = unlearn(tiny_model(), [name], tmp_path, "with it")
    plain = unlearn(tiny_model(), None, tmp_path, "plain")
    assert all(key.startswith(f"{name}_") for entry in told for key in entry.keys() - plain[0].keys())
    module, memory, model = registry.load("wrappers", name), {}, tiny_model()
    if hasattr(module, "after_step"):
        given = unlearned.material(model, FORGET, RETAIN, tmp_path)
        context = unlearning.context(model, given, recipe())
        config = component("wrapper", name).config
        for step in range(4):
            module.after_step(model, step, config, memory, context)
        assert all(key.startswith(f"{name}.") for key in memory)


@pytest.mark.parametrize("looking", LOOKING)
@pytest.mark.parametrize("name", [*TAKING, *GATES])
def test_one_that_looks_changes_nothing_of_the_gradient_that_another_takes(name, looking):
    alone = step(with_dropout(), component("wrapper", name))
    for order in ([name, looking], [looking, name]):
        found = step(with_dropout(), [component("wrapper", one) for one in order])
        assert found[0] == alone[0]
        assert torch.equal(found[1], alone[1])


def test_the_step_at_which_one_ends_training_counts_in_the_mean_of_another(tmp_path):
    def run(place, wrappers, steps=6):
        model = tiny_model()
        return unlearn(model, wrappers, tmp_path, place, steps=steps), weights(model)

    mean = component("wrapper", "weight_averaging", start_step=0, every_steps=1)
    expected = run("three steps, averaged", mean, steps=3)[1]
    assert expected != run("three steps", None, steps=3)[1]
    stop = component("wrapper", "early_stop", every_steps=3, threshold=-1.0)  # at the first look
    for place, order in (("mean first", [mean, stop]), ("stop first", [stop, mean])):
        curve, found = run(place, order)
        assert (len(curve), found) == (3, expected)
    # What is measured are the weights as they stand, whatever the mean is.
    unwrapped = run("stop alone", stop)[0]
    assert unwrapped[-1]["early_stop_forget_nll"] == curve[-1]["early_stop_forget_nll"]
