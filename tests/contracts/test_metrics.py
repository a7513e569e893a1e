"""What every metric owes. A new file in ``lethe/metrics/`` is held to this without an edit here."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lethe import config, registry, scoring
from lethe.records import Records
from lethe.scores import Observation, Score, Values
from tests.synthetic_records import BOOTSTRAP, SPLITS, choice_records, model_records, text_records

PARAMS = Path(__file__).parents[2] / "params.yaml"
NAMES = registry.names("metrics")
NEEDS = {
    "likelihoods",
    "generations",
    "paraphrased_answers",
    "perturbed_answers",
    "texts",
    "text_continuations",
    "choice_questions",
    "rwku_probes",
    "rwku_passages",
    "answers_after_prefix",
    "gradients",
    "holdout",
    "retain_model",
    "another_retain_model",
}
PROBES = ("forget_level1", "forget_level2", "forget_level3_role_play", "neighbor_level1", "neighbor_level2")
PASSAGES = ("forget_mia", "retain_mia")
ASKED = (*SPLITS, *PROBES, *PASSAGES, "forget_texts", "world_by_letter")  # from the passages on not by questions
KNOWN = dict(zip(SPLITS, (0.3, 0.9, 0.28, 0.7), strict=True)) | dict.fromkeys(PROBES, 0.6)


def said_by(known, seed=0):
    """What a model says to questions, to texts and to multiple choice by letters."""
    parts = [model_records(known, seed=seed), text_records(known["forget"], "forget_texts", seed=seed)]
    parts.append(choice_records(known["world_facts"], "world_by_letter", seed=seed))
    parts += [text_records(known["forget"], split, seed=seed) for split in PASSAGES]
    return Records(
        [item for part in parts for item in part.likelihoods],
        [item for part in parts for item in part.generations],
        [item for part in parts for item in part.gradients],
    )


@pytest.fixture(params=NAMES)
def metric(request):
    module = registry.load("metrics", request.param)
    blocks = config.read_params(PARAMS)["metrics"]
    return scoring.Metric(request.param, module, config.parse(module.Config, blocks[request.param], request.param))


def computed(metric, model, retain, others):
    """The named results of a metric: of every split (as ``split/name``), or of the model."""
    by_split = {split: model.where(split=split) for split in ASKED}
    if metric.module.SCOPE == "split":
        return {
            f"{split}/{name}": found
            for split, said in by_split.items()
            for name, found in metric.module.compute(said, metric.config).items()
        }
    retain_records = {split: retain.where(split=split) for split in ASKED}
    observation = replace(scoring.observe(by_split, others), another_retain=retain_records)
    return metric.module.compute(observation, retain_records, metric.config, BOOTSTRAP)


def results(metric, model, retain):
    blocks = config.read_params(PARAMS)["metrics"]
    modules = {name: registry.load("metrics", name) for name in NAMES}
    others = [
        scoring.Metric(name, module, config.parse(module.Config, blocks[name], name))
        for name, module in modules.items()
    ]
    return computed(metric, model, retain, others)


def shuffled(said):
    generator = np.random.default_rng(0)
    likelihoods, generations = list(said.likelihoods), list(said.generations)
    generator.shuffle(likelihoods)
    generator.shuffle(generations)
    return Records(likelihoods, generations, said.gradients[::-1])


def as_numbers(found):
    if isinstance(found, Values):
        return [*found.ids, *found.clusters, found.numbers.tolist()]
    return [found.value, found.low, found.high, found.n, found.unscored]


def test_every_metric_has_a_block_of_params_and_every_block_a_metric():
    assert sorted(config.read_params(PARAMS)["metrics"]) == NAMES


def test_it_declares_its_scope_its_ranges_its_directions_and_its_needs(metric):
    module = metric.module
    assert module.SCOPE in ("split", "model")
    assert module.RANGE
    assert all(low < high for low, high in module.RANGE.values())
    assert set(module.DIRECTION) == set(module.RANGE)
    assert set(module.DIRECTION.values()) <= {"lower", "higher", "match_oracle"}
    assert module.NEEDS
    assert module.NEEDS <= NEEDS


def test_no_setting_has_a_default(metric):
    assert all(field.is_required() for field in metric.module.Config.model_fields.values())


def test_its_docstring_says_what_the_number_means_and_where_it_comes_from(metric):
    docstring = metric.module.__doc__
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|\b(19|20)\d\d\b", docstring)
    assert re.search(r"\b[01]\b", docstring)


def test_the_order_of_records_changes_nothing(metric):
    model, retain = said_by(KNOWN), said_by({**KNOWN, "forget": 0.2}, seed=1)
    straight, mixed = results(metric, model, retain), results(metric, shuffled(model), shuffled(retain))
    assert {name: as_numbers(found) for name, found in straight.items()} == {
        name: as_numbers(found) for name, found in mixed.items()
    }


def test_values_stay_in_their_declared_range_whether_the_model_knows_or_not(metric):
    for probability in (1e-30, 0.3, 1.0):
        model, retain = said_by(dict.fromkeys(KNOWN, probability)), said_by(KNOWN, seed=1)
        for name, found in results(metric, model, retain).items():
            low, high = metric.module.RANGE[name.split("/")[-1]]
            numbers = found.numbers if isinstance(found, Values) else np.array([found.value])
            assert (numbers >= low).all(), name
            assert (numbers <= high).all(), name


def test_nothing_asked_is_missing_not_zero(metric):
    nothing = Records([], [])
    if metric.module.SCOPE == "model":
        found = metric.module.compute(Observation({}, {}), {}, metric.config, BOOTSTRAP)
        assert {(score.value, score.low, score.high, score.n, score.unscored) for score in found.values()} == {
            (None, None, None, 0, 0)
        }
    for values in metric.module.compute(nothing, metric.config).values() if metric.module.SCOPE == "split" else ():
        assert (values.n, values.unscored) == (0, 0)
        assert np.isnan(values.mean)


def test_scored_and_unscored_questions_are_all_that_were_asked(metric):
    # Every second answer of each kind is lost; what cannot be scored is counted, never averaged in as a zero.
    whole = said_by(KNOWN)
    model = Records(whole.likelihoods[::2], whole.generations[1::2])
    for name, found in results(metric, model, model).items():
        if isinstance(found, Values):
            said = model.where(split=name.split("/")[0])
            asked = {record.id for record in (*said.likelihoods, *said.generations)}
            assert set(found.ids) <= asked  # some metrics are made for texts, for letters, for false answers alone
            assert found.n + found.unscored == len(found.ids)
            only_likelihoods = not metric.module.NEEDS - {"likelihoods"}
            assert set(found.ids) == asked or not only_likelihoods
        else:
            assert isinstance(found, Score)
            assert (found.value is None) == bool(found.unscored)
