"""Sizes, files and headers of a fused model, by hand."""

import json

import pytest

from fusionchat.merge.inputs.plan import TensorJob, index_of, layout
from fusionchat.merge.inputs.stored import Stored


def job(name, count, **more):
    return TensorJob(name, (count,), **more)


def header(shard):
    return json.loads(shard.header[8:])


@pytest.mark.parametrize(
    ("dtype", "size", "stored"), [("float32", 24, "F32"), ("bfloat16", 12, "BF16"), ("float16", 12, "F16")]
)
def test_a_merged_tensor_has_the_fused_model_s_type(dtype, size, stored):
    merged = TensorJob("w", (2, 3))
    assert (merged.count, merged.nbytes(dtype), merged.stored_as(dtype)) == (6, size, stored)


def test_a_buffer_that_stays_exact_is_float32():
    exact = TensorJob("w", (2, 3), exact=True)
    assert (exact.nbytes("bfloat16"), exact.stored_as("bfloat16"), exact.dtype("bfloat16")) == (
        24,
        "F32",
        "float32",
    )


def test_a_copied_tensor_keeps_its_type():
    copied = TensorJob("w", (6,), copied=Stored("w", None, "I64", (6,), 0))
    assert (copied.nbytes("bfloat16"), copied.stored_as("bfloat16")) == (48, "I64")


def test_tensors_are_put_into_files_in_order():
    """Of 100 bytes a file: 40 + 60, then 60, then 200 in a file of its own, then 2."""
    jobs = [job(name, size // 2) for name, size in [("a", 40), ("b", 60), ("c", 60), ("d", 200), ("e", 2)]]
    shards = layout(jobs, "bfloat16", 100)
    assert [[one.name for one in shard.jobs] for shard in shards] == [["a", "b"], ["c"], ["d"], ["e"]]
    assert [shard.file for shard in shards][1] == "model-00002-of-00004.safetensors"
    assert [shard.nbytes - len(shard.header) for shard in shards] == [100, 60, 200, 2]
    assert header(shards[0]) == {
        "__metadata__": {"format": "pt"},
        "a": {"dtype": "BF16", "shape": [20], "data_offsets": [0, 40]},
        "b": {"dtype": "BF16", "shape": [30], "data_offsets": [40, 100]},
    }
    assert index_of(shards) == {
        "metadata": {"total_size": 362},
        "weight_map": {
            "a": "model-00001-of-00004.safetensors", "b": "model-00001-of-00004.safetensors",
            "c": "model-00002-of-00004.safetensors", "d": "model-00003-of-00004.safetensors",
            "e": "model-00004-of-00004.safetensors",
        },
    }  # fmt: skip


def test_one_file_has_no_number():
    (shard,) = layout([job("a", 20)], "float32", 100)
    assert shard.file == "model.safetensors" and len(shard.header) % 8 == 0
