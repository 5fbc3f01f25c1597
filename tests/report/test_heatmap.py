import json
from dataclasses import asdict, replace

import pytest

from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.stream.result import InputFile, MergeReport, TensorReport
from fusionchat.report.figures import MergeFile
from fusionchat.report.heatmap import merge_files, merge_weights, merge_words, merged_tensors, short_module
from fusionchat.report.tables import tensor_table
from tests.report.sample import report


def tensor(name: str, *weights: float) -> TensorReport:
    return TensorReport(name, [2, 2], list(weights), 1.0, [0.1, 0.2], [None], 0.5, 0.15, 1e-3)


def raw(*tensors: TensorReport, **said) -> MergeReport:
    held = {"method": {"method": "linear"}, "inputs": {}, "files": {}} | said
    return MergeReport(
        pivot="p", targets=["a", "b"], dtype="float32", tensors=list(tensors), copied=[], fingerprint="", seconds=1.0,
        bytes_read=1, bytes_written=1, **held,
    )  # fmt: skip


def test_layers_are_columns_in_numeric_order_and_the_rest_comes_first():
    made = merge_weights(
        raw(
            tensor("model.embed_tokens.weight", 0.5, 0.5),
            tensor("model.layers.10.mlp.up_proj.weight", 0.1, 0.9),
            tensor("model.layers.2.mlp.up_proj.weight", 0.3, 0.7),
            tensor("model.layers.2.self_attn.q_proj.weight", 1.0, 0.0),
            tensor("lm_head.weight", 0.25, 0.75),
        ),
        label="varm@0.9",
        method="varm",
    )
    assert made.label == "varm@0.9" and made.targets == ("a", "b")
    assert made.layers == ("", "2", "10")
    assert made.modules == ("mlp.up_proj", "self_attn.q_proj", "embed_tokens", "lm_head")
    assert made.weights[0] == ((None, 0.3, 0.1), (None, 1.0, None), (0.5, None, None), (0.25, None, None))
    assert made.weights[1][0] == (None, 0.7, 0.9)


def test_experts_and_biases_are_averaged():
    made = merge_weights(
        raw(
            tensor("model.layers.0.mlp.experts.0.w1.weight", 0.2, 0.8),
            tensor("model.layers.0.mlp.experts.1.w1.weight", 0.4, 0.6),
            tensor("model.layers.0.attn.q.weight", 0.0, 1.0),
            tensor("model.layers.0.attn.q.bias", 1.0, 0.0),
        ),
        label="m",
        method="varm",
    )
    assert made.modules == ("mlp.experts.w1", "attn.q")
    assert made.weights[0] == ((pytest.approx(0.3),), (0.5,))
    assert made.layers == ("0",)


def test_methods_that_decide_by_element_have_no_weights():
    assert merge_weights(raw(tensor("a.0.b.weight")), label="m", method="ties") is None
    assert merge_weights(raw(), label="m", method="ties") is None


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("model.layers.3.self_attn.q_proj.weight", "self_attn.q_proj"),
        ("transformer.h.0.attn.c_attn.bias", "attn.c_attn"),
        ("model.layers.3.block_sparse_moe.experts.7.w1.weight", "block_sparse_moe.experts.w1"),
        ("model.norm.weight", "norm"),
        ("lm_head.weight", "lm_head"),
    ],
)
def test_short_names(name, module):
    assert short_module(name) == module


def test_tensors_are_listed_in_the_order_of_their_layers():
    made = raw(*(tensor(f"model.layers.{n}.w", 0.25, 0.75) for n in (10, 9, 0)))
    found = merged_tensors(made)
    assert [t.name for t in found] == [f"model.layers.{n}.w" for n in (0, 9, 10)]
    table = tensor_table(replace(report(), tensors=found, tensor_targets=("a", "b")))
    assert table.columns == (
        "tensor", "weight a", "weight b", "rms a", "rms b", "lowest cosine", "sign conflicts", "fused rms",
        "rounding loss",
    )  # fmt: skip
    assert [c.text for c in table.rows[0]] == [
        "model.layers.0.w", "0.250", "0.750", "1.00e-01", "2.00e-01", "-", "50.0 %", "1.50e-01", "1.0e-03",
    ]  # fmt: skip


def test_files_of_a_merge_are_those_read_and_those_written():
    read = {"pivot": {"x": InputFile(3)}, "a": {"y": InputFile(4, "ab", "read")}}
    assert merge_files(raw(inputs=read, files={"z": "cd"}), {"z": 5}) == (
        MergeFile("pivot", "x", 3),
        MergeFile("a", "y", 4, "ab", "read"),
        MergeFile("fused model", "z", 5, "cd", "written"),
    )


def test_a_merge_is_told_by_its_method_and_what_is_not_default():
    made = raw(method=dict(asdict(Ties(density=(0.2, 0.3)))))
    assert (
        merge_words(MergeReport.from_json(json.loads(json.dumps(made.to_json()))))
        == "ties density=(0.2, 0.3)"
    )
    assert merge_words(raw()) == "linear"
    folders = raw(method={"method": "fisher", "fisher": ["/home/me/a.fisher", "b.fisher"]})
    assert merge_words(folders) == "fisher fisher=('a.fisher', 'b.fisher')"  # it goes into the card
