import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import privacy_leakage
from lethe.metrics.privacy_leakage import Config, leakage
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, likelihood

CONFIG = Config(k=0.4, drop_eos="never", mode="standard")
inner = st.floats(0.01, 0.99)


def model(forget, holdout):
    """Questions of one token, or of several, with these log-probabilities."""
    return {
        split: Records(
            [
                likelihood(np.atleast_1d(logs), split=split, id=f"{split}{index}", cluster=f"{split}-author{index}")
                for index, logs in enumerate(targets)
            ],
            [],
        )
        for split, targets in (("forget", forget), ("holdout", holdout))
    }


def leaked(records, retain, config=CONFIG):
    return privacy_leakage.compute(Observation(records, {}), retain, config, BOOTSTRAP)["privacy_leakage"]


HOLDOUT = [-1.5, -2.5, -3]
RETAIN = model([-1.4, -2.2, -2.9], HOLDOUT)


def test_the_published_example():
    # As MUSE counts, the model has 1 − 8/9 = 1/9 and the retain model 1 − 6/9 = 3/9: 100 · (1/9 − 3/9)/(3/9).
    for mode in ("standard", "openunlearning"):
        found = leaked(model([-1, -1.2, -2], HOLDOUT), RETAIN, CONFIG.model_copy(update={"mode": mode}))
        assert found.value == pytest.approx(-200 / 3)
        assert (found.n, found.unscored) == (6, 0)


def test_muse_takes_no_token_of_an_answer_that_is_too_short():
    muse = CONFIG.model_copy(update={"mode": "muse"})
    found = leaked(model([-1, -1.2, -2], HOLDOUT), RETAIN, muse)  # ⌊.4 · 1⌋ = 0
    assert (found.value, found.n, found.unscored) == (None, 0, 6)
    long = [[side[index]] * 5 for side in ([-1, -1.2, -2],) for index in range(3)]
    retain = model([[logs] * 5 for logs in (-1.4, -2.2, -2.9)], [[logs] * 5 for logs in HOLDOUT])
    assert leaked(model(long, [[logs] * 5 for logs in HOLDOUT]), retain, muse).value == pytest.approx(-200 / 3)


def test_a_model_like_the_retain_model_leaks_nothing():
    found = leaked(RETAIN, RETAIN)
    assert (found.value, found.low, found.high) == (0.0, None, None)  # some resample has no pair in order
    assert leaked(RETAIN, RETAIN, CONFIG.model_copy(update={"mode": "openunlearning"})).low == 0.0


@pytest.mark.parametrize(("retain_auc", "most"), [(1 - 0.4772, 109.6), (1 - 0.5393, 85.4)])
def test_the_ends_of_the_two_corpora_of_muse(retain_auc, most):
    # A model with all of forget below all of holdout counts 1: 100 · (1 − .4772)/.4772 and 100 · (1 − .5393)/.5393.
    assert leakage(0.0, retain_auc, "muse") == pytest.approx(most, abs=0.05)
    assert leakage(1.0, retain_auc, "muse") == -100.0


@given(inner, inner)
def test_less_than_zero_is_under_unlearned_and_more_is_over_unlearned(model_auc, retain_auc):
    found = leakage(model_auc, retain_auc, "muse")
    assert (found < 0) == (1 - model_auc < 1 - retain_auc)
    assert (found > 0) == (1 - model_auc > 1 - retain_auc)
    assert leakage(model_auc, retain_auc, "openunlearning") == pytest.approx(found, rel=1e-7, abs=1e-6)


def test_a_retain_model_that_is_always_told_leaves_nothing_to_divide_by():
    told = model([-0.1, -0.1, -0.1], HOLDOUT)
    found = leaked(RETAIN, told)
    assert (found.value, found.n, found.unscored) == (None, 6, 0)
    compatible = leaked(RETAIN, told, CONFIG.model_copy(update={"mode": "openunlearning"}))
    assert compatible.value == pytest.approx(100 * (3 / 9) / 1e-10)
