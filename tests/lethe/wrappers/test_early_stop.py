import pytest
import torch

from lethe import unlearning
from lethe.errors import DataError
from lethe.losses import Context
from lethe.recipes import Recipe
from lethe.wrappers import early_stop
from tests import unlearned
from tests.encoded import collated, examples, log_probs
from tests.interruption import killed_at, weights
from tests.learnt import knowing
from tests.logit_table import answers, assigning
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

ROWS = [(f"lose {n}?", "xyz"[n % 3] * (1 + 2 * n)) for n in range(4)]
FORGET = examples(ROWS)
RETAIN = examples([(f"keep {n}?", "abc"[n % 3] * 4) for n in range(4)])


KINDS = {"forget": "xyz", "retain": "abcd", "general": "yx", "validation": "dcbaz"}


def settings(**changes):
    numbers = {"metric": "nll", "rows": "forget", "num_rows": 3, "threshold": 1.0, "every_steps": 1}
    return early_stop.Config(**numbers | changes)


def told(metric, batch, model):
    context = Context(None, seed=0, sample=lambda split, count: batch)
    return early_stop.measured(model, settings(metric=metric), context)


def test_worked_example():
    # Two answers. Of the first, tokens 2 and 3 of 3 are first choices, of the second the first of 2 alone.
    # Targets: 3 of 5 hit. Ends of hits: 2/3 and 0, whose mean is 1/3. NLL: the mean of -log p.
    batch = answers(3, 2, prompt=2)
    probabilities = [0.1, 0.9, 0.9, 0.9, 0.1]
    table = assigning(batch, probabilities)
    assert told("exact_memorization", batch, table) == pytest.approx(3 / 5)
    assert told("extraction_strength", batch, table) == pytest.approx(1 / 3)
    expected = -torch.tensor(probabilities).log().mean().item()
    assert told("nll", batch, table) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("metric", "value", "ends"),
    [
        ("nll", 0.9, False),
        ("nll", 1.0, True),
        ("exact_memorization", 1.1, False),
        ("exact_memorization", 1.0, True),
        ("extraction_strength", 0.2, True),
    ],
)
def test_a_likelihood_has_to_fall_and_an_nll_to_rise(metric, value, ends):
    config = settings(metric=metric)
    assert early_stop.enough({f"early_stop_forget_{metric}": value}, config) is ends
    assert early_stop.enough({"forget_loss": value}, config) is False


def unlearn(model, folder, place="run", steps=6, **changes):
    wrapper = component("wrapper", "early_stop", **changes)
    point = recipe(forget_objective="grad_ascent", wrapper=wrapper, training=training(steps=steps, batch_size=2))
    given = unlearned.material(model, FORGET, RETAIN, folder, fingerprint=place)
    return unlearning.unlearn(model, given, Recipe(point, None))


def values(curve):
    return {entry["step"]: entry[name] for entry in curve for name in entry if name.startswith("early_stop")}


def test_every_so_many_steps_the_metric_stands_in_the_curve(tmp_path):
    curve = unlearn(tiny_model(), tmp_path, every_steps=2)
    assert list(values(curve)) == [2, 4, 6]


def test_training_ends_after_the_first_check_that_reaches_the_threshold(tmp_path):
    found = values(unlearn(tiny_model(), tmp_path, place="to the end", every_steps=1))
    assert sorted(found.values()) == list(found.values())  # ascent: the NLL goes up and up
    stopped = unlearn(tiny_model(), tmp_path, place="stopped", every_steps=1, threshold=found[3])
    assert [entry["step"] for entry in stopped] == [1, 2, 3]
    rarely = unlearn(tiny_model(), tmp_path, place="rarely", every_steps=2, threshold=found[3])
    assert [entry["step"] for entry in rarely] == [1, 2, 3, 4]


def test_until_it_stops_it_is_the_training_without_it(tmp_path):
    stopped, whole = tiny_model(), tiny_model()
    unlearn(whole, tmp_path, place="whole", steps=3, threshold=1e9)
    unlearn(stopped, tmp_path, place="stopped", steps=6, every_steps=3, threshold=-1.0)
    assert weights(stopped) == weights(whole)


@pytest.mark.parametrize("killed", [1, 3])
def test_a_run_that_was_killed_stops_at_the_same_step(killed, tmp_path, monkeypatch):
    threshold = values(unlearn(tiny_model(), tmp_path, place="to the end", every_steps=1))[4]
    undisturbed, resumed = tiny_model(), tiny_model()
    expected = unlearn(undisturbed, tmp_path, "undisturbed", every_steps=1, threshold=threshold)
    assert len(expected) == 4  # the step at which a checkpoint would have been written
    killed_at(
        killed, lambda: unlearn(tiny_model(), tmp_path, "killed", every_steps=1, threshold=threshold), monkeypatch
    )
    assert unlearn(resumed, tmp_path, "killed", every_steps=1, threshold=threshold) == expected
    assert weights(resumed) == weights(undisturbed)
    again = tiny_model()  # killed after it had stopped, before its result was in place
    assert unlearn(again, tmp_path, "undisturbed", every_steps=1, threshold=threshold) == expected
    assert weights(again) == weights(undisturbed)


def test_the_rows_are_the_same_at_every_look_and_nothing_that_is_drawn_later_hangs_on_it(tmp_path):
    model = tiny_model()
    for layer in model.model.layers:
        layer.self_attn.attention_dropout = 0.5
    given = unlearned.material(model, FORGET, RETAIN, tmp_path)
    context = unlearning.context(model, given, recipe())
    model.train()
    torch.manual_seed(3)
    found = early_stop.measured(model, settings(num_rows=40), context)
    drawn = torch.rand(1)
    assert found == early_stop.measured(model, settings(num_rows=40), context)
    assert model.training
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(1))
    assert found == early_stop.measured(model.eval(), settings(num_rows=40), context)  # asked without dropout


def test_as_many_rows_are_drawn_as_the_settings_say():
    asked, batch = [], answers(3, 2, prompt=2)
    context = Context(None, seed=0, sample=lambda split, count: (asked.append((split, count)), batch)[1])
    early_stop.measured(assigning(batch, [0.5] * 5), settings(num_rows=40), context)
    assert asked == [("forget", 16), ("forget", 16), ("forget", 8)]


def test_the_nll_is_that_of_the_rows_drawn(tmp_path):
    # With one row in the split every draw is that row.
    model = tiny_model()
    given = unlearned.material(model, FORGET[:1], RETAIN, tmp_path)
    found = early_stop.measured(model, settings(), unlearning.context(model, given, recipe()))
    sums = log_probs(model, collated(FORGET[:1]))
    assert found == pytest.approx(-sums.item() / FORGET[0].num_targets, rel=1e-5)


def test_each_kind_of_rows_is_its_own(tmp_path):
    # One row of each kind and no other, so that every draw is that row.
    model = tiny_model()
    rows = {kind: examples([(f"{kind}?", letters)]) for kind, letters in KINDS.items()}
    given = unlearned.material(
        model, rows["forget"], rows["retain"], tmp_path, general=rows["general"], validation=rows["validation"]
    )
    context = unlearning.context(model, given, recipe())
    for kind, (row,) in rows.items():
        expected = -log_probs(model, collated([row])).item() / row.num_targets
        assert early_stop.measured(model, settings(rows=kind), context) == pytest.approx(expected, rel=1e-5), kind


def test_what_is_known_by_heart_is_extracted_whole(tmp_path):
    model = knowing(*ROWS)
    given = unlearned.material(model, FORGET, RETAIN, tmp_path)
    context = unlearning.context(model, given, recipe())
    for metric in ("exact_memorization", "extraction_strength"):
        assert early_stop.measured(model, settings(metric=metric), context) == 1.0


@pytest.mark.parametrize("rows", ["general", "validation"])
def test_without_such_rows_it_is_an_error_in_one_line(rows, tmp_path):
    with pytest.raises(DataError, match=f"no {rows} rows to draw from"):
        unlearn(tiny_model(), tmp_path, rows=rows)


@pytest.mark.parametrize("metric", ["exact_memorization", "extraction_strength"])
def test_a_share_that_no_model_can_miss_is_refused(metric):
    numbers = {"metric": metric, "rows": "forget", "num_rows": 3, "every_steps": 1}
    for threshold in (0.0, 1.0):
        assert early_stop.Config(**numbers, threshold=threshold).threshold == threshold
    for threshold in (-0.1, 2.0):
        with pytest.raises(ValueError, match=rf"{metric} lies in \[0, 1\]"):
            early_stop.Config(**numbers, threshold=threshold)
