"""Whatever is wrong in a block of a recipe, one short line says where, what was found and what is allowed."""

import copy
from collections.abc import Iterator

import pytest
from ruamel.yaml import YAML

from lethe import config, recipes
from lethe.errors import ConfigError
from tests.contracts import shipped

LIBRARY = config.read_params(shipped.PARAMS)["recipes"]
_LONGEST = 300  # characters
_MISSPELT = "zzz"


def examples(part):
    """Of each component that fills a part of a recipe, one recipe that uses it and the path to its block."""
    found = {}
    for name, recipe in LIBRARY.items():
        written = recipe[part]
        for index, block in enumerate(written if isinstance(written, list) else [written]):
            if block is not None:
                path = (part, index) if isinstance(written, list) else (part,)
                found.setdefault(block["name"], (name, path))
    return found.values()


def paths(block, path) -> Iterator[tuple]:
    """The path to everything that stands in a block, at any depth."""
    for key, value in block.items() if isinstance(block, dict) else enumerate(block):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from paths(value, (*path, key))


def at(recipe, path):
    for key in path:
        recipe = recipe[key]
    return recipe


def mistakes(name, path) -> Iterator[tuple[tuple, dict]]:
    """Recipes with one mistake each, a dictionary for a value, a missing key or one too many, and where it is."""
    for place in paths(at(LIBRARY[name], path), path):
        *above, last = place
        for change in ("replace", "drop", "add"):
            recipe = copy.deepcopy(LIBRARY[name])
            holder = at(recipe, above)
            if change == "replace":
                holder[last] = {_MISSPELT: 1}
            elif isinstance(holder, list):
                continue
            elif change == "drop":
                del holder[last]
            else:
                holder[f"{last}_{_MISSPELT}"] = 1
            yield place, recipe


@pytest.mark.parametrize("part", recipes.KINDS)
def test_one_mistake_is_one_short_line_that_says_where(part, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    count = 0
    for name, path in examples(part):
        for place, recipe in mistakes(name, path):
            YAML().dump({"recipes": {name: recipe}}, config.PARAMS)
            with pytest.raises(ConfigError) as raised:
                recipes.read(name)
            message = str(raised.value)
            assert message.startswith(f"params.yaml: recipes.{name}.{part}"), (place, message)
            assert "\n" not in message
            assert len(message) < _LONGEST, (place, message)
            count += 1
    assert count > 3


def test_an_unknown_name_among_very_many_is_one_short_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    YAML().dump({"recipes": LIBRARY}, config.PARAMS)
    with pytest.raises(ConfigError, match=r"^params\.yaml: no 'npo_master' in recipes\. Did you mean '") as raised:
        recipes.read("npo_master")
    assert len(str(raised.value)) < _LONGEST
