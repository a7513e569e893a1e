import json
import math
from pathlib import Path

import numpy as np
import pytest

from lethe import config, registry, scoring
from lethe.errors import ArtifactError
from lethe.meta_evaluation import documents, formulas
from lethe.meta_evaluation.documents import Document
from lethe.scores import Values
from tests.contracts.test_metrics import KNOWN, NAMES, PARAMS, computed, said_by

DECLARED = {name: module for module in (registry.load("metrics", it) for it in NAMES) for name in module.RANGE}


def document(forget, seed):
    """What every metric makes of a model that finds the forget answers about as likely as this."""
    blocks = config.read_params(PARAMS)["metrics"]
    modules = {name: registry.load("metrics", name) for name in NAMES}
    every = [scoring.Metric(name, it, config.parse(it.Config, blocks[name], name)) for name, it in modules.items()]
    changed = {split: forget if split.startswith("forget") else known for split, known in KNOWN.items()}
    splits: dict = {"overall": {}}
    for metric in every:
        for where, found in computed(metric, said_by(changed, seed), said_by(KNOWN), every).items():
            split, _, name = where.rpartition("/")
            value = found.mean if isinstance(found, Values) else found.value
            splits.setdefault(split or "overall", {})[name] = {
                "value": None if value is None or np.isnan(value) else value
            }
    return Document(Path(f"{forget}.json"), {"none": splits}, {})


@pytest.fixture(scope="module")
def models():
    return [document(0.9, 1), document(0.8, 2)], [document(0.05, 3), document(0.02, 4)]


def test_every_number_that_counts_as_knowledge_is_larger_for_models_that_know(models):
    """A new metric of the other direction is found here: give it its place in ``documents``."""
    knowing, ignorant = models
    wrong = {}
    names = documents.names([*knowing, *ignorant])
    for name in names:
        known, unknown = ([documents.knowledge(it, "none", name) for it in pool] for pool in models)
        found = formulas.faithfulness([n for n in known if n is not None], [n for n in unknown if n is not None])
        made_up = name[1].startswith("mia_recall")  # one ratio everywhere in the records of the tests: noise alone
        if found is not None and found < 0.5 and not made_up:
            wrong[name] = found
        assert all(number is None or number >= 0 for number in (*known, *unknown)), name
    assert wrong == {}
    assert {("forget", "truth_ratio"), ("overall", "forget_perplexity"), ("overall", "mia_loss_auc")} <= set(names)


@pytest.mark.parametrize(
    "name",
    [
        "ngram_entropy",
        "choice_letter_mass",
        "model_utility",
        "forget_quality",
        "mia_loss_auc_difference",
        "privacy_score",
    ],
)
def test_what_is_no_knowledge_or_compares_with_the_retain_model_is_left_out(models, name):
    assert name in DECLARED
    assert name not in {number for _, number in documents.names(models[0])}


def test_every_exception_is_the_name_of_a_number():
    assert {*documents._KNOWLEDGE, *documents._NO_KNOWLEDGE} <= set(DECLARED)
    assert all(any(name.startswith(start) for name in DECLARED) for start in documents._AGAINST_RETAIN)


def test_other_splits_do_not_tell_of_the_forget_set(models):
    assert {split for split, _ in documents.names(models[0])} >= {"forget", "forget_level1", "overall"}
    assert not {"retain", "holdout", "world_facts"} & {split for split, _ in documents.names(models[0])}


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (None, "x.json: no such file; give a file of data/scores/"),
        ([1, 2], "x.json: no score file, it has no conditions.none; give"),
        ({"forget_probability": 0.5}, "x.json: no score file, it has no conditions.none; give"),
        ({"conditions": {"int3": {}}}, "x.json: no score file, it has no conditions.none; give"),
        ({"conditions": {"none": 3}}, "x.json: conditions.none: expected a score with a value; give"),
        ({"conditions": {"none": {"forget": {"rouge": 3}}}}, "x.json: conditions.none.forget.rouge: expected a score"),
        ({"conditions": {"none": {"forget": {"rouge": {"value": "3"}}}}}, "conditions.none.forget.rouge: expected"),
        (
            {"conditions": {"none": {"forget": {"rouge": {"value": math.nan}}}}},
            "conditions.none.forget.rouge: expected",
        ),
        ({"conditions": {"none": {}}}, "x.json: it does not say the settings of its metrics; score or import"),
        ({"conditions": {"none": {}}, "settings": {"rouge": True}}, "x.json: it does not say the settings"),
    ],
)
def test_what_is_no_score_file_is_named(tmp_path, monkeypatch, written, message):
    monkeypatch.chdir(tmp_path)
    if written is not None:
        Path("x.json").write_text(json.dumps(written))
    with pytest.raises(ArtifactError) as raised:
        documents.read(Path("x.json"))
    assert message in str(raised.value)


def test_bytes_that_are_no_text_are_no_score_file(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(bytes([0, 255, 254]))
    with pytest.raises(ArtifactError, match=r"model\.safetensors: not valid JSON .*; give a file of data/scores/"):
        documents.read(path)


def test_models_whose_metrics_were_set_in_different_ways_are_not_compared():
    ours = {"rouge": {"stemmer": True}, "mia_min_k": {"k": 0.4, "drop_eos": "never"}}
    theirs = {"mia_min_k": {"k": 0.2, "drop_eos": "never"}, "bootstrap": {"samples": 100}}
    first, again, imported = (
        documents.Document(Path(f"{name}.json"), {"none": {}}, settings)
        for name, settings in (("npo-0", ours), ("npo-1", ours), ("imported", theirs))
    )
    documents.require_same_settings([first, again])
    with pytest.raises(ArtifactError) as raised:
        documents.require_same_settings([first, again, imported])
    assert str(raised.value) == (
        "imported.json: metrics.mia_min_k.k was 0.2, in npo-0.json 0.4; "
        "score all models that are compared with the same settings."
    )


def test_an_imported_log_is_compared_by_the_metrics_that_it_was_scored_with():
    ours = {"rouge": {"stemmer": True}, "probability": {"mode": "exact"}, "bootstrap": {"samples": 10000}}
    theirs = {"probability": {"mode": "exact"}, "bootstrap": {"samples": 100}}
    found = [documents.Document(Path("x.json"), {"none": {}}, settings) for settings in (ours, theirs)]
    documents.require_same_settings(found)
