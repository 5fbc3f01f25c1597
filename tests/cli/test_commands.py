"""`plan --commands` and the Slurm script that reads it: every job once, after what it needs."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from fusionchat.cli.show_plan import commands
from fusionchat.cli.verbs import guarded
from fusionchat.errors import RecipeError
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages.pipeline import open_run, plan, run, run_job
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
        assert asked.keys() == {"after", "threads", "gpus", "memory", "parallel"} and asked["threads"] == "1"
        assert set(asked["after"].split(",")) - {"-"} <= seen
        seen.add(job)
    asked = next(line for line in lines if "# represent/qwen " in line)
    assert "parallel=shards" in asked and int(re.search(r"memory=(\d+)", asked)[1]) > 1000


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
