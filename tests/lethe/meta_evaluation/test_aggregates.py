from pathlib import Path

import pytest

from lethe.meta_evaluation import aggregates, tables
from lethe.meta_evaluation.aggregates import aggregate
from lethe.meta_evaluation.documents import Document

FORGET = {
    "extraction_strength": 0.6,
    "exact_memorization": 0.5,
    "paraphrased_probability": 0.4,
    "truth_ratio_knowledge": 0.2,
    "distinct_ngrams": 1.0,
}
# AUC .72 against .45 of the retain model: 1 − .27/.45 = .4.
OVERALL = {"mia_loss": 1 - 0.27 / 0.45, "mia_zlib": 0.5, "mia_min_k": 0.6, "mia_min_k_plus_plus": 0.8}


def document(name="npo-0", utility=0.6, **changes):
    overall = {f"{attack}_similarity": value for attack, value in OVERALL.items()} | {"model_utility": utility}
    splits = {"forget": FORGET | changes, "overall": overall}
    scores = {split: {number: {"value": value} for number, value in found.items()} for split, found in splits.items()}
    return Document(Path(f"{name}.json"), {"none": scores}, {})


def test_the_published_example_of_privacy():
    # HM(.4, .5, .6, .8) = 4 / (1/.4 + 1/.5 + 1/.6 + 1/.8) = 4/7.41667
    assert aggregate(document(), None).privacy == pytest.approx(0.5393, abs=5e-5)


def test_the_four_numbers_of_an_example():
    # Memorization: HM(.4, .5, .6, .8), the same as privacy; utility: HM(.6, 1) = .75.
    found = aggregate(document(), None)
    same = 4 / (1 / 0.4 + 1 / 0.5 + 1 / 0.6 + 1 / 0.8)
    assert (found.memorization, found.utility) == (pytest.approx(same), pytest.approx(0.75))
    assert found.overall == pytest.approx(3 / (2 / same + 1 / 0.75))


def test_utility_is_told_as_a_share_of_another_models():
    # HM(.6, 1) / HM(.8, 1) = .75 / (1.6/1.8) = .84375; a model against itself has 1.
    target = document("target", utility=0.8)
    assert aggregate(document(), target).utility == pytest.approx(0.84375)
    assert aggregate(target, target).utility == 1.0
    assert aggregate(document(), document("ruined", utility=0.0)).utility is None


def test_what_is_still_memorized_whole_makes_the_overall_zero():
    found = aggregate(document(extraction_strength=1.0), None)
    assert (found.memorization, found.overall) == (0.0, 0.0)


def test_a_missing_part_is_named_and_never_taken_for_a_number():
    found = aggregate(document(paraphrased_probability=None), None)
    assert (found.memorization, found.overall, found.missing) == (None, None, ["paraphrased_probability"])
    assert found.privacy is not None
    shown = tables.aggregates_table({"npo-0.json": found})
    assert [next(iter(column.cells)) for column in shown.columns][-2:] == ["missing", "paraphrased_probability"]


def test_a_file_without_any_of_it_lacks_everything():
    found = aggregate(Document(Path("x.json"), {"none": {}}, {}), None)
    assert found.missing == [name for names in aggregates.PARTS.values() for _, name in names]
    assert (found.memorization, found.privacy, found.utility, found.overall) == (None, None, None, None)
