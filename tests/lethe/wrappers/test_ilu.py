import pytest
import torch
from torch.func import functional_call

from lethe import unlearning
from lethe.errors import DataError
from lethe.losses import Context
from lethe.recipes import Recipe
from lethe.wrappers import ilu
from tests import unlearned
from tests.encoded import collated, examples
from tests.logit_table import answers, assigning
from tests.small_recipes import component, recipe
from tests.tiny import tiny_model

ROWS = examples([("keep?", "abc"), ("and?", "de")])


def test_the_slope_is_the_derivative_by_a_scale_of_the_logits():
    model, batch = tiny_model(), collated(ROWS)
    scale = torch.ones((), requires_grad=True)
    logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits[batch.predicts].float()
    nll = torch.nn.functional.cross_entropy(scale * logits, batch.targets)
    torch.testing.assert_close(ilu.scale_slope(model, batch), torch.autograd.grad(nll, scale)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("probability", "slope"), [(0.2, 0.0), (0.9, -0.358352), (0.025, 2.220336)])
def test_a_model_that_is_as_sure_as_it_is_right_has_no_slope(probability, slope):
    # NLL less entropy among five tokens, the other four alike: log 5 − log 5, 0.105361 − 0.463712, 3.688879 − 1.468544.
    batch = answers(4)
    found = ilu.scale_slope(assigning(batch, [probability] * 4), batch).item()
    assert found == pytest.approx(slope, abs=1e-5)


def test_the_penalty_of_weights_is_that_of_a_scale_of_each_of_them():
    model, batch = tiny_model(), collated(ROWS)
    model.set_attn_implementation("eager")  # fused attention has no second derivative
    model.model.embed_tokens.weight.requires_grad_(False)  # what may not move has no scale
    weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    scales = {name: torch.ones_like(weight, requires_grad=True) for name, weight in weights.items()}
    scaled = {name: scales[name] * weight for name, weight in weights.items()}
    inputs = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    logits = functional_call(model, scaled, kwargs=inputs).logits[batch.predicts]
    nll = torch.nn.functional.cross_entropy(logits, batch.targets)
    slopes = torch.autograd.grad(nll, list(scales.values()), create_graph=True)
    expected = torch.autograd.grad(0.5 * sum(slope.square().sum() for slope in slopes), list(weights.values()))

    asked = []
    context = Context(None, seed=0, sample=lambda *given: (asked.append(given), batch)[1])
    config = ilu.Config(weight=0.5, scaled="weights", rows="retain", batch_size=2)
    assert ilu.backward([lambda: torch.zeros((), requires_grad=True)], model, config, context) == 0
    assert asked == [("retain", 2)]
    for weight, gradient in zip(weights.values(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=1e-4, atol=1e-8)
    assert max(gradient.abs().max() for gradient in expected) > 1e-5


def test_rows_that_the_source_does_not_have_are_named(tmp_path):
    point = recipe(wrapper=component("wrapper", "ilu", rows="general"))
    given = unlearned.material(tiny_model(), ROWS, ROWS, tmp_path)
    with pytest.raises(DataError, match="no general rows to draw from"):
        unlearning.unlearn(tiny_model(), given, Recipe(point, None))
