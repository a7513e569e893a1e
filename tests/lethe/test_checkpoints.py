import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from lethe import artifacts
from lethe.checkpoints import Checkpoints, fingerprint
from tests.small_recipes import training

CURVE = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "loss": 1e-30}]


def parts(seed=0):
    """A layer with an AdamW over its weight alone, which has made one step."""
    torch.manual_seed(seed)
    layer = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW([layer.weight], lr=0.1)
    layer(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return layer, optimizer


def tensors(layer, optimizer):
    state = optimizer.state_dict()["state"]
    return [*layer.parameters(), *(values[key] for values in state.values() for key in sorted(values))]


@pytest.fixture
def checkpoints(tmp_path):
    return Checkpoints(tmp_path / "scratch" / "run", "these inputs")


def test_weights_moments_step_and_curve_come_back_bit_for_bit(checkpoints):
    checkpoints.save(2, *parts(seed=0), CURVE, {})
    other = parts(seed=1)
    assert checkpoints.restore(*other, {}) == (2, CURVE)
    assert all(torch.equal(*pair) for pair in zip(tensors(*other), tensors(*parts(seed=0)), strict=True))


def test_the_learning_rate_is_that_of_the_run_and_not_of_the_checkpoint(checkpoints):
    layer, optimizer = parts()
    optimizer.param_groups[0]["lr"] = 0.05
    checkpoints.save(2, layer, optimizer, CURVE, {})
    again = parts()
    checkpoints.restore(*again, {})
    assert again[1].param_groups[0]["lr"] == 0.1


def test_without_a_checkpoint_training_begins_at_the_beginning(checkpoints):
    other = parts(seed=1)
    assert checkpoints.restore(*other, {}) == (0, [])
    assert all(torch.equal(*pair) for pair in zip(tensors(*other), tensors(*parts(seed=1)), strict=True))


def test_the_checkpoint_of_another_run_is_not_used(checkpoints):
    checkpoints.save(2, *parts(seed=0), CURVE, {})
    other = parts(seed=1)
    assert replace(checkpoints, fingerprint="other inputs").restore(*other, {}) == (0, [])
    assert all(torch.equal(*pair) for pair in zip(tensors(*other), tensors(*parts(seed=1)), strict=True))


def test_only_the_last_checkpoint_is_kept(checkpoints):
    for step in (2, 4):
        checkpoints.save(step, *parts(), CURVE, {})
    assert checkpoints.restore(*parts(), {})[0] == 4
    assert sorted(path.name for path in checkpoints.folder.parent.rglob("*")) == [
        "memory.safetensors",
        "model.safetensors",
        "optimizer.safetensors",
        "progress.json",
        "run",
    ]


def test_a_run_that_is_done_leaves_nothing(checkpoints):
    checkpoints.save(2, *parts(), CURVE, {})
    checkpoints.clear()
    checkpoints.clear()
    assert list(checkpoints.folder.parent.iterdir()) == []


def test_a_checkpoint_before_the_first_step_has_no_moments(checkpoints):
    layer = nn.Linear(3, 2)
    checkpoints.save(1, layer, torch.optim.AdamW(layer.parameters()), [], {})
    optimizer = torch.optim.AdamW(layer.parameters())
    assert checkpoints.restore(layer, optimizer, {}) == (1, [])
    assert optimizer.state_dict()["state"] == {}


def test_a_fingerprint_is_the_same_for_the_same_inputs_whatever_the_place(tmp_path):
    prints = set()
    for place in ("here", "there"):
        artifacts.write_text(tmp_path / place / "base" / "config.json", "{}")
        prints.add(fingerprint(training(), tmp_path / place / "base", 3))
    assert len(prints) == 1


def test_a_fingerprint_tells_every_input_from_another(tmp_path):
    file, folder = tmp_path / "a.json", tmp_path / "base"
    prints = [fingerprint(training(), file, folder, 0)]

    def tell(*inputs):
        assert fingerprint(*inputs) not in prints
        prints.append(fingerprint(*inputs))

    tell(training(steps=7), file, folder, 0)
    tell(training(), file, folder, 1)
    artifacts.write_text(file, "{}")
    tell(training(), file, folder, 0)
    artifacts.write_text(folder / "config.json", "{}")
    tell(training(), file, folder, 0)
    artifacts.write_text(folder / "config.json", "{ }")
    tell(training(), file, folder, 0)


def test_a_checkpoint_holds_no_pickle(checkpoints):
    checkpoints.save(2, *parts(), CURVE, {})
    assert json.loads((checkpoints.folder / "progress.json").read_text())["fingerprint"] == "these inputs"
    assert {path.suffix for path in checkpoints.folder.iterdir()} == {".safetensors", ".json"}
