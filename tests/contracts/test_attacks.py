"""What every attack family owes: unique names, repeatable states, and the model back bit for bit."""

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from lethe import config, registry
from lethe.config import Section
from tests.tiny import tiny_model

State = dict[str, Tensor]


def state(model: PreTrainedModel) -> State:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def same(left: State, right: State) -> bool:
    """Whether the bytes agree; 0.0 and -0.0 do not."""
    return left.keys() == right.keys() and all(
        torch.equal(as_bytes(left[name]), as_bytes(right[name])) for name in left
    )


def as_bytes(tensor: Tensor) -> Tensor:
    return tensor.flatten().view(torch.uint8)


@pytest.fixture(params=registry.names("attacks"))
def family(request: pytest.FixtureRequest) -> ModuleType:
    return registry.load("attacks", request.param)


@pytest.fixture
def conditions(family: ModuleType) -> Callable[[PreTrainedModel], Iterator[str]]:
    name = family.__name__.rpartition(".")[2]
    settings = config.section(family.Config, "attacks", name)
    return lambda model: family.conditions(model, settings)


def test_every_key_of_an_attack_is_required(family: ModuleType) -> None:
    assert issubclass(family.Config, Section)
    assert all(field.is_required() for field in family.Config.model_fields.values())


def test_there_are_conditions_and_each_has_a_name_of_its_own(conditions: Callable) -> None:
    names = list(conditions(tiny_model()))
    assert names
    assert len(names) == len(set(names))


def test_weights_are_back_bit_for_bit_at_the_end(conditions: Callable) -> None:
    model = tiny_model()
    before = state(model)
    list(conditions(model))
    assert same(state(model), before)


def test_weights_are_back_bit_for_bit_when_the_consumer_stops_early(conditions: Callable) -> None:
    model = tiny_model()
    before = state(model)
    running = conditions(model)
    next(running)
    running.close()
    assert same(state(model), before)


def test_weights_are_back_bit_for_bit_when_the_consumer_fails(conditions: Callable) -> None:
    model = tiny_model()
    before = state(model)
    running = conditions(model)
    next(running)
    with pytest.raises(RuntimeError, match="the consumer failed"):
        running.throw(RuntimeError("the consumer failed"))
    assert same(state(model), before)


def test_half_precision_weights_are_back_bit_for_bit(conditions: Callable) -> None:
    model = tiny_model().to(torch.bfloat16)
    before = state(model)
    list(conditions(model))
    assert same(state(model), before)


def test_the_same_model_is_attacked_in_the_same_way(conditions: Callable) -> None:
    first, second = tiny_model(), tiny_model()
    for one, other in zip(conditions(first), conditions(second), strict=True):
        assert one == other
        assert same(state(first), state(second))


def test_attacked_weights_are_finite(conditions: Callable) -> None:
    model = tiny_model()
    for _ in conditions(model):
        assert all(tensor.isfinite().all() for tensor in state(model).values())
