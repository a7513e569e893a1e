"""What every forget and every retain objective owes."""

import re
from dataclasses import replace

import pytest
import torch

from lethe.batches import Batch
from lethe.losses import Context
from tests.contracts import shipped
from tests.encoded import collated, examples, log_probs
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model, tiny_tokenizer

FORGET, RETAIN = shipped.components("forget_objective"), shipped.components("retain_objective")
ROWS = [("who is she?", "a weaver of nets"), ("where?", "at sea"), ("what did he write?", "one long poem")]

objectives = pytest.mark.parametrize("objective", FORGET + RETAIN)


def loss_of(objective, model, batch, reference):
    context = Context(reference=reference if objective.module.REFERENCE == "model" else None, seed=0)
    if objective.module.REFERENCE != "log_probs":
        batch = replace(batch, reference_log_probs=None)
    return objective.module.loss(model, batch, objective.config, context)


def loss_and_gradient(objective, model, batch, reference):
    model.zero_grad()
    loss = loss_of(objective, model, batch, reference)
    loss.backward()
    return loss.detach(), torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert (found[1] - expected[1]).norm() <= 1e-4 * expected[1].norm() + 1e-9


def widened(batch: Batch, columns: int, token: int) -> Batch:
    """The batch with so many more columns of padding on the right."""

    def wider(tensor, value):
        return torch.nn.functional.pad(tensor, (0, columns), value=value)

    return replace(
        batch,
        input_ids=wider(batch.input_ids, token),
        attention_mask=wider(batch.attention_mask, 0),
        predicts=wider(batch.predicts, False),
    )


@objectives
def test_it_says_what_it_needs_and_what_it_averages_over(objective):
    assert objective.module.REFERENCE in ("none", "log_probs", "model")
    assert objective.module.UNIT in ("token", "sequence")


@pytest.mark.parametrize("objective", RETAIN)
def test_a_retain_objective_needs_no_reference_numbers_with_its_rows(objective):
    assert objective.module.REFERENCE in ("none", "model")


@objectives
def test_its_docstring_names_the_paper(objective):
    assert re.search(r"arXiv:\d{4}\.\d{5}", objective.module.__doc__)


@objectives
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_one_finite_fp32_number_whatever_the_compute_dtype(objective, dtype):
    model, reference = tiny_model(0), tiny_model(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = loss_of(objective, model, collated(examples(ROWS, reference)), reference)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.requires_grad
    assert torch.isfinite(loss)


@objectives
def test_it_leaves_model_reference_and_batch_as_they_were(objective):
    model, reference = tiny_model(0), tiny_model(1)
    batch = collated(examples(ROWS, reference))
    before = [parameter.detach().clone() for parameter in (*model.parameters(), *reference.parameters())]
    ids = batch.input_ids.clone()
    first = loss_of(objective, model, batch, reference)
    assert all(parameter.grad is None for parameter in model.parameters())
    first.backward()
    assert torch.equal(first, loss_of(objective, model, batch, reference))
    assert all(parameter.grad is None for parameter in reference.parameters())
    after = [*model.parameters(), *reference.parameters()]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert torch.equal(ids, batch.input_ids)


@objectives
def test_no_gradient_reaches_prompt_or_padding(objective):
    batch = answers(1, 4, 2, prompt=3)
    probabilities = [0.3, 0.5, 0.2, 0.4, 0.1, 0.6, 0.7]
    batch = replace(batch, reference_log_probs=torch.tensor([-2.0, -3.0, -1.0]))
    model, reference = assigning(batch, probabilities), assigning(batch, probabilities[::-1])
    loss_of(objective, model, batch, reference).backward()
    assert torch.count_nonzero(model.logits.grad[~batch.predicts]) == 0
    assert torch.all(model.logits.grad[batch.predicts].abs().sum(-1) > 0)


@objectives
def test_padding_on_the_right_changes_nothing(objective):
    model, reference = tiny_model(0), tiny_model(1)
    batch = collated(examples(ROWS, reference))
    expected = loss_and_gradient(objective, model, batch, reference)
    wide = widened(batch, 9, tiny_tokenizer().pad_token_id)
    assert_same(loss_and_gradient(objective, model, wide, reference), expected)


@objectives
def test_the_token_used_for_padding_does_not_matter(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = examples(ROWS, reference)
    expected = loss_and_gradient(objective, model, collated(rows), reference)
    assert_same(loss_and_gradient(objective, model, collated(rows, pad=7), reference), expected)


@objectives
def test_the_order_of_the_rows_does_not_matter(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = examples(ROWS, reference)
    expected = loss_and_gradient(objective, model, collated(rows), reference)
    assert_same(loss_and_gradient(objective, model, collated(rows[::-1]), reference), expected)


@objectives
def test_pieces_of_a_batch_weighed_by_their_unit_add_up_to_the_whole(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = examples(ROWS, reference)
    whole = loss_and_gradient(objective, model, collated(rows), reference)
    pieces = [collated(rows[:2]), collated(rows[2:])]
    sizes = [len(piece.targets) if objective.module.UNIT == "token" else len(piece) for piece in pieces]
    parts = [loss_and_gradient(objective, model, piece, reference) for piece in pieces]
    shares = [size / sum(sizes) for size in sizes]
    added = [sum(share * part[index] for share, part in zip(shares, parts, strict=True)) for index in (0, 1)]
    assert_same(added, whole)


@objectives
@pytest.mark.parametrize("probability", [1e-12, 1 - 1e-7])
def test_loss_and_gradient_stay_finite_at_the_ends_of_probability(objective, probability):
    batch = replace(answers(2, 3), reference_log_probs=torch.tensor([-1.0, -60.0]))
    model, reference = assigning(batch, [probability] * 5), assigning(batch, [0.5] * 5)
    loss = loss_of(objective, model, batch, reference)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.all(torch.isfinite(model.logits.grad))


def stepped(objective, model, batch, reference):
    """Move the model by a small step against the objective's gradient."""
    _, gradient = loss_and_gradient(objective, model, batch, reference)
    size = 1e-2 / gradient.norm()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= size * parameter.grad


@objectives
def test_a_small_step_lowers_the_loss(objective):
    model, reference = tiny_model(0), tiny_model(1)
    batch = collated(examples(ROWS, reference))
    before = loss_of(objective, model, batch, reference).item()
    stepped(objective, model, batch, reference)
    assert loss_of(objective, model, batch, reference).item() < before


@pytest.mark.parametrize("objective", FORGET)
def test_a_small_step_makes_the_forget_answers_less_likely(objective):
    model, reference = tiny_model(0), tiny_model(0)
    batch = collated(examples(ROWS, reference))
    stepped(objective, model, batch, reference)
    assert log_probs(model, batch).sum() < log_probs(reference, batch).sum()
