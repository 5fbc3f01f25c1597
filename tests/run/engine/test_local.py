"""The local engine: one after another here, or side by side in worker processes; the same bits, whoever makes them."""

import shutil

import pytest

from fusionchat.artifacts import read_manifest, sha256_file
from fusionchat.lease import HeldError, lease
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.engine.local import run_jobs
from fusionchat.run.order import lease_path, order_path
from fusionchat.stages.pipeline import open_run, run
from tests.run.files import damage_unseen, files_of, outputs
from tests.run.toy import Toy, chain


def test_a_run_in_worker_processes_has_the_same_bits(finished, tiny, forked):
    done = run(load_recipe("recipe.yaml", ("runtime.workers=2",)))
    assert outputs(done.folder) == outputs(finished.folder)


def test_what_a_worker_finds_damaged_is_made_again(copied, forked):
    shard = copied / "represent/qwen/shard-00000.safetensors"
    before = sha256_file(shard)
    for job in ("align/qwen", "align/mixtral"):
        shutil.rmtree(copied / job)
    damage_unseen(shard)
    done = run(load_recipe("recipe.yaml", ("runtime.workers=2",)), until="align")
    assert sha256_file(shard) == before
    assert {done.status(done.jobs[job]).state for job in ("align/qwen", "align/mixtral")} == {"done"}


def test_a_damaged_manifest_loses_no_shard_with_workers(copied, forked):
    """A worker is handed a folder that has been begun: its shards say themselves what they are of."""
    folder = copied / "represent/qwen"
    kept = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    (folder / "manifest.json").write_text("{")
    for job in ("align/qwen", "align/mixtral"):
        shutil.rmtree(copied / job)
    run(load_recipe("recipe.yaml", ("runtime.workers=2",)), until="align")
    assert (folder / "shard-00000.safetensors").stat().st_mtime_ns == kept


@pytest.mark.parametrize("workers", [1, 2])
def test_jobs_that_another_process_has_made_in_the_meantime_are_kept(copied, workers, forked):
    planned = open_run(load_recipe("recipe.yaml", (f"runtime.workers={workers}",)))
    jobs = [planned.jobs["fuse/qwen"], planned.jobs["fuse/mixtral"]]
    before = [(copied / job.id / "manifest.json").stat().st_mtime_ns for job in jobs]
    said = list[tuple[str, str]]()
    run_jobs(planned, jobs, lambda job, status: said.append((job.id, status.state)))
    assert said == [("fuse/qwen", "done"), ("fuse/mixtral", "done")]
    assert [(copied / job.id / "manifest.json").stat().st_mtime_ns for job in jobs] == before


def test_jobs_beside_one_that_another_process_works_on_are_finished(copied):
    """With workers that are started as ever; in the other tests they are forks."""
    planned = open_run(load_recipe("recipe.yaml", ("runtime.workers=2",)))
    jobs = [planned.jobs["fuse/mixtral"], planned.jobs["fuse/qwen"]]
    before = files_of(copied / "fuse/mixtral")
    for job in jobs:
        shutil.rmtree(copied / job.id)
    with (
        lease(lease_path(copied, "fuse/qwen")),
        pytest.raises(HeldError, match="working on fuse/qwen"),
    ):
        run_jobs(planned, jobs, None)
    assert files_of(copied / "fuse/mixtral") == before
    assert not (copied / "fuse/qwen").exists()
    assert not lease_path(copied, "fuse/mixtral").exists()


def test_jobs_run_here_in_order_and_every_job_has_its_order(tmp_path):
    toy, said = Toy(), []
    planned = chain(tmp_path, toy)
    jobs = [planned.jobs[name] for name in ("toy/0", "toy/1")]
    run_jobs(planned, jobs, lambda job, status: said.append((job.id, status.state)))
    assert toy.made == ["toy/0", "toy/1"] and said == [("toy/0", "to do"), ("toy/1", "to do")]
    assert (tmp_path / "toy/1/words.txt").read_text() == "ab"
    assert all(order_path(tmp_path, job).is_file() for job in planned.jobs)
    assert not lease_path(tmp_path, "toy/0").exists()


def test_after_an_error_no_more_are_begun_and_no_lease_is_left(tmp_path):
    toy = Toy()
    planned = chain(tmp_path, toy, ("a", "boom", "c"))
    with pytest.raises(ValueError, match="boom"):
        run_jobs(planned, list(planned.jobs.values()), None)
    assert toy.made == ["toy/0", "toy/1"] and read_manifest(tmp_path / "toy/1") is None
    assert not lease_path(tmp_path, "toy/1").exists()
