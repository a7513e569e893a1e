import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lethe import artifacts, config
from lethe.errors import ArtifactError
from stages import diagnose

PARAMS = """
attacks:
  quantization:
    skip: ["*embed*"]
    schemes:
      int8: {kind: symmetric, bits: 8, group_size: null}
      nf4: {kind: nf4, bits: 4, group_size: 4}
"""


def save(name: str, edit: float) -> None:
    weights = {"up.weight": torch.tensor([[0.7, 0.1, -0.26, 0.06]]), "embed.weight": torch.ones(2, 2)}
    weights["up.weight"][0, 2] += edit
    artifacts.model(name).mkdir(parents=True)
    save_file(weights, artifacts.model(name) / "model.safetensors")


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    config.PARAMS.write_text(PARAMS)
    save("target", edit=0.0)
    save("npo-0", edit=0.12)
    return tmp_path


def test_each_scheme_is_diagnosed_in_total_and_by_tensor(workspace: Path) -> None:
    diagnose.main("npo-0")
    found = artifacts.read_json(artifacts.diagnostics("npo-0"))
    assert set(found) == {"int8", "nf4"}
    assert set(found["nf4"]["tensors"]) == {"up.weight"}
    assert found["int8"]["total"] == found["int8"]["tensors"]["up.weight"]
    # Only -.26 moved, to -.14: one weight of four, across many steps of .7 / 127.
    assert found["int8"]["total"]["moved_fraction"] == 0.25
    assert found["int8"]["total"]["code_flip_rate"] == 0.25


def test_a_cell_that_was_not_made_is_named(workspace: Path) -> None:
    with pytest.raises(ArtifactError, match=r"unlearned/npo-1: no safetensors file"):
        diagnose.main("npo-1")


def test_the_door_does_not_load_transformers() -> None:
    check = "import sys, stages.diagnose; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
