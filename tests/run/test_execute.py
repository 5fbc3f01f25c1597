"""One job, begun, worked on and finished."""

import pytest

from fusionchat.artifacts import is_begun, read_manifest, sha256_file
from fusionchat.errors import MachineError
from fusionchat.run.execute import PACKAGES, do_work, make, write_manifest
from fusionchat.run.job import Context
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
    assert set(manifest.stamps) == {"words.txt"} and set(manifest.versions) == set(PACKAGES)
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
    write_manifest(two, tmp_path / "toy/1", summary, 1.23456)
    manifest = read_manifest(tmp_path / "toy/1")
    assert manifest.seconds == 1.235 and manifest.inputs == {"toy/0": one.fingerprint}


def test_a_full_disk_is_the_machine_s_fault(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    planned = chain(tmp_path, texts=("a",))
    monkeypatch.setattr(planned.stages["toy"], "work", full)
    with pytest.raises(MachineError):
        make(planned.jobs["toy/0"], tmp_path, planned.stages, CONTEXT)
