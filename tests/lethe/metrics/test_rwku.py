import pytest

from lethe.metrics import rwku
from lethe.metrics.rwku import ATTACKS, Config, recall
from lethe.records import Records
from lethe.scores import Observation
from lethe.sources import rwku as source
from lethe.splits import questions
from tests import fake_rwku
from tests.synthetic_records import BOOTSTRAP, generation


def scored(splits):
    return rwku.compute(Observation(splits, {}), {}, Config(), BOOTSTRAP)


def said(split, *pairs):
    return Records([], [generation(true, text, split=split, id=f"{split}-{n}") for n, (true, text) in enumerate(pairs)])


def test_a_level_is_the_mean_recall_and_level_three_all_attacks_together():
    # Level 3: 1 and 0 under one attack, ½ under the other: ½ in the first, mean of all three ½ again, not of attacks.
    found = scored(
        {
            "forget_level1": said("forget_level1", ("Carrie", "Carrie.")),
            "forget_level3_role_play": said("forget_level3_role_play", ("Maine", "In Maine"), ("Maine", "In Oslo")),
            "forget_level3_multiple_choice": said("forget_level3_multiple_choice", ("Stephen King", "Stephen")),
        }
    )
    assert found["rwku_fill_blank"].value == 1.0
    assert found["rwku_role_play"].value == 0.5
    assert found["rwku_multiple_choice"].value == 0.5
    assert found["rwku_adversarial"].value == pytest.approx((1 + 0 + 0.5) / 3)
    assert found["rwku_adversarial"].n == 3
    assert found["rwku_question_answering"].value is None
    assert "rwku_reverse_query" not in found


def test_an_answer_ends_with_its_line_and_an_empty_one_is_zero():
    assert recall("Carrie", "It was\nCarrie") == 0.0
    assert recall("Carrie", "") == 0.0


def test_neighbours_are_to_be_kept():
    found = scored({"neighbor_level2": said("neighbor_level2", ("Laozi", "Laozi"))})
    assert found["rwku_neighbor_question_answering"].value == 1.0
    assert rwku.DIRECTION["rwku_neighbor_question_answering"] == "higher"


def test_the_splits_of_the_source_are_those_that_the_metric_reads(tmp_path):
    folder = fake_rwku.write(tmp_path)
    rows = questions(source.load(source.Config(path=str(folder), subjects=["Ada"], corpus=None)), 1)
    splits = {row.subset for row in rows if row.question} - {"forget", "retain"}
    records = {
        split: Records([], [generation(row.answer, row.answer, split=split, id=row.id) for row in rows
                            if row.subset == split]) for split in splits
    }  # fmt: skip
    found = scored(records)
    assert {name for name, score in found.items() if score.value is None} == set()
    assert {name for name in found if name.removeprefix("rwku_") in ATTACKS} == {
        "rwku_prefix_injection",
        "rwku_affirmative_suffix",
        "rwku_incontext_learning",
        "rwku_cross_lingual",
    }
