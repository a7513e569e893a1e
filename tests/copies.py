"""How many models' worth of tensors are alive at once, told by the tensors that are as large as the largest weight."""

from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import PreTrainedModel


class Copies(TorchDispatchMode):
    """Counts, inside, the tensors in memory that are as large as the input embedding.

    ``peak`` is their largest number at once, over the number of the model's own: the model itself is 1.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self._size = model.get_input_embeddings().weight.untyped_storage().nbytes()
        self._living: dict[int, StorageWeakRef] = {}
        for parameter in model.parameters():
            self._see(parameter)
        self._own = self._most = len(self._living)

    @property
    def peak(self) -> float:
        return self._most / self._own

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(found):
            if isinstance(leaf, torch.Tensor):
                self._see(leaf)
        self._most = max(self._most, sum(not reference.expired() for reference in self._living.values()))
        return found

    def _see(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage.nbytes() == self._size:
            self._living = {key: held for key, held in self._living.items() if not held.expired()}
            self._living[storage._cdata] = StorageWeakRef(storage)
