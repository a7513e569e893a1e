from pathlib import Path

import pytest
import torch

from lethe import steps, unlearning
from lethe.masking import Mask
from tests import unlearned
from tests.encoded import examples
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

# Answers of 1 to 13 tokens each: batches of unequal token counts.
LENGTHS = (1, 12, 3, 7, 2, 9, 5, 4)
FORGET = examples((f"lose {number}?", "xyz"[number % 3] * length) for number, length in enumerate(LENGTHS))
RETAIN = examples((f"keep {number}?", "abc"[number % 3] * length) for number, length in enumerate(reversed(LENGTHS)))
FORGET_WEIGHT, RETAIN_WEIGHT = 0.3, 1.7
GEOMETRY = {"forget_gradient_norm", "retain_gradient_norm", "step_along_forget", "step_along_retain"}


def weighed(forget_weight=FORGET_WEIGHT, retain_weight=RETAIN_WEIGHT, **numbers):
    combiner = component("combiner", "sum", forget_weight=forget_weight, retain_weight=retain_weight)
    return recipe(forget_objective="grad_ascent", combiner=combiner, training=training(**numbers))


def tied_model():
    """A model whose embedding is its head: every gradient of it is a sum of two terms a loss."""
    model = tiny_model()
    model.config.tie_word_embeddings = True
    model.tie_weights()
    assert model.lm_head.weight is model.model.embed_tokens.weight
    return model


def setting_of(model, point, forget=FORGET, retain=RETAIN, movable=None):
    given = unlearned.material(model, forget, retain, Path("unused"))
    context = unlearning.context(model, given, point)
    mask = Mask(model, movable or {name: True for name, _ in model.named_parameters()})
    return steps.Setting(model, point, forget, retain, context, unlearned.PAD, {}, mask)


def gradients_of(model):
    found = [parameter.grad for parameter in model.parameters()]
    model.zero_grad(set_to_none=True)
    return found


def whole_gradient(model):
    return torch.cat([gradient.flatten().double() for gradient in gradients_of(model)])


@pytest.mark.parametrize("make", [tiny_model, tied_model])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_joint_step_is_one_backward_of_the_weighted_sum_to_the_last_bit(make, accumulation):
    model, point = make(), weighed(batch_size=4, accumulation=accumulation)
    setting = setting_of(model, point)
    steps.gradients(setting)(0)
    found = gradients_of(model)
    for forget, retain in zip(*steps.terms(setting, 0), strict=True):
        torch.stack([FORGET_WEIGHT * forget(), RETAIN_WEIGHT * retain()]).sum().backward()
    assert all(torch.equal(one, other) for one, other in zip(found, gradients_of(model), strict=True))


@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_joint_step_tells_the_norms_of_both_gradients_and_both_inner_products(accumulation):
    model = tied_model()
    setting = setting_of(model, weighed(batch_size=4, accumulation=accumulation))
    numbers = steps.gradients(setting)(0)
    combined = whole_gradient(model)
    forget_terms, retain_terms = steps.terms(setting, 0)
    torch.stack([piece() for piece in forget_terms]).sum().backward()
    forget = whole_gradient(model)
    torch.stack([piece() for piece in retain_terms]).sum().backward()
    retain = whole_gradient(model)
    expected = (forget.norm(), retain.norm(), combined @ forget, combined @ retain)
    names = ("forget_gradient_norm", "retain_gradient_norm", "step_along_forget", "step_along_retain")
    for name, value in zip(names, expected, strict=True):
        assert numbers[name] == pytest.approx(value.item(), rel=1e-5), name


def test_the_retain_gradient_does_not_hang_on_the_forget_rows():
    model, found = tiny_model(), []
    others = examples((f"forget {number}?", "uvw"[number % 3] * length) for number, length in enumerate(LENGTHS))
    for rows in (FORGET, others):
        steps.gradients(setting_of(model, weighed(forget_weight=0.0), rows))(0)
        found.append(whole_gradient(model))
    assert torch.equal(*found)
    assert found[0].norm() > 0


def test_a_joint_step_runs_every_loss_forward_once():
    model = tiny_model()
    passes = []
    setting = setting_of(model, weighed(batch_size=4, accumulation=2))
    steps.gradients(setting)(0)  # the first looks at the head, too
    model.model.register_forward_hook(lambda *_: passes.append(1))
    steps.gradients(setting)(1)
    assert len(passes) == 4  # forget and retain, twice each


@pytest.mark.parametrize(("weights", "left_out"), [((0.0, 1.0), "forget"), ((1.0, 0.0), "retain")])
def test_a_gradient_of_weight_zero_has_no_numbers_in_a_joint_step(weights, left_out):
    numbers = steps.gradients(setting_of(tiny_model(), weighed(*weights, batch_size=4)))(0)
    told = GEOMETRY & set(numbers)
    assert told == {name for name in GEOMETRY if left_out not in name}


def half_of(model):
    """Of each parameter every other element, drawn."""
    generator = torch.Generator().manual_seed(7)
    return {name: torch.rand(p.shape, generator=generator) < 0.5 for name, p in model.named_parameters()}


def gradient_of(setting, task, gate):
    """The gradient of a task at the elements that may move, as one long vector."""
    model = setting.model
    model.zero_grad(set_to_none=True)
    torch.stack([piece() for piece in steps.terms(setting, 0)[task]]).sum().backward()
    gated = [(parameter.grad * gate[name]).flatten() for name, parameter in model.named_parameters()]
    return torch.cat(gated).double()


@pytest.mark.parametrize("combiner", ["sum", "pcgrad", "sago"])
def test_under_a_partial_mask_all_numbers_are_of_the_elements_that_may_move(combiner):
    model = tiny_model()
    point = recipe(forget_objective="grad_ascent", combiner=combiner, training=training(batch_size=4))
    choice = half_of(model)
    setting = setting_of(model, point, movable=choice)
    numbers = steps.gradients(setting)(0)
    setting.mask.gate()
    step = whole_gradient(model)
    assert 0 < step.count_nonzero() < step.numel()
    for task, name in enumerate(("forget", "retain")):
        gradient = gradient_of(setting, task, choice)
        assert numbers[f"{name}_gradient_norm"] == pytest.approx(gradient.norm().item(), rel=1e-5)
        assert numbers[f"step_along_{name}"] == pytest.approx((step @ gradient).item(), rel=1e-4)


@pytest.mark.parametrize(("step", "turn"), [(0, "forget"), (1, "retain")])
def test_a_turn_tells_what_there_is_of_its_gradient(step, turn):
    # With weight w the step is w g: its product with g is w ‖g‖².
    weights = {"forget": FORGET_WEIGHT, "retain": RETAIN_WEIGHT}
    combiner = component("combiner", "alternate", **{f"{name}_weight": weight for name, weight in weights.items()})
    model = tiny_model()
    point = recipe(forget_objective="grad_ascent", combiner=combiner, training=training(batch_size=4))
    numbers = steps.gradients(setting_of(model, point))(step)
    assert set(numbers) == {f"{turn}_loss", f"{turn}_gradient_norm", f"step_along_{turn}"}
    length = whole_gradient(model).norm().item() / weights[turn]
    assert numbers[f"{turn}_gradient_norm"] == pytest.approx(length, rel=1e-5)
    assert numbers[f"step_along_{turn}"] == pytest.approx(weights[turn] * length**2, rel=1e-5)


@pytest.mark.parametrize("wrapper", [None, "sam"])
def test_a_step_that_only_forgets_tells_its_norm_and_its_product(wrapper):
    combiner = component("combiner", "sum", forget_weight=FORGET_WEIGHT, retain_weight=0.0)
    parts = {"combiner": combiner, "wrapper": wrapper, "retain_objective": None, "retain_rows": None}
    model = tiny_model()
    point = recipe(forget_objective="grad_ascent", training=training(batch_size=4), **parts)
    numbers = steps.gradients(setting_of(model, point))(0)
    assert set(numbers) == {"forget_loss", "forget_gradient_norm", "step_along_forget"}
    length = whole_gradient(model).norm().item() / FORGET_WEIGHT
    assert numbers["forget_gradient_norm"] == pytest.approx(length, rel=1e-5)
    assert numbers["step_along_forget"] == pytest.approx(FORGET_WEIGHT * length**2, rel=1e-5)


@pytest.mark.parametrize("rows", ["retain_length_matched", "general_length_matched"])
def test_retain_rows_are_as_long_as_the_forget_rows_beside_them_where_lengths_are_matched(rows):
    lengths = {len(row.ids) for row in RETAIN}
    setting = setting_of(tiny_model(), recipe(retain_rows=rows, training=training(batch_size=2, accumulation=2)))
    for step in range(4):
        forget, retain = steps.windows(setting, step)
        for one, other in zip(forget, retain, strict=True):
            wanted = one.attention_mask.sum(1).tolist()
            assert other.attention_mask.sum(1).tolist() == [min(lengths, key=lambda n: abs(n - w)) for w in wanted]


def test_what_an_optimizer_may_measure_is_the_weighted_sum_of_both_losses():
    setting = setting_of(tiny_model(), weighed(batch_size=2, accumulation=2))
    forget, retain = (sum(piece().item() for piece in pieces) for pieces in steps.terms(setting, 1))
    assert steps.probe(setting).loss(1) == pytest.approx(FORGET_WEIGHT * forget + RETAIN_WEIGHT * retain, rel=1e-6)


def test_the_sampled_gradient_is_that_of_the_mean_nll_of_labels_that_the_model_draws():
    model = tiny_model()
    setting = setting_of(model, weighed(batch_size=2, accumulation=2))
    torch.manual_seed(3)
    found, count = steps.probe(setting).sampled_gradient(1)
    pieces, values = [batch for window in steps.windows(setting, 1) for batch in window], []
    torch.manual_seed(3)
    for batch in pieces:
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts]
        drawn = torch.multinomial(logits.detach().softmax(-1), 1)[:, 0]
        values.append(torch.nn.functional.cross_entropy(logits, drawn, reduction="none"))
    assert count == sum(map(len, values))
    torch.cat(values).mean().backward()
    for one, other in zip(found, gradients_of(model), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-7)


def test_a_combiner_is_told_the_number_of_the_step_and_its_retain_loss():
    # λ moves after step 1, the first one after the warm-up, by η (L_r − ε).
    combiner = component(
        "combiner",
        "primal_dual",
        forget_weight=1.0,
        retain_weight=0.5,
        retain_loss_bound=1.0,
        dual_step_size=0.1,
        warmup_steps=1,
        update_steps=1,
    )
    point = recipe(forget_objective="grad_ascent", combiner=combiner, training=training(batch_size=4))
    compute = steps.gradients(setting_of(tiny_model(), point))
    told = [compute(step) for step in range(3)]
    assert [numbers["dual_weight"] for numbers in told[:2]] == [0.5, 0.5]
    assert told[2]["dual_weight"] == pytest.approx(0.5 + 0.1 * (told[1]["retain_loss"] - 1.0), rel=1e-6)


def test_a_wrapper_is_told_the_number_of_the_step():
    # Before the end of its warm-up, at step 0, it takes the plain gradient.
    wrapper = component("wrapper", "straight_through", warmup_steps=1, ramp_steps=0)
    norms = []
    for part in (None, wrapper):
        point = recipe(forget_objective="grad_ascent", wrapper=part, training=training(batch_size=4))
        norms.append(
            [steps.gradients(setting_of(tiny_model(), point))(step)["forget_gradient_norm"] for step in (0, 1)]
        )
    assert norms[1][0] == pytest.approx(norms[0][0], rel=1e-5)
    assert norms[1][1] > 1.5 * norms[0][1]


def test_what_is_said_in_place_of_an_answer_is_drawn_anew_in_every_step():
    rows = examples([("lose?", "xyz")], others=["no", "never", "not known"])
    point = recipe(forget_objective="refusal", training=training(batch_size=1))
    drawn = [
        steps.collated(rows, point, step, seed=0, pad=unlearned.PAD, device=torch.device("cpu"))[0] for step in range(8)
    ]
    assert len({tuple(batch.substitute.targets.tolist()) for batch in drawn}) > 1
