"""How much of a model the real TOFU suite uses: each sequence once, whatever is computed from what it said."""

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerBase

from lethe import heads, inference, questionnaire, records, scoring, vocabulary
from lethe.batches import Encoding
from lethe.inference import Config
from lethe.records import Records
from lethe.rows import Row
from lethe.sources import tofu
from lethe.statistics import Bootstrap
from tests import asking, shared_data

ROOT = Path(__file__).parents[2]
ENCODING = Encoding(max_length=512, max_new_tokens=1, system_prompt=None)
CONFIG = asking.settings(batch_tokens=4096)
SPLITS = [pytest.param("forget01"), pytest.param("forget10", marks=pytest.mark.slow)]


@dataclass
class Counter:
    """What the layers of a model were given to read for scoring: rows, and tokens that are no padding."""

    rows: int = 0
    tokens: int = 0
    widths: list[int] = field(default_factory=list)

    def __call__(self, _: Any, __: Any, inputs: dict[str, Any]) -> None:
        if not inputs["use_cache"]:
            mask = inputs["attention_mask"]
            # In a tree's mask padding is what nobody sees; elsewhere it is marked.
            seen = mask.bool() if mask.dim() == 2 else (mask[:, 0] == 0).any(dim=1)
            self.rows += len(seen)
            self.tokens += int(seen.sum())


def questions(split: str) -> list[Row]:
    """Rows of every split of TOFU as a model is asked them: all of forget and holdout, few of the others."""
    folder = shared_data.folder("tofu")
    found = tofu.load(tofu.Config(path=str(folder), split=split, general=None))
    retain = [row for row in found.retain if row.perturbed_answers][:20]
    asked = {"forget": found.forget, "retain": retain, "holdout": found.holdout}
    rows = [row.model_copy(update={"subset": name}) for name, some in asked.items() for row in some]
    return rows + found.utility[:20] + found.utility[-20:]  # real authors and world facts


def asked(
    rows: list[Row], trees: bool, monkeypatch: pytest.MonkeyPatch, config: Config = CONFIG, seed: int = 0
) -> tuple[Records, Counter, PreTrainedTokenizerBase]:
    """What a small model says, how much it read for that, and its tokenizer. The trial beforehand is left out."""
    tokenizer = vocabulary.train_tokenizer([f"{row.question} {row.answer}" for row in rows], 1024)
    model, counter = small_model(tokenizer, seed), Counter()
    model.base_model.register_forward_pre_hook(counter, with_kwargs=True)
    with monkeypatch.context() as patch:
        patch.setattr(inference.teacher_forcing, "reads_trees", lambda *_, **__: trees)
        heads.in_fp32(model)  # looks at the head once
        counter.rows = counter.tokens = 0
        said = inference.ask(model, tokenizer, rows, ["none"], ENCODING, config)
    return said, counter, tokenizer


def small_model(tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **shape)).eval()


@pytest.mark.parametrize("split", SPLITS)
def test_every_distinct_sequence_is_one_row_of_one_forward(split: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = questions(split)
    said, counter, tokenizer = asked(rows, trees=False, monkeypatch=monkeypatch)
    sequences = {target.example.ids for target in questionnaire.targets(tokenizer, rows, ENCODING)}
    assert counter.rows == len(sequences)
    assert counter.tokens == sum(len(ids) - 1 for ids in sequences)  # nothing follows the last one
    # 7 answers to a forget or retain question, 1 to a holdout question, 4 to a utility question
    forget, holdout = (sum(row.subset == name for row in rows) for name in ("forget", "holdout"))
    assert len(said.likelihoods) == 7 * (forget + 20) + holdout + 4 * 40


@pytest.mark.parametrize("split", SPLITS)
def test_on_trees_every_question_is_one_row_and_every_distinct_beginning_one_token(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = questions(split)
    _, counter, tokenizer = asked(rows, trees=True, monkeypatch=monkeypatch)
    targets = questionnaire.targets(tokenizer, rows, ENCODING)
    beginnings = {
        (target.row.id, target.example.ids[:count]) for target in targets for count in range(1, len(target.example.ids))
    }
    assert counter.rows == len(rows)
    assert counter.tokens == len(beginnings)
    assert counter.tokens < 0.8 * sum(len(target.example.ids) - 1 for target in targets)


# What TOFU has no questions for, and what needs a backward pass. A new metric is scored below unless it is named here.
NOT_OF_A_FORWARD_ON_TOFU = {
    "choice_accuracy",
    "discoverable_extraction",
    "mia_grad_norm",
    "rwku",
    "rwku_membership",
    "verbatim_memorization",
}
# The reference attack is compared where a second retain model was asked as well.
OF_A_SECOND_RETAIN_MODEL = {"mia_reference_auc_difference", "mia_reference_similarity"}
WITH_RECALL = CONFIG.model_copy(update={"recall_shots": 2})
# The two shots of the prefix are no questions of ReCaLL: of forty holdout questions that is more than the usual 1 %.
BOOTSTRAP = Bootstrap(samples=100, confidence=0.95, seed=0, max_unscored=0.05)


def missing(said: Records, retain: Records) -> set[str]:
    """The names of all numbers, of every metric that forwards alone can tell, without a value on any split."""
    wanted = [metric for metric in scoring.metrics() if metric.name not in NOT_OF_A_FORWARD_ON_TOFU]
    both = [{split: model.where(split=split) for split in model.splits()} for model in (said, retain)]
    observation = scoring.observe(both[0], wanted)
    scored = {name for values in observation.values.values() for name, item in values.items() if not item.unscored}
    for metric in wanted:
        if metric.module.SCOPE == "model":
            found = metric.module.compute(observation, both[1], metric.config, BOOTSTRAP)
            scored |= {name for name, score in found.items() if score.value is not None}
    return {name for metric in wanted for name in metric.module.RANGE} - scored


@pytest.mark.parametrize("split", SPLITS)
def test_all_metrics_come_from_one_forward_of_every_distinct_sequence(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = questions(split)
    said, counter, tokenizer = asked(rows, trees=False, monkeypatch=monkeypatch, config=WITH_RECALL)
    retain, of_retain, _ = asked(rows, trees=False, monkeypatch=monkeypatch, config=WITH_RECALL, seed=1)
    targets = questionnaire.targets(tokenizer, rows, ENCODING)
    behind = questionnaire.after_prefix(tokenizer, rows, ENCODING, shots=2)
    sequences = {target.example.ids for target in (*targets, *behind)}
    assert missing(said, retain) <= OF_A_SECOND_RETAIN_MODEL
    for counted in (counter, of_retain):  # after all is scored
        assert counted.rows == len(sequences)
        assert counted.tokens == sum(len(ids) - 1 for ids in sequences)


METRICS = ["probability", "truth_ratio", "exact_memorization", "extraction_strength", "rouge"]
SCORING_ALONE = """
import sys
from pathlib import Path
from stages import score
from lethe import config, records, registry
said = records.read(Path(sys.argv[1])).where(split="forget")
for name in sys.argv[2:]:
    metric = registry.load("metrics", name)
    values = metric.compute(said, config.section(metric.Config, "metrics", name))[name]
    print(name, values.n, values.unscored)
print(sys.modules.keys() & {"torch", "transformers"})
"""


def test_one_metric_or_five_are_computed_without_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said, _, _ = asked(questions("forget01"), trees=True, monkeypatch=monkeypatch)
    records.write(tmp_path / "said", said)
    for metrics in (METRICS[:1], METRICS):
        command = [sys.executable, "-c", SCORING_ALONE, str(tmp_path / "said"), *metrics]
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert found.stdout.split("\n")[:-1] == [*(f"{name} 40 0" for name in metrics), "set()"]
