from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lethe import losses, perturbation, steps, unlearning
from lethe.errors import ConfigError, DataError
from lethe.perturbation import Piece
from lethe.recipes import Recipe
from lethe.wrappers import lat
from tests import small_recipes, unlearned
from tests.encoded import collated, examples
from tests.interruption import killed_at, weights
from tests.lethe.wrappers import slopes
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["wrapper"]["lat"] | {"toward_away": None}
AIM = small_recipes.SETTINGS["wrapper"]["lat"]["toward_away"]
BATCH = collated(examples([("lose?", "abcd"), ("and this?", "ef")]))
OTHERS = collated(examples([("keep?", "ghijkl"), ("and that one, too?", "m")]))
BESIDE = replace(slopes.context(), sample=lambda split, count, share: {"retain": OTHERS}[split])


def config(**changes):
    return lat.Config(**SETTINGS | changes)


def ascent(model, batch=BATCH):
    return Piece(batch, lambda batch: losses.token_mean(losses.target_log_probs(model, batch)))


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def taken(settings, context=BESIDE, make=ascent):
    model = tiny_model()
    loss = lat.backward([make(model)], model, settings, context)
    return loss, gradients(model)


def test_each_token_is_brought_into_the_ball_by_itself():
    vectors = torch.tensor([[[3.0, 4.0], [0.3, 0.4]]])  # norms 5 and 0.5, radius 2
    lat.project([vectors], 2.0)
    assert vectors.flatten().tolist() == pytest.approx([1.2, 1.6, 0.3, 0.4])


def under_attack(**changes):
    """The forget loss without the attack, and that of which the gradient is taken."""
    seen = []

    def watched(model):
        def value(batch):
            found = ascent(model, batch)()
            seen.append(found.item())
            return found

        return Piece(BATCH, value)

    plain, _ = taken(config(**changes), make=watched)
    assert plain == seen[0] == ascent(tiny_model())().item()
    own = changes.get("toward_away") is None
    assert len(seen) == (SETTINGS["steps"] if own else 0) + 2  # without the attack, in the search, and for the gradient
    return plain, seen[-1]


def test_the_attack_makes_the_forget_answers_likelier_the_more_the_farther_it_may_push():
    plain, near = under_attack(radius=0.05)
    _, far = under_attack(radius=1.0)
    assert plain < near < far


def test_toward_alone_is_the_attack_on_ascent():
    # Whose loss is the log-likelihood of the same tokens, a mean over them: one sequence, so that the means agree.
    one = collated(examples([("lose?", "abcd")]))
    other = replace(BESIDE, sample=lambda *_: collated(examples([("keep?", "gh")])))
    own = taken(config(steps=2), other, lambda model: ascent(model, one))
    aimed = taken(config(steps=2, toward_away=AIM | {"away_weight": 0.0}), other, lambda model: ascent(model, one))
    torch.testing.assert_close(own[1], aimed[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("toward", "away"), [(1.0, 0.0), (0.0, 1.0)])
def test_each_term_of_the_attack_does_what_it_says(toward, away):
    model, seen = tiny_model(), {}

    def watching(batch):
        # Inside of the attack: the other answers, too.
        if torch.is_grad_enabled():
            seen["toward"] = losses.target_log_probs(model, batch).mean().item()
            seen["away"] = losses.target_log_probs(model, OTHERS).mean().item()
        return losses.token_mean(losses.target_log_probs(model, batch))

    aim = AIM | {"toward_weight": toward, "away_weight": away, "token_probability_floor": 0.0}
    lat.backward([Piece(BATCH, watching)], model, config(toward_away=aim, steps=8, lr=0.05), BESIDE)
    before = {"toward": ascent(tiny_model())().item(), "away": ascent(tiny_model(), OTHERS)().item()}
    if toward:
        assert seen["toward"] > before["toward"] + 0.05
    else:
        assert seen["away"] < before["away"] - 0.05


def test_one_attack_is_that_of_its_definition():
    # One step of Adam from zero is lr × sign of the gradient of δ; here at one block, and inside of the ball.
    settings = config(layers=[0], steps=1, lr=1e-3, radius=10.0)
    _, found = taken(settings)
    expected = tiny_model()
    states = []

    def keep(_, __, output):
        if output.requires_grad:
            output.retain_grad()
            states.append(output)

    handle = expected.model.layers[0].register_forward_hook(keep)
    ascent(expected)().backward()
    handle.remove()
    push = 1e-3 * states[0].grad.sign()
    expected.zero_grad()
    expected.model.layers[0].register_forward_hook(lambda _, __, output: output + push)
    ascent(expected)().backward()
    torch.testing.assert_close(found, gradients(expected), rtol=1e-3, atol=1e-6)


def test_the_search_is_that_of_adamw_with_its_settings():
    # Three steps up the forget loss from zero, at one block; the ball is too large to be felt.
    adam = {"lr": 1e-2, "betas": (0.5, 0.75), "eps": 1e-3, "weight_decay": 20.0}
    _, found = taken(config(layers=[0], steps=3, radius=10.0, **adam))
    expected = tiny_model()
    ascent(expected)()  # the first pass tries the head out
    push = torch.zeros(*BATCH.input_ids.shape, 32, requires_grad=True)
    expected.model.layers[0].register_forward_hook(lambda _, __, output: output + push)
    optimizer = torch.optim.AdamW([push], **adam, maximize=True)
    for _ in range(3):
        optimizer.zero_grad()
        ascent(expected)().backward(inputs=[push])
        optimizer.step()
    ascent(expected)().backward()
    torch.testing.assert_close(found, gradients(expected), rtol=1e-3, atol=1e-6)


def test_what_it_leads_away_from_is_as_many_rows_and_is_let_be_below_the_floor():
    asked = []

    def sample(split, count, share):
        asked.append((split, count))
        return OTHERS

    context, found = replace(BESIDE, sample=sample), []
    for floor in (0.0, 0.999):  # no token of a fresh model is so likely: nothing is left to lead away from
        aim = AIM | {"away_weight": 5.0, "token_probability_floor": floor}
        found.append(taken(config(toward_away=aim), context)[1])
    assert asked == [("retain", 2)] * 2
    toward_alone = taken(config(toward_away=AIM | {"away_weight": 0.0}), context)[1]
    torch.testing.assert_close(found[1], toward_alone)
    assert not torch.allclose(found[0], toward_alone, rtol=1e-3, atol=1e-6)


def test_nothing_is_left_on_the_model():
    model = tiny_model()
    with pytest.raises(ZeroDivisionError):
        lat.backward([Piece(BATCH, lambda _: 1 / 0)], model, config(), slopes.context())
    assert ascent(model)().item() == ascent(tiny_model())().item()


def test_all_answers_to_a_question_are_read_under_the_same_perturbation():
    # Two answers to each question that are the true one again: both passes see what the first alone would.
    twice = replace(BATCH, substitute=collated(examples([("lose?", "abcd")] * 2 + [("and this?", "ef")] * 2)))
    seen = []

    def both(model):
        def value(batch):
            first, second = ascent(model, batch)(), ascent(model, batch.substitute)()
            seen.append((first.item(), second.item()))
            return first + second

        return Piece(twice, value)

    taken(config(), make=both)
    assert seen[-1][0] == pytest.approx(seen[-1][1], rel=1e-5)
    assert seen[-1][0] > seen[0][0] + 0.01


@pytest.mark.parametrize("layers", [[2], [0, 7]])
def test_a_layer_that_is_not_there_is_named(layers):
    model = tiny_model()
    with pytest.raises(ConfigError, match="numbered 0 to 1"):
        lat.backward([ascent(model)], model, config(layers=layers), slopes.context())


def test_a_loss_that_ends_below_the_layer_cannot_be_attacked_there():
    model = tiny_model()
    piece = Piece(BATCH, lambda batch: losses.block_outputs(model, batch, 0).mean())
    with pytest.raises(ConfigError, match="does not read these blocks"):
        lat.backward([piece], model, config(layers=[1]), slopes.context())


FORGET = examples([(f"lose {n}?", "xyz"[n % 3] * (1 + 4 * n)) for n in range(6)], tiny_model(1))
RETAIN = examples([(f"keep {n}?", "abc"[n % 3] * (9 - n)) for n in range(6)])


def three_steps_under_one_attack(**changes):
    wrapper = component("wrapper", "lat", model_steps=3)
    numbers = training(batch_size=1, accumulation=2, steps=8, checkpoint_steps=2)
    return recipe(**{"wrapper": wrapper, "training": numbers, **changes})


def unlearn(model, point, folder, place):
    given = unlearned.material(model, FORGET, RETAIN, folder, fingerprint=place)
    return unlearning.unlearn(model, given, Recipe(point, None))


def test_steps_under_one_attack_see_the_same_rows():
    point, model = three_steps_under_one_attack(), tiny_model()
    given = unlearned.material(model, FORGET, RETAIN, Path("unused"))
    context = unlearning.context(model, given, point)
    setting = steps.Setting(model, point, FORGET, RETAIN, context, unlearned.PAD, {}, None)
    rows = [
        [batch.input_ids.tolist() for window in steps.windows(setting, step) for batch in window] for step in range(7)
    ]
    assert rows[0] == rows[1] == rows[2] != rows[3]
    assert rows[3] == rows[4] == rows[5] != rows[6]


def test_an_attack_is_searched_once_for_all_of_its_steps(tmp_path, monkeypatch):
    searched, search = [], lat._search
    monkeypatch.setattr(lat, "_search", lambda *given: (searched.append(1), search(*given)))
    unlearn(tiny_model(), three_steps_under_one_attack(), tmp_path, "run")
    assert len(searched) == 2 * 3  # two pieces a step; attacks begin with steps 0, 3 and 6


def test_the_second_step_is_taken_under_the_perturbation_of_the_first():
    model, context, settings = tiny_model(), replace(BESIDE, memory={}), config(model_steps=2)
    lat.backward([ascent(model)], model, settings, context)
    first = gradients(model)
    kept = {name: tensor.clone() for name, tensor in context.memory.items()}
    assert {"lat.0.0", "lat.0.1"} < set(kept)
    model.zero_grad()
    lat.backward([ascent(model)], model, settings, replace(context, step=1))  # the weights have not moved
    torch.testing.assert_close(gradients(model), first)
    assert all(torch.equal(kept[name], context.memory[name]) for name in kept)


@pytest.mark.parametrize(("rows", "checkpoint_steps"), [(1, 2), (2, 4), (2, 2)])
def test_a_run_that_is_killed_under_an_attack_ends_with_the_same_bits(rows, checkpoint_steps, tmp_path, monkeypatch):
    # It dies at step 3 or 6, where new rows begin, and goes on with step 2 or 4, under the attack before, or with 6.
    numbers = training(batch_size=1, accumulation=2, steps=8, checkpoint_steps=checkpoint_steps)
    point, undisturbed, resumed = three_steps_under_one_attack(training=numbers), tiny_model(), tiny_model()
    expected = unlearn(undisturbed, point, tmp_path, "undisturbed")
    killed_at(rows, lambda: unlearn(tiny_model(), point, tmp_path, "killed"), monkeypatch)
    assert unlearn(resumed, point, tmp_path, "killed") == expected
    assert weights(resumed) == weights(undisturbed)


def test_steps_that_take_no_forget_gradient_leave_no_attack_of_other_rows(tmp_path):
    # In turns forget has steps 0, 2, 4 and 6: the attacks of 0 to 2, 3 to 5 and 6 to 8 are begun at 0, 4 and 6.
    point = three_steps_under_one_attack(combiner="alternate")
    curve = unlearn(tiny_model(), point, tmp_path, "run")
    assert len(curve) == 8


def test_rows_to_lead_away_from_that_are_not_there_are_named(tmp_path):
    wrapper = component("wrapper", "lat", toward_away=AIM | {"away_from": "general"})
    with pytest.raises(DataError, match="no general rows"):
        unlearn(tiny_model(), three_steps_under_one_attack(wrapper=wrapper), tmp_path, "run")


def test_the_plain_loss_comes_back(tmp_path):
    for aim in (None, AIM):
        loss, _ = taken(config(toward_away=aim))
        assert loss == pytest.approx(perturbation.loss([ascent(tiny_model())]))
