"""The diagonal of a model's Fisher information: mean squared gradients, for merging."""

import math
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import atomic_path
from fusionchat.console import Advance, ignore
from fusionchat.errors import MergeError

if TYPE_CHECKING:
    import torch


def fisher_diagonal(
    model: "torch.nn.Module", batches: Iterable[Mapping[str, "torch.Tensor"]], *, progress: Advance = ignore
) -> dict[str, "torch.Tensor"]:
    """Mean over examples of the squared gradient of the log-likelihood, by parameter name.

    It is float32 on the CPU.

    The empirical Fisher information (section 3, arXiv 2111.09832, with the labels given instead of sampled).
    Each batch is one example (batch size 1), because squares of summed gradients are not sums of squares.
    Each gradient is used and freed at once, so that those of all parameters are never in memory together. A
    parameter with several names (tied embeddings) has one entry, under its first name, of the gradient summed
    over all its uses.

    Args:
        model: Called with a batch's tensors; returns an object with ``loss``, the mean over ``labels`` that
            are not -100.
        batches: Examples with ``input_ids`` and ``labels``, [1, tokens].
        progress: Called with 1 after each example.

    Raises:
        MergeError: A batch holds several examples, there is none, or a loss or a gradient is not finite.
    """
    import torch

    # 1. every parameter's gradient is squared, added and freed as soon as it exists
    totals = {
        name: torch.zeros_like(p, dtype=torch.float32, device="cpu") for name, p in model.named_parameters()
    }
    model.eval()
    model.zero_grad(set_to_none=True)
    handles = [
        p.register_post_accumulate_grad_hook(partial(_add_square, totals[name]))
        for name, p in model.named_parameters()
        if p.requires_grad
    ]
    count = 0
    try:
        for batch in batches:
            labels = batch["labels"]
            if labels.shape[0] != 1:
                raise MergeError(f"A batch holds {labels.shape[0]} examples", do="pass one example at a time")
            # 2. L = -log p(labels): the mean over the predicted tokens, times their number
            loss = model(**batch).loss * (labels[:, 1:] != -100).sum()
            if not math.isfinite(loss.item()):
                raise MergeError(
                    f"The loss of example {count} is {loss.item()}", do="check the example and the model"
                )
            loss.backward()
            count += 1
            progress(1)
    finally:
        for handle in handles:
            handle.remove()
    if not count:
        raise MergeError(
            "There are no examples to compute the Fisher information from", do="pass at least one"
        )
    # 3. F = mean over examples of (dL/dtheta)^2
    for name, total in totals.items():
        if not total.div_(count).isfinite().all():
            raise MergeError(
                f"The gradient of parameter {name} is not finite", do="check the model's weights for inf"
            )
    return totals


def _add_square(total: "torch.Tensor", parameter: "torch.Tensor") -> None:
    """Add a parameter's squared gradient and free the gradient."""
    assert parameter.grad is not None
    gradient = parameter.grad.detach().float().cpu()
    total.addcmul_(gradient, gradient)
    parameter.grad = None


def write_fisher(folder: Path, diagonal: Mapping[str, "torch.Tensor"]) -> None:
    """Write a diagonal as the folder that `fusionchat.merge.methods.fisher.Fisher` reads.

    A tensor with several names (tied embeddings) is written under each.
    """
    from safetensors.torch import save_file

    held: dict[str, torch.Tensor] = {}
    seen: set[int] = set()
    for name, value in diagonal.items():
        whole = value.contiguous()
        pointer = whole.untyped_storage().data_ptr()
        held[name] = whole.clone() if pointer in seen else whole  # save_file refuses shared memory
        seen.add(pointer)
    with atomic_path(folder / "model.safetensors") as partial_path:
        save_file(held, partial_path)
