from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import model_utility, probability, truth_ratio
from lethe.metrics.model_utility import Config, harmonic_mean
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, question, values

TOFU = Config(components=["probability", "rouge", "truth_ratio"])


def observation(splits):
    """An observation whose splits have these means (probability, rouge, truth ratio) in both clusters."""
    return Observation(
        records={},
        values={
            split: {name: values([mean] * 4, "aabb", split) for name, mean in zip(TOFU.components, means, strict=True)}
            for split, means in splits.items()
        },
    )


def utility(model, config=TOFU):
    return model_utility.compute(model, {}, config, BOOTSTRAP)["model_utility"]


def test_the_example_of_nine_numbers():
    # 9 / (1/.9 + 1/.8 + 1/.5 + 1/.6 + 1/.7 + 1/.4 + 1/.5 + 1/.8 + 1/.5) = 9 / 15.20635 = 0.5918580376
    score = utility(
        observation({"retain": (0.9, 0.8, 0.5), "real_authors": (0.6, 0.7, 0.4), "world_facts": (0.5, 0.8, 0.5)})
    )
    assert score.value == pytest.approx(0.5918580376, rel=1e-9)
    assert (score.low, score.high) == pytest.approx((score.value, score.value))
    assert (score.n, score.unscored) == (9, 0)


def test_one_exact_zero_makes_it_zero():
    assert utility(observation({"retain": (0.9, 0.0, 0.5)})).value == 0.0


def test_forget_and_holdout_never_enter():
    retain = {"retain": (0.9, 0.8, 0.5)}
    more = {**retain, "forget": (0.0, 0.0, 0.0), "holdout": (0.1, 0.1, 0.1)}
    assert utility(observation(more)) == utility(observation(retain))


def test_a_component_that_is_partly_missing_makes_it_missing_and_is_counted():
    model = observation({"retain": (0.9, 0.8, 0.5), "world_facts": (0.6, 0.7, 0.4)})
    model.values["world_facts"]["truth_ratio"] = values([0.4, 0.4, float("nan"), 0.4], "aabb", "world_facts")
    score = utility(model)
    assert (score.value, score.low, score.high) == (None, None, None)
    assert (score.n, score.unscored) == (5, 1)


def test_a_component_that_the_data_cannot_carry_is_left_out_and_counted():
    model = observation({"retain": (0.9, 0.6, float("nan"))})
    # 2 / (1/.9 + 1/.6) = 2 · .9 · .6 / 1.5 = 0.72
    score = utility(model)
    assert score.value == pytest.approx(0.72)
    assert (score.n, score.unscored) == (2, 1)
    assert utility(model, Config(components=["probability", "rouge"])).value == pytest.approx(0.72)


def test_a_utility_subset_counts_with_its_probability_among_the_options():
    model = observation({"world_facts": (0.01, 0.5, 0.5)})
    model.values["world_facts"]["normalised_probability"] = values([0.5] * 4, "aabb", "world_facts")
    assert utility(model).value == pytest.approx(0.5)


def test_nothing_asked_is_missing_not_zero():
    score = utility(Observation({}, {}))
    assert (score.value, score.n, score.unscored) == (None, 0, 0)


def test_the_interval_comes_from_resampling_the_clusters_of_every_split():
    model = observation({"retain": (0.9, 0.8, 0.5)})
    model.values["retain"]["rouge"] = values([0.2, 0.4, 0.9, 1.0], "aabb", "retain")
    score = utility(model)
    # The extreme resamples take one cluster twice: ROUGE 0.3 or 0.95 beside 0.9 and 0.5.
    expected = [3 / (1 / 0.9 + 1 / mean + 1 / 0.5) for mean in (0.3, 0.95)]
    assert [score.low, score.high] == pytest.approx(expected)


@given(st.lists(st.floats(0.01, 1.0), min_size=1, max_size=9))
def test_the_harmonic_mean_lies_between_the_smallest_number_and_the_arithmetic_mean(numbers):
    found = float(harmonic_mean(np.array(numbers)))
    assert min(numbers) - 1e-12 <= found <= np.mean(numbers) + 1e-12


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        # Answers of 30 nats, false ones of 31: share 1 / (1 + e⁻¹) = .731059, true better 1 − e⁻¹ = .632121;
        # 3 / (1/.731059 + 1/.5 + 1/.632121) = .606078
        ("exact", 0.606078),
        # e⁻³⁰ = 9.35762e-14, e⁻³¹ = 3.44248e-14: share 9.35762e-14 / 1.001280e-10 = 9.34566e-4,
        # true better 1 − 3.44248e-14 / 1.000936e-10 = .999656; 3 / (1/9.34566e-4 + 1/.5 + 1/.999656) = .00279586
        ("openunlearning", 0.00279586),
    ],
)
def test_it_follows_the_mode_of_the_truth_ratio_and_of_the_normalised_probability(mode, expected):
    said = Records(question(30.0, None, [31.0], split="world_facts"), [])
    found = probability.compute(said, probability.Config(mode=mode))
    found |= truth_ratio.compute(said, truth_ratio.Config(mean="geometric", mode=mode))
    model = Observation({}, {"world_facts": {**found, "rouge": replace(found["truth_ratio"], numbers=np.array([0.5]))}})
    assert utility(model).value == pytest.approx(expected, rel=1e-5)
