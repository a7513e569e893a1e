import numpy as np
import pytest

from lethe.observed import Observed
from lethe.probes import linear_probe
from tests.looking import BOOTSTRAP, questions, seen, subjects
from tests.tiny import tiny_model

CONFIG = linear_probe.Config(folds=4, inner_folds=2, inverse_penalties=[0.1], seed=0)
CLUSTERS = np.repeat([f"author {number}" for number in range(8)], 12)


def states(signal, seed=0):
    """Two blocks of noise, the second with ``signal`` times the label in its first coordinate."""
    generator = np.random.default_rng(seed)
    labels = np.tile([True, False, False], 32)
    found = generator.normal(size=(2, len(labels), 6))
    found[1, :, 0] += signal * labels
    return found, labels


def test_a_strong_signal_in_one_block_is_found_on_authors_never_fitted():
    found, labels = states(signal=8.0)
    decisions = linear_probe.out_of_fold(found, labels, CLUSTERS, CONFIG)
    assert decisions[labels].min() > decisions[~labels].max()


def test_without_a_signal_it_finds_nothing_though_it_may_fit_as_many_numbers_as_it_likes():
    scores = [
        linear_probe._auc(
            linear_probe.out_of_fold(*states(0.0, seed), CLUSTERS, CONFIG), states(0.0)[1], CLUSTERS, BOOTSTRAP
        )
        for seed in range(8)
    ]
    # 32 true and 64 false answers: the AUC of chance has a standard deviation of about .063, a mean of eight .022.
    assert np.mean([score.value for score in scores]) == pytest.approx(0.5, abs=4 * 0.022)


def test_what_tells_an_author_is_no_signal():
    found, labels = states(signal=0.0)
    found[0, :, 0] = np.repeat(np.arange(8.0), 12)
    alone = linear_probe.out_of_fold(found, labels, CLUSTERS, CONFIG)
    assert 0.3 < linear_probe._auc(alone, labels, CLUSTERS, BOOTSTRAP).value < 0.7


def test_selectivity_is_what_is_more_than_labels_drawn_by_lot():
    found = linear_probe.probe(seen("states", subjects(tiny_model(2))), CONFIG, BOOTSTRAP)
    assert -1 <= found["linear_probe_selectivity"].value <= 1
    assert found["linear_probe"].n == 36  # 12 questions with one true and two false answers


def test_too_few_authors_are_missing_not_guessed():
    found = linear_probe.probe(seen("states", subjects(tiny_model(2), questions(4, each=2))), CONFIG, BOOTSTRAP)
    assert {score.value for score in found.values()} == {None}


def test_the_vectors_go_with_the_rows_that_the_records_name():
    found, labels = states(signal=3.0)
    rows = np.random.default_rng(0).permutation(len(labels))
    columns = {
        "place": list(range(len(labels))),
        "id": [f"q{place:03d}" for place in range(len(labels))],
        "cluster": CLUSTERS.tolist(),
        "row": rows.tolist(),
        "is_true": labels.tolist(),
    }
    vectors = np.empty_like(found)
    vectors[:, rows] = found
    told = {"unlearned": vectors, "target": vectors, "retain": states(signal=0.0)[0]}
    observed = Observed(columns, told)
    numbers = linear_probe.probe(observed, CONFIG, BOOTSTRAP)
    assert numbers["linear_probe"].value > 0.9
    assert numbers["linear_probe_target"] == numbers["linear_probe"]  # as the states are
    assert numbers["linear_probe_retain"].value < 0.75
    assert numbers["linear_probe_selectivity"].value > 0.2
