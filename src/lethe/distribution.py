"""Several processes as one: what ``accelerate launch`` starts, how rows are shared, and how sums over all are taken.

Every process holds all rows and takes its share of each batch. Losses are divided by the counts of the whole batch, so
the gradients of the shares sum to the gradient of one process, and they are summed before anything that is not linear
sees them. Weights are replicated, each process with all of them, or sharded (FSDP2), each with a part of every tensor:
then gradients are DTensors that were summed by their backward. In a single process nothing here does anything.
"""

import atexit
import copy
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from lethe.errors import ConfigError

Item = TypeVar("Item")
Number = TypeVar("Number", int, float)

_YES = ("1", "true", "yes", "y", "on")
#: Where the number of processes stands: of torchrun, and of those MPIs by which accelerate may launch CPU processes.
_COUNTS = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def start() -> None:
    """Join the processes that ``accelerate launch`` started; a process that stands alone goes on alone.

    Raises ConfigError for ways to distribute that are none of ours.
    """
    if _launched() == 1 or size() > 1:
        return
    _require_known_ways()
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"  # else transformers gives all but the first empty weights
    from accelerate import PartialState  # a second of import, which a single process is spared

    PartialState(cpu=not torch.cuda.is_available())
    atexit.register(distributed.destroy_process_group)
    if not is_first():
        logging.getLogger("lethe").setLevel(logging.WARNING)  # one process tells how far all of them are


def size() -> int:
    """The number of processes that train together, at least 1."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that writes files and logs."""
    return size() == 1 or distributed.get_rank() == 0


def shards() -> bool:
    """Whether weights are to be spread over the processes (FSDP2)."""
    return size() > 1 and _is_set("ACCELERATE_USE_FSDP")


def share(rows: Sequence[Item]) -> Sequence[Item]:
    """Of the rows of a batch those that this process takes: each row is one process's."""
    return rows if size() == 1 else rows[distributed.get_rank() :: size()]


def share_of_any(rows: Sequence[Item]) -> Sequence[Item]:
    """The same of a batch of any size: of fewer rows than there are processes each takes all."""
    return share(rows) if len(rows) >= size() else rows


def weight_of_any(count: int) -> float:
    """How much rows count in a process that took its ``share_of_any`` of a batch of ``count`` rows."""
    return 1.0 if count >= size() else 1 / size()


def of_all_rows(own: Tensor) -> Tensor:
    """What each process has [rows, time, width] for its ``share`` of the rows of a batch, for all of them, in each.

    Where one has a longer time than another, the shorter ends in zeros.
    """
    if size() == 1:
        return own
    time = torch.tensor(own.shape[1], device=own.device)
    distributed.all_reduce(time, distributed.ReduceOp.MAX)
    found = own.new_zeros(total(len(own)), int(time), *own.shape[2:])
    found[distributed.get_rank() :: size(), : own.shape[1]] = own
    distributed.all_reduce(found)
    return found


def of_own_rows(every: Tensor) -> Tensor:
    """Of what all rows of a batch have that of this process's ``share``."""
    return every if size() == 1 else every[distributed.get_rank() :: size()]


def require_rows(batch_size: int) -> None:
    """Raise ConfigError when a process would have no row of a batch: all of them have to take part in every pass."""
    if batch_size < size():
        raise ConfigError(
            f"training.batch_size: {batch_size} rows for {size()} processes; raise it to {size()} or more "
            "(lower accumulation instead), or launch fewer processes."
        )


def total(value: Number) -> Number:
    """The sum of a number over all processes, in fp64; the same bits in each of them."""
    if size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64, device=_device())
    distributed.all_reduce(found)
    return type(value)(found.item())


def anywhere(truths: list[bool]) -> list[bool]:
    """Of each truth whether it is one in any of the processes."""
    if size() == 1:
        return truths
    found = torch.tensor(truths, dtype=torch.int32, device=_device())
    distributed.all_reduce(found)
    return [count > 0 for count in found.tolist()]


def reduced(gradients: list[Tensor]) -> list[Tensor]:
    """The gradients summed over all processes, in place; those of sharded weights are summed already."""
    if size() > 1:
        pending = [distributed.all_reduce(one, async_op=True) for one in gradients if not is_sharded(one)]
        for work in pending:
            work.wait()
    return gradients


def own_draws(device: torch.device) -> torch.Generator | None:
    """What draws in this step independently of all other processes; None, torch's own generator, where there is none.

    Torch's own stands at the same place in every process.
    """
    if size() == 1:
        return None
    return torch.Generator(device).manual_seed(torch.initial_seed() * size() + distributed.get_rank())


def is_sharded(tensor: Tensor) -> bool:
    """Whether a tensor is one of FSDP2, of which each process has a part."""
    return hasattr(tensor, "to_local")  # a DTensor; to import that class takes a second


def whole(tensor: Tensor) -> Tensor:
    """A tensor as it is without shards, in every process; every process has to ask.

    A sum or a norm of shards is that of the part alone until it is asked for so.
    """
    return tensor.full_tensor() if is_sharded(tensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """Of a sharded tensor what this process has; others are their own part."""
    return tensor.to_local() if is_sharded(tensor) else tensor


def over_parts(found: Tensor, pattern: Tensor) -> Tensor:
    """What was counted in this process's parts, counted over those of all when ``pattern`` is sharded; in place."""
    if is_sharded(pattern):
        distributed.all_reduce(found)
    return found


def dot(left: Tensor, right: Tensor) -> Tensor:
    """Inner product of two tensors as vectors, in their dtype; of sharded ones that of the whole: a scalar."""
    if not is_sharded(left):
        return torch.dot(left.flatten(), right.flatten())
    found = torch.dot(left.to_local().flatten(), right.to_local().flatten())
    distributed.all_reduce(found)
    return found


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors by name as a file is to hold them; what was sharded is whole, on the CPU, in the first process alone.

    Every process has to ask, with the same names.
    """
    return {name: _to_first(one) if is_sharded(one) else one for name, one in tensors.items()}


def spread_like(value: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor, the same in every process, spread over them as ``pattern`` is; a scalar stays as it is."""
    if not is_sharded(pattern) or value.ndim == 0:
        return value
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = pattern.device_mesh
    spread_out: Tensor = distribute_tensor(value.to(pattern.device), mesh, pattern.placements, src_data_rank=None)
    return spread_out


def normal_like(pattern: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers in the shape of a tensor; of a sharded one the part of those that one process draws."""
    drawn = torch.randn(pattern.shape, generator=generator, dtype=pattern.dtype, device=pattern.device)
    return spread_like(drawn, pattern)


def beside(value: Tensor, pattern: Tensor) -> Tensor:
    """A tensor that broadcasts against ``pattern``, spread with it; whole in every process where it has but one row."""
    if not is_sharded(pattern) or is_sharded(value) or value.ndim == 0:
        return value
    if len(value) > 1:
        return spread_like(value, pattern)
    from torch.distributed.tensor import DTensor, Replicate

    return DTensor.from_local(value.to(pattern.device), pattern.device_mesh, [Replicate()])


@contextmanager
def sharded(model: nn.Module, blocks: Callable[[Any], nn.ModuleList]) -> Iterator[Any]:
    """Inside, the model to train: ``model`` itself, or a sharded copy whose weights ``model`` has afterwards.

    ``blocks`` finds the decoder's blocks, which are gathered one at a time. The copy leaves ``model`` an ordinary one
    of its class, on the CPU in every process.
    """
    if not shards():
        yield model
        return
    spread_out = spread(copy.deepcopy(model), blocks)
    yield spread_out
    with torch.no_grad():
        for parameter, trained in zip(model.parameters(), spread_out.parameters(), strict=True):
            parameter.copy_(trained.detach().full_tensor())


def spread(model: Any, blocks: Callable[[Any], nn.ModuleList]) -> Any:
    """Shard a model's weights over the processes, in place; its gradients become sums over all of them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view")  # nobody writes into logits
    mesh = init_device_mesh(_device().type, (size(),))
    for block in blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=False)  # embedding and head stay for the backward
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # a sum: losses are divided by the counts of all processes
            module.set_force_sum_reduction_for_comms(True)
    model.run_inside = MethodType(lambda _, function: function(), model)
    register_fsdp_forward_method(model, "run_inside")
    return model


def inside(model: Any, function: Callable[[], Tensor]) -> Tensor:
    """What ``function`` gives, which runs parts of ``model``: sharded weights are whole there when they are needed."""
    if not hasattr(model, "run_inside"):
        return function()
    try:
        found: Tensor = model.run_inside(function)
    finally:
        if not torch.is_grad_enabled():  # no backward will do it, and until then parameters() gives passing copies
            model.reshard()
    return found


def _to_first(tensor: Tensor) -> Tensor:
    found: Tensor = tensor.full_tensor()
    return found.cpu() if is_first() else found.new_empty(0)


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def _launched() -> int:
    return next((int(os.environ[name]) for name in _COUNTS if name in os.environ), 1)


def _require_known_ways() -> None:
    unknown = [name for name in ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG") if _is_set(f"ACCELERATE_USE_{name}")]
    if unknown:
        raise ConfigError(f"accelerate: {unknown[0]} is not supported; launch with --multi_gpu or --use_fsdp.")
    if _is_set("ACCELERATE_USE_FSDP") and os.environ.get("FSDP_VERSION") != "2":
        found = os.environ.get("FSDP_VERSION", "1")
        raise ConfigError(f"accelerate: FSDP version {found} is not supported; launch with --fsdp_version 2.")
    if _is_set("FSDP_OFFLOAD_PARAMS"):
        raise ConfigError("accelerate: FSDP_OFFLOAD_PARAMS is not supported; launch more processes, without offload.")
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        raise ConfigError(
            f"accelerate: mixed precision {precision!r}: params.yaml says it (training.compute_dtype); "
            "launch with --mixed_precision no."
        )


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").lower() in _YES
