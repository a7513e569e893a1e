import pytest
import torch

from lethe import unlearning
from lethe.errors import DataError
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


def test_rows_that_the_source_does_not_have_are_named(tmp_path):
    point = recipe(wrapper=component("wrapper", "ilu", rows="general"))
    given = unlearned.material(tiny_model(), ROWS, ROWS, tmp_path)
    with pytest.raises(DataError, match="no general rows to draw from"):
        unlearning.unlearn(tiny_model(), given, Recipe(point, None))
