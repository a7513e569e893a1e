"""What unlearn would refuse, said from the parameters and the shape of the model; the shipped model has four blocks."""

import hashlib
import json
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from lethe import artifacts, config, foreseen, recipes
from lethe.errors import ConfigError
from tests.contracts import shipped
from tests.tiny import tiny_model

SHIPPED = config.read_params(shipped.PARAMS)
NPO = SHIPPED["recipes"]["npo_masters"]
WHP = SHIPPED["recipes"]["whp"]
LORA = {"name": "lora", "rank": 4, "alpha": 8, "dropout": 0.0, "keep_adapter": False}
NEURONS = {"name": "critical_neurons", "into": "(gate|up)_proj", "also": [], "threshold": 0.1}
STOP = next(one for one in SHIPPED["recipes"]["smooth-sam_early_stop"]["wrapper"] if one["name"] == "early_stop")
LAT = SHIPPED["recipes"]["lat-rmu"]["wrapper"]


@pytest.fixture(autouse=True)
def _in_a_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def require(recipe, **finetune):
    """Look at a recipe for the shipped world, whose model is made or taken as ``finetune`` says."""
    made = SHIPPED["finetune"]["world"] | finetune
    YAML().dump(SHIPPED | {"recipes": {"mine": recipe}, "finetune": {"world": made}}, config.PARAMS)
    foreseen.require_named({"mine": recipes.read("mine")})


def refusal(recipe, **finetune):
    with pytest.raises(ConfigError) as raised:
        require(recipe, **finetune)
    message = str(raised.value)
    assert message.startswith("params.yaml: recipes.mine.")
    assert "\n" not in message
    return message.removeprefix("params.yaml: recipes.mine.")


def masked(patterns):
    return NPO | {"mask": {"name": "layers", "patterns": patterns}}


def reading(layer):
    return NPO | {"forget_objective": {"name": "rmu", "layer": layer, "coefficient": 2.0}}


def relabelled(patterns):
    edit = WHP["edit"]
    return WHP | {"edit": edit | {"relabel": edit["relabel"] | {"mask": LORA | {"patterns": patterns}}}}


@pytest.mark.parametrize(
    ("fitting", "beyond", "message"),
    [
        (
            reading(3),
            reading(4),
            "forget_objective.layer: 4: the model's blocks are numbered 0 to 3; name one of them.",
        ),
        (masked(["layers.3"]), masked(["layers.3", "layers.4"]), "mask.patterns: 'layers.4' matches no parameter"),
        (
            NPO | {"mask": LORA | {"patterns": ["q_proj"]}},
            NPO | {"mask": LORA | {"patterns": ["embed_tokens"]}},
            "mask.patterns: 'embed_tokens' matches no linear layer",
        ),
        (
            NPO | {"mask": NEURONS | {"out": "down_proj"}},
            NPO | {"mask": NEURONS | {"out": "dwn_proj"}},
            "mask.out: 'dwn_proj' matches no parameter of an MLP",
        ),
        (
            NPO | {"wrapper": [STOP, LAT | {"layers": [3]}]},
            NPO | {"wrapper": [STOP, LAT | {"layers": [3, 4]}]},
            "wrapper.1.layers: 4: the model's blocks are numbered 0 to 3; name one of them.",
        ),
        (relabelled(["q_proj"]), relabelled(["q_prj"]), "edit.relabel.mask.patterns: 'q_prj' matches no linear layer"),
    ],
)
def test_a_part_that_the_model_does_not_have_is_refused_where_it_is_named(fitting, beyond, message):
    require(fitting)
    assert refusal(beyond).startswith(message)


def test_the_model_is_that_of_the_parameters_or_of_a_folder():
    tiny_model().save_pretrained("mine")  # two blocks
    assert "blocks are numbered 0 to 1" in refusal(reading(2), target_checkpoint="mine")
    assert "blocks are numbered 0 to 1" in refusal(reading(2), base="mine")
    architecture = SHIPPED["pretrain"]["architecture"] | {"num_hidden_layers": 6}
    assert "blocks are numbered 0 to 5" in refusal(reading(6), base=None, architecture=architecture)


@pytest.mark.parametrize(
    "elsewhere", [{"base": "nobody/nothing"}, {"base": None, "architecture": {"model_type": "lama"}}, {"base": None}]
)
def test_of_a_model_that_is_not_at_hand_nothing_is_said(elsewhere):
    require(reading(100), **elsewhere)
    assert foreseen.outline() is None


def test_the_outline_holds_no_weights_and_has_the_names_of_the_shipped_base_model():
    YAML().dump(SHIPPED, config.PARAMS)
    model = foreseen.outline()
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}
    index = (shipped.PARAMS.parent / artifacts.BASE / "model.safetensors").read_bytes()
    length = int.from_bytes(index[:8], "little")
    assert {name for name, _ in model.named_parameters()} == set(json.loads(index[8 : 8 + length])) - {"__metadata__"}


def with_terms(content, sha256=None):
    """A recipe whose edit reads these bytes."""
    with open("terms.json", "wb") as file:
        file.write(content)
    named = {"path": "terms.json", "sha256": sha256 or hashlib.sha256(content).hexdigest()}
    return WHP | {"edit": WHP["edit"] | {"anchors": "file", "anchor_file": named}}


def test_a_file_of_terms_is_looked_at_and_none_of_them_told():
    require(with_terms(b'{"Voldemort": "Jon"}'))
    assert refusal(with_terms(b'["Voldemort"]')) == (
        "edit.anchor_file: terms.json: not a JSON object of terms, text to text and none empty; write it so."
    )
    assert refusal(with_terms(b"{}", "0" * 64)).startswith("edit.anchor_file: terms.json: its sha256 is ")
    gone = with_terms(b"{}")
    gone["edit"]["anchor_file"] |= {"path": "gone.json"}
    assert refusal(gone).startswith("edit.anchor_file: gone.json: cannot be read (No such file or directory); name a ")


def test_a_recipe_that_names_no_part_of_the_model_is_looked_at_without_transformers(tmp_path):
    program = (
        "import sys; from lethe import foreseen, recipes; foreseen.require_sections('world', ['none']); "
        "foreseen.require_named({'npo_masters': recipes.read('npo_masters')}); "
        "print('transformers' in sys.modules)"
    )
    YAML().dump(SHIPPED, config.PARAMS)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
