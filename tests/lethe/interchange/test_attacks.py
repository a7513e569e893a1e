"""Membership attacks of a log."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.errors import DataError
from lethe.interchange import attacks, logs
from lethe.statistics import Bootstrap
from tests import openunlearning_log as peer

BOOTSTRAP = Bootstrap(samples=100, confidence=0.95, seed=0, max_unscored=0.01)
MODEL = peer.attack([1.0, 1.2, 2.0], [1.5, 2.5, 3.0])
RETAIN = peer.attack([1.4, 2.2, 2.9], [1.5, 2.5, 3.0])
HALF = "needs --retain, the log of the retain model: the log's own value takes 0.5 for its AUC"


def scores(folder, log, retain=None):
    read = [logs.read(peer.write(folder / f"TOFU_{n}.json", each)) for n, each in enumerate((log, retain)) if each]
    return attacks.scores(read[0], read[1] if retain else None, BOOTSTRAP)


def test_the_example_of_three_against_three(tmp_path):
    # 1 and 1.2 are below all of 1.5, 2.5, 3, and 2 below two of them: 8/9. The retain model: 3 + 2 + 1 of 9.
    found = scores(tmp_path, {"mia_min_k": MODEL}, {"mia_min_k": RETAIN})
    assert found["mia_min_k_auc"].score.value == found["mia_min_k_auc"].peer == pytest.approx(8 / 9)
    assert found["mia_min_k_auc"].score.n == 6
    assert found["mia_min_k_auc_difference"].score.value == pytest.approx(8 / 9 - 6 / 9)
    assert found["mia_min_k_similarity"].score.value == pytest.approx(1 - (2 / 9) / (6 / 9))
    # 100 · ((1 − 8/9) − (1 − 6/9)) / (1 − 6/9) = −66.6667
    assert found["privacy_leakage"].score.value == pytest.approx(-200 / 3)
    assert found["privacy_leakage"].origin == "recomputed"


def test_equal_scores_count_half(tmp_path):
    found = scores(tmp_path, {"mia_loss": peer.attack([1.0, 2.0], [1.0, 2.0])})
    assert found["mia_loss_auc"].score.value == 0.5


@given(st.integers(0, 2**32))
@settings(max_examples=10)
def test_exchanging_forget_and_holdout_turns_the_area_around(tmp_path_factory, seed):
    random, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("law")
    sides = random.normal(0, 1, 25).round(1), random.normal(0.3, 1, 30).round(1)
    first, second = (
        scores(folder, {"mia_zlib": peer.attack(*pair)})["mia_zlib_auc"].score.value for pair in (sides, sides[::-1])
    )
    assert first + second == pytest.approx(1.0)


def test_a_model_compared_with_itself_leaks_nothing(tmp_path):
    log = peer.tofu(0)
    found = scores(tmp_path, log, log)
    leak = found["privacy_leakage"].score
    assert (leak.value, leak.low, leak.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    for name in ("mia_loss", "mia_zlib", "mia_min_k", "mia_min_k_plus_plus", "mia_grad_norm", "mia_reference"):
        assert found[f"{name}_auc_difference"].score.value == 0.0
        assert found[f"{name}_auc"].origin == "recomputed"
        assert found[f"{name}_auc"].score.low < found[f"{name}_auc"].score.value < found[f"{name}_auc"].score.high


def test_a_privleak_that_was_made_without_a_retain_model_is_no_comparison(tmp_path):
    half = scores(tmp_path, {"mia_min_k": MODEL, "privleak": peer.privleak(MODEL, None)})["privacy_leakage"]
    assert (half.score.value, half.origin, half.note) == (None, "missing", HALF)
    assert half.peer == pytest.approx(100 * (1 / 9 - 1 / 2) / (1 / 2))
    real = scores(tmp_path, {"mia_min_k": MODEL, "privleak": peer.privleak(MODEL, RETAIN)})["privacy_leakage"]
    assert (real.score.value, real.origin) == (pytest.approx(-200 / 3), "copied")


def test_areas_that_are_aggregates_are_copied_and_what_rests_on_them_is_derived(tmp_path):
    bare = {"mia_min_k": {"agg_value": 8 / 9}}
    found = scores(tmp_path, bare, {"mia_min_k": RETAIN})
    assert found["mia_min_k_auc"].origin == "copied"
    assert found["mia_min_k_tpr_at_1_percent_fpr"].note == "the log has no per-example scores of both sides"
    assert found["privacy_leakage"].origin == "derived"
    assert found["privacy_leakage"].score.value == pytest.approx(-200 / 3)
    assert found["mia_min_k_auc_difference"].score.value == pytest.approx(2 / 9)


def test_an_attack_that_the_retain_log_lacks_is_missing_and_named(tmp_path):
    found = scores(tmp_path, {"mia_min_k": MODEL}, {"mia_loss": RETAIN})
    assert found["mia_min_k_auc_difference"].note == f"no mia_min_k in {(tmp_path / 'TOFU_1.json').as_posix()}"
    assert found["privacy_leakage"].score.value is None


def test_a_retain_model_that_knows_all_of_forget_has_no_leakage_to_divide_by(tmp_path):
    surest = peer.attack([0.1, 0.2, 0.3], [1.5, 2.5, 3.0])
    found = scores(tmp_path, {"mia_min_k": MODEL}, {"mia_min_k": surest})
    assert (found["privacy_leakage"].score.value, found["privacy_leakage"].note) == (None, "its denominator is 0")


def test_too_many_examples_without_a_score_make_an_attack_missing(tmp_path):
    broken = peer.attack([1.0, math.nan, 2.0], [1.5, 2.5, 3.0])
    leaf = scores(tmp_path, {"mia_loss": broken})["mia_loss_auc"]
    assert (leaf.score.value, leaf.note) == (None, "1 of 6 could not be scored")


def test_a_retain_log_of_another_split_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"its mia_loss scores on forget are of 40 rows, not of 20 as in .*TOFU_0.json"):
        scores(tmp_path, peer.tofu(0, forget=20), peer.tofu(1, forget=40))
