import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.errors import ArtifactError
from lethe.meta_evaluation import findings, tables
from lethe.meta_evaluation.documents import Document
from lethe.meta_evaluation.findings import Attack, Config, Models

CONFIG = Config(largest_utility_loss=0.2)
PROBABILITY = ("forget", "probability")
ROUNDED, RELEARNED = Attack("int3", "quantization"), Attack("relearned", "relearning")


def document(name, known, utility=0.8, **attacked):
    """A model with these probabilities on forget, before and under attacks; None is a missing score."""
    conditions = {
        condition: {"forget": {"probability": {"value": value}}}
        for condition, value in {"none": known, **attacked}.items()
    }
    conditions["none"]["overall"] = {"model_utility": {"value": utility}}
    return Document(Path(f"{name}.json"), conditions, {})


TARGET, RETAIN = document("target", 0.9), document("retain", 0.1, relearned=0.6)


def found(unlearned=(), attacks=(), knowing=(TARGET,), ignorant=(RETAIN,), retain=RETAIN):
    return findings.evaluate(Models(knowing, ignorant, unlearned, retain), attacks, CONFIG)[PROBABILITY]


def test_the_published_example_from_score_files():
    # R = .50/.83, Q = .12/.30 = .4: robustness .4808; with faithfulness 1 the overall is 2 / (1 + 1/.4808).
    model = document("npo-0", 0.12, int3=0.30, relearned=0.95)
    finding = found([model], [ROUNDED, RELEARNED])
    assert finding.attacks["int3"].published == pytest.approx(0.4)
    assert finding.attacks["relearned"].published == pytest.approx(0.50 / 0.83)
    assert finding.attacks["relearned"].symmetric == pytest.approx(100 / 133)
    assert finding.robustness == pytest.approx(0.4808, abs=5e-5)
    assert finding.overall == pytest.approx(2 / (1 + 1 / finding.robustness))
    assert (finding.faithfulness, finding.threshold) == (1.0, pytest.approx(0.5))


def test_robustness_is_the_mean_over_the_models():
    # Q: .1/.2 = .5 and min(.2/.1, 1) = 1; Q': 1 − .1/.3 = 2/3 twice.
    finding = found([document("a", 0.1, int3=0.2), document("b", 0.2, int3=0.1)], [ROUNDED])
    assert finding.attacks["int3"].published == finding.robustness == pytest.approx(0.75)
    assert finding.robustness_symmetric == pytest.approx(2 / 3)
    assert finding.attacks["int3"].n == 2


def test_models_that_are_not_worth_asking_are_left_out_and_counted():
    # At most 20 % below .8 is .64; above the cut .5 the metric takes a model for knowing.
    unlearned = [
        document("kept", 0.2, utility=0.65, int3=0.2),
        document("ruined", 0.2, utility=0.63, int3=0.9),
        document("lazy", 0.7, int3=0.9),
        document("unscored", None, int3=0.9),
        document("untested", 0.2, utility=None, int3=0.9),
    ]
    finding = found(unlearned, [ROUNDED])
    assert finding.excluded == {"utility lost": 1, "still knowing": 1, "missing": 2}
    assert finding.robustness == 1.0


def test_without_a_model_to_ask_robustness_is_missing_not_zero():
    finding = found([document("lazy", 0.7, int3=0.9)], [ROUNDED])
    assert finding.attacks["int3"].n == 0
    assert (finding.robustness, finding.robustness_symmetric, finding.overall) == (None, None, None)
    assert finding.faithfulness == 1.0


def test_what_is_missing_in_a_pool_is_counted_never_taken_for_a_zero():
    finding = found(knowing=(TARGET, document("other", None)), ignorant=(RETAIN, document("third", 0.05)))
    assert (finding.knowing, finding.ignorant, finding.missing) == (1, 2, 1)
    assert finding.faithfulness == 1.0  # a zero in the place of the missing one would be below both ignorant models


def test_a_score_that_is_missing_under_the_attack_leaves_its_model_out_there():
    finding = found([document("a", 0.1, int3=None), document("b", 0.1, int3=0.2)], [ROUNDED])
    assert (finding.attacks["int3"].published, finding.attacks["int3"].n) == (pytest.approx(0.5), 1)


def test_relearning_without_the_retain_models_own_score_is_missing():
    finding = found([document("a", 0.1, relearned=0.2)], [RELEARNED], retain=document("retain", 0.1, relearned=None))
    assert (finding.attacks["relearned"].published, finding.attacks["relearned"].n) == (None, 0)


@given(st.floats(0, 0.5), st.floats(0.3, 1))
def test_an_attack_that_changes_nothing_is_survived_whole(known, utility):
    same = document("npo-0", known, utility=utility, int3=known, relearned=known)
    retain = document("retain", 0.1, relearned=0.1)
    finding = found([same], [ROUNDED, RELEARNED], retain=retain)
    assert finding.robustness == finding.robustness_symmetric == (1.0 if utility >= 0.64 else None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ignorant": (RETAIN, TARGET)}, "target.json: stands among the knowing and the ignorant models"),
        (
            {"knowing": (document("empty", None),)},
            "empty.json, retain.json: no metric of knowledge has a number in both",
        ),
        ({"unlearned": [document("a", 0.1)], "attacks": [ROUNDED]}, "a.json: no condition 'int3'. Known: none."),
        (
            {"unlearned": [document("a", 0.1, int3_channel=0.1)], "attacks": [Attack("int3_chanel", "quantization")]},
            "a.json: no condition 'int3_chanel'. Did you mean 'int3_channel'? Known: int3_channel.",
        ),
        (
            {"unlearned": [document("a", 0.1, relearned=0.1)], "attacks": [RELEARNED], "retain": None},
            "relearning under 'relearned' needs --retain",
        ),
        (
            {"unlearned": [document("a", 0.1, relearned=0.1)], "attacks": [RELEARNED], "retain": TARGET},
            "target.json: no condition 'relearned'",
        ),
        ({"unlearned": [document("a", 0.1, int3=0.1)], "attacks": [ROUNDED, ROUNDED]}, "'int3' is named twice"),
        ({"unlearned": [document("a", 0.1)]}, "give a condition of --quantization or --relearning, too."),
        ({"attacks": [ROUNDED]}, "give --unlearned score files, too."),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ArtifactError) as raised:
        found(**changes)
    assert message in str(raised.value)


def test_the_document_says_all_of_it_and_nothing_that_is_no_json():
    models = Models([TARGET], [RETAIN], [document("a", 0.1, int3=0.3)], None)
    document_ = tables.as_json(findings.evaluate(models, [ROUNDED], CONFIG), models, CONFIG)
    finding = json.loads(json.dumps(document_, allow_nan=False))["metrics"]["forget"]["probability"]
    assert finding["attacks"]["int3"] == {"kind": "quantization", "published": 0.333333, "symmetric": 0.5, "n": 1}
    assert (document_["knowing"], document_["retain"]) == (["target.json"], None)
    assert document_["settings"] == {"largest_utility_loss": 0.2}


def test_what_an_attack_ruins_is_not_believed_first():
    """The published form alone would put the ruined metric first."""

    def leaves(probability, rouge):
        return {"forget": {"probability": {"value": probability}, "rouge": {"value": rouge}}}

    utility = {"overall": {"model_utility": {"value": 0.8}}}
    target, retain = ({"none": {**leaves(value, value), **utility}} for value in (0.9, 0.1))
    model = {"none": {**leaves(0.2, 0.2), **utility}, "int3": leaves(0.0, 0.25)}
    models = Models(
        *(
            [Document(Path(f"{index}.json"), conditions, {})]
            for index, conditions in enumerate((target, retain, model))
        ),
        None,
    )
    shown = tables.table(findings.evaluate(models, [ROUNDED], CONFIG), [ROUNDED], 1)
    assert list(shown.columns[0].cells) == ["forget rouge", "forget probability"]
