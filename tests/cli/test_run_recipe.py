"""What the verbs that take a recipe say while it runs."""

import sys
from types import SimpleNamespace

import pytest

from fusionchat.cli import run_recipe as module
from fusionchat.cli.run_recipe import finish, kept_jobs, load, program, run_one, run_stage
from fusionchat.run.job import Status
from fusionchat.stages import pipeline, report
from tests.tiny import write_recipe

STATES = [
    ("corpus/corpus", Status("done")),
    ("represent/a", Status("done")),
    ("represent/b", Status("stale", ("k: 5 -> 6", "seed: 0 -> 1", "more"))),
    ("align/b", Status("begun", so_far="3 of 12 shards")),
    ("fuse/b", Status("begun")),
    ("distill/b", Status("to do")),
    ("report/report", Status("done")),
]


@pytest.fixture
def said(monkeypatch):
    """What is printed, and how the pipeline was asked; it announces `STATES`."""
    lines, asked = [], {}
    monkeypatch.setattr("fusionchat.console.say", lambda text="", style=None: lines.append(text))

    def run(recipe, *, until, announce, then, verify):
        asked.update(recipe=recipe, until=until, verify=verify)
        for job_id, status in STATES:
            announce(SimpleNamespace(id=job_id), status)
        done = SimpleNamespace(folder=recipe.folder)
        then(done)
        return done

    monkeypatch.setattr(pipeline, "run", run)
    return lines, asked


def test_jobs_are_named_and_those_that_are_kept_counted(said, tmp_path):
    lines, asked = said
    seen = []
    recipe = SimpleNamespace(folder=tmp_path)
    run_stage(recipe, "fuse", seen.append, verify=True)
    assert lines == [
        "  2 jobs were done before and are kept",
        "represent/b (stale: k: 5 -> 6; seed: 0 -> 1)",
        "align/b (continues: 3 of 12 shards)",
        "fuse/b (starts over)",
        "distill/b",
        "  1 job was done before and is kept",
    ]
    assert asked == {"recipe": recipe, "until": "fuse", "verify": True} and seen[0].folder == tmp_path


def test_a_whole_run_ends_with_what_to_type_next(said, tmp_path, monkeypatch):
    lines, asked = said
    shown = []
    monkeypatch.setattr(report, "show", shown.append)
    monkeypatch.setattr(module, "program", lambda: "fusionchat")
    finish(SimpleNamespace(folder=tmp_path))
    assert lines[-2:] == [
        f"\nRun: {tmp_path}   Report: {tmp_path / 'report/report/report.html'}", f"Next: fusionchat chat {tmp_path}"
    ]  # fmt: skip
    assert len(shown) == 1 and asked["until"] is None


@pytest.mark.parametrize(("state", "line"), [("done", "fuse/b is done"), ("to do", "fuse/b")])
def test_one_job_is_named(said, monkeypatch, state, line):
    monkeypatch.setattr(
        pipeline,
        "run_job",
        lambda recipe, job_id, announce: announce(SimpleNamespace(id=job_id), Status(state)),
    )
    run_one(SimpleNamespace(), "fuse/b")
    assert said[0] == [line]


@pytest.mark.parametrize(
    ("count", "words"),
    [(1, "1 job was done before and is kept"), (1200, "1,200 jobs were done before and are kept")],
)
def test_kept_jobs_are_counted(count, words):
    assert kept_jobs(count) == words


@pytest.mark.parametrize(
    ("called", "found", "said"),
    [
        ("/opt/venv/bin/fusionchat", None, "/opt/venv/bin/fusionchat"),
        ("/opt/venv/bin/fusionchat", "/opt/venv/bin/fusionchat", "fusionchat"),
        ("/x/__main__.py", None, "fusionchat"),
    ],
)
def test_the_program_is_called_as_it_was(monkeypatch, called, found, said):
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr("shutil.which", lambda _: found)
    assert program() == said


def test_settings_are_put_over_a_recipe(tmp_path):
    write_recipe(tmp_path / "recipe.yaml")
    assert load(tmp_path / "recipe.yaml", ("seed=7",)).seed == 7
