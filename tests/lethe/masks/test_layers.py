import pytest
import torch
from pydantic import ValidationError

from lethe.errors import ConfigError
from lethe.masks import layers
from lethe.optimizers import adamw
from tests.tiny import tiny_model


def select(*patterns):
    return layers.select(tiny_model(), layers.Config(patterns=list(patterns)), {})


def test_the_weights_whose_name_holds_a_pattern_may_move_and_no_others():
    answers = select(r"layers\.1\.mlp\.down_proj", r"^model\.norm\.")
    movable = [name for name, may_move in answers.items() if may_move]
    assert movable == ["model.layers.1.mlp.down_proj.weight", "model.norm.weight"]


def test_every_parameter_gets_an_answer():
    assert list(select("mlp")) == [name for name, _ in tiny_model().named_parameters()]


def test_a_pattern_that_matches_nothing_is_an_error_in_one_line():
    with pytest.raises(
        ConfigError, match=r"^mask\.patterns: 'layers.7.mlp' matches no parameter.*'lm_head\.weight'\.$"
    ):
        select("mlp", "layers.7.mlp")


@pytest.mark.parametrize("patterns", [[], ["layers.(1"], [3]])
def test_what_is_no_list_of_regular_expressions_is_refused(patterns):
    with pytest.raises(ValidationError):
        layers.Config(patterns=patterns)


def test_frozen_weights_keep_every_bit_through_momentum_and_weight_decay():
    model = tiny_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    movable = layers.select(model, layers.Config(patterns=[r"layers\.0\.mlp"]), {})
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(movable[name])
    config = adamw.Config(lr=1e-2, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.5)
    optimizer = adamw.build([parameter for parameter in model.parameters() if parameter.requires_grad], config)
    for _ in range(3):
        optimizer.zero_grad()
        model(input_ids=torch.arange(8)[None], labels=torch.arange(8)[None]).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != movable[name]
