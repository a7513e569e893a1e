import pytest
import torch

from lethe import losses, perturbation
from lethe.errors import ConfigError
from lethe.wrappers import lat
from tests import small_recipes
from tests.encoded import collated, examples
from tests.lethe.wrappers import slopes
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["wrapper"]["lat"]
BATCH = collated(examples([("lose?", "abcd"), ("and this?", "ef")]))


def config(**changes):
    return lat.Config(**SETTINGS | changes)


def ascent(model):
    return lambda: losses.token_mean(losses.target_log_probs(model, BATCH))


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_each_token_is_brought_into_the_ball_by_itself():
    vectors = torch.tensor([[[3.0, 4.0], [0.3, 0.4]]])  # norms 5 and 0.5, radius 2
    lat.project([vectors], 2.0)
    assert vectors.flatten().tolist() == pytest.approx([1.2, 1.6, 0.3, 0.4])


def under_attack(radius):
    """The forget loss without the attack, and that of which the gradient is taken."""
    model, seen = tiny_model(), []

    def piece():
        value = ascent(model)()
        seen.append(value.item())
        return value

    plain = lat.backward([piece], model, config(radius=radius), slopes.context())
    assert plain == seen[0] == ascent(model)().item()
    assert len(seen) == SETTINGS["steps"] + 1
    return plain, seen[-1]


def test_the_attack_makes_the_forget_answers_likelier_the_more_the_farther_it_may_push():
    plain, near = under_attack(0.05)
    _, far = under_attack(1.0)
    assert plain < near < far


def test_one_attack_is_that_of_its_definition():
    # One step of Adam from zero is lr × sign of the gradient of δ; here at one block, and inside of the ball.
    model, settings = tiny_model(), config(layers=[0], steps=1, lr=1e-3, radius=10.0)
    lat.backward([ascent(model)], model, settings, slopes.context())
    found, expected = gradients(model), tiny_model()
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


def test_nothing_is_left_on_the_model():
    model = tiny_model()
    with pytest.raises(ZeroDivisionError):
        lat.backward([lambda: 1 / 0], model, config(), slopes.context())
    plain, after = tiny_model(), model
    assert ascent(after)().item() == ascent(plain)().item()


def test_a_loss_that_runs_the_model_twice_is_attacked_in_both_passes():
    model, other = tiny_model(), collated(examples([("else?", "a much longer one")]))

    def both():
        return ascent(model)() + losses.token_mean(losses.target_log_probs(model, other))

    loss = lat.backward([both], model, config(), slopes.context())
    assert loss == pytest.approx(perturbation.loss([both]))
    assert torch.isfinite(gradients(model)).all()


@pytest.mark.parametrize("layers", [[2], [0, 7]])
def test_a_layer_that_is_not_there_is_named(layers):
    model = tiny_model()
    with pytest.raises(ConfigError, match="numbered 0 to 1"):
        lat.backward([ascent(model)], model, config(layers=layers), slopes.context())


def test_a_loss_that_ends_below_the_layer_cannot_be_attacked_there():
    model = tiny_model()
    with pytest.raises(ConfigError, match="does not read these blocks"):
        lat.backward(
            [lambda: losses.block_outputs(model, BATCH, 0).mean()], model, config(layers=[1]), slopes.context()
        )
