import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe import interviews, recovery
from lethe.records import Records
from tests.synthetic_records import BOOTSTRAP, likelihood, model_records

probability = st.floats(0.01, 1.0)


def said(model, before, after):
    """A model that finds the forget answers of two authors this likely before and after the attack."""
    families = {
        family: Records(
            [likelihood([math.log(known)], condition=condition, id=f"q{i}", cluster=f"author{i}") for i in range(2)],
            [],
        )
        for family, condition, known in (("none", "none", before), ("quantization", "int4_channel", after))
    }
    return interviews.interview(model, families)


def recovered(model, target, retain):
    interviewed = [said(name, *known) for name, known in (("npo-0", model), ("target", target), ("retain", retain))]
    return recovery.attack_scores(*interviewed, BOOTSTRAP, 0.02, 0.1)["int4_channel"]


@pytest.mark.parametrize(
    ("before", "after", "attacked_target", "gap_closed"),
    [
        (0.113, 0.720, 0.784, 0.9046),  # (72.0 − 11.3)/(78.4 − 11.3)
        (0.113, 0.476, 0.934, 0.4421),  # (47.6 − 11.3)/(93.4 − 11.3)
        (0.113, 0.174, 0.837, 0.0843),  # (17.4 − 11.3)/(83.7 − 11.3)
    ],
)
def test_the_gap_closed_of_a_published_table(before, after, attacked_target, gap_closed):
    found = recovered((before, after), (0.95, attacked_target), (0.1, 0.1))
    assert found["gap_closed"].value == pytest.approx(gap_closed, abs=1e-4)


def test_the_five_numbers_of_an_example():
    # U .1 → .5, T .9 → .8, R .1 → .2
    found = recovered((0.1, 0.5), (0.9, 0.8), (0.1, 0.2))
    assert {name: score.value for name, score in found.items()} == pytest.approx(
        {
            "own_gain": 0.4,  # .5 − .1
            "gap_closed": 4 / 7,  # (.5 − .1)/(.8 − .1)
            "same_condition_retention": 0.625,  # .5/.8
            "excess": 0.375,  # (.5 − .2)/(.9 − .1)
            "excess_p": 0.25,  # .3 − .1 · .8 > 0 for both authors: only one of 2² sign flips is as large
        },
        rel=1e-5,
    )
    assert found["excess"].high == pytest.approx(0.375, rel=1e-5)  # both authors alike: no spread


def test_a_ratio_over_nearly_nothing_is_missing_but_the_gain_is_told():
    found = recovered((0.1, 0.5), (0.11, 0.11), (0.1, 0.1))
    assert found["gap_closed"].value is None  # .11 − .1 < .02
    assert found["excess"].value is None
    assert (found["excess"].n, found["excess"].unscored) == (2, 0)
    assert found["own_gain"].value == pytest.approx(0.4, rel=1e-5)


@given(probability, probability, probability)
def test_a_model_like_the_retain_model_has_no_excess_under_any_attack(before, after, attacked_target):
    excess = recovered((before, after), (1.0, attacked_target), (before, after))["excess"]
    if before <= 0.97:
        assert (excess.value, excess.low, excess.high) == (0.0, 0.0, 0.0)


def test_the_identity_attack_on_the_target_leaves_everything_and_closes_no_gap():
    found = recovered((0.9, 0.9), (0.9, 0.9), (0.1, 0.1))
    assert found["excess"].value == pytest.approx(1.0)
    assert found["own_gain"].value == 0.0
    assert found["gap_closed"].value is None  # 0/0


def many(model, before, after):
    """A model that finds the answers of ten authors this likely, under three conditions: one number each, or ten."""
    families = {"none": Records([], []), "quantization": Records([], [])}
    for condition, known in {"none": before, **after}.items():
        family = families["none" if condition == "none" else "quantization"]
        shares = known if isinstance(known, list) else [known] * 10
        family.likelihoods.extend(
            likelihood([math.log(share)], condition=condition, id=f"q{i}", cluster=f"author{i}")
            for i, share in enumerate(shares)
        )
    return interviews.interview(model, families)


def test_p_values_are_adjusted_over_all_conditions_of_a_model():
    # Against T .9 and R .1 the excess is above .1 where K(A(U)) − .1 > .1 · .8.
    after = {"back": 0.5, "gone": 0.1, "mixed": [0.26] * 9 + [0.1]}
    controls = [many(name, known, dict.fromkeys(after, known)) for name, known in (("target", 0.9), ("retain", 0.1))]
    bootstrap = BOOTSTRAP.model_copy(update={"samples": 2000})
    found = recovery.attack_scores(many("npo-0", 0.1, after), *controls, bootstrap, 0.02, 0.1)
    # Alone, back has 1 of 2^10 sign flips. In mixed nine authors are .08 above and one is .08 below: as large a sum
    # leave no flip at all, the flip of the one, and that of the one with any of the nine: 1 + 1 + 9 of 2^10.
    assert found["back"]["excess_p"].value == pytest.approx(3 * 1 / 2**10)  # the smallest of three
    assert found["mixed"]["excess_p"].value == pytest.approx(2 * 11 / 2**10)
    assert found["gone"]["excess_p"].value == 1.0
    assert {scores["excess_p"].n for scores in found.values()} == {10}


def test_the_limit_is_a_share_of_what_the_target_knows_more_than_the_retain_model():
    # .19 − .1 = .09 is above .1 · (.9 − .1) = .08 and not above .1: for both authors, so one of 2² flips is as large.
    found = recovered((0.1, 0.19), (0.9, 0.9), (0.1, 0.1))
    assert found["excess"].value == pytest.approx(0.1125, rel=1e-5)
    assert found["excess_p"].value == 0.25


def test_without_an_excess_there_is_no_p_value():
    assert recovered((0.1, 0.5), (0.11, 0.11), (0.1, 0.1))["excess_p"].value is None


def test_the_interval_of_the_excess_pairs_the_models():
    # The models share the ups and downs of the questions, which cancel in a difference of paired means.
    families = {
        model: interviews.interview(
            model,
            {
                "none": model_records({"forget": known}, clusters=8),
                "quantization": model_records({"forget": known}, conditions=["int4_channel"], clusters=8),
            },
        )
        for model, known in (("npo-0", 0.3), ("target", 0.95), ("retain", 0.3))
    }
    excess = recovery.attack_scores(*families.values(), BOOTSTRAP, 0.02, 0.1)["int4_channel"]["excess"]
    assert (excess.value, excess.low, excess.high) == (0.0, 0.0, 0.0)
    assert excess.n == 32
