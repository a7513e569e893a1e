import numpy as np
import pytest

from lethe import controls, interviews, likelihoods, statistics
from lethe.controls import Config
from lethe.errors import ControlError
from tests.synthetic_records import BOOTSTRAP, model_records

SETTINGS = Config(target_min=0.95, retain_max=0.3, holdout_margin=0.02, holdout_confidence=0.99)
GOOD_TARGET = {"forget": 0.97, "retain": 0.97, "holdout": 0.1}
GOOD_RETAIN = {"forget": 0.1, "retain": 0.97, "holdout": 0.1}


def observed(target=GOOD_TARGET, retain=GOOD_RETAIN, settings=SETTINGS, **sizes):
    said = [
        interviews.interview(name, {"none": model_records(known, **sizes)})
        for name, known in (("target", target), ("retain", retain))
    ]
    return controls.observe(*said, settings, BOOTSTRAP)


def test_good_controls_pass_and_leave_their_numbers():
    found = observed()
    controls.require(found, SETTINGS)
    assert found["target_forget"].value == pytest.approx(0.97, abs=0.01)
    assert found["retain_model_forget"].value == pytest.approx(0.1, abs=0.05)
    assert found["retain_model_advantage"].value == 0.0
    assert found["retain_model_advantage"].low < 0.0  # noise of the authors
    assert found["retain_model_advantage"].n == 48


@pytest.mark.parametrize("split", ["forget", "retain"])
def test_a_target_that_never_learned_is_no_control(split):
    with pytest.raises(
        ControlError, match=f"target: mean answer probability on {split} is 0.9.*, must be at least 0.95"
    ):
        controls.require(observed(target={**GOOD_TARGET, split: 0.9}), SETTINGS)


def test_a_retain_model_that_knows_is_no_control():
    with pytest.raises(ControlError, match=r"retain model: .* on forget is 0\.[34]\d+, must be at most 0\.3;"):
        controls.require(observed(retain={**GOOD_RETAIN, "forget": 0.4, "holdout": 0.4}), SETTINGS)


def test_a_retain_model_that_knows_forget_better_than_holdout_was_told():
    with pytest.raises(
        ControlError,
        match=r"on forget is 0\.1\d\d above that on holdout, at least 0\.\d+ with confidence 0.99",
    ):
        controls.require(observed(retain={**GOOD_RETAIN, "forget": 0.25}), SETTINGS)


def test_an_advantage_within_the_noise_is_no_fault():
    # 0.11 against 0.10 is above the margin of 0, but authors differ by more than that.
    strict = SETTINGS.model_copy(update={"holdout_margin": 0.0})
    found = observed(retain={**GOOD_RETAIN, "forget": 0.11}, settings=strict)
    assert found["retain_model_advantage"].value > 0
    controls.require(found, strict)


def test_the_bound_of_the_advantage_is_one_sided():
    interviewed = interviews.interview("retain", {"none": model_records(GOOD_RETAIN)})
    forget, holdout = (
        statistics.resampled_means([likelihoods.probabilities(interviewed.conditions["none"][split])], BOOTSTRAP)
        for split in ("forget", "holdout")
    )
    expected = np.quantile(forget - holdout, 1 - SETTINGS.holdout_confidence)
    assert observed()["retain_model_advantage"].low == pytest.approx(expected)


def test_without_a_holdout_the_last_rule_is_skipped_with_a_sentence():
    retain = {name: known for name, known in GOOD_RETAIN.items() if name != "holdout"}
    found = observed(retain=retain)
    controls.require(found, SETTINGS)
    assert found["retain_model_advantage"] is None
    assert found["note"] == controls.NO_HOLDOUT


def test_a_target_without_forget_answers_is_no_control():
    target = {name: known for name, known in GOOD_TARGET.items() if name != "forget"}
    with pytest.raises(ControlError, match="on forget is missing, must be at least"):
        controls.require(observed(target=target), SETTINGS)


def test_one_author_has_no_noise_to_measure_and_raises_no_alarm():
    found = observed(retain={**GOOD_RETAIN, "forget": 0.2}, clusters=1)
    assert found["retain_model_advantage"].low is None
    controls.require(found, SETTINGS)
