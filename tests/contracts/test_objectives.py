"""What every forget and every retain objective owes."""

import re
from dataclasses import replace

import pytest
import torch

from lethe import losses, steps
from lethe.batches import Batch, Example
from lethe.losses import Context
from lethe.recipes import Component
from tests.contracts import shipped
from tests.encoded import collated, examples, log_probs
from tests.learnt import knowing
from tests.logit_table import answers, assigning, everything
from tests.tiny import tiny_model, tiny_tokenizer

ROWS = [("who is she?", "a weaver of nets"), ("where?", "at sea"), ("what did he write?", "one long poem")]
SEVEN = [0.3, 0.5, 0.25, 0.4, 0.1, 0.6, 0.7]  # probabilities, no two the same
OTHERS = ["a smith", "no one can say", "in town"]


def reads_a_layer(objective: Component) -> bool:
    """Whether it looks at the output of a block and not at logits."""
    return "layer" in objective.module.Config.model_fields


def reads_blocks(objective: Component) -> bool:
    """Whether it looks at the output of one block or of all, which a table of logits does not have."""
    return any(reads_a_layer(term) or getattr(term.module, "READS_BLOCKS", False) for term in objective.terms)


def needs(objective: Component, *references: str) -> bool:
    """Whether it, or a term of it, has to know one of these of the model before unlearning."""
    return any(term.module.REFERENCE in references for term in objective.terms)


def draws_labels(objective: Component) -> bool:
    """Whether the loss hangs on what torch's generator gives in a step."""
    model, reference = tiny_model(0), tiny_model(1)
    batch = batch_for(objective, rows_for(objective, reference))
    found = [loss_of(objective, model, batch, reference, seed).item() for seed in (0, 1)]
    return found[0] != found[1]


def leaves_tokens_out(objective: Component) -> bool:
    """Whether its settings say that some tokens of an answer are not unlearned."""
    chosen = {"ignored_tokens": 0, "token_keep_fraction": 1.0, "token_probability_floor": 0.0}
    return any(getattr(objective.config, name, none) != none for name, none in chosen.items())


def fitted(parameter):
    """The component with a layer that a model of two blocks has, in place of that of its recipe."""
    objective = parameter.values[0]
    if reads_a_layer(objective):
        objective = replace(objective, config=objective.config.model_copy(update={"layer": 1}))
    return pytest.param(objective, id=parameter.id)


def rows_for(objective, reference) -> list[Example]:
    """The rows with substitutes, and what the reference thinks of both where the objective asks for that.

    No two rows have the same ones, so that their lengths differ: else a mean over tokens is one over rows.
    """
    rows = examples(ROWS, reference if objective.module.REFERENCE == "log_probs" else None, OTHERS)
    return [replace(row, substitutes=row.substitutes[number:]) for number, row in enumerate(rows)]


def batch_for(objective, rows: list[Example], pad: int | None = None) -> Batch:
    """The rows as a batch that brings what the objective asks for."""
    wanted, batch = getattr(objective.config, "substitute", None), collated(rows, pad)
    if wanted is None:
        return batch
    drawn = [row.substitutes[draw % len(row.substitutes)] for row in rows for draw in range(wanted.draws)]
    return replace(batch, substitute=collated(drawn, pad))


def tables_for(objective, lengths: list[int], probabilities: list[float], references: list[float]):
    """Answers of these lengths, a table that gives their tokens these probabilities in turn, and one for reference."""
    wanted = getattr(objective.config, "substitute", None)
    draws = 0 if wanted is None else min(wanted.draws, 4)  # there are no more that differ
    batch = answers(*lengths, prompt=3, draws=draws)
    batch = replace(batch, reference_log_probs=torch.tensor(references))
    if draws:
        known = torch.tensor(references).repeat_interleave(draws)
        batch = replace(batch, substitute=replace(batch.substitute, reference_log_probs=known))
    targets = len(everything(batch)[2])
    first = (probabilities * targets)[:targets]
    return batch, assigning(batch, first), assigning(batch, first[1:] + first[:1])


def first_batch_of(objective, reference):
    """What the objective measures on its first batch, where it asks for that: some rows, the same for all batches."""
    if objective.module.REFERENCE != "first_batch":
        return None
    with torch.no_grad():
        return objective.module.measure(reference, collated(examples(ROWS)), objective.config).mean().item()


def loss_of(objective, model, batch, reference, seed=0):
    """The loss of a step whose draws have this seed; None goes on drawing."""
    context = Context(
        reference=reference if needs(objective, "model", "blocks") else None,
        seed=0,
        first_batch=first_batch_of(objective, reference),
    )
    if objective.module.REFERENCE != "log_probs":
        batch = replace(batch, reference_log_probs=None)
    if needs(objective, "top_k"):
        widest = max(term.config.k for term in objective.terms if needs(term, "top_k"))
        with torch.no_grad():
            known = losses.top_k(losses.log_distributions(reference, batch), widest)
        batch = replace(batch, reference_top_k=known)
    if seed is not None:
        torch.manual_seed(seed)
    return objective.module.loss(model, batch, objective.config, context)


def loss_and_gradient(objective, model, batch, reference, seed=0):
    model.zero_grad()
    loss = loss_of(objective, model, batch, reference, seed)
    loss.backward()
    return loss.detach(), torch.cat([gradient(parameter).flatten() for parameter in model.parameters()])


def gradient(parameter):
    """The gradient of a parameter: zero where the loss never came by."""
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def assert_same(found, expected):
    torch.testing.assert_close(found[0], expected[0], rtol=1e-5, atol=1e-6)
    assert (found[1] - expected[1]).norm() <= 1e-4 * expected[1].norm() + 1e-9


FORGET = [fitted(parameter) for parameter in shipped.components("forget_objective")]
RETAIN = [fitted(parameter) for parameter in shipped.components("retain_objective")]
SURE_OF_THEIR_LABELS = [parameter for parameter in FORGET + RETAIN if not draws_labels(parameter.values[0])]
#: Those that only unlearn; the others first have to teach what is said in place of the answer.
UNTAUGHT = [parameter for parameter in FORGET if not hasattr(parameter.values[0].config, "substitute")]
OF_LOGITS = [parameter for parameter in FORGET + RETAIN if not reads_blocks(parameter.values[0])]

objectives = pytest.mark.parametrize("objective", FORGET + RETAIN)
objectives_of_logits = pytest.mark.parametrize("objective", OF_LOGITS)


def widened(batch: Batch, columns: int, token: int) -> Batch:
    """The batch with so many more columns of padding on the right."""

    def wider(tensor, value):
        return torch.nn.functional.pad(tensor, (0, columns), value=value)

    return replace(
        batch,
        input_ids=wider(batch.input_ids, token),
        attention_mask=wider(batch.attention_mask, 0),
        predicts=wider(batch.predicts, False),
        substitute=None if batch.substitute is None else widened(batch.substitute, columns, token),
    )


@objectives
def test_it_says_what_it_needs_and_what_it_averages_over(objective):
    assert objective.module.REFERENCE in ("none", "log_probs", "top_k", "model", "blocks", "first_batch", "terms")
    assert (objective.module.REFERENCE == "terms") == (objective.terms != (objective,))
    assert hasattr(objective.module, "measure") == (objective.module.REFERENCE == "first_batch")
    assert objective.module.UNIT in ("token", "sequence", "own")
    assert hasattr(objective.module, "count") == (objective.module.UNIT == "own")


@pytest.mark.parametrize("objective", RETAIN)
def test_a_retain_objective_compares_whole_distributions_or_nothing(objective):
    assert all(needs(term, "none", "top_k", "model", "blocks") for term in objective.terms)


@objectives
def test_its_docstring_names_the_paper(objective):
    assert re.search(r"arXiv:\d{4}\.\d{5}", objective.module.__doc__)


@objectives
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_loss_is_one_finite_fp32_number_whatever_the_compute_dtype(objective, dtype):
    model, reference = tiny_model(0), tiny_model(1)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = loss_of(objective, model, batch_for(objective, rows_for(objective, reference)), reference)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert loss.requires_grad
    assert torch.isfinite(loss)


@objectives
def test_it_leaves_model_reference_and_batch_as_they_were(objective):
    model, reference = tiny_model(0), tiny_model(1)
    batch = batch_for(objective, rows_for(objective, reference))
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


@objectives_of_logits
def test_no_gradient_reaches_prompt_or_padding(objective):
    batch, model, reference = tables_for(objective, [1, 4, 2], SEVEN, [-2.0, -3.0, -1.0])
    loss_of(objective, model, batch, reference).backward()
    _, predicts, _ = everything(batch)
    assert torch.count_nonzero(model.logits.grad[~predicts]) == 0
    assert torch.count_nonzero(model.logits.grad[predicts]) > 0


@objectives_of_logits
def test_the_answer_is_looked_at_token_by_token_or_not_at_all(objective):
    batch, model, reference = tables_for(objective, [1, 4, 2], SEVEN, [-2.0, -3.0, -1.0])
    loss_of(objective, model, batch, reference).backward()
    predicts, reached = everything(batch)[1], model.logits.grad.abs().sum(-1) > 0
    halves = [slice(0, 3), slice(3, None)]  # the answers, and then what is taught in their place
    of_each = [reached[half][predicts[half]] for half in halves]
    if leaves_tokens_out(objective):
        assert of_each[0].any()
    else:
        assert all(found.all() or not found.any() for found in of_each)


@objectives
def test_padding_on_the_right_changes_nothing(objective):
    model, reference = tiny_model(0), tiny_model(1)
    batch = batch_for(objective, rows_for(objective, reference))
    expected = loss_and_gradient(objective, model, batch, reference)
    wide = widened(batch, 9, tiny_tokenizer().pad_token_id)
    assert_same(loss_and_gradient(objective, model, wide, reference), expected)


@objectives
def test_the_token_used_for_padding_does_not_matter(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = rows_for(objective, reference)
    expected = loss_and_gradient(objective, model, batch_for(objective, rows), reference)
    assert_same(loss_and_gradient(objective, model, batch_for(objective, rows, pad=7), reference), expected)


@pytest.mark.parametrize("objective", SURE_OF_THEIR_LABELS)
def test_the_order_of_the_rows_does_not_matter(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = rows_for(objective, reference)
    expected = loss_and_gradient(objective, model, batch_for(objective, rows), reference)
    assert_same(loss_and_gradient(objective, model, batch_for(objective, rows[::-1]), reference), expected)


@objectives
def test_pieces_of_a_batch_weighed_by_their_unit_add_up_to_the_whole(objective):
    model, reference = tiny_model(0), tiny_model(1)
    rows = rows_for(objective, reference)
    whole = loss_and_gradient(objective, model, batch_for(objective, rows), reference)
    pieces = [batch_for(objective, rows[:2]), batch_for(objective, rows[2:])]
    sizes = steps.counts_of(objective, pieces)
    torch.manual_seed(0)
    parts = [loss_and_gradient(objective, model, piece, reference, seed=None) for piece in pieces]
    shares = [size / sum(sizes) for size in sizes]
    added = [sum(share * part[index] for share, part in zip(shares, parts, strict=True)) for index in (0, 1)]
    assert_same(added, whole)


@objectives_of_logits
@pytest.mark.parametrize("probability", [1e-12, 1 - 1e-7])
def test_loss_and_gradient_stay_finite_at_the_ends_of_probability(objective, probability):
    batch, model, _ = tables_for(objective, [2, 3], [probability], [-1.0, -60.0])
    reference = tables_for(objective, [2, 3], [0.5], [-1.0, -60.0])[1]
    loss = loss_of(objective, model, batch, reference)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.all(torch.isfinite(model.logits.grad))


def stepped(objective, model, batch, reference):
    """Move the model by a small step against the objective's gradient."""
    _, whole = loss_and_gradient(objective, model, batch, reference)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter -= 1e-2 / whole.norm() * gradient(parameter)


@objectives
def test_a_small_step_lowers_the_loss(objective):
    model, reference = knowing(*ROWS), tiny_model(1)
    batch = batch_for(objective, rows_for(objective, reference))
    before = loss_of(objective, model, batch, reference).item()
    stepped(objective, model, batch, reference)
    assert loss_of(objective, model, batch, reference).item() < before


@pytest.mark.parametrize("objective", UNTAUGHT)
def test_a_small_step_makes_answers_that_are_known_less_likely(objective):
    reference, model = knowing(*ROWS), knowing(*ROWS)
    batch = batch_for(objective, rows_for(objective, reference))
    stepped(objective, model, batch, reference)
    assert log_probs(model, batch).sum() < log_probs(reference, batch).sum()
