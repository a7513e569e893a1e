from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import branches, losses
from lethe.batches import Batch, Example, collate
from lethe.losses import Context
from tests import small_families as families
from tests.tiny import tiny_model

ATTENDING = [
    families.llama,
    families.llama_with_tied_head,
    families.gpt2,
    families.gpt_neox,
    families.opt,
    families.qwen2,
    families.granite_with_scaled_logits,
    families.cohere_with_scaled_logits,
]
WITH_WINDOWS = [
    families.mistral_with_a_wide_window,
    families.mistral_with_a_narrow_window,
    families.gemma2_with_capped_logits,
    families.recurrent_gemma_with_capped_logits,
    families.modernbert_with_a_layer_before_its_head,
]
ALLOWED = Context(reference=None, seed=0, may_branch=True)
FORBIDDEN = Context(reference=None, seed=0)


def example(prompt, answer):
    return Example("row", (*prompt, *answer), len(answer), ends_turn=True)


def paired(pairs):
    """A batch of (prompt, answer, other prompt, other answer), each in tokens."""
    batch = collate([example(prompt, answer) for prompt, answer, _, _ in pairs], pad=0)
    return replace(batch, substitute=collate([example(prompt, answer) for _, _, prompt, answer in pairs], pad=0))


def same_prompt(prompt, answer, other):
    return prompt, answer, prompt, other


TWO = paired([same_prompt([5, 6, 7], [8, 9], [10]), same_prompt([11], [12, 13, 14], [15, 16])])


def test_worked_example():
    # Row 0 is 5 6 7 | 8 9 | 10: its answers begin behind place 2. Row 1 is 11 | 12 13 14 | 15 16.
    found = branches.joined(TWO)
    assert found.input_ids.tolist() == [[5, 6, 7, 8, 9, 10], [11, 12, 13, 14, 15, 16]]
    assert found.position_ids.tolist() == [[0, 1, 2, 3, 4, 3], [0, 1, 2, 3, 1, 2]]
    # 8 and 9 are predicted at 7 and 8, 12 13 14 at 11 12 13; then 10 at 7, and 15 16 at 11 and at 15 itself.
    assert [one.tolist() for one in found.predicts] == [[0, 0, 1, 1, 1, 0, 1, 1], [2, 3, 0, 1, 2, 2, 0, 4]]
    assert found.targets.tolist() == [8, 9, 12, 13, 14, 10, 15, 16]
    looks = found.attention_mask[1, 0].int().tolist()
    assert looks[3] == [1, 1, 1, 1, 0, 0]
    assert looks[5] == [1, 0, 0, 0, 1, 1]  # 16 looks at the question, at 15 and at itself


def test_an_answer_that_ends_as_soon_as_it_begins_is_predicted_where_the_other_is():
    found = branches.joined(paired([same_prompt([5, 6], [7], [8])]))
    assert [one.tolist() for one in found.predicts] == [[0, 0], [1, 1]]


def test_prompts_that_differ_share_what_they_begin_with():
    # As where a token reaches from the question into one of the answers: 5 6 is common, 7 and 9 8 are not.
    found = branches.joined(paired([([5, 6, 7], [1, 2], [5, 6, 9, 8], [3])]))
    assert found.input_ids.tolist() == [[5, 6, 7, 1, 2, 9, 8, 3]]
    assert found.position_ids.tolist() == [[0, 1, 2, 3, 4, 2, 3, 4]]
    assert found.predicts[1].tolist() == [2, 3, 6]


tokens = st.lists(st.integers(1, 250), min_size=1, max_size=5)
prompts = st.one_of(st.tuples(tokens).map(lambda one: one * 2), st.tuples(tokens, tokens))
pairs = st.lists(st.tuples(prompts, tokens, tokens), min_size=1, max_size=4)


@given(pairs)
def test_every_number_and_gradient_is_that_of_separate_rows(drawn):
    batch = paired([(prompt, answer, other, substitute) for (prompt, other), answer, substitute in drawn])
    model = tiny_model()
    found, expected = (losses.pair_log_probs(model, batch, context) for context in (ALLOWED, FORBIDDEN))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-5)
    gradients = [
        torch.autograd.grad(answers.exp().sum() - others.sum(), list(model.parameters()))
        for answers, others in (found, expected)
    ]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ATTENDING)
def test_numbers_are_those_of_separate_rows_in_every_family_that_reads_branches(family):
    model = enlarged(families.made(family))
    assert branches.are_read(model)
    with torch.no_grad():
        found, expected = (losses.pair_log_probs(model, TWO, context) for context in (ALLOWED, FORBIDDEN))
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


def enlarged(model):
    """The model with weights so large that a wrong mask or position is felt."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(10)
    return model


@pytest.mark.parametrize("family", WITH_WINDOWS)
def test_models_with_windows_read_row_by_row(family):
    model = families.made(family)
    assert not branches.are_read(model)
    counted = Calls(model)
    losses.pair_log_probs(model, paired([same_prompt([1, 2], [3], [4])]), ALLOWED)
    assert 2 in {shape[1] - 1 for shape in counted.shapes}  # rows of three tokens, none of four


def test_a_model_that_heeds_no_positions_reads_row_by_row():
    model = enlarged(tiny_model())
    forward = model.model.forward
    model.model.forward = lambda *given, position_ids=None, **others: forward(*given, **others)
    assert not branches.are_read(model)


def test_a_model_that_is_told_no_mask_reads_row_by_row():
    model = enlarged(tiny_model())
    forward = model.model.forward
    model.model.forward = lambda *given, attention_mask=None, **others: forward(*given, **others)
    assert not branches.are_read(model)


def test_a_question_is_read_once():
    model = tiny_model()
    branches.are_read(model)
    counted = Calls(model)
    losses.pair_log_probs(model, TWO, ALLOWED)
    assert counted.shapes == [(2, 6)]
    losses.pair_log_probs(model, TWO, FORBIDDEN)
    assert counted.shapes[1:] == [(2, 5), (2, 4)]


class Calls:
    """The shapes that a model is called with."""

    def __init__(self, model):
        self.shapes = []
        model.get_input_embeddings().register_forward_hook(self._count)

    def _count(self, _module, inputs, _output):
        self.shapes.append(tuple(inputs[0].shape))


def test_places_of_padding_stay_within_the_longest_row():
    # GPT-2 has an embedding for each of 64 places and none beyond: two rows of 40 tokens are 79 in one.
    long = [same_prompt([1], list(range(2, 41)), list(range(41, 80))), same_prompt([1], [2], [3])]
    batch: Batch = paired(long)
    assert branches.joined(batch).input_ids.shape[1] == 79
    found, expected = (
        losses.pair_log_probs(families.made(families.gpt2), batch, context) for context in (ALLOWED, FORBIDDEN)
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
