import pytest
import torch

from lethe import batches
from lethe.forget_objectives import grad_ascent
from lethe.losses import Context
from lethe.retain_objectives import nll
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model, tiny_tokenizer

NOTHING = Context(reference=None, seed=0)


def gradients(objective, model, batch):
    model.zero_grad()
    objective.loss(model, batch, objective.Config(), NOTHING).backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def text_batch():
    chunks = batches.encode_text(tiny_tokenizer(), "the lethe runs through the cave", row="r", max_length=64)
    return batches.collate(chunks, pad=tiny_tokenizer().pad_token_id)


def test_its_gradient_is_exactly_opposite_to_that_of_the_likelihood():
    model, batch = tiny_model(), text_batch()
    for up, down in zip(gradients(grad_ascent, model, batch), gradients(nll, model, batch), strict=True):
        assert torch.equal(up, -down)


def test_its_loss_is_minus_the_loss_of_transformers_when_all_tokens_are_targets():
    model, batch = tiny_model(), text_batch()
    expected = -model(input_ids=batch.input_ids, labels=batch.input_ids).loss
    assert grad_ascent.loss(model, batch, grad_ascent.Config(), NOTHING).item() == pytest.approx(
        expected.item(), rel=1e-6
    )


def test_one_small_step_makes_the_forget_answers_less_likely():
    model, batch = tiny_model(), text_batch()
    before = nll.loss(model, batch, nll.Config(), NOTHING).item()
    for parameter, gradient in zip(model.parameters(), gradients(grad_ascent, model, batch), strict=True):
        parameter.data -= 1e-2 * gradient
    assert nll.loss(model, batch, nll.Config(), NOTHING).item() > before


def test_it_averages_over_tokens_and_not_over_sequences():
    # Log-probabilities log 1/2 | log 1/4, log 1/4, log 1/4: (−1 − 2 − 2 − 2) log 2 / 4, not (−1 − 2) log 2 / 2.
    batch = answers(1, 3)
    model = assigning(batch, [1 / 2, 1 / 4, 1 / 4, 1 / 4])
    loss = grad_ascent.loss(model, batch, grad_ascent.Config(), NOTHING).item()
    assert loss == pytest.approx(-7 / 4 * torch.tensor(2.0).log().item(), rel=1e-6)


def test_its_pull_grows_as_the_token_becomes_unlikely():
    norms = []
    for probability in (1 - 1e-3, 0.5, 1e-6):
        batch = answers(1)
        model = assigning(batch, [probability])
        norms.append(gradients(grad_ascent, model, batch)[0].norm().item())
    assert norms == sorted(norms)
    assert norms[-1] > 1  # the norm of one-hot minus the rest shared evenly by four: sqrt(1 + 4/16)
