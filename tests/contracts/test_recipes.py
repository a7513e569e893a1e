"""What the library of recipes in params.yaml owes to the components, and the other way round."""

import pytest

from lethe import recipes, registry
from lethe.recipes import KINDS, Training
from tests.contracts import shipped


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
    monkeypatch.chdir(shipped.PARAMS.parent)


@pytest.mark.parametrize("name", shipped.library())
def test_every_recipe_resolves(name):
    assert recipes.resolve(name)["code"]


@pytest.mark.parametrize("part", KINDS)
def test_every_component_is_part_of_a_recipe(part):
    used = {block["name"] for recipe in shipped.library().values() for block in recipes.listed(recipe[part])}
    assert used == set(registry.names(KINDS[part]))


@pytest.mark.parametrize(
    "schema",
    [Training] + [registry.load(kind, name).Config for kind in KINDS.values() for name in registry.names(kind)],
    ids=lambda schema: schema.__module__,
)
def test_no_setting_has_a_default(schema):
    assert [name for name, field in schema.model_fields.items() if not field.is_required()] == []
