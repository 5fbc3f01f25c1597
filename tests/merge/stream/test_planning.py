"""A plan says what the merge will be."""

import numpy as np
import pytest

from fusionchat.errors import MergeError
from fusionchat.merge.methods.dare import DareLinear
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.sce import Sce
from fusionchat.merge.methods.ties import Ties
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.planning import looks_at, plan_merge
from tests.merge.folders import SHAPES, family


def test_a_plan_says_sizes_without_writing(tmp_path):
    pivot, targets = family(tmp_path, 2)
    plan = plan_merge(pivot, targets, Varm(), dtype="bfloat16", shard_bytes=3000, threads=1)
    report = merge_models(pivot, targets, Varm(), tmp_path / "out", shard_bytes=3000, threads=1)
    written = {path.name: path.stat().st_size for path in (tmp_path / "out").glob("*.safetensors")}
    assert plan.files == written
    assert (plan.output_bytes, plan.input_bytes) == (report.bytes_written, report.bytes_read)
    assert (
        plan.looks,
        plan_merge(pivot, targets, Ties()).looks,
        plan_merge(pivot, targets, Linear()).looks,
    ) == (2, 4, 1)
    assert plan.memory_bytes < 300e6
    with pytest.raises(MergeError):
        plan_merge(pivot, {"t": tmp_path / "nothing"}, Varm())


def test_figures_by_hand(tmp_path):
    pivot, targets = family(tmp_path, 2)
    plan = plan_merge(pivot, targets, DareLinear(density=0.5), dtype="float32", threads=1)
    count = sum(int(np.prod(shape)) for shape in SHAPES.values())
    assert (plan.tensors, plan.parameters, plan.looks) == (len(SHAPES), count, 1)
    assert plan.method["method"] == "dare_linear" and plan.to_json()["parameters"] == count
    assert 4 * count <= plan.output_bytes < 4 * count + 2000 and 12 * count <= plan.input_bytes
    assert plan.seconds == pytest.approx(1 + 3 * count / 1.2e9 + plan.output_bytes / 1.5e9, rel=1e-3)


def test_looks_are_counted_where_all_elements_tie():
    """Three to find a threshold, one to combine; SCE sums the squares in between."""
    assert looks_at(Ties(density=0.3), 2) == 4 and looks_at(Sce(select_topk=0.3), 2) == 5
    assert looks_at(Ties(density=1.0), 2) == 1 and looks_at(DareLinear(), 2) == 1
