from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lethe import artifacts, weights
from lethe.errors import ArtifactError


def test_tensors_of_all_files_are_read(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
    save_file({"b": torch.zeros(3, dtype=torch.bfloat16)}, tmp_path / "model-00002-of-00002.safetensors")
    found = weights.read(tmp_path)
    assert {name: (len(tensor), tensor.dtype) for name, tensor in found.items()} == {
        "a": (2, torch.float32),
        "b": (3, torch.bfloat16),
    }


def test_an_adapter_beside_the_weights_is_none_of_them(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    save_file({"a.A": torch.ones(2)}, tmp_path / artifacts.ADAPTER)
    assert list(weights.read(tmp_path)) == ["a"]


def test_a_folder_without_weights_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no safetensors file"):
        weights.read(tmp_path / "nowhere")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(ArtifactError, match=r"model\.safetensors: not readable"):
        weights.read(tmp_path)
