"""The diagonal of a tiny model by hand, and the folder that a merge reads."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from fusionchat.errors import MergeError
from fusionchat.merge.fisher.diagonal import fisher_diagonal, write_fisher
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.stream.merge import merge_models
from tests.merge.folders import SHAPES, family, load, random_tensors, stacked
from tests.reference import merge as reference

near = {"rtol": 3e-6, "atol": 1e-7}


class Tiny(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor([0.5, -0.25]))

    def forward(self, input_ids, labels):
        loss = (self.w * input_ids[0]).sum()
        return type("Output", (), {"loss": loss})()


EXAMPLES = [
    {"input_ids": torch.tensor([[1.0, 2.0]]), "labels": torch.tensor([[0, 1, 2]])},
    {"input_ids": torch.tensor([[3.0, 0.0]]), "labels": torch.tensor([[0, 1, -100]])},
]


def test_the_diagonal_is_the_mean_of_squares():
    """Losses are means over 2 labels and 1, so gradients are 2 * (1, 2) and (3, 0)."""
    seen = []
    diagonal = fisher_diagonal(Tiny(), EXAMPLES, progress=seen.append)
    torch.testing.assert_close(diagonal["w"], torch.tensor([((2 * 1) ** 2 + 3**2) / 2, (2 * 2) ** 2 / 2]))
    assert seen == [1, 1]


def test_a_parameter_that_is_not_trained_has_no_information():
    model = Tiny()
    model.fixed = torch.nn.Parameter(torch.ones(3), requires_grad=False)
    assert fisher_diagonal(model, EXAMPLES)["fixed"].tolist() == [0, 0, 0]
    assert model.w.grad is None and not model.w._post_accumulate_grad_hooks


def bad(**changes):
    return [{**EXAMPLES[0], **changes}]


@pytest.mark.parametrize(
    ("batches", "words"),
    [
        ([], "no examples"),
        (bad(labels=torch.tensor([[0, 1], [0, 1]])), "holds 2 examples"),
        (bad(input_ids=torch.tensor([[np.inf, 0.0]])), "loss of example 0 is inf"),
        (bad(input_ids=torch.tensor([[1e30, 0.0]])), "gradient of parameter w is not finite"),
    ],
)
def test_examples_that_give_no_information(batches, words):
    model = Tiny()
    with pytest.raises(MergeError, match=words):
        fisher_diagonal(model, batches)
    assert not model.w._post_accumulate_grad_hooks


def test_shared_tensors_are_written_under_every_name(tmp_path):
    whole = torch.arange(6.0).reshape(2, 3)
    write_fisher(tmp_path, {"a": whole, "b": whole, "c": whole.T})
    held = load_file(tmp_path / "model.safetensors")
    assert {name: one.tolist() for name, one in held.items()} == {
        "a": whole.tolist(), "b": whole.tolist(), "c": whole.T.tolist(),
    }  # fmt: skip


def test_a_merge_reads_the_folders(tmp_path):
    pivot, targets = family(tmp_path, 2)
    information = [random_tensors(7 + j, scale=1.0) for j in range(2)]
    for j, tensors in enumerate(information):
        write_fisher(tmp_path / f"f{j}", {k: v**2 for k, v in tensors.items()})
    method = Fisher(fisher=(str(tmp_path / "f0"), str(tmp_path / "f1")))
    merge_models(pivot, targets, method, tmp_path / "out", dtype="float32", threads=1)
    result = load(tmp_path / "out")
    others = stacked(targets)
    for name in SHAPES:
        squares = np.stack([tensors[name].numpy() ** 2 for tensors in information])
        np.testing.assert_allclose(result[name], reference.fisher(others[name], squares), **near)
    with pytest.raises(MergeError, match="2 folders"):
        merge_models(pivot, targets, Fisher(), tmp_path / "none")
