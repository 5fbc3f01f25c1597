"""One job, begun, worked on and finished."""

from dataclasses import replace
from importlib.metadata import version

import pytest

from fusionchat.artifacts import is_begun, read_manifest, sha256_file
from fusionchat.errors import ArtifactError, DamagedError, MachineError
from fusionchat.run import execute as work
from fusionchat.run.execute import PACKAGES, do_work, make, versions, work_here, write_manifest
from fusionchat.run.job import Context
from fusionchat.run.world import World
from fusionchat.runtime import RuntimeSettings
from tests.run.toy import Toy, chain

CONTEXT = Context(RuntimeSettings(device="cpu"))


def test_a_job_that_was_made_has_a_manifest(tmp_path):
    toy = Toy()
    planned = chain(tmp_path, toy, ("ab",), rewritten=("notes.txt",))
    job = planned.jobs["toy/0"]
    make(job, tmp_path, planned.stages, CONTEXT)
    manifest = read_manifest(tmp_path / "toy/0")
    assert (manifest.fingerprint, manifest.settings, manifest.version) == (job.fingerprint, {"text": "ab"}, 3)
    assert manifest.summary == {"length": 2} and manifest.inputs == {}
    assert manifest.files == {
        "words.txt": sha256_file(tmp_path / "toy/0/words.txt")
    }  # notes.txt is written again later
    assert set(manifest.stamps) == {"words.txt"} and manifest.versions == {
        name: version(name) for name in PACKAGES
    }
    manifest.versions.clear()
    assert set(versions()) == set(PACKAGES)  # it has a copy
    assert manifest.seconds >= 0 and not is_begun(tmp_path / "toy/0", job.fingerprint)


def test_a_job_that_fails_is_begun_and_not_done(tmp_path):
    planned = chain(tmp_path, texts=("boom",))
    job = planned.jobs["toy/0"]
    with pytest.raises(ValueError, match="boom"):
        make(job, tmp_path, planned.stages, CONTEXT)
    assert read_manifest(tmp_path / "toy/0") is None and is_begun(tmp_path / "toy/0", job.fingerprint)


def test_work_reads_what_it_needs_and_may_be_finished_later(tmp_path):
    planned = chain(tmp_path, texts=("a", "b"))
    one, two = planned.jobs.values()
    make(one, tmp_path, planned.stages, CONTEXT)
    (tmp_path / "toy/1").mkdir()
    summary = do_work(two, tmp_path, planned.stages, CONTEXT)
    assert summary == {"length": 2} and (tmp_path / "toy/1/words.txt").read_text() == "ab"
    assert read_manifest(tmp_path / "toy/1") is None
    write_manifest(two, tmp_path, summary, 1.23456)
    manifest = read_manifest(tmp_path / "toy/1")
    assert manifest.seconds == 1.235 and manifest.inputs == {"toy/0": one.fingerprint}


def test_a_full_disk_is_the_machine_s_fault(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    planned = chain(tmp_path, texts=("a",))
    monkeypatch.setattr(planned.stages["toy"], "work", full)
    with pytest.raises(MachineError):
        make(planned.jobs["toy/0"], tmp_path, planned.stages, CONTEXT)


def ranks_job(tmp_path, toy, **training):
    planned = chain(tmp_path, toy, ("ab",), parallel="ranks")
    (tmp_path / "toy/0").mkdir(parents=True)
    ctx = Context(RuntimeSettings(device="cpu", training=training))
    return planned.jobs["toy/0"], planned.stages, ctx


def test_a_job_of_ranks_is_launched_in_as_many_as_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(
        work, "launch", lambda run, job, count: {"run": str(run), "job": job.id, "count": count}
    )
    job, stages, ctx = ranks_job(tmp_path, Toy(), processes=3)
    assert do_work(job, tmp_path, stages, ctx) == {"run": str(tmp_path), "job": "toy/0", "count": 3}
    job, stages, ctx = ranks_job(tmp_path / "b", toy := Toy(), processes="auto")
    assert do_work(job, tmp_path / "b", stages, ctx) == {"length": 2} and toy.made == ["toy/0"]


def test_rank_0_of_processes_that_are_there_summons_the_others_and_works(tmp_path, monkeypatch, capsys):
    summoned, seen = [], []
    monkeypatch.setattr(work, "world_here", lambda: World(0, 2, 0, 2))
    monkeypatch.setattr(work, "summon", lambda run, job: summoned.append((run, job.id)))
    monkeypatch.setattr(Toy, "work", lambda _, settings, inputs, out, ctx: seen.append((ctx.rank, ctx.world)))
    job, stages, ctx = ranks_job(tmp_path, Toy())
    do_work(job, tmp_path, stages, ctx)
    assert summoned == [(tmp_path, "toy/0")] and seen == [(0, 2)]
    assert "done" in capsys.readouterr().err
    work_here(job, tmp_path, stages, replace(ctx, rank=1, world=2))
    assert seen[1:] == [(1, 2)] and capsys.readouterr().err == ""


def test_damage_that_a_rank_finds_is_not_made_again_by_one_of_them(tmp_path, monkeypatch):
    def damaged(*_):
        raise DamagedError("broken", path=tmp_path / "x", folder=tmp_path)

    monkeypatch.setattr(work, "world_here", lambda: World(0, 2, 0, 2))
    monkeypatch.setattr(work, "summon", lambda *_: None)
    monkeypatch.setattr(Toy, "work", damaged)
    job, stages, ctx = ranks_job(tmp_path, Toy())
    with pytest.raises(ArtifactError, match="broken") as caught:
        do_work(job, tmp_path, stages, ctx)
    assert not isinstance(caught.value, DamagedError)
