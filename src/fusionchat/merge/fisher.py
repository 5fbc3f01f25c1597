"""The diagonal of a model's Fisher information, for Fisher merging: mean squared gradients, one tensor a parameter."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fusionchat.artifacts import atomic_path
from fusionchat.errors import MergeError

if TYPE_CHECKING:
    import torch


def fisher_diagonal(
    model: "torch.nn.Module", batches: Iterable[Mapping[str, "torch.Tensor"]]
) -> dict[str, "torch.Tensor"]:
    """Mean over examples of the squared gradient of the log-likelihood, float32 on the CPU, by parameter name.

    The empirical Fisher information (section 3, arXiv 2111.09832, with the labels given instead of sampled). Each batch
    is one example (batch size 1), because squares of summed gradients are not sums of squares.

    Args:
        model: Called with a batch's tensors; returns an object with ``loss``, the mean over ``labels`` that are not -100.
        batches: Examples with ``input_ids`` and ``labels``, [1, tokens].

    Raises:
        MergeError: A batch holds several examples, there is none, or a loss is not finite.
    """
    import torch

    totals = {
        name: torch.zeros_like(p, dtype=torch.float32, device="cpu") for name, p in model.named_parameters()
    }
    model.eval()
    count = 0
    for batch in batches:
        labels = batch["labels"]
        if labels.shape[0] != 1:
            raise MergeError(f"A batch holds {labels.shape[0]} examples", do="give one example at a time")
        model.zero_grad(set_to_none=True)
        loss = model(**batch).loss * (labels[:, 1:] != -100).sum()
        if not math.isfinite(loss.item()):
            raise MergeError(
                f"The loss of example {count} is {loss.item()}", do="look at the example and the model"
            )
        loss.backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                totals[name] += parameter.grad.detach().float().cpu().square()
        count += 1
    model.zero_grad(set_to_none=True)
    if not count:
        raise MergeError("There are no examples to take the Fisher information from", do="give at least one")
    return {name: total / count for name, total in totals.items()}


def write_fisher(folder: Path, diagonal: Mapping[str, "torch.Tensor"]) -> None:
    """Write a diagonal as the folder that `fusionchat.merge.methods.fisher.Fisher` reads."""
    from safetensors.torch import save_file

    with atomic_path(folder / "model.safetensors") as partial:
        save_file({name: value.contiguous() for name, value in diagonal.items()}, partial)
