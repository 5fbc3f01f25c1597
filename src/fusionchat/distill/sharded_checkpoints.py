"""Checkpoints of a sharded training: each process writes its own parts.

Any number of processes can read them.

torch.distributed.checkpoint records the place of every part, so a training can continue with another number
of processes, or in one. Nothing is gathered, so a checkpoint needs no memory. Checkpoints of whole tensors
are read here, too.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from safetensors import safe_open
from torch import Tensor, nn
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from fusionchat.distill.sharded import part_of

PARTS, MOMENTS = "weights", "optimizer"
"""Folders of a checkpoint, with the parts of the trained parameters and of the optimizer's state."""
State = dict[str, Tensor]


def trained(module: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name; a tied one appears once."""
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def save_weights(module: nn.Module, folder: Path) -> None:
    """Write this process's parts of the trained parameters; in every process at the same time."""
    dcp.save({name: p.detach() for name, p in trained(module).items()}, checkpoint_id=folder / PARTS)


@torch.no_grad()
def load_weights(module: nn.Module, folder: Path) -> None:
    """Read the trained parameters from parts, or by name from the whole tensors of ``model.safetensors``."""
    if (folder / PARTS).is_dir():
        dcp.load({name: p.detach() for name, p in trained(module).items()}, checkpoint_id=folder / PARTS)
        return
    with safe_open(folder / "model.safetensors", "pt") as held:
        names = set(held.keys())
        for name, parameter in module.named_parameters(remove_duplicate=False):
            if name in names:  # the file has one of several tied parameters
                parameter.copy_(part_of(held.get_tensor(name), parameter))


def save_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, folder: Path) -> None:
    """Write this process's parts of the optimizer's state; in every process at the same time."""
    state: State = {}
    for name, parameter in trained(module).items():
        for key, value in optimizer.state[parameter].items():
            assert isinstance(value, Tensor), f"{type(optimizer).__name__} keeps {key}, which is no tensor"
            state[f"{name}/{key}"] = value
    dcp.save(state, checkpoint_id=folder / MOMENTS)


def load_optimizer(optimizer: torch.optim.Optimizer, module: nn.Module, folder: Path) -> None:
    """Read the optimizer's state from parts, or from the whole tensors of ``optimizer.pt``."""
    if not (folder / MOMENTS).is_dir():
        _load_whole(optimizer, torch.load(folder / "optimizer.pt", map_location="cpu", weights_only=True))
        return
    held = dcp.FileSystemReader(folder / MOMENTS).read_metadata().state_dict_metadata
    parameters, state = trained(module), State()
    for key, about in held.items():
        assert isinstance(about, TensorStorageMetadata)
        parameter = parameters[key.rpartition("/")[0]]
        dtype = about.properties.dtype
        state[key] = (
            torch.zeros_like(parameter, dtype=dtype)
            if about.size == parameter.shape
            else torch.zeros(about.size, dtype=dtype)
        )
    dcp.load(state, checkpoint_id=folder / MOMENTS)
    for key, value in state.items():
        name, _, own = key.rpartition("/")
        optimizer.state[parameters[name]][own] = value.detach()


def _load_whole(
    optimizer: torch.optim.Optimizer, held: Mapping[str, list[dict[str, list[int]]] | dict[int, State]]
) -> None:
    """Give each parameter its part of a state that `Optimizer.state_dict` made from whole parameters.

    Both have the parameters in the same order.
    """
    groups, state = held["param_groups"], held["state"]
    assert isinstance(groups, list) and isinstance(state, dict)
    for group, own in zip(groups, optimizer.param_groups, strict=True):
        for index, parameter in zip(group["params"], own["params"], strict=True):
            if index in state:
                optimizer.state[parameter] = {
                    key: part_of(value.to(parameter.device) if value.dim() else value, parameter)
                    for key, value in state[index].items()
                }
