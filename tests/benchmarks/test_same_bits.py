"""same_bits: a run equals itself; what differs is named, with exit code 1; older shards and scores are the same content."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from benchmarks import same_bits
from fusionchat.corpus.rendered_part import read_rendered
from fusionchat.represent.store.read import DistributionStore
from fusionchat.represent.store.write import StoreWriter


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
    for job, model in (("fuse/qwen", "pivot"), ("represent/pivot", "pivot")):
        (path,) = (other / job).glob("shard-*.safetensors")
        tokens = read_rendered(other / f"corpus/corpus/tokens/{model}/train.safetensors")[:].supervised
        arrays = {k: v for k, v in load_file(path).items() if k not in ("checksums", "root", "offsets")}
        wide = {"ids": arrays["ids"].astype(np.int32), "present": np.ones(len(arrays["ids"]), bool)}
        save_file(arrays | wide | vars(tokens), path)
    path = other / "corpus/corpus/tokens/qwen/train.safetensors"
    part = read_rendered(path)[:]
    save_file(
        {"input_ids": part.input_ids, "starts": part.starts, "places": part.places, **vars(part.supervised)},
        path,
    )
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
    store = DistributionStore(other / "align/qwen")
    topk, names = store.slice(0, len(store)), ("label_logprob", "kind", "kept")
    columns = {name: store.column(name, 0, len(store)).copy() for name in names}
    topk = replace(topk, tail=topk.tail.copy())
    topk.tail.view(np.uint16)[3] ^= 1
    offsets = store.shard(0).offsets.copy()
    StoreWriter(other / "align/qwen", offsets, [range(len(store))], store.encoding).write(0, topk, columns)
    (other / "merge/varm@0.5/model/config.json").unlink()
    code, said = compare()
    assert code == 1 and said.endswith("different\n")
    assert "align/qwen/shard-*.safetensors: array tail differs" in said and said.count("differs") == 1
    assert "merge/varm@0.5/model/config.json: only in" in said and "fuse: 4 files, equal" in said
