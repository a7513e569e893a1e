import subprocess
import sys

import pytest

from lethe import recipes, registry
from lethe.errors import ConfigError
from lethe.forget_objectives import npo

KINDS = ["sources", *recipes.KINDS.values(), "attacks", "metrics"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_of_a_folder_is_a_component_with_settings_of_its_own(kind):
    assert registry.names(kind)
    for name in registry.names(kind):
        assert registry.load(kind, name).Config.__module__ == f"lethe.{kind}.{name}"


def test_a_new_file_in_the_folder_is_a_new_component(tmp_path, monkeypatch):
    (tmp_path / "metrics").mkdir()
    for name in ("__init__.py", "second.py", "first.py", "notes.txt"):
        (tmp_path / "metrics" / name).touch()
    monkeypatch.setattr(registry, "LIBRARY", tmp_path)
    assert registry.names("metrics") == ["first", "second"]


def test_an_unknown_component_is_answered_with_the_nearest_one():
    with pytest.raises(ConfigError, match=r"^params\.yaml: no 'npoo' in forget_objectives\. Did you mean 'npo'\?"):
        registry.load("forget_objectives", "npoo")


@pytest.mark.parametrize(
    ("kind", "typed", "meant"),
    [
        ("forget_objectives", "NPO", "npo"),
        ("combiners", "PCGrad", "pcgrad"),
        ("forget_objectives", "ga", "grad_ascent"),
        ("forget_objectives", "IDK", "refusal"),
        ("forget_objectives", "idkdpo", "dpo"),
        ("combiners", "ngdiff", "normalised_difference"),
        ("optimizers", "zo", "zeroth_order"),
        ("optimizers", "signum", "sign_momentum"),
        ("masks", "sure", "saliency"),
        ("wrappers", "swa", "weight_averaging"),
        ("wrappers", "saf", "straight_through"),
        ("edits", "uwc", "model_mixing"),
    ],
)
def test_the_name_that_papers_use_leads_to_the_component(kind, typed, meant):
    with pytest.raises(ConfigError, match=f"no '{typed}' in {kind}. Did you mean '{meant}'"):
        registry.load(kind, typed)


@pytest.mark.parametrize("name", ["../config", "__init__", "npo.py", ""])
def test_only_a_file_of_the_folder_is_ever_imported(name):
    with pytest.raises(ConfigError, match="in forget_objectives"):
        registry.load("forget_objectives", name)


def test_loading_one_component_imports_no_other():
    code = "import sys; from lethe import registry; registry.load('metrics', 'probability'); print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in loaded if name.startswith("lethe.metrics.")] == ["lethe.metrics.probability"]


def test_the_file_of_a_component_is_the_one_it_is_loaded_from():
    assert registry.source_file("forget_objectives", "npo").samefile(npo.__file__)


def test_a_block_is_a_name_beside_the_components_own_keys():
    block = {"name": "npo", "beta": 0.1, "reduction": "sequence_sum"}
    module, settings = registry.configured("forget_objectives", block, "recipes.npo.forget_objective")
    assert (module, settings) == (npo, npo.Config(beta=0.1, reduction="sequence_sum"))
    assert block["name"] == "npo"


@pytest.mark.parametrize("block", [None, [], "npo", {}, {"beta": 0.1}, {"name": 3}, {"name": None}])
def test_a_block_without_a_name_is_told_what_it_is_and_the_names_there_are(block):
    known = ", ".join(registry.names("masks"))
    with pytest.raises(ConfigError) as raised:
        registry.configured("masks", block, "here")
    found = f"params.yaml: here: expected a block with a 'name', found {block!r}."
    assert str(raised.value) == f"{found} Known: {known}."


def test_a_name_alone_is_no_block_and_is_recognised():
    with pytest.raises(ConfigError, match=r"a 'name', found 'layer'\. Did you mean 'layers'\?"):
        registry.configured("masks", "layer", "here")
