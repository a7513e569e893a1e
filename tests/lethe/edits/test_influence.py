from dataclasses import replace

import pytest
import torch

from lethe import editing, importance, losses
from lethe.edits import influence
from lethe.errors import ConfigError, DataError
from tests import small_recipes, unlearned
from tests.copies import Copies
from tests.encoded import collated, examples
from tests.tiny import tiny_model

SETTINGS = small_recipes.SETTINGS["edit"]["influence"]
FORGET = examples([(f"lose {n}?", letter * 4) for n, letter in enumerate("abcd")])
RETAIN = examples([(f"keep {n}?", letter * 4) for n, letter in enumerate("efgh")])
MATRIX = torch.tensor([[4.0, 1.0, 0.0], [1.0, 3.0, 1.0], [0.0, 1.0, 2.0]])


def config(**changes):
    return influence.Config(**SETTINGS | changes)


def edited(tmp_path, **changes):
    model = tiny_model()
    curve = influence.edit(model, unlearned.material(model, FORGET, RETAIN, tmp_path), config(**changes))
    before = tiny_model()
    moved = [after - old for after, old in zip(model.parameters(), before.parameters(), strict=True)]
    return torch.cat([part.detach().flatten() for part in moved]), curve[0]


def cut(vector):
    return [vector[:2].clone(), vector[2:].clone()]


def test_conjugate_gradients_solve_the_damped_system():
    target = torch.tensor([1.0, -2.0, 0.5])
    solution = influence.solved(lambda parts: cut(MATRIX @ torch.cat(parts)), cut(target), 0.5, iterations=3)
    torch.testing.assert_close(torch.cat(solution), torch.linalg.solve(MATRIX + 0.5 * torch.eye(3), target))


def test_one_iteration_is_the_best_multiple_of_the_gradient():
    # x = g gᵀg / gᵀAg: with A = diag(1, 3) and g = (1, 1) it is 2 / 4 of g.
    found = influence.solved(lambda parts: [parts[0] * torch.tensor([1.0, 3.0])], [torch.ones(2)], 0.0, iterations=1)
    assert found[0].tolist() == pytest.approx([0.5, 0.5])


def test_where_the_curvature_is_the_same_everywhere_the_direction_is_that_of_ascent():
    # C = 2 I and λ = 1/2: x = g / 2.5, after one iteration as after five.
    target = torch.tensor([1.0, -2.0, 0.5])
    for iterations in (1, 5):
        found = influence.solved(lambda parts: [2 * part for part in parts], cut(target), 0.5, iterations=iterations)
        torch.testing.assert_close(torch.cat(found), target / 2.5)


def test_where_the_curvature_is_negative_at_once_the_direction_is_the_gradient():
    target = [torch.tensor([1.0, 2.0])]
    assert influence.solved(lambda parts: [-parts[0]], target, 0.5, iterations=5)[0].tolist() == [1, 2]


def norms(model):
    """The last norm alone: few enough weights for a whole matrix."""
    return [model.model.norm.weight]


def row_gradient(model, row):
    nll = -losses.token_mean(losses.target_log_probs(model, collated([row])))
    return torch.autograd.grad(nll, norms(model))[0]


def test_a_fisher_product_is_that_of_the_outer_products_of_single_rows():
    model, vector = tiny_model(), torch.randn(32, generator=torch.Generator().manual_seed(0))
    gradients = torch.stack([row_gradient(model, row) for row in RETAIN])
    fisher = gradients.T @ gradients / len(RETAIN)
    found = influence.curvature_product(model, norms(model), RETAIN, [vector], "fisher", pad=unlearned.PAD)
    torch.testing.assert_close(found[0], fisher @ vector, rtol=1e-4, atol=1e-7)


def test_a_hessian_product_is_the_slope_of_the_gradient():
    model, vector = tiny_model(), torch.randn(32, generator=torch.Generator().manual_seed(0))
    found = influence.curvature_product(model, norms(model), RETAIN, [vector], "hessian", pad=unlearned.PAD)[0]

    def gradient_at(length):
        moved = tiny_model()
        with torch.no_grad():
            moved.model.norm.weight.add_(vector, alpha=length)
        return sum(row_gradient(moved, row).double() for row in RETAIN) / len(RETAIN)

    slope = (gradient_at(1e-2) - gradient_at(-1e-2)) / 2e-2  # its error is of the order of the square of the length
    assert (found - slope).norm() <= 1e-3 * slope.norm()


def test_the_step_is_the_forget_gradient_over_the_damped_diagonal(tmp_path):
    model = tiny_model()
    names = [name for name, _ in model.named_parameters() if "norm" not in name]
    fisher = importance.fisher(model, RETAIN, batch_size=1, pad=unlearned.PAD)
    entries = torch.cat([fisher[name].flatten() for name in names])
    damping = entries.sort().values[round(0.5 * (len(entries) - 1))]

    def nll(batch):
        return -losses.token_mean(losses.target_log_probs(model, batch))

    gradient = importance.summed_gradient(model, FORGET, nll, batch_size=1, pad=unlearned.PAD)
    influence.edit(model, unlearned.material(model, FORGET, RETAIN, tmp_path), config())
    after, before = dict(model.named_parameters()), dict(tiny_model().named_parameters())
    for name in names:
        expected = before[name] + 1e-7 * gradient[name] / (fisher[name] + damping)
        torch.testing.assert_close(after[name], expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("inverse", ["diagonal", "fisher", "hessian"])
def test_it_is_linear_in_the_scale(tmp_path, inverse):
    changes = {"inverse": inverse, "iterations": None if inverse == "diagonal" else 3}
    once, twice = (edited(tmp_path, scale=scale, **changes)[0] for scale in (1e-4, 2e-4))
    assert (twice - 2 * once).norm() <= 1e-3 * twice.norm()


def test_a_small_step_raises_the_forget_loss_by_every_inverse(tmp_path):
    for inverse, iterations in (("diagonal", None), ("fisher", 3), ("hessian", 3)):
        model = tiny_model()
        before = editing.mean_nll(model, FORGET, pad=unlearned.PAD)
        given = unlearned.material(model, FORGET, RETAIN, tmp_path)
        influence.edit(model, given, config(inverse=inverse, iterations=iterations, scale=1e-6))
        assert editing.mean_nll(model, FORGET, pad=unlearned.PAD) > before


def test_what_is_searched_is_within_the_budget(tmp_path):
    search = {"perplexity_ratio": 1.1, "largest": 1.0, "halvings": 40, "bisections": 4}
    moved, entry = edited(tmp_path, scale=None, search=search)
    assert 1 < entry["perplexity_ratio"] <= 1.1
    assert moved.norm() > 0


def test_without_a_gradient_to_divide_by_it_says_what_to_do(tmp_path):
    # Most of an embedding belongs to tokens that no retain row has.
    with pytest.raises(ConfigError, match="damping_percentile: 10 % of the weights"):
        edited(tmp_path, damping_percentile=10.0)


def test_without_other_rows_it_says_so(tmp_path):
    model = tiny_model()
    with pytest.raises(DataError, match="no general rows"):
        influence.edit(model, unlearned.material(model, FORGET, RETAIN, tmp_path), config(rows="general"))


@pytest.mark.parametrize(
    "changes", [{"scale": None}, {"iterations": 3}, {"inverse": "fisher"}], ids=["no scale", "for nothing", "none"]
)
def test_settings_that_do_not_fit_together_are_refused(changes):
    with pytest.raises(ValueError, match=r"one of scale and search|iterations are for"):
        config(**changes)


def test_conjugate_gradients_need_no_more_memory_than_it_says(tmp_path):
    model = tiny_model()
    given = replace(unlearned.material(model, FORGET, RETAIN, tmp_path), original=tiny_model)
    with Copies(model) as copies:
        influence.edit(model, given, config(inverse="hessian", iterations=2))
    assert copies.peak <= influence.COPIES
