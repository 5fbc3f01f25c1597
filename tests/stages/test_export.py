"""Export of a finished run: every row of the store, once; a second call writes nothing; clear refusals."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from fusionchat.errors import ArtifactError
from fusionchat.represent.store.read import DistributionStore
from fusionchat.stages import export as module
from fusionchat.stages.export import export


def read(folder):
    return pq.read_table(folder / "data").to_pylist()


def test_parquet_holds_the_rows_of_the_store(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 200)
    done = export(finished.folder, "parquet", tmp_path / "out")
    assert [one.job for one in done] == ["fuse/mixtral", "fuse/qwen"]
    store, records = DistributionStore(finished.path("fuse/qwen")), read(tmp_path / "out" / "fuse" / "qwen")
    assert len(records) == len(store) == done[1].conversations
    assert len(list((tmp_path / "out/fuse/qwen/data").iterdir())) > 1
    for record, topk in zip(records, store, strict=True):
        kept = [ids[np.isfinite(p)].tolist() for ids, p in zip(topk.ids, topk.logprobs, strict=True)]
        assert record["token_ids"] == kept and len(record["rows"]) == topk.rows


def test_rows_that_are_not_aligned_are_counted(finished, tmp_path):
    (done,) = export(finished.folder, "parquet", tmp_path, ["align/qwen"])
    present = np.concatenate([topk.present for topk in DistributionStore(finished.path("align/qwen"))])
    assert done.without == (~present).sum() and done.rows == len(present)


def test_a_second_call_writes_nothing_and_another_format_is_refused(finished, tmp_path):
    export(finished.folder, "parquet", tmp_path, ["fuse/qwen"])
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    export(finished.folder, "parquet", tmp_path, ["fuse/qwen"])
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    with pytest.raises(ArtifactError, match="other distributions"):
        export(finished.folder, "distillkit", tmp_path, ["fuse/qwen"])


@pytest.mark.parametrize(
    "job, message", [("fuse/nix", "no job"), ("corpus/corpus", "holds no distributions")]
)
def test_a_job_without_distributions_is_refused(finished, tmp_path, job, message):
    with pytest.raises(ArtifactError, match=message):
        export(finished.folder, "parquet", tmp_path / "out", [job])
    assert not (tmp_path / "out").exists()


def test_a_run_without_fused_distributions_says_what_to_do(tmp_path):
    with pytest.raises(ArtifactError, match="no fused distributions yet"):
        export(tmp_path, "parquet", tmp_path / "out")
