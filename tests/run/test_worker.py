"""A worker makes a job from its order and inputs alone: the same bits, whoever makes it."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fusionchat.artifacts import begin, is_begun, read_manifest, sha256_file
from fusionchat.errors import ArtifactError, DamagedError, FusionChatError, MergeError
from fusionchat.lease import HeldError, lease
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.job import Job
from fusionchat.run.order import job_of, lease_path, order_path
from fusionchat.run.worker import Did, raised, told, work_alone
from fusionchat.stages.pipeline import STAGES, open_run, run
from tests.run.test_pipeline import outputs
from tests.run.test_settings_property import everything
from tests.tiny import write_recipe


@pytest.fixture
def copied(finished, tiny) -> Path:
    """A copy of a finished run, in a working directory of its own."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    return tiny / "runs/tiny"


def files_of(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): sha256_file(p)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
        and p.name
        not in ("manifest.json", "report.html", "report.json", "report.md", "merge_weights.json", "README.md")
    }


def test_every_job_goes_to_json_and_back(tiny):
    write_recipe(tiny / "recipe.yaml", **everything())
    for job in open_run(load_recipe("recipe.yaml")).jobs.values():
        again = job_of(job.model_dump(mode="json"), STAGES)
        assert isinstance(again, Job) and again.fingerprint == job.fingerprint
        assert again.model_dump() == job.model_dump() and type(again.settings) is type(job.settings)
        assert getattr(again.settings, "distill", None) == getattr(job.settings, "distill", None)


@pytest.mark.parametrize(
    "job",
    ["corpus/corpus", "represent/qwen", "align/qwen", "fuse/qwen", "distill/qwen@0.5", "merge/varm@0.5",
     "merge/selection", "merge/fused", "evaluate/test/sft", "report/report"],
)  # fmt: skip
def test_a_worker_makes_a_job_with_the_same_bits_without_the_recipe(copied, job):
    before = files_of(copied / job)
    for name in ("recipe.json", "resolved.json"):
        (copied / name).unlink(missing_ok=True)
    (copied.parent.parent / "recipe.yaml").unlink()
    shutil.rmtree(copied / job)
    assert work_alone(copied, job, STAGES) is Did.MADE
    assert files_of(copied / job) == before and before
    assert work_alone(copied, job, STAGES) is Did.NOTHING


def test_the_command_makes_it_in_another_process_and_from_another_folder(copied, tmp_path, monkeypatch):
    before = files_of(copied / "fuse/qwen")
    shutil.rmtree(copied / "fuse/qwen")
    command = [sys.executable, "-m", "fusionchat", "worker", str(copied.absolute()), "fuse/qwen"]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert "fuse/qwen: done" in done.stdout
    assert files_of(copied / "fuse/qwen") == before


def test_a_worker_refuses_what_is_not_ready_or_not_there(copied):
    with pytest.raises(ArtifactError, match="no job 'fuse/nothing'"):
        work_alone(copied, "fuse/nothing", STAGES)
    shutil.rmtree(copied / "align/qwen")
    shutil.rmtree(copied / "fuse/qwen")
    with pytest.raises(ArtifactError, match="needs align/qwen, which is not done"):
        work_alone(copied, "fuse/qwen", STAGES)
    order_path(copied, "fuse/qwen").write_text('{"job": {"stage": "nothing"}}')
    with pytest.raises(ArtifactError, match="no job of this version"):
        work_alone(copied, "fuse/qwen", STAGES)


def test_a_second_worker_helps_with_shards_and_leaves_the_end_to_the_first(copied):
    job = open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]
    folder = copied / job.id
    before = files_of(folder)
    shutil.rmtree(folder)
    with lease(lease_path(copied, job.id)):
        begin(folder, job.fingerprint)
        assert work_alone(copied, job.id, STAGES) is Did.HELPED
        assert files_of(folder).keys() >= before.keys()
        assert read_manifest(folder) is None and is_begun(folder, job.fingerprint)
    assert work_alone(copied, job.id, STAGES) is Did.MADE
    assert files_of(folder) == before


def test_nobody_helps_with_a_training(copied):
    with lease(lease_path(copied, "distill/sft")), pytest.raises(HeldError, match="working on distill/sft"):
        work_alone(copied, "distill/sft", STAGES)


def test_a_run_in_worker_processes_has_the_same_bits(finished, tiny):
    done = run(load_recipe("recipe.yaml", ("runtime.workers=2",)))
    assert outputs(done.folder) == outputs(finished.folder)


def test_an_error_of_a_worker_is_the_run_s(copied, monkeypatch):
    """The worker's process names the same fault with the same exit code."""
    shutil.rmtree(copied / "align/qwen")
    (copied / "represent/qwen/shard-00000.safetensors").write_bytes(b"nothing")
    done = run(load_recipe("recipe.yaml", ("runtime.workers=2",)), until="align")
    assert done.status(done.jobs["represent/qwen"]).state == "done"  # it was made again


def test_errors_go_to_json_and_back(tmp_path):
    for error in (
        MergeError("what", where="here", do="this"),
        DamagedError("broken", path=tmp_path / "a", folder=tmp_path),
        FusionChatError("x"),
    ):
        again = raised(told(error))
        assert str(again) == str(error) and again.exit_code == error.exit_code
        assert isinstance(again, DamagedError) == isinstance(error, DamagedError)
