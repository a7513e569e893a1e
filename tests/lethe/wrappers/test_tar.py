import copy
import math
from dataclasses import replace

import pytest
import torch

from lethe import losses
from lethe.wrappers import tar
from tests import small_recipes
from tests.encoded import collated, examples
from tests.lethe.wrappers import slopes
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["wrapper"]["tar"]
BATCH = collated(examples([("lose?", "abcd"), ("and this?", "ef")]))
CONTEXT = replace(slopes.context(), sample=lambda split, count: {"forget": BATCH}[split])


def config(**changes):
    return tar.Config(**SETTINGS | {"lrs": [1e-2]} | changes)


def nll(model):
    return -losses.token_mean(losses.target_log_probs(model, BATCH))


def gradients(model):
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def taken(settings, seed=0):
    model = tiny_model()
    torch.manual_seed(seed)
    loss = tar.backward([lambda: -nll(model)], model, settings, CONTEXT)
    assert loss == pytest.approx(-nll(tiny_model()).item())
    return gradients(model)


def after_tampering(steps):
    """The forget gradient of a copy that the adversary has fine-tuned for so many steps."""
    model = copy.deepcopy(tiny_model())
    adversary = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    for _ in range(steps):
        adversary.zero_grad()
        nll(model).backward()
        adversary.step()
    adversary.zero_grad()
    (-nll(model)).backward()
    return gradients(model)


def test_the_gradient_is_that_after_the_last_step_of_the_adversary():
    found = taken(config(inner_steps=3, every=3, scale=2.0))
    torch.testing.assert_close(found, 2 * after_tampering(3), rtol=1e-3, atol=1e-5)


def test_gradients_on_the_way_count_the_more_the_later():
    # After steps 2 and 4 of 4: exp(0.5 × (2 − 4)) = 1/e and 1.
    found = taken(config(inner_steps=4, every=2, scale=1.0, decay=0.5))
    expected = math.exp(-1) * after_tampering(2) + after_tampering(4)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)


def test_each_step_draws_one_of_the_learning_rates():
    settings = [config(lrs=rates) for rates in ([1e-4, 1e-1], [1e-4], [1e-1])]
    drawn = {taken(settings[0], seed).norm().item() for seed in range(6)}
    assert drawn == {taken(settings[1]).norm().item(), taken(settings[2]).norm().item()}
