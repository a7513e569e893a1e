"""What every combiner owes."""

from dataclasses import replace

import pytest
import torch

from lethe import registry, unlearning
from tests import small_recipes, unlearned
from tests.contracts import shipped
from tests.encoded import examples
from tests.moments import moment
from tests.tiny import tiny_model

COMBINERS = shipped.components("combiner")
combiners = pytest.mark.parametrize("combiner", COMBINERS)


def gradients(seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator) for shape in ((4, 3), (5,), (), (2, 3, 2))]


def combine(combiner, forget, retain):
    return combiner.module.combine([g.clone() for g in forget], [g.clone() for g in retain], combiner.config, moment())


@combiners
def test_both_gradients_have_a_weight_that_is_never_negative(combiner):
    for name in ("forget_weight", "retain_weight"):
        with pytest.raises(ValueError, match=name):
            combiner.module.Config.model_validate({**combiner.config.model_dump(), name: -1.0})


def test_only_the_sum_may_take_one_joint_backward():
    modes = {name: registry.load("combiners", name).MODE for name in registry.names("combiners")}
    assert set(modes.values()) <= {"joint", "separate", "turns"}
    assert [name for name, mode in modes.items() if mode == "joint"] == ["sum"]


@combiners
def test_every_tensor_keeps_its_place_its_shape_and_its_dtype(combiner):
    forget, retain = gradients(0), gradients(1)
    found = combine(combiner, forget, retain)
    assert [(g.shape, g.dtype) for g in found] == [(g.shape, g.dtype) for g in forget]
    assert all(torch.all(torch.isfinite(g)) for g in found)


@combiners
def test_the_retain_gradient_is_left_alone_and_the_result_takes_no_new_memory(combiner):
    forget, retain = gradients(0), gradients(1)
    before = [g.clone() for g in retain]
    found = combiner.module.combine(forget, retain, combiner.config, moment())
    assert all(torch.equal(*pair) for pair in zip(before, retain, strict=True))
    assert [g.data_ptr() for g in found] == [g.data_ptr() for g in forget]


@combiners
def test_the_same_gradients_give_the_same_bits(combiner):
    first, second = (combine(combiner, gradients(0), gradients(1)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@combiners
def test_the_order_of_the_tensors_does_not_matter(combiner):
    forget, retain = gradients(0), gradients(1)
    found, turned = combine(combiner, forget, retain), combine(combiner, forget[::-1], retain[::-1])
    for expected, tensor in zip(found, turned[::-1], strict=True):
        torch.testing.assert_close(tensor, expected)


@combiners
def test_scaling_both_gradients_scales_the_result_or_leaves_it_as_it_was(combiner):
    forget, retain = gradients(0), gradients(1)
    scaled = torch.cat([g.flatten() for g in combine(combiner, [8 * g for g in forget], [8 * g for g in retain])])
    expected = torch.cat([g.flatten() for g in combine(combiner, forget, retain)])
    factor = 1 if (scaled.norm() - expected.norm()).abs() < expected.norm() else 8  # 1: the rule sets the lengths
    torch.testing.assert_close(scaled, factor * expected)


@combiners
def test_what_it_remembers_goes_through_a_checkpoint(combiner):
    """Named tensors, and a second step that does not depend on which copy of them it finds."""
    first, second = moment(), moment(step=1)
    combiner.module.combine(gradients(0), gradients(1), combiner.config, first)
    assert all(isinstance(value, torch.Tensor) for value in first.memory.values())
    second.memory.update({name: value.clone() for name, value in first.memory.items()})
    kept = replace(first, step=1)
    found = [combiner.module.combine(gradients(2), gradients(3), combiner.config, at) for at in (kept, second)]
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))


def point(combiner, retain, **batches):
    """NPO beside a retain objective, in one step of these batches."""
    objective = small_recipes.component("forget_objective", "npo", beta=0.5)
    settings = small_recipes.training(steps=1, **batches)
    return small_recipes.recipe(
        forget_objective=objective, retain_objective=retain, combiner=combiner, training=settings
    )


def step_gradient(settings):
    """The gradient that one step of a recipe leaves in a model that has moved away from its reference."""
    model = tiny_model(0)
    pairs = {word: [(f"{word} {n}?", word * (n + 1)) for n in range(4)] for word in ("lose", "keep")}
    forget, retain = examples(pairs["lose"], reference=tiny_model(1)), examples(pairs["keep"])
    compute = unlearned.step_gradients(model, forget, retain, settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.1
    compute(0)
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


@pytest.mark.parametrize(
    ("combiner", "retain"),
    [pytest.param(*combiner.values, "nll", id=f"{combiner.id}-nll") for combiner in COMBINERS]
    + [pytest.param(*COMBINERS[0].values, name, id=name) for name in registry.names("retain_objectives")],
)
def test_small_batches_accumulated_give_the_step_of_one_large_batch(combiner, retain):
    whole = step_gradient(point(combiner, retain, batch_size=4, accumulation=1))
    pieces = step_gradient(point(combiner, retain, batch_size=1, accumulation=4))
    assert (pieces - whole).norm() <= 1e-4 * whole.norm()


@combiners
def test_weights_that_no_loss_reaches_keep_every_bit_through_weight_decay(combiner, tmp_path):
    parts = {"forget_objective": "rmu", "retain_objective": "activation_mse"}
    layer_0 = {part: small_recipes.component(part, name, layer=0) for part, name in parts.items()}
    model = tiny_model()
    given = unlearned.material(model, examples([("lose?", "xyz")] * 2), examples([("keep?", "abc")] * 2), tmp_path)
    settings = small_recipes.training(steps=3, batch_size=2)
    unlearning.train(model, given, small_recipes.recipe(**layer_0, combiner=combiner, training=settings))
    before = dict(tiny_model().named_parameters())
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert "model.layers.0.mlp.down_proj.weight" in moved
    assert not any(name.startswith(("model.layers.1.", "model.norm.", "lm_head.")) for name in moved)
