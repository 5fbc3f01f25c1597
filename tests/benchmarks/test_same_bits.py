"""same_bits: a run equals itself; what differs is named, with exit code 1; older shards and scores are the same content."""

import json
import shutil
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks import same_bits


@pytest.fixture
def compared(finished, tmp_path, monkeypatch, capsys):
    """A copy of a run, and what is said when both are compared: exit code and text."""
    other = tmp_path / "other"
    shutil.copytree(finished.folder, other)

    def compare():
        monkeypatch.setattr(sys, "argv", ["same_bits", str(finished.folder), str(other)])
        with pytest.raises(SystemExit) as caught:
            same_bits.main()
        return caught.value.code, capsys.readouterr().out

    return other, compare


def test_the_format_of_older_runs_is_the_same_content(compared):
    other, compare = compared
    tokens = load_file(other / "corpus/corpus/tokens/pivot/train.safetensors")
    own = {name: tokens[name] for name in ("labels", "turn", "begin", "end", "offsets")}
    for path in (
        other / "fuse/qwen/shard-00000.safetensors",
        other / "represent/pivot/shard-00000.safetensors",
    ):
        save_file(load_file(path) | own, path)
    path = other / "evaluate/test/pivot/scores.json"
    scores = json.loads(path.read_text())
    bits = scores["metrics"]["bits_per_byte"]
    old = {"id": bits["id"], "domain": bits["domain"], "bits": bits["value"], "bytes": bits["size"]}
    path.write_text(
        json.dumps(old | {"correct": [None] * len(bits["id"]), "parameters": scores["parameters"]})
    )
    code, said = compare()
    assert not code and said.endswith("the same bits\n"), said


def test_a_bit_that_differs_is_named(compared):
    other, compare = compared
    path = other / "align/qwen/shard-00000.safetensors"
    arrays = load_file(path)
    arrays["tail"].view(np.uint16)[3] ^= 1
    save_file(arrays, path)
    (other / "merge/varm@0.5/model/config.json").unlink()
    code, said = compare()
    assert code == 1 and said.endswith("different\n")
    assert "align/qwen/shard-00000.safetensors: array tail differs" in said
    assert "merge/varm@0.5/model/config.json: only in" in said and "fuse: 4 files, equal" in said
