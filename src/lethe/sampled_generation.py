"""Sampled generation: answers drawn token by token, the same for the same seed, whatever else is asked.

Every answer has a row of random numbers of its own, drawn on the CPU from the seed, its question and its place among
the answers. One of them chooses each token: the first at which the cumulated probability exceeds it. So an answer
depends neither on how many are drawn at once nor on how many others there are, and two models that hold the same
distribution give the same answer.
"""

import hashlib
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from lethe import caches, onednn

_TRIAL_ANSWERS, _TRIAL_TOKENS = 3, 8


def draws(seed: int, question: str, answers: Sequence[int], max_new_tokens: int) -> Tensor:
    """The random numbers of these answers to a question: [answers, max_new_tokens], fp64, in [0, 1)."""
    rows = []
    for answer in answers:
        name = hashlib.sha256(f"{seed} {answer} {question}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(name[:4], "big"))
        rows.append(torch.rand(max_new_tokens, generator=generator, dtype=torch.float64))
    return torch.stack(rows)


def sampled(
    model: PreTrainedModel,
    prompt: Sequence[int],
    drawn: Tensor,
    *,
    temperature: float,
    top_p: float,
    stop: frozenset[int],
    shares_prompt: bool,
) -> list[list[int]]:
    """The new tokens of one answer for each row of ``drawn`` [answers, max_new_tokens], without the stop token.

    An answer that has ended leaves the batch. Where the answers share the prompt (:func:`shares_prompt`), it is read
    once for all of them and each further token alone; else everything is read again for every token.
    """
    answers: list[list[int]] = [[] for _ in drawn]
    reader: _Reader = _FromCache(model) if shares_prompt else _FromTheStart(model)
    with torch.inference_mode(), onednn.linear_layers(model):
        logits = reader.read(torch.tensor([prompt], device=model.device)).expand(len(drawn), -1)
        reader.keep(torch.zeros(len(drawn), dtype=torch.long, device=model.device))
        running = torch.arange(len(drawn))
        for place in range(drawn.shape[1]):
            chosen = choose(logits, drawn[running, place].to(model.device), temperature, top_p)
            goes_on = torch.tensor([token not in stop for token in chosen.tolist()])
            running, chosen = running[goes_on], chosen[goes_on.to(model.device)]
            for index, token in zip(running.tolist(), chosen.tolist(), strict=True):
                answers[index].append(token)
            if not len(running) or place == drawn.shape[1] - 1:
                break
            if not goes_on.all():
                reader.keep(goes_on.nonzero().squeeze(1).to(model.device))
            logits = reader.read(chosen[:, None])
    return answers


def choose(logits: Tensor, drawn: Tensor, temperature: float, top_p: float) -> Tensor:
    """The token of each row that its random number [rows] chooses under its logits [rows, vocabulary]: [rows].

    ``temperature`` > 0 divides the logits; near 0 the most likely token is certain. Of the tokens in order of
    probability the fewest that together have at least ``top_p`` are kept (nucleus sampling, Holtzman et al., 2020,
    arXiv:1904.09751); 1 keeps all.
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1:
        ordered, places = probabilities.sort(dim=-1, descending=True, stable=True)
        within = ordered.cumsum(-1) - ordered < top_p
        probabilities = torch.zeros_like(ordered).scatter(-1, places, ordered * within)
    reached = probabilities.cumsum(-1)
    return torch.searchsorted(reached, drawn[:, None] * reached[:, -1:], right=True).squeeze(1)


def shares_prompt(model: PreTrainedModel, prompts: Sequence[Sequence[int]], *, stop: frozenset[int]) -> bool:
    """Whether answers from one reading of the prompt are those from reading everything again: tried on two prompts.

    One token that is drawn counts as a stop token, so that answers leave the batch while others go on.
    """
    drawn = draws(0, "trial", range(_TRIAL_ANSWERS), _TRIAL_TOKENS)
    for prompt in (min(prompts, key=len), max(prompts, key=len)):
        given = {"temperature": 1.0, "top_p": 1.0}
        whole = sampled(model, prompt, drawn, stop=stop, shares_prompt=False, **given)
        ends = stop | {answer[len(answer) // 2] for answer in whole[:1] if answer}
        expected = sampled(model, prompt, drawn, stop=ends, shares_prompt=False, **given)
        try:
            if sampled(model, prompt, drawn, stop=ends, shares_prompt=True, **given) != expected:
                return False
        except (AttributeError, TypeError, ValueError, RuntimeError, IndexError):
            return False  # every architecture refuses a cache in its own way
    return True


class _Reader(Protocol):
    """What reads tokens behind those that it has read, row by row."""

    def read(self, tokens: Tensor) -> Tensor:
        """Logits of what follows these tokens [rows, time]: [rows, vocabulary]."""
        ...

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows alone, one of them as often as it is named."""
        ...


class _FromCache:
    """Reads each token once, with keys and values of those before it kept."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model, self._cache = model, caches.empty(model)

    def read(self, tokens: Tensor) -> Tensor:
        output = self._model(input_ids=tokens, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        if self._cache.get_seq_length() == 0:
            raise ValueError(f"{type(self._model).__name__} keeps no keys and values.")
        return output.logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        self._cache.batch_select_indices(rows)


class _FromTheStart:
    """Reads everything again for each token: for every architecture, whatever its cache."""

    def __init__(self, model: PreTrainedModel) -> None:
        self._model = model
        self._tokens: Tensor | None = None

    def read(self, tokens: Tensor) -> Tensor:
        self._tokens = tokens if self._tokens is None else torch.cat([self._tokens, tokens], dim=1)
        return self._model(input_ids=self._tokens, use_cache=False).logits[:, -1]

    def keep(self, rows: Tensor) -> None:
        assert self._tokens is not None
        self._tokens = self._tokens[rows]
