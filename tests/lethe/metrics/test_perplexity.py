import numpy as np
import pytest

from lethe.metrics import perplexity
from lethe.metrics.perplexity import Config
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, likelihood


def scored(**splits):
    return perplexity.compute(Observation(splits, {}), {}, Config(), BOOTSTRAP)


def said(*nlls):
    return Records([likelihood([-nll] * 3, id=f"q{n}", cluster=f"c{n}") for n, nll in enumerate(nlls)], [])


def test_it_is_the_exponential_of_the_mean_loss():
    # The loss of the example with a vocabulary of three is 1.2120914837: e^1.2120914837 = 3.360505...
    log_probs = np.log([0.7, 0.8, 0.25, 0.05, 1 / 3])
    found = scored(forget=Records([likelihood(log_probs)], []))["forget_perplexity"]
    assert found.value == pytest.approx(np.exp(1.2120914837), rel=1e-7)


def test_a_guess_among_n_equally_likely_tokens_is_n_and_every_question_counts_alike():
    assert scored(forget=said(*[np.log(8)] * 4))["forget_perplexity"].value == pytest.approx(8, rel=1e-6)
    long = likelihood([-np.log(2)] * 100, id="long", cluster="c9")
    found = scored(retain=Records([*said(np.log(8)).likelihoods, long], []))["retain_perplexity"]
    assert found.value == pytest.approx(4, rel=1e-6)  # the root of 8 · 2


def test_the_interval_is_that_of_the_mean_loss_and_a_collapsed_model_stays_finite():
    found = scored(forget=said(1.0, 1.5, 2.0, 9.0))["forget_perplexity"]
    assert 1 <= found.low <= found.value <= found.high
    assert np.isfinite(scored(forget=said(1e5, 2e5))["forget_perplexity"].value)


def test_a_split_that_was_not_asked_is_missing():
    assert scored(forget=said(1.0))["retain_perplexity"].value is None
