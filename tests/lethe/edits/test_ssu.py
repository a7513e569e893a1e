import re
from dataclasses import replace

import pytest
import torch
from torch import nn

from lethe import editing
from lethe.batches import Example
from lethe.edits import ssu, task_vector
from lethe.errors import DataError
from tests import small_recipes, unlearned
from tests.encoded import examples
from tests.small_recipes import ADAPTERS
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["ssu"]
FORGET = examples([(f"lose {n}?", letter * 4) for n, letter in enumerate("abcdef")])
FITTING = {key: SETTINGS[key] for key in ("optimizer", "mask", "training")}


def edited(tmp_path, forget=FORGET, **changes):
    model = tiny_model()
    place = str(len(list(tmp_path.iterdir())) + len(forget)) + str(sorted(map(str, changes.items())))[:40]
    given = unlearned.material(model, forget, [], tmp_path, fingerprint=place.replace("/", ""))
    curve = ssu.edit(model, given, ssu.Config(**SETTINGS | changes))
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach(), curve


def gated(form, deviations):
    model = nn.Linear(2, 2, bias=False)
    model.weight.grad = torch.tensor([[1.0, -3.0], [0.0, 4.0]])
    ssu.gate(model, form, deviations)
    return model.weight.grad.flatten().tolist()


def test_the_gate_keeps_what_is_above_the_mean_of_all_entries():
    # |g| = 1, 3, 0, 4: mean 2, squares of the deviations 1 + 1 + 4 + 4 over 3, std 1.826.
    assert gated("paper", 0.0) == [0, -3, 0, 4]
    assert gated("paper", 1.0) == [0, 0, 0, 4]
    assert gated("paper", 2.0) == [0, 0, 0, 0]


def test_the_gate_of_the_release_adds_the_gradient_once_more():
    assert gated("release", 0.0) == [1, -6, 0, 8]


def test_the_threshold_is_over_all_weights_at_once():
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
    for parameter, value in zip(model.parameters(), (1.0, 2.0, 6.0), strict=True):
        parameter.grad = torch.full_like(parameter, value)
    ssu.gate(model, "paper", 0.0)  # mean 3
    assert [parameter.grad.item() for parameter in model.parameters()] == [0, 0, 6]


def test_a_mismatched_row_is_the_own_prompt_with_the_other_answer():
    one, other = Example("one", (1, 2, 3, 8, 9), 2, True), Example("other", (4, 5, 6, 7), 3, True)
    assert ssu.mismatched(one, other) == Example("one", (1, 2, 3, 5, 6, 7), 3, True)


def test_a_mismatched_text_is_the_own_first_half_with_the_other_second_half():
    one, other = Example("one", (1, 2, 3, 4), 3, False), Example("other", (5, 6, 7, 8, 9), 4, False)
    assert ssu.mismatched(one, other) == Example("one", (1, 2, 7, 8, 9), 3, False)


def test_rows_that_share_a_token_with_their_prompt_are_given_answers_as_one_text(tmp_path):
    rows = [replace(row, boundary_merge=row.row.endswith("0?")) for row in FORGET]
    model, asked = tiny_model(), []
    given = unlearned.material(model, rows, [], tmp_path)

    def answered(row, other):
        asked.append({row, other})
        return ssu.mismatched(*(next(one for one in rows if one.row == name) for name in (row, other)))

    given = replace(given, rows=replace(given.rows, answered=answered))
    ssu.edit(model, given, ssu.Config(**SETTINGS | {"requests": "all"}))
    assert asked
    assert all("lose 0?" in pair and len(pair) == 2 for pair in asked)
    plain, _ = edited(tmp_path, requests="all")  # nothing else is another
    assert torch.equal(torch.nn.utils.parameters_to_vector(model.parameters()), plain)


def test_every_cluster_is_a_request_of_its_own(tmp_path):
    _, clusters = edited(tmp_path)
    _, together = edited(tmp_path, requests="all")
    assert (len(clusters), len(together)) == (12, 6)  # two clusters of six steps each


def test_a_request_goes_on_from_the_last_and_what_was_removed_stays_in_the_vector(tmp_path):
    # Steps of plain SGD size would add up; here only that the second request starts where the first one ended.
    first = [row for index, row in enumerate(FORGET) if index % 2 == 0]
    origin = torch.nn.utils.parameters_to_vector(tiny_model().parameters()).detach()
    both, _ = edited(tmp_path)
    alone, _ = edited(tmp_path, first, requests="all")
    assert torch.dot(both - origin, alone - origin) > 0.3 * (alone - origin).square().sum()
    assert not torch.equal(both, alone)


def test_two_requests_are_the_negation_of_what_was_learnt_one_after_the_other(tmp_path):
    # θ_u = θ_o − τ with τ = θ_ft − θ_o, where θ_ft went on from the first request to the second.
    found, _ = edited(tmp_path, wrong_answer_weight=0.0, gate="none")
    learnt, origin = tiny_model(), torch.nn.utils.parameters_to_vector(tiny_model().parameters()).detach()
    for number in range(2):  # clusters alternate
        given = unlearned.material(learnt, FORGET[number::2], [], tmp_path, fingerprint=f"learnt-{number}")
        editing.learn(learnt, FORGET[number::2], editing.Fitting(**FITTING), given, phase="learn")
    vector = torch.nn.utils.parameters_to_vector(learnt.parameters()).detach() - origin
    torch.testing.assert_close(found, origin - vector, rtol=1e-4, atol=1e-5)
    assert vector.abs().max() > 1e-3


def test_ungated_and_without_wrong_answers_it_is_the_plain_task_vector(tmp_path):
    found, _ = edited(tmp_path, requests="all", wrong_answer_weight=0.0, gate="none")
    model = tiny_model()
    given = unlearned.material(model, FORGET, [], tmp_path, fingerprint="plain")
    task_vector.edit(model, given, task_vector.Config(**FITTING, scale=1.0, search=None, rows=None))
    torch.testing.assert_close(
        found, torch.nn.utils.parameters_to_vector(model.parameters()).detach(), rtol=1e-4, atol=1e-5
    )


def test_weights_that_are_never_salient_stay_where_they_were(tmp_path):
    found, _ = edited(tmp_path, gate_deviations=1e6)
    assert torch.equal(found, torch.nn.utils.parameters_to_vector(tiny_model().parameters()).detach())


def test_of_adapters_the_gate_keeps_entries_too_and_their_merge_is_all_that_changes(tmp_path):
    origin, found = tiny_model(), tiny_model()
    given = unlearned.material(found, FORGET, [], tmp_path, fingerprint="adapters")
    ssu.edit(found, given, ssu.Config(**SETTINGS | {"mask": ADAPTERS, "gate_deviations": 4.0}))
    still, moved = edited(tmp_path, mask=ADAPTERS, gate_deviations=1e6), dict(found.named_parameters())
    changed = {name for name, old in origin.named_parameters() if not torch.equal(old, moved[name])}
    assert torch.equal(still[0], torch.nn.utils.parameters_to_vector(origin.parameters()).detach())
    assert changed
    assert all(re.search(ADAPTERS["patterns"][0], name) for name in changed)
    # A row of B that was never salient is zero, and so is that row of B A.
    assert any((dict(origin.named_parameters())[name] == moved[name]).all(dim=1).any() for name in changed)


def test_each_request_has_adapters_of_its_own(tmp_path):
    # Two requests at rank 1: a chain of two merges is of rank 2, which one adapter of rank 1 cannot be.
    narrow = {"mask": ADAPTERS | {"rank": 1}, "gate": "none"}
    origin, model = tiny_model(), tiny_model()
    given = unlearned.material(model, FORGET, [], tmp_path, fingerprint="narrow")
    ssu.edit(model, given, ssu.Config(**SETTINGS | narrow))
    layer = "model.layers.0.self_attn.q_proj.weight"
    vector = dict(model.named_parameters())[layer] - dict(origin.named_parameters())[layer]
    sizes = torch.linalg.svdvals(vector.detach().double())
    assert sizes[1] > 1e-3 * sizes[0] > 1e3 * sizes[2]


def test_the_gate_moves_fewer_weights(tmp_path):
    origin = torch.nn.utils.parameters_to_vector(tiny_model().parameters()).detach()
    gated_weights, open_weights = (edited(tmp_path, gate=gate)[0] for gate in ("paper", "release"))
    assert 0 < (gated_weights != origin).sum() < (open_weights != origin).sum()


def test_a_request_of_one_row_has_no_wrong_answer(tmp_path):
    with pytest.raises(DataError, match="request 'a' has one answer for all of its rows, 1,"):
        edited(tmp_path, FORGET[:2])


def test_a_request_whose_rows_all_have_one_answer_has_no_wrong_answer(tmp_path):
    with pytest.raises(DataError, match="request 'all' has one answer for all of its rows, 3,"):
        edited(tmp_path, examples([(f"lose {n}?", "same") for n in range(3)]), requests="all")


def test_no_row_is_taught_its_own_answer_also_where_another_row_has_it(tmp_path, monkeypatch):
    rows, taught = examples([("a?", "same"), ("b?", "same"), ("c?", "other")]), set()
    mismatched = ssu.mismatched

    def watched(example, other):
        taught.add((example.row, other.row))
        return mismatched(example, other)

    monkeypatch.setattr(ssu, "mismatched", watched)
    edited(tmp_path, rows, requests="all")
    assert taught == {("a?", "c?"), ("b?", "c?"), ("c?", "a?"), ("c?", "b?")}
