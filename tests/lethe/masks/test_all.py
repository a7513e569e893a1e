from lethe.masks import all as everything
from tests.tiny import tiny_model


def test_every_weight_may_move():
    model = tiny_model()
    assert everything.select(model, everything.Config(), {}) == {name: True for name, _ in model.named_parameters()}
