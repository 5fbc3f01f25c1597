"""A worker makes a job from its order and inputs alone: the same bits, whoever makes it."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fusionchat.artifacts import begin, is_begun, read_json, read_manifest
from fusionchat.errors import ArtifactError
from fusionchat.lease import HeldError, lease
from fusionchat.recipe.schema import load_recipe
from fusionchat.run.job import Context, Inputs, Job
from fusionchat.run.order import job_of, lease_path, order_path, outcome_path, write_order
from fusionchat.run.plan import Run
from fusionchat.run.worker import READY, Did, work_alone, work_for_engine
from fusionchat.runtime import RuntimeSettings
from fusionchat.stages.pipeline import STAGES, open_run
from tests.run.files import files_of
from tests.run.test_settings_property import everything
from tests.tiny import write_recipe


def test_every_job_goes_to_json_and_back(tiny):
    write_recipe(tiny / "recipe.yaml", **everything())
    (tiny / "q.jsonl").write_text('{"question": "1+1?", "options": ["1", "2"], "answer": 1}\n')
    for job in open_run(load_recipe("recipe.yaml")).jobs.values():
        again = job_of(job.model_dump(mode="json"), STAGES)
        assert isinstance(again, Job) and again.fingerprint == job.fingerprint
        assert again.model_dump() == job.model_dump() and type(again.settings) is type(job.settings)
        assert getattr(again.settings, "distill", None) == getattr(job.settings, "distill", None)


def keep_only_what_is_read(planned: Run, folder: Path, job_id: str) -> None:
    """Remove all that a job does not say it reads: other jobs, and other files of jobs that are followed by files."""
    job = planned.jobs[job_id]
    for other in planned.jobs.keys() - {job_id, *job.needs}:
        shutil.rmtree(folder / other)
    if job.stage == "report":
        return  # it follows the whole corpus job, see `report.plan`
    for need, files in job.reads.items():
        for path in (folder / need).rglob("*"):
            if path.is_file() and path.relative_to(folder / need).as_posix() not in (*files, "manifest.json"):
                path.unlink()


@pytest.mark.parametrize(
    "job",
    ["corpus/corpus", "represent/qwen", "align/qwen", "fuse/qwen", "distill/qwen@0.5", "merge/varm@0.5",
     "merge/selection", "merge/fused", "evaluate/test/sft", "report/report"],
)  # fmt: skip
def test_a_worker_makes_a_job_with_the_same_bits_without_the_recipe(copied, job):
    before = files_of(copied / job)
    for name in ("recipe.json", "resolved.json"):
        (copied / name).unlink(missing_ok=True)
    keep_only_what_is_read(open_run(load_recipe("recipe.yaml")), copied, job)
    (copied.parent.parent / "recipe.yaml").unlink()
    shutil.rmtree(copied / job)
    assert work_alone(copied, job, STAGES) is Did.MADE
    assert files_of(copied / job) == before and before
    assert work_alone(copied, job, STAGES) is Did.NOTHING


def test_the_command_makes_it_in_another_process_and_from_another_folder(copied, tmp_path, monkeypatch):
    job = "distill/qwen@0.5"
    before = files_of(copied / job)
    shutil.rmtree(copied / job)
    command = [sys.executable, "-m", "fusionchat", "worker", str(copied.absolute()), job]
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=True)
    assert f"{job}: done" in done.stdout
    assert files_of(copied / job) == before


def test_a_worker_refuses_what_is_not_ready_or_not_there(copied):
    with pytest.raises(ArtifactError, match="no job 'fuse/nothing'"):
        work_alone(copied, "fuse/nothing", STAGES)
    shutil.rmtree(copied / "align/qwen")
    shutil.rmtree(copied / "fuse/qwen")
    with pytest.raises(ArtifactError, match="needs align/qwen, which is not done"):
        work_alone(copied, "fuse/qwen", STAGES)
    order_path(copied, "fuse/qwen").write_text('{"job": {"stage": "nothing"}}')
    with pytest.raises(ArtifactError, match="not a job of this version"):
        work_alone(copied, "fuse/qwen", STAGES)


def test_a_second_worker_helps_with_shards_and_leaves_the_end_to_the_first(copied, monkeypatch):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 100)
    planned = open_run(load_recipe("recipe.yaml"))
    job = planned.jobs["represent/qwen"]
    write_order(copied, job, planned.recipe.runtime)
    folder = copied / job.id
    shutil.rmtree(folder)
    assert work_alone(copied, job.id, STAGES) is Did.MADE
    before = files_of(folder)
    shutil.rmtree(folder)
    with lease(lease_path(copied, job.id)):
        begin(folder, job.fingerprint)
        assert work_alone(copied, job.id, STAGES) is Did.HELPED
        assert files_of(folder).keys() >= before.keys() - {"probe.json"}  # of whoever finishes it
        assert read_manifest(folder) is None and is_begun(folder, job.fingerprint)
    assert work_alone(copied, job.id, STAGES) is Did.MADE
    assert files_of(folder) == before


def test_a_worker_makes_what_is_missing_of_a_finished_job_again(copied, capsys):
    before = files_of(copied / "fuse/qwen")
    (copied / "fuse/qwen/shard-00000.safetensors").unlink()
    assert work_alone(copied, "fuse/qwen", STAGES) is Did.MADE
    assert "this file is missing. It will be made again." in capsys.readouterr().err
    assert files_of(copied / "fuse/qwen") == before


def test_helpers_make_shards_from_the_other_end(copied, monkeypatch):
    """Else all would make the same shard at the same time."""
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 100)
    job = open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]
    made = {}
    for helps in (False, True):
        shutil.rmtree(copied / job.id)
        begin(copied / job.id, job.fingerprint)
        context = Context(RuntimeSettings(device="cpu"), helps=helps)
        STAGES["represent"].work(job.settings, Inputs(copied, job), copied / job.id, context)
        files = sorted(
            (copied / job.id).glob("shard-*.safetensors"), key=lambda path: path.stat().st_mtime_ns
        )
        made[helps] = [path.name for path in files]
    assert made[True] == made[False][::-1] and len(made[True]) > 2


def test_a_helper_removes_no_shard_of_another_job(copied, monkeypatch):
    """Its order may be older than what is there; whoever has begun the folder clears it."""
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 100)
    job = open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]
    begin(copied / job.id, job.fingerprint, parts=job.parts)
    (foreign,) = (copied / job.id).glob("shard-*.safetensors")  # of the finished run, which has another cut
    before = foreign.read_bytes()
    for helps in (True, False):
        context = Context(RuntimeSettings(device="cpu"), helps=helps)
        STAGES["represent"].work(job.settings, Inputs(copied, job), copied / job.id, context)
        assert (foreign.read_bytes() == before) == helps


def test_nobody_helps_with_a_training(copied):
    with lease(lease_path(copied, "distill/sft")), pytest.raises(HeldError, match="working on distill/sft"):
        work_alone(copied, "distill/sft", STAGES)


def test_a_relative_run_folder_is_found_from_any_directory(copied, monkeypatch):
    before = files_of(copied / "fuse/qwen")
    shutil.rmtree(copied / "fuse/qwen")
    monkeypatch.chdir(copied.parent)
    assert work_alone(Path("tiny"), "fuse/qwen", STAGES) is Did.MADE
    assert files_of(copied / "fuse/qwen") == before


def test_an_engine_s_worker_says_when_it_is_ready_and_works_only_for_the_plan_it_was_given(copied):
    job = open_run(load_recipe("recipe.yaml")).jobs["fuse/qwen"]
    before, said = files_of(copied / job.id), list[str]()
    outcome = outcome_path(copied, job.id)

    def lines():
        yield f"{job.id} another\n"
        error = read_json(outcome)["error"]
        assert isinstance(error, dict) and "planned fuse/qwen differently" in str(error["what"])
        (copied / job.id / "shard-00000.safetensors").unlink()
        yield f"{job.id} {job.fingerprint}\n"

    work_for_engine(copied, lines(), said.append, STAGES)
    assert said == [READY] * 3
    assert read_json(outcome) == {"summary": read_manifest(copied / job.id).summary}
    assert files_of(copied / job.id) == before


def test_a_worker_ends_when_its_coordinator_is_killed(copied):
    """Its stdin stays open here: only the coordinator's end is to be seen."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "fusionchat", "worker", str(copied), "--for-engine"]
    code = f"import subprocess, sys; print(subprocess.Popen({command}, stdin={read}).pid, flush=True); sys.stdin.read()"
    coordinator = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, pass_fds=(read,)
    )  # fmt: skip
    assert coordinator.stdout is not None and coordinator.stdin is not None
    pid = int(coordinator.stdout.readline())
    assert coordinator.stdout.readline().strip() == READY
    coordinator.kill()
    coordinator.wait()
    deadline = time.monotonic() + 30
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
    for handle in (read, write):
        os.close(handle)
    coordinator.stdin.close()
    coordinator.stdout.close()


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_helper_leaves_a_folder_alone_that_was_begun_for_another_job(copied, monkeypatch):
    """Its coordinator was killed, the recipe changed, and the folder cleared, while it worked on a shard."""
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: 100)
    job = open_run(load_recipe("recipe.yaml")).jobs["represent/qwen"]
    folder = copied / job.id
    shutil.rmtree(folder)
    begin(folder, "another")
    with pytest.raises(ArtifactError, match="planned again"):
        STAGES["represent"].work(
            job.settings, Inputs(copied, job), folder, Context(RuntimeSettings(device="cpu"), helps=True)
        )
    assert [path.name for path in folder.iterdir()] == ["progress.json"]
