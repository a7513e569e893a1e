"""What `python -m benchmarks.methods` refuses before it measures."""

import pytest

from benchmarks import methods
from lethe.errors import ConfigError
from tests.finished import dump_yaml


def test_a_name_that_is_no_recipe_is_refused_before_anything_is_measured(capsys):
    with pytest.raises(ConfigError, match=r"^params.yaml: no 'nposs' in recipes. Did you mean 'npo'\?"):
        methods.main(["--recipes", "npo", "nposs"])
    assert capsys.readouterr().out == ""


def test_recipes_without_the_one_that_all_are_compared_with_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dump_yaml(tmp_path / "params.yaml", {"recipes": {"mine": {}}})
    with pytest.raises(ConfigError, match=r"^params.yaml: no 'graddiff' in recipes."):
        methods.main(["--recipes", "mine"])
