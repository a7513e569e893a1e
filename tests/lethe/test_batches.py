import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lethe import batches, losses
from lethe.batches import Encoding, Example, Pair
from lethe.errors import DataError
from lethe.rows import Row
from tests.encoded import collated, examples, log_probs
from tests.tiny import tiny_model, tiny_tokenizer

PAIRS = [("who is she?", "a weaver of nets"), ("where?", "at sea"), ("what did he write?", "one long poem")]
ENCODING = Encoding(max_length=64, max_new_tokens=4, system_prompt=None)

id_lists = st.lists(st.integers(4, 250), min_size=2, max_size=9)
tokenised = st.lists(
    id_lists.flatmap(
        lambda ids: st.builds(
            Example,
            row=st.just("r"),
            ids=st.just(tuple(ids)),
            num_targets=st.integers(1, len(ids) - 1),
            ends_turn=st.booleans(),
        )
    ),
    min_size=1,
    max_size=4,
)


def plain_tokenizer(bos=None):
    """The tiny tokenizer without a chat template, as base models have it, with or without a first token."""
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = None
    tokenizer.bos_token = bos
    return tokenizer


def encoded(question, answer, tokenizer=None, system_prompt=None, max_length=64):
    tokenizer = tokenizer or tiny_tokenizer()
    pairs = [Pair("r0", question, answer)]
    (found,) = batches.encode_pairs(tokenizer, pairs, max_length=max_length, system_prompt=system_prompt)
    return found


def test_prompt_and_answer_are_the_chat_format_of_the_whole_conversation():
    found = encoded("Who?", "Ann", system_prompt="Be short.")
    conversation = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Who?"},
        {"role": "assistant", "content": "Ann"},
    ]
    assert list(found.ids) == tiny_tokenizer().apply_chat_template(conversation)["input_ids"]
    assert found.ends_turn


@given(question=st.text(max_size=8), answer=st.text(max_size=8))
def test_the_targets_are_the_answers_tokens_and_the_end_of_turn(question, answer):
    tokenizer = tiny_tokenizer()
    found = encoded(question, answer, max_length=100)
    expected = [*tokenizer(answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    assert list(found.ids[-found.num_targets :]) == expected
    assert list(found.ids[: -found.num_targets]) == batches.prompt_ids(tokenizer, question, system_prompt=None)


def test_without_a_chat_template_a_question_is_written_out_and_the_answer_follows_a_space():
    tokenizer = plain_tokenizer(bos="<|user|>")
    found = encoded("Who?", "Ann", tokenizer)
    assert tokenizer.decode(found.ids) == "<|user|>Question: Who?\nAnswer: Ann<|end|>"
    assert tokenizer.decode(found.ids[-found.num_targets :]) == " Ann<|end|>"


def test_a_template_that_prints_todays_date_prints_a_fixed_one():
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = "{{ date_string }} {{ messages[0]['content'] }}"
    assert tokenizer.decode(encoded("Who?", "Ann", tokenizer).ids) == "01 Jan 2025 Who?Ann<|end|>"


def test_a_pair_may_just_reach_the_limit_and_one_token_more_is_an_error_that_names_the_row():
    # <|user|> Who? <|assistant|> Ann <|end|> in single bytes: 1 + 4 + 1 + 3 + 1 = 10
    assert len(encoded("Who?", "Ann", max_length=10).ids) == 10
    with pytest.raises(DataError) as error:
        encoded("Who?", "Ann", max_length=9)
    assert str(error.value) == (
        "Row 'r0' has 10 tokens, more than encoding.max_length (9); shorten the row or raise the limit."
    )


@given(text=st.text(st.characters(codec="ascii"), min_size=1, max_size=40), max_length=st.integers(2, 12))
def test_every_token_of_a_text_is_a_target_exactly_once_after_a_first_token_of_its_own(text, max_length):
    tokenizer = plain_tokenizer(bos="<|user|>")
    chunks = batches.encode_text(tokenizer, text, row="t", max_length=max_length)
    assert all(chunk.ids[0] == tokenizer.bos_token_id and chunk.num_targets == len(chunk.ids) - 1 for chunk in chunks)
    assert [token for chunk in chunks for token in chunk.ids[1:]] == tokenizer(text)["input_ids"]
    assert max(len(chunk.ids) for chunk in chunks) <= max_length
    assert not any(chunk.ends_turn for chunk in chunks)


@given(text=st.text(st.characters(codec="ascii"), min_size=2, max_size=40), max_length=st.integers(2, 12))
def test_without_a_first_token_chunks_cover_the_text_but_for_a_last_token_that_stands_alone(text, max_length):
    tokenizer = plain_tokenizer()
    ids = tokenizer(text)["input_ids"]
    chunks = batches.encode_text(tokenizer, text, row="t", max_length=max_length)
    assert [token for chunk in chunks for token in chunk.ids] == (ids[:-1] if len(ids) % max_length == 1 else ids)
    assert all(2 <= len(chunk.ids) <= max_length for chunk in chunks)
    assert all(chunk.num_targets == len(chunk.ids) - 1 for chunk in chunks)


def test_a_question_is_one_example_and_a_long_text_several():
    rows = [
        Row(id="q", cluster="a", question="Who?", answer="Ann"),
        Row(id="t", cluster="b", text="x" * (2 * ENCODING.max_length)),
    ]
    found = batches.encode_rows(tiny_tokenizer(), rows, ENCODING)
    assert [example.row for example in found] == ["q", "t", "t"]
    assert [example.ends_turn for example in found] == [True, False, False]


@given(rows=tokenised, pad=st.integers(0, 250))
def test_every_target_of_a_batch_is_a_target_of_its_example_and_is_predicted_one_place_before(rows, pad):
    batch = batches.collate(rows, pad=pad)
    for index, example in enumerate(rows):
        targets = batch.targets[batch.owner == index].tolist()
        assert targets == list(example.ids[-example.num_targets :])
        places = batch.predicts[index].nonzero().flatten().tolist()
        assert [example.ids[place + 1] for place in places] == targets
        assert batch.attention_mask[index].sum() == len(example.ids)
        assert batch.input_ids[index, : len(example.ids)].tolist() == list(example.ids)
    assert len(batch.targets) == sum(example.num_targets for example in rows)
    assert batch.owner.tolist() == sorted(batch.owner.tolist())
    assert len(batch) == len(rows)


def test_the_mask_comes_from_lengths_even_where_padding_and_end_of_turn_are_one_token():
    # ids 5 6 | 3 and 5 | 3, the end-of-turn token 3 being the pad token too
    rows = [Example("a", (5, 6, 3), 1, True), Example("b", (5, 3), 1, True)]
    batch = batches.collate(rows, pad=3)
    assert batch.input_ids.tolist() == [[5, 6, 3], [5, 3, 3]]
    assert batch.attention_mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.predicts.tolist() == [[False, True, False], [True, False, False]]
    assert batch.targets.tolist() == [3, 3]


@pytest.mark.parametrize("pad", [0, 7, tiny_tokenizer().eos_token_id])
def test_a_rows_log_probability_does_not_depend_on_what_it_is_padded_with_or_batched_with(pad):
    model, rows = tiny_model(), examples(PAIRS)
    alone = torch.cat([log_probs(model, collated([row])) for row in rows])
    torch.testing.assert_close(log_probs(model, collated(rows, pad=pad)), alone, rtol=1e-5, atol=1e-5)


def test_no_other_row_and_no_padding_moves_the_gradient_of_a_row():
    model, rows = tiny_model(), examples(PAIRS)
    gradients = []
    for chosen in ([rows[1]], rows):
        model.zero_grad()
        losses.sequence_sums(losses.target_log_probs(model, collated(chosen)), collated(chosen))[
            chosen.index(rows[1])
        ].backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
    assert (gradients[1] - gradients[0]).norm() <= 1e-5 * gradients[0].norm()


def test_reference_numbers_come_along_when_every_example_brings_one():
    rows = examples(PAIRS)
    known = [replace(row, reference_log_prob=-float(index)) for index, row in enumerate(rows)]
    assert collated(known).reference_log_probs.tolist() == [0.0, -1.0, -2.0]
    assert collated([*known[:2], rows[2]]).reference_log_probs is None


@given(lengths=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 200))
def test_every_index_stands_in_one_batch_and_no_batch_of_several_exceeds_the_budget(lengths, budget):
    found = batches.by_token_budget(lengths, budget)
    assert sorted(index for batch in found for index in batch) == list(range(len(lengths)))
    for batch in found:
        padded = len(batch) * max(lengths[index] for index in batch)
        assert padded <= budget or len(batch) == 1


@given(lengths=st.lists(st.integers(1, 50), min_size=1, max_size=40), budget=st.integers(1, 200))
def test_longest_first_and_no_batch_could_have_taken_the_next_row(lengths, budget):
    found = batches.by_token_budget(lengths, budget)
    order = [lengths[index] for batch in found for index in batch]
    assert order == sorted(lengths, reverse=True)
    for batch in found[:-1]:
        assert lengths[batch[0]] * (len(batch) + 1) > budget


def test_batches_by_hand():
    # longest first: 5 | 4 3 | 2 1, since 2 × 5 > 9, 2 × 4 ≤ 9 < 3 × 4 and 2 × 2 ≤ 9
    assert batches.by_token_budget([1, 2, 3, 4, 5], 9) == [[4], [3, 2], [1, 0]]


@given(lengths=st.lists(st.integers(1, 50), min_size=2, max_size=20, unique=True), budget=st.integers(1, 200))
def test_the_order_of_the_rows_does_not_change_which_lengths_go_together(lengths, budget):
    def grouped(values):
        return [[values[index] for index in batch] for batch in batches.by_token_budget(values, budget)]

    assert grouped(lengths) == grouped(lengths[::-1])


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_in_which_nothing_can_be_predicted_is_refused(text):
    tokenizer = tiny_tokenizer()
    assert tokenizer.bos_token_id is None
    with pytest.raises(DataError, match="too short to predict anything"):
        batches.encode_text(tokenizer, text, row="t", max_length=8)


@pytest.mark.parametrize(("opening", "answer"), [("Answer:", " Ann"), ("Answer: ", "Ann"), ("", "Ann")])
def test_an_opening_is_prompt_in_the_answers_turn_and_no_target(opening, answer):
    tokenizer = tiny_tokenizer()
    pair = Pair("r0", "Who?\n", "Ann", opening)
    [found] = batches.encode_pairs(tokenizer, [pair], max_length=64, system_prompt=None)
    assert tokenizer.decode(found.ids) == f"<|user|>Who?\n<|assistant|>{opening}{answer}<|end|>"
    assert tokenizer.decode(found.ids[-found.num_targets :]) == f"{answer}<|end|>"
    prompt = batches.prompt_ids(tokenizer, "Who?\n", system_prompt=None, opening=opening)
    assert list(found.ids[: -found.num_targets]) == prompt


@pytest.mark.parametrize(
    ("question", "opening", "whole"), [("Who?\n", "A:", "Who?\nA: Ann"), ("Who? He is", "", "Who? He is Ann")]
)
def test_without_a_chat_template_a_question_with_an_opening_is_the_whole_prompt(question, opening, whole):
    tokenizer = plain_tokenizer(bos="<|user|>")
    pair = Pair("r0", question, "Ann", opening)
    [found] = batches.encode_pairs(tokenizer, [pair], max_length=64, system_prompt=None)
    assert tokenizer.decode(found.ids) == f"<|user|>{whole}<|end|>"
    assert tokenizer.decode(found.ids[-found.num_targets :]) == " Ann<|end|>"
