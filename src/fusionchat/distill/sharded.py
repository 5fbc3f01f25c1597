"""FSDP2: each process has its part of every parameter, gradient and optimizer state.

A group of parameters is whole only while the module that it belongs to computes. The loss is in the root's
forward, and the head's product in the head's, so that both see plain tensors. Trainer and accelerate must not
wrap the result: on a CPU they would silently ignore FSDP.
"""

from collections.abc import Iterator

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from fusionchat.distill.student import Student

WHOLE = MixedPrecisionPolicy()
"""Products in the weights' own dtype for embedding, head and norms, as without FSDP."""
HALF = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
"""Blocks are gathered in bf16, and their gradients added up in fp32.

Inputs are not cast here; autocast casts them as it does elsewhere.
"""


def shard(student: Student, device: torch.device, *, bf16: bool) -> None:
    """Split each parameter, frozen or trained, among the connected processes, in place: 1/n for each.

    Args:
        student: The same one in every process; its parameters may be in host memory still.
        device: The device of the parts and of the computation.
        bf16: Whether passes are in bf16; the blocks' matrices are then gathered in it.
    """
    mesh = init_device_mesh(device.type, (dist.get_world_size(),))
    if bf16:
        for norm in vectors_only(student):
            fully_shard(norm, mesh=mesh, mp_policy=WHOLE, reshard_after_forward=False)
    for block in blocks(student.body):
        fully_shard(block, mesh=mesh, mp_policy=HALF if bf16 else WHOLE)
    # a weight that the embedding shares with the head is in one group, the root's
    if not any(p is student.head.linear.weight for p in student.body.parameters()):
        fully_shard(student.head, mesh=mesh, mp_policy=WHOLE)
    fully_shard(student, mesh=mesh, mp_policy=WHOLE)


def blocks(body: nn.Module) -> Iterator[nn.Module]:
    """The modules that transformers never splits among devices, by the model's own list: one layer each."""
    kinds = {kind for module in body.modules() for kind in getattr(module, "_no_split_modules", None) or ()}
    yield from _outermost(body, kinds)


def _outermost(module: nn.Module, kinds: set[str]) -> Iterator[nn.Module]:
    for child in module.children():
        if type(child).__name__ in kinds:
            yield child
        else:
            yield from _outermost(child, kinds)


def vectors_only(module: nn.Module) -> Iterator[nn.Module]:
    """The submodules with parameters of their own but no matrix among them: norms."""
    for one in module.modules():
        own = list(one.parameters(recurse=False))
        if own and all(p.dim() == 1 for p in own):
            yield one


def own_parts(student: Student) -> list[torch.Tensor]:
    """This process's parts of the trained parameters."""
    return [p.to_local() for p in student.parameters() if p.requires_grad and isinstance(p, DTensor)]


def part_of(whole: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """This process's part of a whole tensor, or all of it, as for the parameter ``like``."""
    if not isinstance(like, DTensor) or whole.shape != like.shape:
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def gather(model: nn.Module, *, keep: bool) -> None:
    """Make the parameters whole again in host memory, one after the other, in place.

    Every process calls it at the same time.

    Args:
        model: Sharded by `shard`; tied parameters stay tied. Afterwards it can be saved, but not run.
        keep: Whether this process keeps them; otherwise they become empty ones on torch's ``meta``
            device.
    """
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if not isinstance(parameter, DTensor):
                continue
            if id(parameter) not in made:
                whole = parameter.detach().full_tensor()
                made[id(parameter)] = nn.Parameter(
                    whole.cpu() if keep else whole.to("meta"), requires_grad=parameter.requires_grad
                )
                made[-id(parameter)] = parameter  # kept alive, so that no other can get its id
            module._parameters[name] = made[id(parameter)]
