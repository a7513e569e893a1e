import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import losses
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.tiny import tiny_model

PAIRS = [("who is she?", "a weaver of nets"), ("where?", "at sea"), ("what did he write?", "one long poem")]


def naive_log_probs(model, batch):
    """Log-probabilities of all tokens at all places, from which the targets are picked one by one."""
    with torch.no_grad():
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
    everything = logits.log_softmax(-1)
    return torch.stack(
        [
            everything[row, place, batch.input_ids[row, place + 1]]
            for row in range(len(batch))
            for place in range(batch.input_ids.shape[1])
            if batch.predicts[row, place]
        ]
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_target_log_probs_are_those_of_the_full_logits(seed):
    model, batch = tiny_model(seed), collated(examples(PAIRS))
    torch.testing.assert_close(
        losses.target_log_probs(model, batch), naive_log_probs(model, batch), rtol=1e-6, atol=1e-6
    )


def test_transformers_own_loss_is_the_negative_token_mean():
    model, batch = tiny_model(), collated(examples(PAIRS))
    labels = torch.full_like(batch.input_ids, -100)
    labels[:, 1:][batch.predicts[:, :-1]] = batch.targets
    expected = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=labels).loss
    found = -losses.token_mean(losses.target_log_probs(model, batch))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_distributions_sum_to_one_and_hold_the_targets():
    model, batch = tiny_model(), collated(examples(PAIRS))
    distributions = losses.log_distributions(model, batch)
    torch.testing.assert_close(distributions.exp().sum(-1), torch.ones(len(batch.targets)))
    picked = distributions.gather(1, batch.targets[:, None])[:, 0]
    torch.testing.assert_close(picked, losses.target_log_probs(model, batch), rtol=1e-6, atol=1e-6)


def test_numbers_are_fp32_when_the_forward_runs_in_bfloat16():
    model, batch = tiny_model(), collated(examples(PAIRS))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = losses.target_log_probs(model, batch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, naive_log_probs(model, batch), rtol=0.02, atol=0.02)


def test_sums_means_and_lengths_by_hand():
    # Two rows with 2 and 3 targets: (1 + 2), (3 + 4 + 5); means 3/2 and 12/3; mean of all 15/5.
    batch = replace(
        collated(examples(PAIRS[:2])),
        predicts=torch.tensor([[True, True, False], [True, True, True]]),
        owner=torch.tensor([0, 0, 1, 1, 1]),
    )
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    assert losses.sequence_sums(values, batch).tolist() == [3.0, 12.0]
    assert losses.sequence_lengths(batch).tolist() == [2, 3]
    assert losses.sequence_means(values, batch).tolist() == [1.5, 4.0]
    assert losses.token_mean(values).item() == 3.0


def three_rows():
    """A batch of three rows with 2, 3 and 1 targets."""
    return answers(2, 3, 1)


def test_places_count_from_the_beginning_of_each_sequence():
    assert losses.places(three_rows()).tolist() == [0, 1, 0, 1, 2, 0]


def test_ranks_are_those_in_a_sequence_and_the_first_of_equals_comes_first():
    values = torch.tensor([0.1, 0.2, 0.5, 0.9, 0.5, 0.0])
    assert losses.ranks(values, three_rows()).tolist() == [1, 0, 1, 0, 2, 0]


@given(values=st.lists(st.floats(-5, 5, width=32), min_size=6, max_size=6))
def test_ranks_are_a_permutation_of_the_places(values):
    batch = three_rows()
    found = losses.ranks(torch.tensor(values), batch)
    for row in range(3):
        in_row = batch.owner == row
        assert sorted(found[in_row].tolist()) == losses.places(batch)[in_row].tolist()
        by_rank = torch.tensor(values)[in_row][found[in_row].argsort()]
        assert by_rank.tolist() == sorted(by_rank.tolist(), reverse=True)


def test_a_mean_over_what_is_kept_counts_a_row_without_anything_as_zero():
    # Kept: 1 of (1, 2), 4 and 5 of (3, 4, 5), nothing of (6): (1 + 4.5 + 0) / 3.
    values = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    kept = torch.tensor([True, False, False, True, True, False])
    assert losses.mean_over_kept(values, kept, three_rows()).item() == pytest.approx(5.5 / 3)


def test_tokens_are_picked_and_ruled_out_row_by_row():
    values, tokens = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), torch.tensor([2, 0])
    assert losses.picked(values, tokens).tolist() == [3.0, 4.0]
    assert losses.without(values, tokens).tolist() == [[1.0, 2.0, -torch.inf], [-torch.inf, 5.0, 6.0]]


def test_a_cross_entropy_with_a_one_hot_target_is_the_nll():
    log_probs = torch.tensor([[0.5, 0.25, 0.25]]).log()
    assert losses.soft_cross_entropies(torch.tensor([[0.0, 1.0, 0.0]]), log_probs).item() == -log_probs[0, 1]


def test_the_mean_nll_counts_every_sequence_the_same():
    # NLL of 1 × log 2 in the first row, of 2 × log 4 in the second: (1 + 2) log 2 / 2.
    batch = answers(1, 2)
    found = losses.mean_nll(assigning(batch, [1 / 2, 1 / 4, 1 / 4]), batch)
    assert found.item() == pytest.approx(1.5 * math.log(2), rel=1e-6)


@given(width=st.integers(1, 64), seed=st.integers(0, 1000))
def test_a_steering_direction_is_a_unit_vector_without_negative_entries(width, seed):
    direction = losses.steering_direction(width, seed)
    assert direction.shape == (width,)
    assert torch.all(direction >= 0)
    assert direction.norm().item() == pytest.approx(1, rel=1e-5)
    assert torch.equal(direction, losses.steering_direction(width, seed))


# A marker of the chat template, such as <|user|>, is one token; every other letter is one here.
@given(
    texts=st.lists(st.text(st.characters(codec="ascii", exclude_characters="<"), max_size=12), min_size=1, max_size=4)
)
def test_sums_over_sequences_add_up_to_the_sum_over_tokens(texts):
    batch = collated(examples([("who?", text) for text in texts]))
    values = torch.arange(len(batch.targets), dtype=torch.float32)
    assert losses.sequence_sums(values, batch).sum() == values.sum()
    assert losses.sequence_lengths(batch).sum() == len(values)
    assert losses.sequence_lengths(batch).tolist() == [len(text) + 1 for text in texts]
