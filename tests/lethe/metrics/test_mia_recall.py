"""ReCaLL from the questions to its numbers: what stands in the prefix is no question of the attack."""

import math

import pytest

from lethe import inference
from lethe.attacks import none
from lethe.batches import Encoding
from lethe.metrics import mia_recall
from lethe.records import Records
from lethe.rows import Row
from lethe.scores import Observation
from tests import asking
from tests.synthetic_records import BOOTSTRAP
from tests.tiny import tiny_model, tiny_tokenizer

SHOTS = 3


def rows(split, count):
    return [
        Row(id=f"{split}{n}", cluster=f"{split}-{n % 2}", question=f"Who is {n}?", answer=f"A {n} baker", subset=split)
        for n in range(count)
    ]


def asked(every):
    """What a tiny model says to all rows, by split."""
    settings = asking.settings(recall_shots=SHOTS)
    encoding = Encoding(max_length=64, max_new_tokens=1, system_prompt=None)
    model = tiny_model()
    said = inference.ask(model, tiny_tokenizer(), every, none.conditions(model, none.Config()), encoding, settings)
    return {split: said.where(split=split) for split in ("forget", "holdout")}


def attacked(said):
    return mia_recall.compute(Observation(said, {}), said, mia_recall.Config(drop_eos="never"), BOOTSTRAP)


def test_the_holdout_rows_of_the_prefix_are_no_holdout_of_the_attack():
    # Three of seven holdout questions stand in the prefix: 43 % would be unscored, of which 1 % is allowed.
    found = attacked(asked([*rows("forget", 5), *rows("holdout", 7)]))
    for score in found.values():
        assert score.value is not None
        assert (score.n, score.unscored, score.sides) == (5 + 4, 0, (5, 4))
    assert 0 <= found["mia_recall_auc"].low <= found["mia_recall_auc"].value <= found["mia_recall_auc"].high <= 1


def test_a_text_is_no_question_of_the_attack():
    text = Row(id="text", cluster="book", text="Once upon a time there was a book.", subset="forget")
    questions = [*rows("forget", 5), *rows("holdout", 7)]
    assert attacked(asked([*questions, text])) == attacked(asked(questions))


def test_an_answer_that_was_lost_behind_the_prefix_alone_is_counted():
    said = asked([*rows("forget", 5), *rows("holdout", 7)])
    lost = [item for item in said["forget"].likelihoods if (item.id, item.kind) != ("forget0", "answer")]
    score = attacked(said | {"forget": Records(lost, [])})["mia_recall_auc"]
    assert (score.value, score.unscored, score.sides) == (None, 1, (4, 4))


@pytest.mark.parametrize("shots", [1, SHOTS])
def test_the_auc_is_that_of_the_ratios_of_the_questions_that_are_left(shots):
    said = asked([*rows("forget", 4), *rows("holdout", 4 + shots)])
    ratios = {split: [] for split in said}
    for split, records in said.items():
        losses = {(item.kind, item.id): -item.mean_nll for item in records.likelihoods}
        ratios[split] = [
            behind / losses["answer", name] for (kind, name), behind in losses.items() if kind == "answer_after_prefix"
        ]
    pairs = [(one > other) + (one == other) / 2 for one in ratios["forget"] for other in ratios["holdout"]]
    assert len(ratios["holdout"]) == 4 + shots - SHOTS
    assert math.isclose(attacked(said)["mia_recall_auc"].value, sum(pairs) / len(pairs))
