import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lethe.metrics import mia_loss, privacy_score
from lethe.metrics.privacy_score import Config, harmonic_mean
from lethe.records import Records
from lethe.scores import Observation
from tests.synthetic_records import BOOTSTRAP, likelihood

CONFIG = Config(loss_drop_eos="never", k=0.4, min_k_drop_eos="never", mode="standard")


def model(forget, holdout):
    """Questions of one token each with these losses."""
    return {
        split: Records(
            [
                likelihood([-loss], split=split, id=f"{split}{i}", cluster=f"{split}-{i}")
                for i, loss in enumerate(losses)
            ],
            [],
        )
        for split, losses in (("forget", forget), ("holdout", holdout))
    }


def scored(records, retain):
    return privacy_score.compute(Observation(records, {}), retain, CONFIG, BOOTSTRAP)["privacy_score"]


def test_the_published_mean_of_four_similarities():
    # 4/(1/.4 + 1/.5 + 1/.6 + 1/.8)
    assert harmonic_mean(np.array([0.4, 0.5, 0.6, 0.8])) == pytest.approx(0.5393, abs=5e-5)
    assert harmonic_mean(np.array([0.0, 1.0])) == 0.0


def test_the_score_of_an_example():
    # LOSS, Zlib (9 bytes each) and Min-K see 8/9 against 6/9: 1 − (2/9)/(6/9) = 2/3. Min-K++ sees z-scores of 0
    # everywhere, as the synthetic records have them, in both models: 1.
    found = scored(model([1, 1.2, 2], [1.5, 2.5, 3]), model([1.4, 2.2, 2.9], [1.5, 2.5, 3]))
    assert found.value == pytest.approx(4 / (3 * 3 / 2 + 1))
    assert (found.n, found.unscored) == (6, 0)


@given(st.lists(st.floats(0.1, 5), min_size=2, max_size=6), st.lists(st.floats(0.1, 5), min_size=2, max_size=6))
def test_a_model_like_the_retain_model_scores_one_unless_it_is_told_by_nothing(forget, holdout):
    same = model(forget, holdout)
    found = scored(same, same)
    attack = mia_loss.compute(Observation(same, {}), same, mia_loss.Config(drop_eos="never"), BOOTSTRAP)
    # Where the retain model's AUC is 0 the similarity divides by nothing.
    assert found.value == (1.0 if attack["mia_loss_auc"].value else None)


def test_without_holdout_there_is_no_score():
    records = model([1, 2], [])
    assert scored(records, records) == privacy_score.Score(None, None, None, 0, 2, (0, 0))
