import numpy as np

from lethe.probes import logit_lens
from tests.contracts.test_probes import BOOTSTRAP, subjects
from tests.tiny import tiny_model


def test_every_second_cluster_is_kept_for_reading():
    assert logit_lens.held_out(["a", "a", "b", "c", "b", "d"]).tolist() == [False, False, True, False, True, True]


def test_the_block_is_chosen_on_the_other_half():
    found = np.array([[0.9, 0.1], [0.2, 0.8]])  # block 0 is best on the first question, block 1 on the second
    assert logit_lens.chosen(found, np.array([False, True])).tolist() == [0.1]


def test_a_single_cluster_cannot_be_divided():
    assert np.isnan(logit_lens.chosen(np.ones((2, 2)), np.array([False, False]))).all()


def test_the_retain_model_differs_from_itself_by_nothing():
    found = logit_lens.probe(subjects(tiny_model(1)), logit_lens.Config(), BOOTSTRAP)
    assert found["logit_lens_difference"].value == 0.0
    assert found["logit_lens"] == found["logit_lens_retain"]
    assert len(found["probability_by_block"]) == 2
