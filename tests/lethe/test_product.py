"""Methods are points of a product: any forget objective with any combiner, mask and all the others."""

import itertools
import math
import random

import pytest
import torch

from lethe import registry, unlearning
from lethe.errors import ConfigError
from lethe.recipes import AXES, Recipe
from tests import unlearned
from tests.encoded import examples
from tests.interruption import weights
from tests.small_recipes import component, recipe, training
from tests.tiny import tiny_model

FORGET = [(f"lose {number}?", "xyz"[number % 3] * (number + 1)) for number in range(4)]
RETAIN = [(f"keep {number}?", "abc"[number % 3] * (number + 1)) for number in range(4)]
NAMES = {axis: registry.names(kind) for axis, kind in AXES.items()}
LOOKING = [name for name in NAMES["wrapper"] if hasattr(registry.load("wrappers", name), "after_step")]
WHOLE = list(itertools.product(NAMES["forget_objective"], NAMES["combiner"], NAMES["mask"]))


def spread(names, count, seed):
    """So many names, each as often as any other give or take one, in a random order that is always the same."""
    rounds = [random.Random(f"{seed} {turn}").sample(names, len(names)) for turn in range(-(-count // len(names)))]
    return list(itertools.chain(*rounds))[:count]


def sample(count):
    """So many points, in which every component of every axis has its part."""
    beside = [[*LOOKING], *([name, *LOOKING] for name in NAMES["wrapper"] if name not in LOOKING)]
    choices = NAMES | {"wrapper": [None, *NAMES["wrapper"], *beside]}
    columns = {axis: spread(names, count, seed=axis) for axis, names in choices.items()}
    return [fitting(dict(zip(columns, point, strict=True))) for point in zip(*columns.values(), strict=True)]


def fitting(point):
    """The point, with what a recipe may have beside an optimizer that takes no gradient (the rest is refused)."""
    kind = registry.load("optimizers", point["optimizer"]).GRADIENT
    allowed = {"estimated": {"combiner": "sum", "wrapper": LOOKING}, "partly_estimated": {"combiner": "sum"}}
    return point | allowed.get(kind, {})


def assert_three_steps_work(folder, **parts):
    model, before = tiny_model(), weights(tiny_model())
    forget = examples(FORGET, others=["no one knows", "in town"])
    given = unlearned.material(model, forget, examples(RETAIN), folder)
    point = recipe(**parts, training=training(steps=3, batch_size=2))
    curve = unlearning.unlearn(model, given, Recipe(point, None))
    assert [entry["step"] for entry in curve] == [1, 2, 3]
    assert all(math.isfinite(value) for entry in curve for value in entry.values())
    assert all(torch.all(torch.isfinite(parameter)) for parameter in model.parameters())
    assert weights(model).keys() == before.keys()
    assert weights(model) != before or all(entry["gradient_norm"] == 0 for entry in curve)  # a loss floor may stop it


@pytest.mark.parametrize(
    "parts", sample(2 * max(map(len, NAMES.values()))), ids=lambda parts: "-".join(map(str, parts.values()))
)
def test_three_steps_at_points_spread_over_all_axes(parts, tmp_path):
    assert_three_steps_work(tmp_path, **parts)


@pytest.mark.slow
@pytest.mark.parametrize(("objective", "combiner", "mask"), WHOLE)
def test_three_steps_with_every_forget_objective_combiner_and_mask(objective, combiner, mask, tmp_path):
    assert_three_steps_work(tmp_path, forget_objective=objective, combiner=combiner, mask=mask)


#: Recipes whose parts fit each other and not a model of two blocks. Each would come to it after the first step.
UNFIT = {
    "held below the mask": {
        "retain_objective": component("retain_objective", "activation_mse", layer=0),
        "combiner": "alternate",
        "mask": "layers",
    },
    "held above the last block": {
        "retain_objective": component("retain_objective", "activation_mse", layer=2),
        "combiner": "alternate",
    },
    "held above the last block by one term of a sum": {
        "retain_objective": component(
            "retain_objective",
            "weighted_sum",
            terms=[
                {"weight": 1.0, "objective": {"name": "nll"}},
                {"weight": 1.0, "objective": {"name": "activation_mse", "layer": 2}},
            ],
        ),
        "combiner": "alternate",
    },
    "attacked above the last block": {
        "wrapper": component("wrapper", "lat", layers=[2]),
        "optimizer": "hybrid",
    },
}


@pytest.mark.parametrize("parts", UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_the_model_is_refused_before_the_first_step(parts, tmp_path):
    model = tiny_model()
    given = unlearned.material(model, examples(FORGET), examples(RETAIN), tmp_path)
    with pytest.raises(ConfigError, match=r"layers?[: ].*name (a higher layer|one of them)"):
        unlearning.unlearn(model, given, Recipe(recipe(**parts, training=training(steps=3, batch_size=2)), None))
    assert weights(model) == weights(tiny_model())
