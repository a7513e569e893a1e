"""The model class of lm-eval with our batching: options of a question read it once, the head is fp32, bars are silent.

Imported where lm-eval runs alone: it takes seconds to load.
"""

import logging
from collections.abc import Sequence
from typing import Any

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs

from lethe import forests, heads, teacher_forcing
from lethe.batches import Example
from lethe.errors import ConfigError

logger = logging.getLogger(__name__)

Request = tuple[Any, list[int], list[int]]  # what lm-eval calls it, its context, and what is to follow


class Engine(HFLM):  # type: ignore[misc]
    """``HFLM`` whose log-likelihoods come from the teacher-forced pass, with the head in fp32 for every model.

    What is longer than ``max_length`` tokens loses its beginning, as in lm-eval; one line says how often.
    Raises ConfigError for an answer without a prompt or a token, or one that leaves no room for its prompt.
    """

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """The sum of the log-probabilities of each answer after its prompt, and whether it is the likeliest one."""
        return super().loglikelihood(requests, disable_tqdm=True)

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """The sum of the log-probabilities of each text, read in windows."""
        return super().loglikelihood_rolling(requests, disable_tqdm=True)

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> Any:
        """What the model answers to each prompt."""
        self._warn_of_cuts(sum(self._is_cut(*request.args) for request in requests), len(requests))
        return super().generate_until(requests, disable_tqdm=True)

    def _loglikelihood_tokens(
        self, requests: list[Request], disable_tqdm: bool = True, override_bs: int | None = None
    ) -> list[tuple[float, bool]]:
        for _, context, following in requests:
            self._require_room(len(context), len(following))
        longest = self.max_length + 1  # the last token is never read
        cut = sum(len(context) + len(following) > longest for _, context, following in requests)
        self._warn_of_cuts(cut, len(requests))
        examples = [
            # A lone first token is no question: what begins with it shares nothing worth a tree.
            Example(str(context), (*context, *following)[-longest:], len(following), ends_turn=len(context) > 1)
            for _, context, following in requests
        ]
        return self._scored(examples) if examples else []

    def _scored(self, examples: Sequence[Example]) -> list[tuple[float, bool]]:
        """The sum of the log-probabilities of each example, and whether each of its tokens is the likeliest one."""
        longest = max(len(example.ids) for example in examples)
        budget = teacher_forcing.tokens_at_once(self.model, self.batch_size * longest)
        plan = forests.in_batches(examples, self._groups(examples), budget, pad=0)
        head, found = heads.in_fp32(self.model), dict[int, tuple[float, bool]]()
        for forest in plan:
            for index, said in teacher_forcing.score(self.model, head, forest):
                found[index] = float(said.log_probs.sum()), bool(said.hits.all())
        return [found[index] for index in range(len(examples))]

    def _groups(self, examples: Sequence[Example]) -> list[list[int]]:
        groups = forests.by_row(examples)
        if len(groups) == len(examples) or teacher_forcing.reads_trees(self.model, examples, pad=0):
            return groups
        logger.warning(
            "%s cannot share a question among its options; asking them one by one, slower", type(self.model).__name__
        )
        return forests.by_sequence(examples)

    def _require_room(self, prompt: int, answer: int) -> None:
        if not prompt or not 0 < answer <= self.max_length:
            raise ConfigError(
                f"params.yaml: capabilities.tasks: an answer of {answer} tokens follows a prompt of {prompt}; both "
                f"need one at least, and the answer may have {self.max_length}: mend the task or take it out."
            )

    def _is_cut(self, prompt: str, settings: dict[str, Any]) -> bool:
        asked = int(normalize_gen_kwargs(settings, self.max_gen_toks)["max_gen_toks"])
        if asked >= self.max_length:
            raise ConfigError(
                f"params.yaml: capabilities.tasks: an answer of {asked} tokens is asked for where {self.max_length} "
                "are read; take the task out, or raise capabilities.max_length if the model reads more."
            )
        return bool(len(self.tok_encode(prompt)) > self.max_length - asked)

    def _warn_of_cuts(self, cut: int, of: int) -> None:
        if cut:
            logger.warning(
                "%d of %d prompts are too long and lose their beginning, the chat template first: %d tokens are read, "
                "the lesser of capabilities.max_length and what the model takes.",
                cut,
                of,
                self.max_length,
            )
