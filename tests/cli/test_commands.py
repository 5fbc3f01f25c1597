"""`plan --commands` and the Slurm script that reads it: every job once, after what it needs."""

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from fusionchat.cli.show_plan import commands
from fusionchat.cli.verbs import guarded
from fusionchat.errors import RecipeError
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.pipeline import open_run, plan, run, run_job
from tests.run.files import damage_unseen
from tests.shared import ROOT


def test_a_command_for_each_job_with_what_it_needs(tiny):
    settings = ("distill.epochs=0.2", "evaluate.exact_match={answer_pattern: '(.)'}")
    planned = plan(load_recipe("recipe.yaml", settings))
    lines = commands(planned, tiny / "recipe.yaml", settings)
    assert len(lines) == len(planned)
    seen = set()
    for line in lines:
        command, _, needs = line.rpartition("  # ")
        words = shlex.split(command)
        assert words[:2] == ["fusionchat", "run"] and words[4] == settings[0] and words[6] == settings[1]
        job, *pairs = needs.split()
        assert words[-2:] == ["--only", job]
        asked = dict(pair.split("=", 1) for pair in pairs)
        assert (
            asked.keys() == {"after", "threads", "gpus", "memory", "parallel", "processes"}
            and asked["threads"] == "1"
        )
        assert set(asked["after"].split(",")) - {"-"} <= seen
        seen.add(job)
    asked = next(line for line in lines if "# represent/qwen " in line)
    assert "parallel=shards" in asked and int(re.search(r"memory=(\d+)", asked)[1]) > 1000
    assert all("gpus=0" in line for line in lines)  # runtime.device is cpu


def test_jobs_that_load_a_model_ask_for_a_gpu_where_the_recipe_may_use_one(tiny):
    jobs = plan(load_recipe("recipe.yaml", ("runtime.device=auto",)))
    asking = {job.stage for job, _ in jobs if job.resources.gpus == 1}
    assert asking == {"represent", "distill", "evaluate"}


def test_jobs_run_one_by_one_as_a_scheduler_would(tiny, capsys):
    recipe = load_recipe("recipe.yaml")
    lines = commands(plan(recipe), tiny / "recipe.yaml", ())
    wanted = {
        name: next(line for line in lines if f"# {name} " in line) for name in ("align/qwen", "corpus/corpus")
    }
    for expected, line in ((2, wanted["align/qwen"]), (0, wanted["corpus/corpus"])):
        assert guarded(shlex.split(line.rpartition("  # ")[0])[1:]) == expected
    assert (
        "align/qwen needs jobs that are not done: corpus/corpus, represent/pivot" in capsys.readouterr().err
    )
    for job in ("represent/pivot", "represent/qwen", "align/qwen"):
        run_job(recipe, job)
    again = open_run(recipe)
    state = {job.id: again.status(job).state for job in again.jobs.values()}
    assert state["align/qwen"] == "done" and state["align/mixtral"] == "to do"
    with pytest.raises(RecipeError, match="no job 'align/nothing'"):
        run_job(recipe, "align/nothing")


def test_what_is_done_is_left_out(tiny):
    recipe = load_recipe("recipe.yaml")
    run(recipe, until="corpus")
    lines = commands(plan(recipe), tiny / "recipe.yaml", ())
    assert not any("corpus/corpus " in line for line in lines)
    assert "after=- " in next(line for line in lines if "# represent/pivot" in line)


def test_the_slurm_script_submits_each_job_after_its_needs(tiny):
    script = ROOT / "recipes" / "cluster" / "slurm.sh"
    program = tiny / "fusionchat"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fusionchat "$@"\n')
    program.chmod(0o755)
    environment = os.environ | {"DRY_RUN": "1", "FUSIONCHAT": str(program), "SBATCH_OPTIONS": "--partition=x"}
    done = subprocess.run(
        ["bash", str(script), "recipe.yaml"], env=environment, capture_output=True, text=True, check=True
    )
    jobs = plan(load_recipe("recipe.yaml"))
    assert done.stdout.strip() == f"{len(jobs)} jobs submitted"
    lines = done.stderr.splitlines()
    assert len(lines) == len(jobs) and all("--partition=x" in line for line in lines)
    number = {job.id: str(i + 1) for i, (job, _) in enumerate(jobs)}
    for (job, _), line in zip(jobs, lines, strict=True):
        after = re.search(r"--dependency=afterok:([\d:]+)", line)
        assert set(after[1].split(":") if after else []) == {number[need] for need in job.needs}


PLAN = """\
fusionchat run 'my recipe.yaml' --set 'a.b={c: '"'"'x  # y'"'"', d: :x:}' --only align/qwen  \
# align/qwen after=- threads=0 gpus=0 memory=0 parallel=one processes=1
fusionchat run 'my recipe.yaml' --only 'distill/sft#2'  \
# distill/sft#2 after=align/qwen threads=2 gpus=1 memory=9 parallel=ranks processes=auto
"""


@pytest.fixture
def submit(tmp_path):
    """Runs the Slurm script with a program that prints a plan and an sbatch that keeps its arguments."""

    def run_script(plan: str, exit_code: int = 0):
        (tmp_path / "plan.txt").write_text(plan)
        program, sbatch = tmp_path / "fusion chat", tmp_path / "sbatch"
        program.write_text(f'#!/bin/sh\ncat "{tmp_path}/plan.txt"\nexit {exit_code}\n')
        sbatch.write_text(f'#!/bin/sh\nprintf "%s\\0" "$@" end >> "{tmp_path}/asked"\necho "7;cluster"\n')
        for file in (program, sbatch):
            file.chmod(0o755)
        path = f"{tmp_path}:{os.environ['PATH']}"
        environment = os.environ | {
            "FUSIONCHAT": str(program),
            "PATH": path,
            "SBATCH_GPU_OPTIONS": "--constraint=a",
        }
        done = subprocess.run(
            ["bash", str(ROOT / "recipes/cluster/slurm.sh"), "x"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        asked = (tmp_path / "asked").read_text() if (tmp_path / "asked").is_file() else ""
        return done, [job.strip("\0").split("\0") for job in asked.split("end\0")[:-1]]

    return run_script


def test_the_slurm_script_hands_over_commands_as_they_were_quoted(submit, tmp_path):
    done, (align, sft) = submit(PLAN)
    assert done.returncode == 0 and done.stdout == "2 jobs submitted\n"
    command = [str(tmp_path / "fusion chat"), "run", "my recipe.yaml"]
    assert align[:-1] == ["--parsable", "--job-name=align-qwen", "--output=slurm-%x-%j.log"]
    assert shlex.split(align[-1].removeprefix("--wrap=")) == [
        *command, "--set", "a.b={c: 'x  # y', d: :x:}", "--only", "align/qwen"
    ]  # fmt: skip
    assert sft[1:-1] == [
        "--job-name=distill-sft#2", "--output=slurm-%x-%j.log", "--cpus-per-task=2", "--mem=9M", "--gpus=1",
        "--constraint=a", "--dependency=afterok:7", "--kill-on-invalid-dep=yes",
    ]  # fmt: skip
    assert shlex.split(sft[-1].removeprefix("--wrap=")) == [*command, "--only", "distill/sft#2"]


def test_the_slurm_script_fails_with_the_plan_and_submits_nothing_where_nothing_is_left(submit):
    done, asked = submit("", exit_code=2)
    assert done.returncode == 2 and done.stdout == "" and asked == []
    done, asked = submit("")
    assert done.returncode == 0 and done.stdout == "0 jobs submitted\n" and asked == []


def test_a_command_is_printed_as_it_is(tiny, capsys):
    given = "evaluate.exact_match={answer_pattern: '(:x:)  # [bold]'}"
    assert guarded(["plan", "recipe.yaml", "--commands", "--set", given]) == 0
    assert shlex.split(capsys.readouterr().out.splitlines()[0].rpartition("  # ")[0])[4] == given


def test_a_job_alone_says_which_of_its_needs_was_found_damaged(finished, tiny):
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    shutil.rmtree(tiny / "runs/tiny/align/qwen")
    damage_unseen(tiny / "runs/tiny/represent/qwen/shard-00000.safetensors")
    with pytest.raises(RecipeError, match=r"align/qwen needs jobs that are not done: represent/qwen\n"):
        run_job(load_recipe("recipe.yaml"), "align/qwen")
