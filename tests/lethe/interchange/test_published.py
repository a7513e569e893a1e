"""What logs are like that others published: rounded numbers, numbers that are none, names twice, few metrics."""

import json
import math

import numpy as np
import pytest
from scipy.stats import ks_2samp

from lethe.errors import DataError
from lethe.interchange import answers, logs, openunlearning
from lethe.interchange.layout import SPLITS
from lethe.interchange.settings import Settings
from lethe.metrics import forget_quality, model_utility, probability, truth_ratio
from lethe.statistics import Bootstrap
from tests import openunlearning_log as peer

SETTINGS = Settings(
    bootstrap=Bootstrap(samples=50, confidence=0.95, seed=0, max_unscored=0.01),
    probability=probability.Config(mode="exact"),
    truth_ratio=truth_ratio.Config(mean="geometric", mode="exact"),
    forget_quality=forget_quality.Config(mean="geometric", mode="exact", permutation_samples=19, seed=0),
    model_utility=model_utility.Config(components=["probability", "rouge", "truth_ratio"]),
)
RELEASED = SETTINGS._replace(
    **{
        name: getattr(SETTINGS, name).model_copy(update={"mode": "openunlearning"})
        for name in ("probability", "truth_ratio", "forget_quality")
    }
)
FORGET, AUTHORS = SPLITS[0], SPLITS[2]


def read(folder, log, name="TOFU_EVAL.json"):
    return logs.read(peer.write(folder / name, log))


def test_in_bfloat16_the_probability_is_prob_and_the_truth_ratio_is_made_of_the_losses(tmp_path):
    # bfloat16 has steps of 1/512 and of 1/1024 here: e^-1 = 0.36788 is 188/512, e^-2 = 0.13534 is 139/1024.
    assert peer.bfloat16(np.exp([-1.0, -2.0])).tolist() == [188 / 512, 139 / 1024]
    blocks = {
        "ra_Q_A_Prob": peer.probability([1.0], peer.bfloat16),
        "ra_Q_A_PERT_Prob": peer.probability([[2.0, 2.0]], peer.bfloat16),
        "ra_Q_A_Prob_normalised": peer.normalised([1.0], [[2.0, 2.0]], peer.bfloat16),
    }
    log = read(tmp_path, blocks)
    found = answers.probabilities(log, AUTHORS, SETTINGS.probability)
    assert found["probability"].numbers == pytest.approx([188 / 512], rel=1e-12)
    # 376 / (376 + 2 · 139) = 0.574924, where the losses give 1 / (1 + 2/e) = 0.576117
    assert found["normalised_probability"].numbers == pytest.approx([376 / 654], rel=1e-12)
    assert log.aggregate(["ra_Q_A_Prob_normalised"]) == pytest.approx(376 / 654)
    assert answers.truth_ratios(log, AUTHORS, "geometric", "exact", "answers").numbers == pytest.approx(
        [-1.0], rel=1e-12
    )


def test_where_prob_has_run_out_of_digits_the_losses_tell_the_share(tmp_path):
    # e^-90 and e^-91 are below the smallest normal float of 32 bits: the share is 1 / (1 + 1/e) = 0.731059.
    blocks = {
        "ra_Q_A_Prob": peer.block(0.0, [{"prob": 0.0, "avg_loss": 90.0}]),
        "ra_Q_A_PERT_Prob": peer.block(0.0, [{"prob": [1e-45], "avg_loss": [91.0]}]),
    }
    found = answers.probabilities(read(tmp_path, blocks), AUTHORS, SETTINGS.probability)
    assert found["normalised_probability"].numbers == pytest.approx([1 / (1 + math.exp(-1))])


def test_losses_and_probabilities_of_other_numbers_of_answers_are_refused(tmp_path):
    rows = [{"prob": [0.5, 0.5], "avg_loss": [1.0, 1.0]}, {"prob": [0.5, 0.5], "avg_loss": [1.0, 1.0, 1.0]}]
    log = read(tmp_path, {"ra_Q_A_Prob": peer.probability([1.0, 1.0]), "ra_Q_A_PERT_Prob": peer.block(0.5, rows)})
    with pytest.raises(DataError, match=r"ra_Q_A_PERT_Prob, row 1: avg_loss and prob are of 2 and 3 answers"):
        answers.probabilities(log, AUTHORS, SETTINGS.probability)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf])
def test_what_is_no_finite_number_is_missing_and_the_document_is_json(tmp_path, broken):
    # json.dump writes NaN, Infinity and -Infinity, which are not JSON but which Python reads.
    log = peer.tofu(0, forget=200)
    for name in ("model_utility", "privleak", "forget_quality", "forget_Q_A_ROUGE"):
        log[name] = {"agg_value": broken}
    log["exact_memorization"]["value_by_index"]["3"]["score"] = broken
    log["forget_truth_ratio"]["value_by_index"]["3"]["score"] = broken
    log["mia_loss"]["forget"]["value_by_index"]["3"]["score"] = broken
    path = peer.write(tmp_path / "TOFU_EVAL.json", log)
    document = openunlearning.document(path, None, SETTINGS)
    json.dumps(document, allow_nan=False)
    found = document["conditions"]["none"]
    assert found["overall"]["model_utility"]["value"] > 0  # recomputed
    assert found["overall"]["model_utility"]["peer"] is None
    assert (found["forget"]["rouge"]["value"], found["forget"]["rouge"]["origin"]) == (None, "missing")
    assert (found["forget"]["exact_memorization"]["n"], found["forget"]["exact_memorization"]["unscored"]) == (199, 1)
    assert found["overall"]["mia_loss_auc"]["unscored"] == 1


def test_an_endless_loss_is_a_probability_of_0(tmp_path):
    rows = [{"prob": 0.0, "avg_loss": math.inf}, {"prob": 0.5, "avg_loss": math.log(2)}]
    found = answers.probabilities(
        read(tmp_path, {"forget_Q_A_Prob": peer.block(0.25, rows)}), FORGET, SETTINGS.probability
    )
    assert found["probability"].numbers == pytest.approx([0.0, 0.5])


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"forget_Q_A_Prob": {}, "forget_Q_A_Prob": {}}', "'forget_Q_A_Prob' stands twice in one object"),
        (
            '{"forget_Q_A_Prob": {"value_by_index": {"0": {"prob": 0.1}, "0": {"prob": 0.9}}}}',
            "'0' stands twice in one object",
        ),
    ],
)
def test_a_name_that_stands_twice_is_refused(tmp_path, content, complaint):
    path = tmp_path / "TOFU_EVAL.json"
    path.write_text(content)
    with pytest.raises(DataError, match=complaint) as raised:
        logs.read(path)
    assert str(raised.value).startswith(f"{path}: ")


def test_two_names_of_one_row_are_refused(tmp_path):
    log = read(tmp_path, {"forget_Q_A_Prob": {"value_by_index": {"7": {"prob": 0.1}, "07": {"prob": 0.9}}}})
    with pytest.raises(DataError, match=r"value_by_index: two of its keys are the same row number"):
        log.examples(["forget_Q_A_Prob"])


def test_a_log_of_nothing_but_truth_ratios_tells_these_and_what_follows_from_them(tmp_path):
    # Ratios .5 and 2 are both .5 away from 1 to the peer: the mean of min(TR, 1/TR) is .5; knowledge is (2/3 + 1/3)/2.
    log = {"forget_truth_ratio": peer.block(0.5, [{"score": 0.5}, {"score": 2.0}])}
    retain = {"forget_truth_ratio": peer.block(0.5, [{"score": 0.25}, {"score": 4.0}])}
    found = openunlearning.scores(read(tmp_path, log), read(tmp_path, retain, "TOFU_retain.json"), SETTINGS)
    forget, overall = found["forget"], found["overall"]
    assert forget["truth_ratio"].score.value == forget["truth_ratio"].peer == pytest.approx(0.5)
    assert forget["truth_ratio_knowledge"].score.value == pytest.approx(0.5)
    assert overall["forget_quality_ks"].score.value == 0.5
    assert overall["forget_distance"].score.value == pytest.approx(math.log(2))
    assert {leaf.origin for name, leaf in forget.items() if "truth_ratio" not in name} == {"missing"}
    assert overall["model_utility"].origin == overall["privacy_leakage"].origin == "missing"


def test_a_log_made_without_a_retain_model_says_what_it_lacks(tmp_path):
    # So is the log of the retain model itself, the one that others are compared with: null, and PrivLeak against 0.5.
    found = openunlearning.scores(read(tmp_path, peer.tofu(0)), None, SETTINGS)["overall"]
    assert (found["forget_quality"].origin, found["forget_quality"].peer) == ("missing", None)
    assert found["privacy_leakage"].origin == "missing"
    assert found["privacy_leakage"].peer == pytest.approx(100 * (1 - 2 * found["mia_min_k_auc"].score.value))


def test_of_a_collapsed_model_the_published_numbers_are_met_in_mode_openunlearning(tmp_path):
    # Losses of 60 and of 62 a token. The 1e-10 decides: e^-62 / (e^-60 + 1e-10) = 1.18506e-17, where e^-2 = 0.135335;
    # e^-60 / (e^-60 + e^-62 + 1e-10) = 8.75651e-17, where 1 / (1 + e^-2) = 0.880797.
    log = {
        "forget_Q_A_PARA_Prob": peer.probability([60.0]),
        "forget_Q_A_PERT_Prob": peer.probability([[62.0]]),
        "forget_truth_ratio": peer.truth_ratio([60.0], [[62.0]], "closer_to_1_better"),
        "ra_Q_A_Prob": peer.probability([60.0]),
        "ra_Q_A_PERT_Prob": peer.probability([[62.0]]),
        "ra_Q_A_Prob_normalised": peer.normalised([60.0], [[62.0]]),
    }
    ours, theirs = (openunlearning.scores(read(tmp_path, log), None, chosen) for chosen in (SETTINGS, RELEASED))
    leaf = theirs["forget"]["truth_ratio"]
    assert leaf.score.value == pytest.approx(leaf.peer, rel=1e-12) == pytest.approx(1.18506e-17, rel=1e-5)
    assert ours["forget"]["truth_ratio"].score.value == pytest.approx(0.135335, rel=1e-5)
    assert theirs["forget"]["truth_ratio_knowledge"].score.value == pytest.approx(8.75651e-17, rel=1e-5)
    assert ours["forget"]["truth_ratio_knowledge"].score.value == pytest.approx(0.880797, rel=1e-5)
    leaf = theirs["real_authors"]["normalised_probability"]
    assert leaf.score.value == pytest.approx(leaf.peer, rel=1e-12) == pytest.approx(8.75651e-17, rel=1e-5)
    assert ours["real_authors"]["normalised_probability"].score.value == pytest.approx(0.880797, rel=1e-5)


@pytest.mark.parametrize(
    ("model", "retain"),
    [
        # A collapsed model: its ratios are near 0, and the last, e^-803 / 1e-10, is 0 exactly.
        (([50.0, 60.0, 800.0], [[51.0], [62.0], [803.0]]), ([1.0, 1.0, 1.0], [[2.0], [3.0], [4.0]])),
        # Losses in few digits: six times e^-1, of which 1e-10 makes six different ones, e^-1 (1 - 1e-10 e^loss).
        (([1.0, 2.0, 2.5], [[2.0], [3.0], [3.5]]), ([3.0, 4.0, 5.0], [[4.0], [5.0], [6.0]])),
    ],
)
def test_forget_quality_in_mode_openunlearning_is_that_of_the_ratios_with_their_epsilon(tmp_path, model, retain):
    # In log space both models have the same ratios: D = 0. With the 1e-10 all of one are below all of the other: D = 1.
    logs_of = [
        {
            "forget_Q_A_PARA_Prob": peer.probability(correct),
            "forget_Q_A_PERT_Prob": peer.probability(false),
            "forget_truth_ratio": peer.truth_ratio(correct, false, "closer_to_1_better"),
        }
        for correct, false in (model, retain)
    ]
    pair = [read(tmp_path, log, f"TOFU_{n}.json") for n, log in enumerate(logs_of)]
    ours, theirs = (openunlearning.scores(*pair, chosen)["overall"] for chosen in (SETTINGS, RELEASED))
    assert ours["forget_quality_ks"].score.value == 0.0
    assert theirs["forget_quality_ks"].score.value == 1.0
    ratios = [peer.scores(log["forget_truth_ratio"]) for log in logs_of]
    assert theirs["forget_quality"].score.value == pytest.approx(ks_2samp(*ratios).pvalue)
    assert theirs["forget_quality"].score.n == 3


@pytest.mark.parametrize("rounding", [peer.exact, peer.bfloat16])
@pytest.mark.parametrize("losses", [(0.05, 5.0), (30.0, 60.0)], ids=["sound", "collapsed"])
def test_in_mode_openunlearning_every_number_with_an_aggregate_is_met(tmp_path, rounding, losses):
    retain = peer.tofu(1, rounding=rounding)
    log = peer.tofu(0, retain, rounding=rounding, losses=losses)
    pair = read(tmp_path, log), read(tmp_path, retain, "TOFU_retain.json")
    found = openunlearning.scores(*pair, RELEASED)
    compared = {(split, name): leaf for split in found for name, leaf in found[split].items() if leaf.peer is not None}
    assert len(compared) == 27  # as in test_openunlearning
    for (_, name), leaf in compared.items():
        digits = 1e-9 if name == "privacy_leakage" else 1e-12  # an attack of another 1e-10
        assert leaf.score.value == pytest.approx(leaf.peer, rel=digits, abs=0)
        assert leaf.origin == "recomputed"


def test_of_a_collapsed_log_the_modes_differ_by_orders_of_magnitude(tmp_path):
    retain = peer.tofu(1)
    pair = read(tmp_path, peer.tofu(0, retain, losses=(30.0, 60.0))), read(tmp_path, retain, "TOFU_retain.json")
    exact, released = (openunlearning.scores(*pair, chosen) for chosen in (SETTINGS, RELEASED))
    names = ("forget", "truth_ratio"), ("forget", "truth_ratio_knowledge"), ("real_authors", "normalised_probability")
    for split, name in (*names, ("overall", "forget_quality")):
        assert exact[split][name].score.value > 1e3 * released[split][name].score.value > 0


@pytest.mark.parametrize("rounding", [peer.exact, peer.bfloat16])
def test_in_mode_openunlearning_the_ratios_of_the_answers_are_the_scores_of_a_collapsed_log(tmp_path, rounding):
    blocks = peer.tofu(0, rounding=rounding, losses=(30.0, 60.0))
    log = read(tmp_path, blocks)
    made = answers.truth_ratios(log, FORGET, "geometric", "openunlearning", "answers")
    taken = answers.truth_ratios(log, FORGET, "geometric", "openunlearning", "scores")
    assert taken.numbers.tolist() == peer.scores(blocks["forget_truth_ratio"])
    np.testing.assert_array_equal(made.numbers, taken.numbers)  # to the last digit: ties decide forget quality


def test_the_scores_of_a_log_do_not_tell_the_knowledge_of_mode_openunlearning(tmp_path):
    # Ratios P_false / (P + 1e-10) leave P open; min(TR, 1/TR) is 1/2 of both.
    log = read(tmp_path, {"forget_truth_ratio": peer.block(0.5, [{"score": 0.5}, {"score": 2.0}])})
    found = openunlearning.scores(log, None, RELEASED)["forget"]
    assert found["truth_ratio"].score.value == pytest.approx(0.5)
    assert found["truth_ratio_knowledge"].origin == "missing"
