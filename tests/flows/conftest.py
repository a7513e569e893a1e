from pathlib import Path

import pytest
from dvc.repo import Repo

DVC_YAML = """
stages:
  prepare:
    cmd: echo prepare >> order.log && echo ${data} > prepared.txt
    params:
      - data
    outs:
      - prepared.txt
  unlearn:
    matrix:
      recipe: ${grid.recipes}
      seed: ${grid.seeds}
    cmd: >-
      echo unlearn@${item.recipe}-${item.seed} >> order.log;
      test ${item.recipe} != broken || { echo "error: recipes.broken: lr must be above 0." >&2; exit 3; };
      echo ${recipes.npo.beta} | cat prepared.txt - > unlearned-${item.recipe}-${item.seed}.txt
    deps:
      - prepared.txt
    params:
      - recipes.npo.beta
    outs:
      - unlearned-${item.recipe}-${item.seed}.txt
  score:
    matrix:
      recipe: ${grid.recipes}
      seed: ${grid.seeds}
    cmd: >-
      echo score@${item.recipe}-${item.seed} >> order.log &&
      cp unlearned-${item.recipe}-${item.seed}.txt scored-${item.recipe}-${item.seed}.txt
    deps:
      - unlearned-${item.recipe}-${item.seed}.txt
    outs:
      - scored-${item.recipe}-${item.seed}.txt
  report:
    cmd: >-
      echo report >> order.log && mkdir -p data/report &&
      cp verdicts.json data/report/table.json
    deps:
      - scored-npo-0.txt
      - verdicts.json
    outs:
      - data/report/table.json
"""
PARAMS = """\
# how the numbers were chosen
data: world   # world | tofu
grid:
  recipes:
    - npo
    - simnpo
  seeds:
    - 0
recipes:
  npo:
    beta: 0.1
"""
VERDICTS = """\
[{"model": "npo-0", "forget_knowledge": 0.0125, "utility": 0.5, "worst_condition": "int3",
  "forget_knowledge_after": 0.75, "utility_after": null, "verdict": "came back"}]
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A small real repository of DVC in the working directory; every stage notes itself in order.log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setenv("SHELL", "/bin/sh")
    Path("dvc.yaml").write_text(DVC_YAML)
    Path("params.yaml").write_text(PARAMS)
    Path("verdicts.json").write_text(VERDICTS)
    Repo.init(".", no_scm=True).close()
    return tmp_path


@pytest.fixture
def ran(repository):
    """The stages that ran since the last call, in their order."""

    def names():
        log = repository / "order.log"
        lines = log.read_text().split() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    return names
