import copy
import hashlib
import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from lethe import artifacts, config, recipes, registry
from lethe.errors import ArtifactError, ConfigError, LetheError
from lethe.forget_objectives import npo
from lethe.recipes import Grid, Training

NPO = {
    "forget_objective": {"name": "npo", "beta": 0.1, "reduction": "sequence_sum"},
    "retain_objective": {"name": "nll"},
    "retain_rows": "retain",
    "combiner": {"name": "sum", "forget_weight": 1.0, "retain_weight": 2.0},
    "optimizer": {"name": "adamw", "lr": 1e-5, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0},
    "mask": {"name": "all"},
    "wrapper": None,
    "edit": None,
    "training": {
        "weights": "fp32_master",
        "compute_dtype": "float32",
        "steps": 30,
        "batch_size": 4,
        "accumulation": 1,
        "schedule": "constant",
        "warmup_steps": 3,
        "max_grad_norm": None,
        "checkpoint_steps": 10,
    },
}
REMOVED = object()


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(**library):
    YAML().dump({"recipes": library}, config.PARAMS)


def changed(path, value):
    """The recipe NPO with another value under a dotted path."""
    values = copy.deepcopy(NPO)
    *parents, last = path.split(".")
    block = values
    for key in parents:
        block = block[key]
    if value is REMOVED:
        del block[last]
    else:
        block[last] = value
    return values


def refusal(path, value):
    """The message with which the recipe is refused after that change."""
    write(npo=changed(path, value))
    with pytest.raises(ConfigError) as error:
        recipes.read("npo")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_recipe_holds_the_modules_and_checked_settings_of_its_parts():
    write(npo=NPO)
    recipe = recipes.read("npo").point
    assert recipe.forget_objective.module is npo
    assert recipe.forget_objective.config == npo.Config(beta=0.1, reduction="sequence_sum")
    assert recipe.combiner.config.retain_weight == 2.0
    assert recipe.training == Training(**NPO["training"])


def test_no_retain_objective_is_none():
    write(
        alone={
            **NPO,
            "retain_objective": None,
            "retain_rows": None,
            "combiner": {"name": "sum", "forget_weight": 1.0, "retain_weight": 0.0},
        }
    )
    assert recipes.read("alone").point.retain_objective is None
    assert recipes.resolve("alone")["retain_objective"] is None


def test_an_unknown_recipe_is_answered_with_the_nearest_one():
    write(npo=NPO, simnpo=NPO)
    with pytest.raises(ConfigError, match=r"no 'npoo' in recipes\. Did you mean 'npo'\? Known: npo, simnpo\."):
        recipes.read("npoo")


def test_a_name_that_would_leave_the_folder_of_recipes_is_refused():
    write(**{"../npo": NPO})
    with pytest.raises(ConfigError, match="letters, digits"):
        recipes.read("../npo")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (
            "forget_objective.name",
            "npoo",
            "recipes.npo.forget_objective.name: no 'npoo' in forget_objectives. Did you mean 'npo'?",
        ),
        ("optimizer.name", "adam", "recipes.npo.optimizer.name: no 'adam' in optimizers. Did you mean 'adamw'?"),
        ("forget_objective.betta", 1, "recipes.npo.forget_objective.betta: unknown key. Did you mean 'beta'?"),
        ("training.step", 1, "recipes.npo.training.step: unknown key. Did you mean 'steps'?"),
        ("retain_objectives", {}, "recipes.npo.retain_objectives: unknown key. Did you mean 'retain_objective'?"),
        ("forget_objective.beta", REMOVED, "recipes.npo.forget_objective.beta: missing"),
        ("training.weights", REMOVED, "recipes.npo.training.weights: missing"),
        ("retain_objective", REMOVED, "recipes.npo.retain_objective: missing"),
        ("combiner", None, "recipes.npo.combiner: null beside a forget_objective; give it a block."),
        ("mask", {}, "recipes.npo.mask: expected a block with a 'name', found {}. Known: all, "),
        ("mask", "all", "recipes.npo.mask: "),
        ("forget_objective.beta", 0, "recipes.npo.forget_objective.beta: Input should be greater than 0; found 0."),
        ("forget_objective.reduction", "sum", "'sequence_sum' or 'sequence_mean'; found 'sum'."),
        ("optimizer.lr", float("inf"), "recipes.npo.optimizer.lr: Input should be a finite number"),
        ("optimizer.lr", float("nan"), "recipes.npo.optimizer.lr: "),
        ("optimizer.betas", [0.9, 1.0], "recipes.npo.optimizer.betas.1: Input should be less than 1"),
        ("combiner.retain_weight", -1, "recipes.npo.combiner.retain_weight: "),
        ("training.weights", "bf16", "'fp32_master' or 'bf16_in_place'; found 'bf16'."),
        ("training.schedule", "cosinus", "'constant', 'linear' or 'cosine'; found 'cosinus'."),
        ("training.steps", 0, "recipes.npo.training.steps: Input should be greater than 0; found 0."),
        ("training.max_grad_norm", 0, "recipes.npo.training.max_grad_norm: "),
        ("training.warmup_steps", 31, "recipes.npo.training.warmup_steps: more than steps (30); lower it; found 31."),
        ("retain_rows", None, "recipes.npo: retain_objective and retain_rows go together; set both or neither."),
        ("retain_rows", "all", "'retain_length_matched' or 'general_length_matched'; found 'all'."),
        ("forget_objective", None, "recipes.npo: neither forget_objective nor edit; a recipe needs one of them."),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(path, value, message):
    assert message in refusal(path, value)


def test_a_retain_weight_without_a_retain_objective_is_refused():
    write(npo={**NPO, "retain_objective": None, "retain_rows": None})
    with pytest.raises(ConfigError, match=r"recipes\.npo: there is no retain_objective for retain_weight 2;"):
        recipes.read("npo")


@pytest.mark.parametrize("retain_weight", [0.0, 1.0])
def test_a_combiner_of_two_gradients_without_a_retain_objective_is_refused(retain_weight):
    weights = {"forget_weight": 1.0, "retain_weight": retain_weight}
    sago = {"name": "sago", **weights, "form": "paper", "zero_policy": "paper"}
    write(npo={**NPO, "retain_objective": None, "retain_rows": None, "combiner": sago})
    with pytest.raises(
        ConfigError, match=r"no retain_objective for combiner 'sago'; name one of .*kl.*nll.*, or use combiner 'sum'"
    ):
        recipes.read("npo")


def test_a_mask_that_asks_for_the_retain_gradient_without_a_retain_objective_is_refused():
    alone = {"retain_objective": None, "retain_rows": None}
    unweighted = {"combiner": {"name": "sum", "forget_weight": 1.0, "retain_weight": 0.0}}
    threshold = {"kind": "top_fraction", "value": 0.5}
    wagle = {"name": "wagle", "mu": 1.0, "granularity": "element", "threshold": threshold}
    write(npo={**NPO, **alone, **unweighted, "mask": wagle})
    with pytest.raises(ConfigError, match=r"no retain_objective for mask 'wagle'; name one of .*nll.*, or use another"):
        recipes.read("npo")


ZEROTH = {"name": "zeroth_order", "lr": 1e-5, "betas": [0.9, 0.999], "eps": 1e-14, "weight_decay": 0.0} | {
    "radius": 1.0,
    "directions": 1,
}
ROWS = {
    "name": "saliency",
    "granularity": "row",
    "score": "gradient_norm",
    "threshold": {"kind": "percentile", "value": 90.0},
}


@pytest.mark.parametrize(
    ("part", "block", "message"),
    [
        (
            "combiner",
            {"name": "mgda", "forget_weight": 1.0, "retain_weight": 1.0},
            "recipes.npo: optimizer 'zeroth_order' takes no gradient in some of its steps or all, that combiner 'mgda' "
            "could combine; use 'sum', or another optimizer.",
        ),
        ("wrapper", {"name": "sam", "rho": 0.1}, "takes no gradient for wrapper 'sam'; take it out, or use another"),
        (
            "mask",
            ROWS | {"refresh_steps": 2},
            "takes no gradient to choose mask 'saliency' by; set refresh_steps to null.",
        ),
    ],
)
def test_what_works_on_a_gradient_is_refused_beside_an_optimizer_that_takes_none(part, block, message):
    write(npo={**NPO, "optimizer": ZEROTH, part: block})
    with pytest.raises(ConfigError) as error:
        recipes.read("npo")
    assert message in str(error.value)
    write(npo={**NPO, part: block})
    assert recipes.read("npo").point is not None


WHERE_ADVERSARIES_PUSH = {
    "name": "lat",
    "toward_away": None,
    "radius": 1.0,
    "steps": 2,
    "lr": 0.1,
    "betas": [0.9, 0.999],
    "eps": 1e-8,
    "weight_decay": 0.0,
    "model_steps": 1,
}


def beside(wrapper, **parts):
    """The point of the recipe NPO, of 30 steps, with this wrapper and other parts."""
    write(npo={**NPO, **parts, "wrapper": wrapper})
    return recipes.read("npo").point


def test_an_average_that_begins_after_the_last_step_is_refused():
    late = {"name": "weight_averaging", "every_steps": 1, "start_step": 30}
    with pytest.raises(ConfigError) as error:
        beside([STOP, late])
    assert str(error.value) == (
        "params.yaml: recipes.npo: wrapper 'weight_averaging' begins with step 30, counted from 0, and training.steps "
        "is 30; lower start_step."
    )
    assert beside(late | {"start_step": 29}) is not None


@pytest.mark.parametrize(("layers", "works"), [([7], True), ([3, 9], True), ([8], False), ([9, 8], False)])
def test_an_adversary_above_the_block_that_the_objective_reads_is_refused(layers, works):
    lat = WHERE_ADVERSARIES_PUSH | {"layers": layers}
    misdirected = {"name": "rmu", "layer": 7, "coefficient": 6.5}
    if works:
        assert beside(lat, forget_objective=misdirected) is not None
    else:
        with pytest.raises(
            ConfigError, match=r"npo: wrapper 'lat' works on blocks from 8 on, and .* 'rmu' reads block 7"
        ):
            beside(lat, forget_objective=misdirected)
    assert beside(lat) is not None  # beside an objective that reads the logits


def test_an_adversary_that_leads_away_from_what_is_taught_wants_an_objective_that_teaches():
    aim = {"toward_weight": 1.0, "away_weight": 1.0, "token_probability_floor": 0.0}
    lat = WHERE_ADVERSARIES_PUSH | {"layers": [0], "toward_away": aim | {"away_from": "substitute"}}
    with pytest.raises(ConfigError) as error:
        beside(lat)
    assert str(error.value) == (
        "params.yaml: recipes.npo: wrapper 'lat' leads away from what is taught instead, and forget objective 'npo' "
        "teaches nothing; set toward_away.away_from to retain or general, or use another objective."
    )
    taught = {
        "name": "refusal",
        "reduction": "token_mean",
        "substitute": {"kind": "refusal", "candidates": 4, "draws": 1},
    }
    assert beside(lat, forget_objective=taught) is not None
    assert beside(lat | {"toward_away": aim | {"away_from": "retain"}}) is not None


def summed(*terms):
    """The recipe NPO with a sum of retain objectives, each a weight and a block."""
    found = [{"weight": weight, "objective": block} for weight, block in terms]
    return {**NPO, "retain_objective": {"name": "weighted_sum", "terms": found}}


TOP_K = {"name": "kl_top_k", "direction": "forward", "k": 8}


def test_a_sum_of_retain_objectives_is_resolved_with_its_terms_and_their_code():
    write(npo=summed((1.0, {"name": "nll"}), (0.5, TOP_K)))
    point, values = recipes.read("npo").point, recipes.resolve("npo")
    assert [term.name for term in point.retain_objective.terms] == ["nll", "kl_top_k"]
    assert [term.name for term in point.objectives] == ["npo", "nll", "kl_top_k"]
    assert values["retain_objective"] == summed((1.0, {"name": "nll"}), (0.5, TOP_K))["retain_objective"]
    assert {f"src/lethe/retain_objectives/{name}.py" for name in ("weighted_sum", "nll", "kl_top_k")} < set(
        values["code"]
    )
    artifacts.write_json(artifacts.recipe("npo"), values)
    assert recipes.from_resolved(artifacts.recipe("npo")) == recipes.read("npo")


def test_a_recipe_is_refused_when_a_term_of_its_sum_has_changed_since(monkeypatch):
    write(npo=summed((1.0, {"name": "nll"})))
    artifacts.write_json(artifacts.recipe("npo"), recipes.resolve("npo"))
    sha256 = artifacts.sha256
    monkeypatch.setattr(artifacts, "sha256", lambda path: "0" * 64 if path.stem == "nll" else sha256(path))
    with pytest.raises(ArtifactError, match="a component has changed since"):
        recipes.from_resolved(artifacts.recipe("npo"))


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "terms: List should have at least 1 item"),
        ([(1.0, {"name": "nlll"})], "terms.0.objective: name: no 'nlll' in retain_objectives. Did you mean 'nll'?"),
        ([(1.0, TOP_K | {"kk": 1})], "terms.0.objective: kk: unknown key. Did you mean 'k'?"),
        ([(1.0, {"name": "nll"}), (1.0, TOP_K | {"k": 0})], "terms.1.objective: k: Input should be greater than 0"),
        ([(0.0, {"name": "nll"})], "terms.0.weight: Input should be greater than 0"),
        ([(1.0, None)], "terms.0.objective: expected a block with a 'name', found None. Known: activation_mse, "),
        (
            [(1.0, {"name": "weighted_sum", "terms": [{"weight": 1.0, "objective": {"name": "nll"}}]})],
            "terms.0.objective: a sum in a sum; write its terms beside the others, their weights multiplied",
        ),
    ],
)
def test_a_sum_that_cannot_be_taken_is_refused_in_one_line(terms, message):
    write(npo=summed(*terms))
    with pytest.raises(ConfigError) as raised:
        recipes.read("npo")
    assert str(raised.value).startswith(f"params.yaml: recipes.npo.retain_objective.{message}")
    assert "\n" not in str(raised.value)


def test_a_misspelt_key_beside_a_term_is_answered_with_the_nearest():
    recipe = summed((1.0, {"name": "nll"}))
    recipe["retain_objective"]["terms"][0]["wieght"] = 2.0
    write(npo=recipe)
    with pytest.raises(ConfigError, match=r"terms\.0\.wieght: unknown key. Did you mean 'weight'"):
        recipes.read("npo")


SAM, LAT = {"name": "sam", "rho": 0.1}, {"name": "random_smoothing", "sigma": 0.1}
STOP = {"name": "early_stop", "metric": "nll", "rows": "forget", "num_rows": 4, "threshold": 3.0, "every_steps": 5}
FLOOR = {"name": "forget_loss_floor", "floor": 1.0}
AVERAGE = {"name": "weight_averaging", "start_step": 1, "every_steps": 1}


@pytest.mark.parametrize(
    ("written", "resolved", "names"),
    [
        (None, None, []),
        ([], None, []),
        (SAM, SAM, ["sam"]),
        ([SAM], SAM, ["sam"]),
        ([SAM, STOP], [SAM, STOP], ["sam", "early_stop"]),
        ([FLOOR, SAM], [FLOOR, SAM], ["forget_loss_floor", "sam"]),
        ([AVERAGE, STOP, SAM], [AVERAGE, STOP, SAM], ["weight_averaging", "early_stop", "sam"]),
    ],
)
def test_wrappers_are_none_or_one_or_a_list_in_order(written, resolved, names):
    write(npo={**NPO, "wrapper": written})
    point = recipes.read("npo").point
    assert [wrapper.name for wrapper in point.wrappers] == names
    assert (point.gradient_wrapper is not None) == ("sam" in names)
    found = recipes.resolve("npo")
    assert found["wrapper"] == resolved
    assert {f"src/lethe/wrappers/{name}.py" for name in names} <= set(found["code"])
    artifacts.write_json(artifacts.recipe("npo"), found)
    assert recipes.from_resolved(artifacts.recipe("npo")) == recipes.read("npo")


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        (
            [SAM, FLOOR, LAT],
            "recipes.npo.wrapper: 'sam' and 'random_smoothing' both take the forget gradient, each in its own way; "
            "keep one of them, or write a recipe for each.",
        ),
        ([STOP, SAM, STOP | {"threshold": 9.0}], "recipes.npo.wrapper: 'early_stop' stands there more than once; name"),
        ([STOP, {"name": "samm"}], "recipes.npo.wrapper.1.name: no 'samm' in wrappers. Did you mean 'sam'?"),
        ([STOP, SAM | {"roh": 0.1}], "recipes.npo.wrapper.1.roh: unknown key. Did you mean 'rho'?"),
        ([STOP, "sam"], "recipes.npo.wrapper.1: Input should be a valid dictionary; found 'sam'."),
        ("sam", "recipes.npo.wrapper: expected null, a block or a list of blocks; found 'sam'."),
        (SAM | {"roh": 0.1}, "recipes.npo.wrapper.roh: unknown key. Did you mean 'rho'?"),
        (REMOVED, "recipes.npo.wrapper: missing"),
    ],
)
def test_wrappers_that_do_not_go_together_are_refused_in_one_line(wrapper, message):
    assert message in refusal("wrapper", wrapper)


FULL_LENGTH = {"scale": 1.0, "search": None, "rows": None}  # of a task vector


def vector_under(mask):
    """A recipe of one edit, which trains under this mask."""
    optimizer = {key: NPO["optimizer"][key] for key in ("lr", "betas", "eps", "weight_decay")}
    edit = {"name": "task_vector", **FULL_LENGTH, "optimizer": optimizer, "mask": mask, "training": NPO["training"]}
    return dict.fromkeys(NPO) | {"edit": edit}


ADAPTERS = {"name": "lora", "patterns": ["q_proj"], "rank": 16, "alpha": 32, "dropout": 0.0, "keep_adapter": False}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ({"name": "lorra"}, "edit.mask: name: no 'lorra' in masks. Did you mean 'lora'?"),
        (ADAPTERS | {"rang": 1}, "edit.mask: rang: unknown key. Did you mean 'rank'?"),
        (ADAPTERS | {"rank": 0}, "edit.mask: rank: Input should be greater than 0"),
        (ADAPTERS | {"keep_adapter": True}, "edit.mask: an edit goes on from the merged weights and keeps no adapter"),
        ({"name": "fisher", "fraction": 0.3, "floor": 1e-8}, "edit.mask: it is chosen by gradients of a recipe's"),
        (None, "edit.mask: expected a block with a 'name', found None. Known: all, "),
    ],
)
def test_a_mask_that_an_edit_cannot_train_under_is_refused_in_one_line(mask, message):
    write(npo=vector_under(mask))
    with pytest.raises(ConfigError) as raised:
        recipes.read("npo")
    assert str(raised.value).startswith(f"params.yaml: recipes.npo.{message}")
    assert "\n" not in str(raised.value)


def test_an_adapter_that_is_kept_would_not_be_the_models_difference_after_an_edit():
    mixing = {"name": "model_mixing", "tolerance": 0.9, "rows": "retain", "validation_rows": 4, "grid": 2}
    write(npo={**NPO, "mask": ADAPTERS | {"keep_adapter": True}, "edit": mixing | {"bisections": 1}})
    with pytest.raises(ConfigError, match=r"^params\.yaml: recipes\.npo\.mask\.keep_adapter: true beside an edit, "):
        recipes.read("npo")
    write(npo={**NPO, "mask": ADAPTERS | {"keep_adapter": True}})
    assert recipes.read("npo").point.mask.config.keep_adapter


def test_two_weights_of_zero_train_nothing_and_are_refused():
    nothing = {"name": "sum", "forget_weight": 0.0, "retain_weight": 0.0}
    assert "recipes.npo: both weights of the combiner are 0" in refusal("combiner", nothing)
    write(npo={**NPO, "combiner": nothing | {"retain_weight": 0.5}})
    assert recipes.read("npo").point.combiner.config.retain_weight == 0.5


def test_the_mask_of_an_edit_is_resolved_with_its_numbers_and_its_code():
    write(npo=vector_under(ADAPTERS))
    values = recipes.resolve("npo")
    assert values["edit"]["mask"] == ADAPTERS | {"alpha": 32.0}
    assert sorted(values["code"]) == ["src/lethe/edits/task_vector.py", "src/lethe/masks/lora.py"]
    artifacts.write_json(artifacts.recipe("npo"), values)
    assert recipes.from_resolved(artifacts.recipe("npo")) == recipes.read("npo")


def test_wrappers_without_a_point_to_train_are_idle():
    alone = dict.fromkeys(NPO) | {"edit": {"name": "task_vector", **FULL_LENGTH}, "wrapper": [SAM, STOP]}
    alone["edit"] |= {"optimizer": {key: NPO["optimizer"][key] for key in ("lr", "betas", "eps", "weight_decay")}}
    alone["edit"] |= {"training": NPO["training"], "mask": {"name": "all"}}
    write(npo=alone)
    with pytest.raises(
        ConfigError, match=r"npo\.wrapper: without a forget_objective nothing is trained; set it to null"
    ):
        recipes.read("npo")
    write(npo=alone | {"wrapper": None})
    assert recipes.resolve("npo")["wrapper"] is None


def test_a_combiner_that_has_no_part_in_half_of_the_steps_is_refused_and_a_wrapper_is_not():
    hybrid = ZEROTH | {"name": "hybrid", "zeroth_order_lr": 1e-5, "period": 2}
    write(npo={**NPO, "optimizer": hybrid, "combiner": {"name": "mgda", "forget_weight": 1.0, "retain_weight": 1.0}})
    with pytest.raises(ConfigError, match=r"optimizer 'hybrid' takes no gradient in some of its steps .*'mgda'"):
        recipes.read("npo")
    write(npo={**NPO, "optimizer": hybrid, "wrapper": {"name": "sam", "rho": 0.1}, "mask": ROWS | {"refresh_steps": 2}})
    assert recipes.read("npo").point.optimizer.name == "hybrid"


@pytest.mark.parametrize(
    ("part", "block"),
    [
        ("wrapper", AVERAGE),
        ("wrapper", [STOP, AVERAGE]),
        ("mask", ROWS | {"refresh_steps": None}),
    ],
)
def test_what_works_without_the_gradient_of_a_step_is_not_refused(part, block):
    write(npo={**NPO, "optimizer": ZEROTH, part: block})
    assert recipes.read("npo").point.optimizer.name == "zeroth_order"


def test_resolved_it_names_its_numbers_and_its_files_by_their_hashes():
    write(npo=NPO)
    resolved = recipes.resolve("npo")
    code = resolved.pop("code")
    assert resolved == NPO
    assert sorted(code) == [
        "src/lethe/combiners/sum.py",
        "src/lethe/forget_objectives/npo.py",
        "src/lethe/masks/all.py",
        "src/lethe/optimizers/adamw.py",
        "src/lethe/retain_objectives/nll.py",
    ]
    npo_source = Path(npo.__file__).read_bytes()
    assert code["src/lethe/forget_objectives/npo.py"] == hashlib.sha256(npo_source).hexdigest()


def test_numbers_written_in_another_way_resolve_to_the_same():
    write(
        npo=NPO,
        same=changed("optimizer.lr", "0.00001") | {"combiner": {"retain_weight": 2, "forget_weight": 1, "name": "sum"}},
    )
    assert json.dumps(recipes.resolve("npo")) == json.dumps(recipes.resolve("same"))


def test_its_files_are_those_of_its_components():
    write(npo=NPO)
    files = recipes.component_files(recipes.read("npo"))
    assert [file.name for file in files] == ["npo.py", "nll.py", "sum.py", "adamw.py", "all.py"]
    assert all(file.is_file() for file in files)


@pytest.fixture
def resolved():
    """The file of a resolved recipe."""
    write(npo=NPO)
    artifacts.write_json(artifacts.recipe("npo"), recipes.resolve("npo"))
    return artifacts.recipe("npo")


def test_the_recipe_in_a_file_is_the_one_that_was_resolved_whatever_params_say_now(resolved):
    expected = recipes.read("npo")
    config.PARAMS.unlink()
    assert recipes.from_resolved(resolved) == expected


def test_a_recipe_whose_component_has_changed_since_is_refused(resolved, monkeypatch, tmp_path):
    for file in recipes.component_files(recipes.from_resolved(resolved)):
        copied = tmp_path / "lethe" / file.relative_to(registry.LIBRARY)
        copied.parent.mkdir(parents=True)
        copied.write_bytes(file.read_bytes() + b"# changed\n")
    monkeypatch.setattr(registry, "LIBRARY", tmp_path / "lethe")
    with pytest.raises(ArtifactError, match=r"npo\.json: a component has changed .*run `dvc repro resolve`"):
        recipes.from_resolved(resolved)


@pytest.mark.parametrize("damage", [{"training": None}, {"mask": {"name": "lost"}}, {"code": {}}, {"more": 1}])
def test_a_damaged_file_is_refused_in_one_line(resolved, damage):
    artifacts.write_json(resolved, artifacts.read_json(resolved) | damage)
    with pytest.raises(ArtifactError, match=r"npo\.json: .*run `dvc repro resolve`\.$"):
        recipes.from_resolved(resolved)


def test_a_recipe_is_not_called_as_the_retain_models_are():
    with pytest.raises(ConfigError, match=r"recipe 'retain': [^\n]*rename it\.$"):
        recipes.read("retain")


def test_a_missing_file_is_an_error_of_ours_too():
    with pytest.raises(LetheError, match="no such file"):
        recipes.from_resolved(artifacts.recipe("npo"))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"recipes": []}, "grid.recipes: "),
        ({"seeds": []}, "grid.seeds: "),
        ({"recipes": ["npo", "npo"]}, "grid.recipes: 'npo' stands there more than once; name it once; found"),
        ({"seeds": [0, 1, 0]}, "grid.seeds: 0 stands there more than once"),
        ({"seeds": ["0"]}, "grid.seeds.0: Input should be a valid integer; found '0'."),
        ({"seeds": [0.5]}, "grid.seeds.0: Input should be a valid integer"),
        ({"seeds": [-1]}, "grid.seeds.0: "),
        ({"recipes": "npo"}, "grid.recipes: Input should be a valid list"),
        ({"retain_seeds": [1, 1]}, "grid.retain_seeds: 1 stands there more than once"),
        ({"retain_seeds": [-1]}, "grid.retain_seeds.0: "),
    ],
)
def test_a_grid_with_no_or_doubled_cells_is_refused_in_one_line(grid, message):
    values = {"recipes": ["npo"], "seeds": [0], "attacks": ["none"], "retain_seeds": []} | grid
    with pytest.raises(ConfigError) as error:
        config.parse(Grid, values, "grid")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
