"""``lethe import openunlearning`` as it is typed."""

import json
import re
import sys
from pathlib import Path

import pytest

from lethe import cli
from tests import openunlearning_log as peer

FALSE = "forget_Q_A_PERT_Prob"
PARAMS = """
score: {bootstrap: {samples: 10000, confidence: 0.95, seed: 0, max_unscored: 0.01}}
metrics:
  probability: {mode: exact}
  truth_ratio: {mean: geometric, mode: exact}
  forget_quality: {mean: geometric, mode: exact, permutation_samples: 10000, seed: 0}
  model_utility: {components: [probability, rouge, truth_ratio]}
"""


@pytest.fixture(autouse=True)
def _workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(PARAMS)


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lethe", "import", "openunlearning", *words])
    cli.main()


def complaint(monkeypatch, *words):
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words)
    assert isinstance(stopped.value.code, str)  # printed on stderr, with status 1
    assert "\n" not in stopped.value.code
    return stopped.value.code


def test_it_prints_one_document(monkeypatch, capsys):
    retain = peer.tofu(1)
    peer.write(Path("TOFU_EVAL.json"), peer.tofu(0, retain))
    peer.write(Path("retain.json"), retain)
    run(monkeypatch, "TOFU_EVAL.json", "--retain", "retain.json")
    first = capsys.readouterr().out
    document = json.loads(first)
    assert document["log"]["path"] == "TOFU_EVAL.json"
    assert document["conditions"]["none"]["overall"]["forget_quality"]["origin"] == "recomputed"
    run(monkeypatch, "TOFU_EVAL.json", "--retain", "retain.json")
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(("mode", "expected"), [("exact", 1.0), ("openunlearning", 0.000934887)])
def test_the_modes_are_those_of_the_parameters_and_stand_in_the_document(monkeypatch, capsys, mode, expected):
    # Losses of 30 on both sides: e⁻³⁰ / (e⁻³⁰ + 1e-10) = 9.34887e-4 as published, 1 without the 1e-10.
    Path("params.yaml").write_text(PARAMS.replace("mode: exact", f"mode: {mode}"))
    log = {name: peer.probability(nlls) for name, nlls in (("forget_Q_A_PARA_Prob", [30.0]), (FALSE, [[30.0]]))}
    peer.write(Path("TOFU_EVAL.json"), log)
    run(monkeypatch, "TOFU_EVAL.json")
    document = json.loads(capsys.readouterr().out)
    modes = [document["settings"][name]["mode"] for name in ("probability", "truth_ratio", "forget_quality")]
    assert modes == [mode] * 3
    assert document["conditions"]["none"]["forget"]["truth_ratio"]["value"] == expected


def test_the_example_of_the_documentation_prints_what_stands_there(monkeypatch, capsys):
    page = (Path(__file__).parents[3] / "docs" / "openunlearning.md").read_text()
    log, retain, printed = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    Path("TOFU_EVAL.json").write_text(log)
    Path("retain.json").write_text(retain)
    run(monkeypatch, "TOFU_EVAL.json", "--retain", "retain.json")
    found = json.loads(capsys.readouterr().out)["conditions"]["none"]
    for split, leaves in json.loads(printed).items():
        assert {name: found[split][name] for name in leaves} == leaves


def test_mistakes_are_one_line(monkeypatch):
    Path("broken.json").write_text("{")
    peer.write(Path("small.json"), peer.tofu(0, forget=20))
    peer.write(Path("large.json"), peer.tofu(1, forget=40))
    peer.write(Path("bare.json"), {"forget_truth_ratio": {"agg_value": 0.5}})
    peer.write(Path("muse.json"), {"forget_knowmem_ROUGE": {"agg_value": 0.5}})
    assert complaint(monkeypatch, "absent.json").startswith("error: absent.json: no such file; give the TOFU_EVAL")
    assert complaint(monkeypatch, "broken.json").startswith("error: broken.json: not valid JSON")
    assert complaint(monkeypatch, "small.json", "--retain", "large.json") == (
        "error: large.json: its truth ratios on forget are of 40 rows, not of 20 as in small.json; "
        "give the log on the same split."
    )
    assert complaint(monkeypatch, "small.json", "--retain", "bare.json") == (
        "error: bare.json: its per-example truth ratios on forget are missing, or not held as small.json holds them; "
        "give the whole TOFU_EVAL.json of the retain model, with forget_Q_A_PARA_Prob and forget_Q_A_PERT_Prob."
    )
    assert complaint(monkeypatch, "small.json", "--retain", "muse.json") == (
        "error: muse.json: a log of MUSE, small.json of TOFU; give one of the same."
    )


def test_outside_a_repository_the_missing_settings_are_named(monkeypatch):
    Path("params.yaml").unlink()
    peer.write(Path("TOFU_EVAL.json"), peer.tofu(0))
    assert complaint(monkeypatch, "TOFU_EVAL.json").startswith("error: params.yaml: no such file")


def test_a_project_must_be_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lethe", "import"])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 2
