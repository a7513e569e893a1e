import numpy as np
import pytest

from lethe import interviews
from lethe.errors import ArtifactError
from lethe.records import Records
from tests.synthetic_records import NONE, SCHEMES, likelihood, model_records


def said(model="npo-0", *, known=None, schemes=SCHEMES):
    known = known or {"forget": 0.5, "retain": 0.9}
    families = {"none": model_records(known), "quantization": model_records(known, conditions=schemes)}
    return interviews.interview(model, families)


def test_records_are_sorted_by_condition_and_split_with_the_unattacked_first():
    families = {
        "quantization": model_records({"forget": 0.5}, conditions=SCHEMES),
        "none": model_records({"forget": 0.5}),
    }
    found = interviews.interview("npo-0", families)
    assert list(found.conditions) == [NONE, *SCHEMES]
    assert found.attacked == list(SCHEMES)
    assert found.quantized == SCHEMES
    for condition, splits in found.conditions.items():
        assert {(record.condition, record.split) for record in splits["forget"].likelihoods} == {(condition, "forget")}
        assert len(splits["forget"].generations) == 24


def test_a_model_that_was_only_asked_under_attack_is_refused():
    with pytest.raises(ArtifactError, match=r"data/records/npo-0/none: no records .* grid\.attacks"):
        interviews.interview("npo-0", {"quantization": model_records({"forget": 0.5}, conditions=SCHEMES)})


def test_a_control_that_met_fewer_attacks_is_refused_by_name():
    with pytest.raises(ArtifactError, match="data/records/target: no records under 'int4_channel'"):
        interviews.require_same_questions(said(), said("target", schemes=SCHEMES[:1]))


def test_a_control_that_was_asked_other_questions_is_refused_by_name():
    with pytest.raises(ArtifactError, match="data/records/retain: other retain questions under 'none' than npo-0"):
        interviews.require_same_questions(said(), said("retain", known={"forget": 0.5}))
    interviews.require_same_questions(said(), said("retain", known={"forget": 0.1, "retain": 0.2}))


def test_numbers_that_are_not_finite_are_counted_over_all_conditions():
    broken = Records([likelihood([-1.0, np.nan, -np.inf])], [])
    assert interviews.num_not_finite(interviews.interview("npo-0", {"none": broken})) == 2
    assert interviews.num_not_finite(said()) == 0
