"""The weights of a checkpoint as plain tensors, for arithmetic without a model and without transformers."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lethe import artifacts
from lethe.errors import ArtifactError


def read(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a checkpoint by name, from all of its safetensors files; an adapter kept beside it is none.

    Raises ArtifactError when there is none or one is damaged.
    """
    files = sorted(file for file in folder.glob("*.safetensors") if file.name != artifacts.ADAPTER)
    if not files:
        raise ArtifactError(f"{folder}: no safetensors file here; run `dvc repro` to make the checkpoint.")
    return {name: tensor for file in files for name, tensor in _tensors(file).items()}


def _tensors(file: Path) -> dict[str, Tensor]:
    try:
        return dict(load_file(file))
    except SafetensorError as error:
        raise ArtifactError(f"{file}: not readable ({error}); delete it and run `dvc repro`.") from None
