"""Pivots that were saved from inside another module: their names are brought back to their class's."""

import pytest
import torch

from fusionchat.errors import MergeError
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.stream.merge import merge_models
from tests.merge.models import model, nudged
from tests.merge.real import rewritten, tensors

GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "pad_token_id": None}


@pytest.mark.parametrize("prefix", ["pretrained_model.", "policy.model.", "a.b.c."])
@pytest.mark.parametrize(("kind", "sizes"), [("llama", {}), ("gpt2", GPT2)])
def test_names_with_a_prefix_are_written_without_it(tmp_path, capsys, prefix, kind, sizes):
    plain = model(tmp_path / "plain", kind, **sizes)
    pivot = rewritten(plain, tmp_path / "pivot", lambda held: {prefix + n: t for n, t in held.items()})
    target = nudged(plain, tmp_path / "target", 1)
    merge_models(pivot, {"t": target}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    made, right = tensors(tmp_path / "out"), tensors(target)
    assert made.keys() == right.keys()
    assert all(torch.equal(made[name], right[name]) for name in right)
    assert f"begin with {prefix}" in " ".join(capsys.readouterr().err.split())


def test_a_value_head_beside_the_prefix_keeps_its_name(tmp_path):
    plain, head = model(tmp_path / "plain"), {"v_head.summary.weight": torch.ones(1, 32)}
    pivot = rewritten(
        plain, tmp_path / "pivot", lambda held: {f"pretrained_model.{n}": t for n, t in held.items()} | head
    )
    merge_models(pivot, {"t": plain}, Linear(), tmp_path / "out", dtype="float32", threads=1)
    assert tensors(tmp_path / "out").keys() == tensors(plain).keys() | head.keys()


def test_a_prefix_is_kept_where_the_names_do_not_fit_without_it_either(tmp_path):
    def change(held):
        return {f"model.{n}": t for n, t in held.items() if not n.endswith("model.norm.weight")}

    pivot = rewritten(model(tmp_path / "plain"), tmp_path / "pivot", change)
    with pytest.raises(MergeError, match="is missing"):
        merge_models(pivot, {"t": pivot}, Linear(), tmp_path / "out", threads=1)
