"""Logs that do not fit: one clear line each."""

import math

import pytest

from lethe.errors import DataError
from lethe.interchange import answers, logs
from lethe.interchange.layout import SPLITS
from lethe.metrics.probability import Config
from tests import openunlearning_log as peer

EXACT = Config(mode="exact")
BARE = {"forget_Q_A_Prob": {"agg_value": 0.5}}


@pytest.mark.parametrize(
    ("log", "complaint"),
    [
        ([1, 2], "expected an object of metrics, found list; give the TOFU_EVAL.json"),
        ({}, "no metric of OpenUnlearning, found nothing"),
        ({"accuracy": 0.5, "loss": 2}, "no metric of OpenUnlearning, found accuracy, loss"),
        ({"forget_quality": 0.5, "model_utility": 0.6}, "forget_quality is a bare number, as in a summary"),
        ({"mia_loss": {"agg_value": 0.5}}, "name the file TOFU_EVAL.json or MUSE_EVAL.json"),
    ],
)
def test_a_file_that_is_no_log_is_named_with_what_it_is(tmp_path, log, complaint):
    path = peer.write(tmp_path / "log.json", log)
    with pytest.raises(DataError, match=complaint) as raised:
        logs.read(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", r"not valid JSON \(Expecting value"),
        (b"{", r"not valid JSON \(Expecting property name"),
        (b"\xff", r"not valid JSON \('utf-8' codec"),
    ],
)
def test_what_is_not_json_is_refused(tmp_path, content, complaint):
    path = tmp_path / "TOFU_EVAL.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        logs.read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        logs.read(tmp_path / "TOFU_EVAL.json")
    with pytest.raises(DataError, match="cannot be read"):
        logs.read(tmp_path)


@pytest.mark.parametrize(
    ("examples", "complaint"),
    [
        ({"0": {"text": "a"}, "1": {"text": "b"}}, "none of its 2 examples has avg_loss or prob"),
        ({"first": {"prob": 0.5}}, "'first' is no row number"),
        ({"0": {"prob": "0.5"}}, "row 0: prob: expected a number or null, found str"),
        ({"0": 0.5}, "value_by_index.0: expected an object, found float"),
        ([0.5], "value_by_index: expected an object, found list"),
    ],
)
def test_per_example_values_that_do_not_fit_are_named(tmp_path, examples, complaint):
    log = logs.read(peer.write(tmp_path / "log.json", {"forget_Q_A_Prob": {"value_by_index": examples}}))
    with pytest.raises(DataError, match=complaint):
        answers.probabilities(log, SPLITS[0], EXACT)


def test_null_and_nan_are_missing_aggregates(tmp_path):
    for aggregate in (None, math.nan):
        log = logs.read(peer.write(tmp_path / "log.json", {"model_utility": {"agg_value": aggregate}}))
        assert log.aggregate(["model_utility"]) is None
    with pytest.raises(DataError, match=r"model_utility.agg_value: expected a number or null, found bool"):
        logs.read(peer.write(tmp_path / "log.json", {"model_utility": {"agg_value": True}})).aggregate(
            ["model_utility"]
        )


def test_the_benchmark_is_told_by_its_metrics_else_by_the_name_of_the_file(tmp_path):
    shared = {"extraction_strength": {"agg_value": 0.5}}
    assert logs.read(peer.write(tmp_path / "log.json", BARE)).benchmark == "TOFU"
    muse = BARE | {"forget_knowmem_ROUGE": {"agg_value": 0.5}}
    assert logs.read(peer.write(tmp_path / "log.json", muse)).benchmark == "MUSE"
    assert logs.read(peer.write(tmp_path / "MUSE_EVAL.json", shared)).benchmark == "MUSE"
    assert logs.read(peer.write(tmp_path / "TOFU_EVAL.json", shared)).benchmark == "TOFU"


def test_the_outer_of_two_metrics_of_a_name_counts(tmp_path):
    inner = {"pre_compute": {"forget_Q_A_Prob": {"agg_value": 0.1}}, "agg_value": 0.9}
    for log in ({"forget_quality": inner, **BARE}, {**BARE, "forget_quality": inner}):
        assert logs.read(peer.write(tmp_path / "log.json", log)).aggregate(["forget_Q_A_Prob"]) == 0.5


def test_rows_are_named_by_their_place_and_belong_to_authors_of_twenty(tmp_path):
    log = logs.read(peer.write(tmp_path / "log.json", peer.tofu(0, forget=40)))
    forget = answers.probabilities(log, SPLITS[0], EXACT)["probability"]
    assert forget.ids[:2] == ("forget-000000", "forget-000001")
    assert [forget.clusters.index(author) for author in sorted(set(forget.clusters))] == [0, 20]
    facts = answers.probabilities(log, SPLITS[3], EXACT)["probability"]
    assert facts.clusters == facts.ids


def test_a_probability_serves_where_there_is_no_loss(tmp_path):
    rows = [{"prob": 0.25}, {"prob": 0.0}, {"prob": 0.5, "avg_loss": None}]
    log = logs.read(peer.write(tmp_path / "log.json", {"forget_Q_A_Prob": peer.block(0.25, rows)}))
    assert answers.probabilities(log, SPLITS[0], EXACT)["probability"].numbers == pytest.approx([0.25, 0.0, 0.5])


def test_several_correct_answers_count_with_their_mean(tmp_path):
    # L = (1 + 3)/2 = 2 of the paraphrases against (4, 6): log TR = 2 − 5 = −3
    blocks = {"forget_Q_A_PARA_Prob": [[1.0, 3.0]], "forget_Q_A_PERT_Prob": [[4.0, 6.0]]}
    log = logs.read(peer.write(tmp_path / "log.json", {name: peer.probability(rows) for name, rows in blocks.items()}))
    assert answers.truth_ratios(log, SPLITS[0], "geometric", "exact", "answers").numbers == pytest.approx([-3.0])
