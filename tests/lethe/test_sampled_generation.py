from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache, MambaConfig, MambaForCausalLM, PreTrainedModel

from lethe import generation, sampled_generation
from lethe.sampled_generation import choose, draws
from tests.lethe.test_generation import MODEL, PAD, VOCABULARY, random_prompts, random_stop
from tests.small_families import GENERATING, made

PLAIN = {"temperature": 1.0, "top_p": 1.0}


def sampled(
    prompt: list[int], drawn: torch.Tensor, model: PreTrainedModel = MODEL, **changes: object
) -> list[list[int]]:
    given = PLAIN | {"stop": frozenset([3]), "shares_prompt": True} | changes
    return sampled_generation.sampled(model, prompt, drawn, **given)


def alone(prompt: list[int], drawn: list[float], stop: frozenset[int], temperature: float, top_p: float) -> list[int]:
    """The definition: one token after the other by its random number, without batch or cache."""
    ids = list(prompt)
    for number in drawn:
        with torch.no_grad():
            logits = MODEL(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].double().numpy()
        weights = np.exp((logits - logits.max()) / temperature)
        shares = weights / weights.sum()
        order = np.argsort(-shares, kind="stable")
        kept = np.zeros_like(shares)
        for token in order:
            if top_p < 1 and kept.sum() >= top_p:
                break
            kept[token] = shares[token]
        token = int(np.flatnonzero(kept.cumsum() > number * kept.sum())[0])
        if token in stop:
            break
        ids.append(token)
    return ids[len(prompt) :]


@given(
    st.integers(0, 2**16), st.integers(1, 6), st.sampled_from([0.0, 0.1, 0.5]), st.sampled_from([(1, 1), (0.7, 0.6)])
)
@settings(max_examples=15, deadline=None)
def test_answers_drawn_together_are_each_answer_alone(seed: int, count: int, share: float, how: tuple) -> None:
    (prompt,), stop, (temperature, top_p) = random_prompts(seed, 1), random_stop(seed, share), how
    drawn = draws(seed, "q", range(count), 6)
    found = sampled(prompt, drawn, stop=stop, temperature=temperature, top_p=top_p)
    assert found == [alone(prompt, row.tolist(), stop, temperature, top_p) for row in drawn]


@pytest.mark.parametrize("shares_prompt", [True, False])
def test_near_temperature_zero_and_in_the_smallest_nucleus_it_is_greedy(shares_prompt: bool) -> None:
    for prompt in random_prompts(1, 6):
        (greedy,) = generation.greedy(MODEL, [prompt], stop=frozenset([3]), max_new_tokens=10, pad=PAD)
        drawn = draws(0, "q", range(4), 10)
        assert sampled(prompt, drawn, temperature=1e-5, shares_prompt=shares_prompt) == [greedy] * 4
        assert sampled(prompt, drawn, top_p=1e-9, shares_prompt=shares_prompt) == [greedy] * 4


def test_how_many_are_drawn_at_once_does_not_matter() -> None:
    for prompt in random_prompts(2, 4):
        together = sampled(prompt, draws(5, "q", range(12), 8))
        parts = [sampled(prompt, draws(5, "q", range(start, start + 3), 8)) for start in range(0, 12, 3)]
        assert together == [answer for part in parts for answer in part]


@given(st.integers(0, 2**31), st.text(max_size=8), st.integers(1, 6), st.integers(1, 20), st.integers(1, 5))
@settings(max_examples=50)
def test_an_answer_keeps_its_draws_however_many_and_however_long_they_are(
    seed: int, question: str, count: int, width: int, more: int
) -> None:
    few, many = draws(seed, question, range(count), width), draws(seed, question, range(count + more), width + more)
    assert torch.equal(few, many[:count, :width])
    assert ((many >= 0) & (many < 1)).all()
    assert len({tuple(row) for row in many[:, :1].tolist()}) == count + more


def test_other_seeds_other_questions_and_other_answers_have_other_draws() -> None:
    drawn = [draws(seed, question, [answer], 4) for seed in (0, 1) for question in ("a", "b") for answer in (0, 1)]
    assert len({tuple(row[0].tolist()) for row in drawn}) == 8


def test_tokens_come_out_as_often_as_they_are_likely() -> None:
    # 1/2, 1/4, 1/8, 1/8; at temperature 1/2 the squares 16, 4, 1, 1 of 22; a nucleus of 0.7 is 2 to 1.
    logits = torch.log(torch.tensor([[1 / 2, 1 / 4, 1 / 8, 1 / 8]])).expand(40_000, -1)
    numbers = (torch.arange(40_000, dtype=torch.float64) + 0.5) / 40_000
    for temperature, top_p, expected in (
        (1.0, 1.0, [1 / 2, 1 / 4, 1 / 8, 1 / 8]),
        (0.5, 1.0, [16 / 22, 4 / 22, 1 / 22, 1 / 22]),
        (1.0, 0.7, [2 / 3, 1 / 3, 0, 0]),
        (1.0, 0.4, [1, 0, 0, 0]),
    ):
        counts = torch.bincount(choose(logits, numbers, temperature, top_p), minlength=4)
        assert (counts / 40_000).tolist() == pytest.approx(expected, abs=1e-4)


def test_a_token_without_probability_never_comes_out() -> None:
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(3, -1)
    ends = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert choose(logits, ends, 1.0, 1.0).tolist() == [1, 3, 3]
    assert choose(logits, ends, 1.0, 0.999).tolist() == [1, 3, 3]


@pytest.mark.parametrize("family", GENERATING, ids=lambda family: family.__name__)
def test_every_architecture_with_a_cache_reads_the_prompt_once(family: Callable[[], PreTrainedModel]) -> None:
    model, prompts = made(family), random_prompts(6, 4)
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    stop = random_stop(6, 0.05)
    assert sampled_generation.shares_prompt(model, prompts, stop=stop)
    for number, prompt in enumerate(prompts):
        drawn = draws(0, str(number), range(5), 12)
        from_cache, again = (sampled(prompt, drawn, model, stop=stop, shares_prompt=flag) for flag in (True, False))
        assert from_cache == again


def test_an_architecture_without_a_cache_is_noticed_and_answers_all_the_same() -> None:
    torch.manual_seed(0)
    config = MambaConfig(vocab_size=VOCABULARY, hidden_size=16, state_size=4, num_hidden_layers=1, eos_token_id=3)
    model = MambaForCausalLM(config).eval()
    (prompt,) = random_prompts(7, 1)
    assert not sampled_generation.shares_prompt(model, [prompt], stop=frozenset([3]))
    answers = sampled(prompt, draws(0, "q", range(3), 5), model, shares_prompt=False)
    assert [len(answer) for answer in answers] == [5, 5, 5]


def test_answers_that_differ_from_reading_everything_again_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = random_prompts(8, 5)
    assert sampled_generation.shares_prompt(MODEL, prompts, stop=frozenset([3]))
    original = DynamicCache.batch_select_indices

    def expanded_alone(cache: DynamicCache, rows: torch.Tensor) -> None:  # answers leave, their keys do not
        if not rows.any():
            original(cache, rows)

    monkeypatch.setattr(DynamicCache, "batch_select_indices", expanded_alone)
    assert not sampled_generation.shares_prompt(MODEL, prompts, stop=frozenset([3]))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_prompt_is_read_once_and_finished_answers_leave(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    (prompt,), stop = random_prompts(9, 1), random_stop(9, share)
    shapes = []
    original = sampled_generation._FromCache.read

    def counted(reader: sampled_generation._FromCache, tokens: torch.Tensor) -> torch.Tensor:
        shapes.append(tuple(tokens.shape))
        return original(reader, tokens)

    monkeypatch.setattr(sampled_generation._FromCache, "read", counted)
    answers = sampled(prompt, draws(0, "q", range(12), 6), stop=stop)
    running = [sum(len(answer) >= step for answer in answers) for step in range(1, 6)]
    assert shapes == [(1, len(prompt)), *((count, 1) for count in running if count)]
