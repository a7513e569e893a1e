"""A whole log in our scores."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lethe.interchange import logs, openunlearning
from lethe.interchange.settings import Settings
from lethe.metrics import forget_quality, model_utility, probability, truth_ratio
from lethe.records import Records
from lethe.scores import Observation
from lethe.statistics import Bootstrap
from tests import openunlearning_log as peer
from tests.synthetic_records import question, values

BOOTSTRAP = Bootstrap(samples=50, confidence=0.95, seed=0, max_unscored=0.01)
SETTINGS = Settings(
    bootstrap=BOOTSTRAP,
    probability=probability.Config(mode="exact"),
    truth_ratio=truth_ratio.Config(mean="geometric", mode="exact"),
    forget_quality=forget_quality.Config(mean="geometric", mode="exact", permutation_samples=19, seed=0),
    model_utility=model_utility.Config(components=["probability", "rouge", "truth_ratio"]),
)


def imported(folder, log, retain=None, chosen=SETTINGS, name="TOFU_EVAL.json"):
    """The leaves by split and name."""
    read = logs.read(peer.write(folder / name, log))
    other = None if retain is None else logs.read(peer.write(folder / f"TOFU_{name}", retain))
    return openunlearning.scores(read, other, chosen)


def numbers(leaf):
    return leaf.score.value, leaf.score.n, leaf.score.unscored, leaf.origin


def test_the_example_of_one_author(tmp_path):
    # TR = e^(1 − 3): closer to 1 is 0.1353352832, of the other question e^(3 − 3) = 1; knowledge 1/(1 + TR).
    correct, false = [1.0, 3.0], [[2.0, 3.0, 4.0]] * 2
    log = {
        "forget_Q_A_Prob": peer.probability([math.log(2), math.log(4)]),
        "forget_Q_A_PARA_Prob": peer.probability(correct),
        "forget_Q_A_PERT_Prob": peer.probability(false),
        "forget_truth_ratio": peer.truth_ratio(correct, false, "closer_to_1_better"),
        "forget_Q_A_ROUGE": peer.rouge([0.2, 0.8], [0.1, 0.3], "rougeL_recall"),
    }
    found = imported(tmp_path, log)["forget"]
    assert numbers(found["probability"]) == (pytest.approx((1 / 2 + 1 / 4) / 2), 2, 0, "recomputed")
    assert found["truth_ratio"].score.value == pytest.approx((0.1353352832 + 1) / 2, rel=1e-9)
    assert found["truth_ratio_knowledge"].score.value == pytest.approx((0.8807970780 + 0.5) / 2, rel=1e-9)
    assert found["rouge"].score.value == pytest.approx(0.5)
    assert found["rouge_f1"].score.value == pytest.approx(0.2)
    assert found["rouge"].peer == pytest.approx(0.5)
    assert (found["probability"].score.low, found["probability"].score.high) == (None, None)  # one author


def test_the_example_of_forget_quality(tmp_path):
    # Log truth ratios u = .2 … .8 and r = .5 … 1.1: D = 1/2, p = 54/70, 0.3 apart everywhere (test_forget_quality).
    def log(ratios):
        correct, false = [5.0] * 4, [[5.0 - ratio] * 5 for ratio in ratios]
        blocks = {"forget_Q_A_PARA_Prob": peer.probability(correct), "forget_Q_A_PERT_Prob": peer.probability(false)}
        return blocks | {"forget_truth_ratio": peer.truth_ratio(correct, false, "closer_to_1_better")}

    overall = imported(tmp_path, log([0.2, 0.4, 0.6, 0.8]), log([0.5, 0.7, 0.9, 1.1]))["overall"]
    assert numbers(overall["forget_quality"]) == (pytest.approx(54 / 70), 4, 0, "recomputed")
    assert overall["forget_quality_log10_p"].score.value == pytest.approx(math.log10(54 / 70))
    assert overall["forget_quality_ks"].score.value == 0.5
    assert overall["forget_distance"].score.value == pytest.approx(0.3)
    assert overall["forget_distance_p"].score.value == 1.0  # one author: swapped or not, the distance is the same


def test_the_example_of_nine_numbers(tmp_path):
    # 9 / (1/.9 + 1/.8 + 1/.5 + 1/.6 + 1/.7 + 1/.4 + 1/.5 + 1/.8 + 1/.5) = 0.5918580376, from copied aggregates
    nine = dict(zip(peer.UTILITY, [0.9, 0.8, 0.5, 0.6, 0.7, 0.4, 0.5, 0.8, 0.5], strict=True))
    log = {name: {"agg_value": value} for name, value in nine.items()}
    leaf = imported(tmp_path, log)["overall"]["model_utility"]
    assert leaf.score.value == pytest.approx(0.5918580376, rel=1e-9)
    assert leaf.origin == "derived"
    assert leaf.score.low is None


# The peer adds 1e-10 to probabilities of at least e^-5 = 0.0067, twice in a truth ratio: 3e-8 of the number.
@given(st.integers(0, 2**32), st.sampled_from([peer.exact, peer.bfloat16]))
@settings(max_examples=12)
def test_what_is_recomputed_is_what_the_peer_computed(tmp_path_factory, seed, rounding):
    retain = peer.tofu(seed + 1, rounding=rounding)
    found = imported(tmp_path_factory.mktemp("law"), peer.tofu(seed, retain, rounding=rounding), retain)
    compared = [leaf for split in found.values() for leaf in split.values() if leaf.peer is not None]
    assert {leaf.origin for leaf in compared} == {"recomputed"}
    # Probability, truth ratio, ROUGE; paraphrased; normalised; EM, ES; model utility; forget quality; MIA; PrivLeak.
    assert len(compared) == 4 * 3 + 2 + 2 + 2 + 1 + 1 + 6 + 1
    ranks = found["overall"]["forget_quality"]  # in bfloat16 ratios are equal, which 1e-10 then puts in an order
    for leaf in compared:
        if rounding is peer.exact or leaf is not ranks:
            assert leaf.score.value == pytest.approx(leaf.peer, rel=1e-7, abs=1e-7)


def test_the_order_of_the_examples_changes_nothing(tmp_path):
    retain = peer.tofu(1)
    log = peer.tofu(0, retain)
    shuffled = json.loads(json.dumps(log), object_hook=_shuffled)
    straight, mixed = (imported(tmp_path, each, retain) for each in (log, shuffled))
    assert straight == mixed


def test_which_row_has_which_numbers_changes_no_value_but_those_of_authors(tmp_path):
    log = peer.tofu(0, forget=40)
    order = np.random.default_rng(0).permutation(40)
    moved = copy.deepcopy(log)
    for name in log:
        if name.startswith("forget_Q_A"):
            moved[name]["value_by_index"] = {str(order[int(row)]): f for row, f in log[name]["value_by_index"].items()}
    first, second = (imported(tmp_path, each)["forget"] for each in (log, moved))
    for name, leaf in first.items():
        assert second[name].score.value == pytest.approx(leaf.score.value, rel=1e-12)
        assert second[name].score.n == leaf.score.n
    assert first["probability"].score.low != second["probability"].score.low


def test_the_same_numbers_through_our_own_records_give_the_same_scores(tmp_path):
    retain = peer.tofu(1)
    log = peer.tofu(0, retain)
    found, ours, theirs = imported(tmp_path, log, retain), _records(log), _records(retain)
    for split, said in ours.items():
        own = probability.compute(said, SETTINGS.probability) | truth_ratio.compute(said, SETTINGS.truth_ratio)
        for name, item in own.items():
            assert found[split][name].score.value == pytest.approx(item.mean, rel=1e-6)  # records are fp32
            assert found[split][name].score.n == item.n
    tests = forget_quality.compute(Observation(ours, {}), theirs, SETTINGS.forget_quality, BOOTSTRAP)
    for name, score in tests.items():
        assert found["overall"][name].score.value == pytest.approx(score.value, rel=1e-4)  # distances of fp32 numbers


def test_the_utility_is_that_of_our_metric_on_the_same_values(tmp_path):
    log = peer.tofu(0)
    own = {}
    for split, prefix in (("retain", "retain"), ("real_authors", "ra"), ("world_facts", "wf")):
        blocks = [log[name] for name in peer.UTILITY if name.startswith(prefix)]
        means = zip(SETTINGS.model_utility.components, [block["agg_value"] for block in blocks], strict=True)
        own[split] = {name: values([mean], split=split) for name, mean in means}
    score = model_utility.compute(Observation({}, own), {}, SETTINGS.model_utility, BOOTSTRAP)["model_utility"]
    assert imported(tmp_path, log)["overall"]["model_utility"].score.value == pytest.approx(score.value, rel=1e-7)


def test_examples_without_a_number_are_counted_and_too_many_make_the_mean_missing(tmp_path):
    log = peer.tofu(0, forget=200)
    rows = log["forget_Q_A_Prob"]["value_by_index"]
    rows["0"], rows["1"] = {"prob": None, "avg_loss": None}, None
    log["forget_Q_A_ROUGE"]["value_by_index"]["7"]["rougeL_recall"] = math.nan
    for row in range(3):
        log["exact_memorization"]["value_by_index"][str(row)] = {"score": None}
    found = imported(tmp_path, log)["forget"]
    kept = [math.exp(-fields["avg_loss"]) for fields in list(rows.values())[2:]]
    assert numbers(found["probability"]) == (pytest.approx(np.mean(kept)), 198, 2, "recomputed")
    assert numbers(found["rouge"])[1:] == (199, 1, "recomputed")
    assert numbers(found["exact_memorization"]) == (None, 197, 3, "missing")
    assert found["exact_memorization"].note == "3 of 200 could not be scored"


def test_an_aggregate_alone_is_copied_and_nothing_at_all_is_missing_with_a_reason(tmp_path):
    found = imported(tmp_path, {"forget_Q_A_Prob": {"agg_value": 0.25}, "forget_Q_A_ROUGE": {"agg_value": None}})
    probability_leaf = found["forget"]["probability"].as_json()
    assert probability_leaf == dict.fromkeys(probability_leaf) | {"value": 0.25, "peer": 0.25, "origin": "copied"}
    for split, name in (("forget", "rouge"), ("retain", "probability"), ("overall", "mia_loss_auc")):
        assert found[split][name].score.value is None
        assert found[split][name].origin == "missing"
        assert found[split][name].note
    assert "the log lacks retain probability, retain rouge" in found["overall"]["model_utility"].note


def test_without_the_retain_model_its_comparisons_are_copied_or_missing(tmp_path):
    log = peer.tofu(0, peer.tofu(1))
    overall = imported(tmp_path, log)["overall"]
    assert numbers(overall["forget_quality"])[0] == log["forget_quality"]["agg_value"]
    assert overall["forget_quality"].origin == overall["privacy_leakage"].origin == "copied"
    assert overall["forget_quality_log10_p"].score.value == math.log10(log["forget_quality"]["agg_value"])
    assert overall["forget_quality_log10_p"].origin == "derived"
    for name in ("forget_quality_ks", "forget_distance", "forget_distance_p", "mia_loss_auc_difference"):
        assert (overall[name].score.value, overall[name].note) == (None, "needs --retain, the log of the retain model")


def test_scores_alone_serve_where_the_answers_are_not_in_both_logs(tmp_path):
    retain = peer.tofu(1)
    log = peer.tofu(0, retain)
    whole = imported(tmp_path, log, retain)["overall"]
    del retain["forget_Q_A_PERT_Prob"]
    found = imported(tmp_path, log, retain)["overall"]
    assert found["forget_quality"].score.value == whole["forget_quality"].score.value  # 1e-10 swaps no two of them
    arithmetic = SETTINGS._replace(forget_quality=SETTINGS.forget_quality.model_copy(update={"mean": "arithmetic"}))
    with pytest.raises(openunlearning.DataError, match="truth ratios on forget are missing, or not held as"):
        imported(tmp_path, log, retain, arithmetic)


def test_a_muse_log_has_its_f1_under_our_names(tmp_path):
    log = {
        "forget_knowmem_ROUGE": peer.rouge([0.5, 0.7], [0.2, 0.4], "rougeL_f1"),
        "forget_verbmem_ROUGE": peer.rouge([0.1, 0.3], [0.3, 0.5], "rougeL_f1"),
        "retain_knowmem_ROUGE": {"agg_value": 0.6},
        "extraction_strength": peer.scored([0.1, 0.2]),
    }
    found = imported(tmp_path, log, name="MUSE_EVAL.json")
    assert set(found) == {"forget", "retain", "overall"}
    assert numbers(found["forget"]["knowledge_memorization"]) == (pytest.approx(0.3), 2, 0, "recomputed")
    assert numbers(found["forget"]["verbatim_memorization"])[0] == pytest.approx(0.4)
    assert numbers(found["forget"]["rouge"])[0] == pytest.approx(0.6)
    assert found["retain"]["knowledge_memorization"].origin == "copied"
    assert found["retain"]["rouge"].origin == "missing"
    assert found["forget"]["extraction_strength"].score.value == pytest.approx(0.15)
    assert found["forget"]["knowledge_memorization"].score.low is not None  # each text stands for itself
    assert "model_utility" not in found["overall"]


def test_metrics_that_stand_inside_others_are_found(tmp_path):
    inner = {"forget_truth_ratio": peer.tofu(0)["forget_truth_ratio"]}
    found = imported(tmp_path, {"forget_quality": {"agg_value": None, "pre_compute": inner}})
    assert found["forget"]["truth_ratio"].origin == "recomputed"
    assert found["overall"]["forget_quality"].origin == "missing"


def test_the_document_is_json_without_nan_and_names_its_sources(tmp_path):
    path = peer.write(tmp_path / "TOFU_EVAL.json", peer.tofu(0))
    document = openunlearning.document(path, None, SETTINGS)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document == openunlearning.document(path, None, SETTINGS)
    assert document["benchmark"] == "TOFU"
    assert document["retain_log"] is None
    assert len(document["log"]["sha256"]) == 64
    assert document["settings"]["bootstrap"]["samples"] == 50
    assert document["conditions"]["none"]["forget"]["probability"]["origin"] == "recomputed"


def _shuffled(values):
    """The same object with the rows of a metric in another order."""
    if values and all(key.isdecimal() for key in values):
        return {key: values[key] for key in np.random.default_rng(0).permutation(list(values)).tolist()}
    return values


def _records(log):
    """The numbers of a log as records with one token an answer."""
    names = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}
    found = {}
    for split, prefix in names.items():
        blocks = [log.get(f"{prefix}_Q_A_{kind}", {}).get("value_by_index", {}) for kind in ("Prob", "PARA_Prob")]
        false = log[f"{prefix}_Q_A_PERT_Prob"]["value_by_index"]
        found[split] = Records(
            [
                item
                for row, fields in blocks[0].items()
                for item in question(
                    fields["avg_loss"],
                    blocks[1][row]["avg_loss"] if blocks[1] else None,
                    false[row]["avg_loss"],
                    split=split,
                    id=f"{int(row):06d}",
                    cluster=f"author{int(row) // 20:02d}",
                )
            ],
            [],
        )
    return found
