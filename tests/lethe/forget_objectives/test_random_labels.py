import math

import pytest
import torch

from lethe.forget_objectives import random_labels
from lethe.losses import Context
from tests.logit_table import answers, saying

NOTHING = Context(reference=None, seed=0)


def loss_of(model, batch, seed=0):
    torch.manual_seed(seed)
    return random_labels.loss(model, batch, random_labels.Config(), NOTHING)


def test_where_all_tokens_are_equally_likely_the_draw_does_not_matter():
    batch = answers(2, 3)
    assert loss_of(saying(batch, [[0.0] * 5] * 5), batch).item() == pytest.approx(math.log(5), rel=1e-6)


def test_on_average_its_gradient_is_that_of_the_divergence_of_the_uniform_distribution():
    # In the logits p − 1/5. A share of 4,000 draws is 1/5 give or take sqrt(0.2 × 0.8 / 4000) = 0.0063.
    probabilities = torch.tensor([0.5, 0.2, 0.15, 0.1, 0.05])
    batch = answers(*[40] * 100)
    model = saying(batch, [probabilities.log().tolist()] * 4000)
    loss_of(model, batch).backward()
    torch.testing.assert_close(model.logits.grad.sum((0, 1)), probabilities - 1 / 5, rtol=0, atol=5 * 0.0063)


def test_labels_are_drawn_anew_with_every_seed_and_the_same_with_the_same():
    batch = answers(4, 4)
    model = saying(batch, [[2.0, 1.0, 0.0, -1.0, -2.0]] * 8)
    first, again, other = (loss_of(model, batch, seed).item() for seed in (0, 0, 1))
    assert first == again != other


def test_a_label_is_another_than_the_true_one_with_probability_one_minus_one_over_the_vocabulary():
    # log p is -log(4 + e) for every token but the true one, which has 1 more: the loss tells how many labels are true.
    # Of 4,000 draws among 5 a share of 4/5 is not, give or take sqrt(0.2 × 0.8 / 4000) = 0.0063.
    batch = answers(*[40] * 100)
    model = saying(batch, torch.nn.functional.one_hot(batch.targets, 5).float().tolist())
    share = loss_of(model, batch).item() - math.log(4 + math.e) + 1
    assert share == pytest.approx(1 - 1 / 5, abs=4 * 0.0063)
