import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lethe import artifacts, config, doors, recipes, registry
from stages import resolve

TRAINING = {
    "weights": "fp32_master",
    "compute_dtype": "float32",
    "steps": 30,
    "batch_size": 4,
    "accumulation": 1,
    "schedule": "constant",
    "warmup_steps": 3,
    "max_grad_norm": 1.0,
    "checkpoint_steps": 10,
}


def recipe(forget_objective):
    return {
        "forget_objective": forget_objective,
        "retain_objective": {"name": "nll"},
        "retain_rows": "retain",
        "combiner": {"name": "sum", "forget_weight": 1.0, "retain_weight": 1.0},
        "optimizer": {"name": "adamw", "lr": 1e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0},
        "mask": {"name": "all"},
        "wrapper": None,
        "edit": None,
        "training": TRAINING,
    }


LIBRARY = {
    "npo": recipe({"name": "npo", "beta": 0.1, "reduction": "sequence_sum"}),
    "graddiff": recipe({"name": "grad_ascent"}),
    "broken": recipe({"name": "npo", "beta": -1, "reduction": "sequence_sum"}),
}


LAYERS = {"name": "layers", "patterns": ["layers.9.mlp"]}
SHIPPED = config.read_params(Path(__file__).parents[2] / config.PARAMS)


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*names, params=None, **grid):
    values = {"recipes": list(names), "seeds": [0], "attacks": ["none"], "retain_seeds": []} | grid
    YAML().dump(SHIPPED | {"grid": values, "recipes": LIBRARY} | (params or {}), config.PARAMS)
    with doors.reporting_errors():
        resolve.main()


def written():
    return {path.name: path.read_bytes() for path in artifacts.RECIPES.iterdir()}


def test_every_recipe_of_the_grid_and_no_other_gets_a_file():
    run("npo", "graddiff")
    assert sorted(written()) == ["graddiff.json", "npo.json"]
    assert json.loads(written()["npo.json"]) == recipes.resolve("npo")


def test_a_recipe_taken_out_of_the_grid_leaves_no_file_behind():
    run("npo", "graddiff")
    run("npo")
    assert sorted(written()) == ["npo.json"]


def test_the_same_params_give_the_same_bytes_in_any_order():
    run("npo", "graddiff")
    first = written()
    run("graddiff", "npo")
    assert written() == first


def test_a_mistake_in_any_recipe_is_found_first_and_leaves_the_earlier_result():
    run("npo", "graddiff")
    before = written()
    with pytest.raises(
        SystemExit, match=r"^error: params\.yaml: recipes\.broken\.forget_objective\.beta: [^\n]*found -1\.$"
    ):
        run("npo", "broken")
    assert written() == before
    assert sorted(artifacts.DATA.iterdir()) == [artifacts.RECIPES, artifacts.WANTED]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"recipes": []}, "recipes: List should have at least 1 item"),
        ({"recipes": ["npo", "npo"]}, "recipes: 'npo' stands there more than once"),
        ({"seeds": ["a"]}, "seeds.0: Input should be a valid integer"),
    ],
)
def test_an_empty_doubled_or_misspelt_grid_is_one_line(grid, message):
    with pytest.raises(SystemExit, match=rf"^error: params\.yaml: grid\.{message}[^\n]*$"):
        run("npo", **grid)
    assert not artifacts.DATA.exists()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"data": "wrld"}, r"data: no 'wrld' in sources\. Did you mean 'world'\?"),
        ({"probe": SHIPPED["probe"] | {"run": ["logit_len"]}}, r"probe\.run: no 'logit_len' in probes\."),
        (
            {"probe": {"run": ["sampling"]}, "probes": {"sampling": SHIPPED["probes"]["sampling"] | {"kss": [1]}}},
            r"probes\.sampling\.kss: unknown key\. Did you mean 'ks'\?",
        ),
        (
            {"probe": {"run": ["logit_lens"]}, "observations": {"lens": {"blocks": [1]}}},
            r"observations\.lens\.blocks: unknown key\.",
        ),
        ({"metrics": {"rouje": {}}}, r"no 'rouje' in metrics\. Did you mean 'rouge'\?"),
        ({"metrics": {"rouge": {"stemer": True}}}, r"metrics\.rouge\.stemer: unknown key\. Did you mean 'stemmer'\?"),
        ({"score": SHIPPED["score"] | {"gate": 1}}, r"score\.gate: unknown key\. Did you mean 'gates'\?"),
        ({"observe": {"batchsize": 32}}, r"observe\.batchsize: unknown key\. Did you mean 'batch_size'\?"),
        ({"observ": {"batch_size": 32}}, r"observ: unknown section\. Did you mean 'observe'\?"),
        ({"probe": {"run": ["sampling", "sampling"]}}, r"probe\.run: 'sampling' stands there more than once;"),
        (
            {"capabilities": SHIPPED["capabilities"] | {"tasks": ["wmdp", "wmdp"]}},
            r"capabilities\.tasks: 'wmdp' stands there more than once;",
        ),
        (
            {"metrics": {"model_utility": {"components": ["rouge", "rouge"]}}},
            r"metrics\.model_utility\.components: 'rouge' stands there more than once;",
        ),
        ({"check": {"world": {"target_mn": 1}}}, r"check\.world\.target_mn: unknown key\."),
        ({"infer": SHIPPED["infer"] | {"wrld": {}}}, r"infer: no 'wrld' in sources\. Did you mean 'world'\?"),
        ({"attacks": SHIPPED["attacks"] | {"nine": {}}}, r"attacks: no 'nine' in attacks\. Did you mean 'none'\?"),
        (
            {"recipes": {"npo": LIBRARY["npo"] | {"mask": LAYERS}}},
            r"recipes\.npo\.mask\.patterns: 'layers\.9\.mlp' matches",
        ),
    ],
)
def test_whatever_the_parameters_misname_is_found_before_anything_runs(params, message):
    with pytest.raises(SystemExit, match=rf"^error: params\.yaml: {message}[^\n]*$"):
        run("npo", params=params)
    assert not artifacts.DATA.exists()


def test_what_the_chosen_probes_need_to_be_observed_is_written_down():
    run("npo")
    assert artifacts.read_json(artifacts.WANTED) == {}
    run("npo", params={"probe": {"run": ["sampling", "unlearning_depth"]}})
    before = artifacts.WANTED.read_bytes()
    assert json.loads(before) == {"draws": SHIPPED["observations"]["draws"], "patching": {}}
    scored_otherwise = SHIPPED["probes"] | {"unlearning_depth": {"threshold": 1.0}}
    run("npo", params={"probe": {"run": ["unlearning_depth", "sampling"]}, "probes": scored_otherwise})
    assert artifacts.WANTED.read_bytes() == before


def test_a_misspelt_attack_is_found_before_anything_runs():
    with pytest.raises(SystemExit, match=r"^error: params\.yaml: grid\.attacks: no 'quantisation' in attacks\."):
        run("npo", attacks=["none", "quantisation"])


def test_editing_a_component_changes_the_files_of_its_recipes_alone(tmp_path, monkeypatch):
    run("npo", "graddiff")
    before = written()
    monkeypatch.setattr(registry, "LIBRARY", library_with_an_edited_npo(tmp_path))
    run("npo", "graddiff")
    after = written()
    assert after["npo.json"] != before["npo.json"]
    assert after["graddiff.json"] == before["graddiff.json"]


def library_with_an_edited_npo(folder: Path) -> Path:
    for kind in (*recipes.KINDS.values(), "sources", "attacks", "metrics", "observations", "probes"):
        for name in registry.names(kind):
            source, copied = registry.source_file(kind, name), folder / "lethe" / kind / f"{name}.py"
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(source.read_bytes() + (b"# edited\n" if name == "npo" else b""))
    return folder / "lethe"
