import math

import pytest
import torch

from lethe.forget_objectives import adversarial_labels
from lethe.losses import Context
from tests.logit_table import LogitTable, answers, saying

NOTHING = Context(reference=None, seed=0)
PROBABILITIES = [0.1, 0.4, 0.3, 0.15, 0.05]


def loss_of(model, batch, labels="paper"):
    return adversarial_labels.loss(model, batch, adversarial_labels.Config(labels=labels), NOTHING)


def test_the_label_is_the_likeliest_other_token():
    # After prompts of 2 tokens the targets are 2 and 3, and then 3: the likeliest token is 1 for all of them.
    batch = answers(2, 1)
    assert batch.targets.tolist() == [2, 3, 3]
    model = saying(batch, [[math.log(p) for p in PROBABILITIES]] * 3)
    assert loss_of(model, batch).item() == pytest.approx(-math.log(0.4), rel=1e-6)


def test_where_the_true_token_is_the_likeliest_the_label_is_the_runner_up():
    batch = answers(1, prompt=1)
    assert batch.targets.tolist() == [1]
    model = saying(batch, [[math.log(p) for p in PROBABILITIES]])
    loss_of(model, batch).backward()
    # The gradient of the NLL of token 2: no part of it comes through the choice.
    expected = torch.tensor(PROBABILITIES) - torch.tensor([0.0, 0, 1, 0, 0])
    torch.testing.assert_close(model.logits.grad[0, 0], expected)


def test_the_release_teaches_the_likeliest_token_of_the_next_place():
    # Ids 0 1 2 3: targets 2 and 3 are predicted at places 1 and 2. At places 2 and 3, where they stand, the likeliest
    # tokens are 2 (ruled out, so 4) and 3 (ruled out, so 0). At no place are two tokens equally likely.
    batch = answers(2)
    rows = [[4, 3, 2, 1, 0], [2, 1.5, 1, 0.5, 0], [1, 0, 5, 2, 3], [3, 0, 1, 5, 2]]
    logits = torch.tensor([rows], dtype=torch.float32)
    model = LogitTable(logits, batch.input_ids)
    at_places = model.logits.log_softmax(-1)[0]
    expected = -(at_places[1, 4] + at_places[2, 0]) / 2
    assert loss_of(model, batch, "yao_release").item() == pytest.approx(expected.item(), rel=1e-6)
