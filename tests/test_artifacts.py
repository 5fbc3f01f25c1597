"""Artifacts: nothing half-written is taken for whole."""

import errno
import os
import subprocess
import sys
import time

import pytest

from fusionchat.artifacts import (
    Manifest,
    atomic_path,
    begin,
    checksums,
    fingerprint,
    finish,
    machine_errors,
    make_folder,
    read_manifest,
    write_json,
    write_text,
)
from fusionchat.errors import MachineError
from fusionchat.host import this_host


def manifest(mark="m"):
    return Manifest(mark, {"a": 1}, {}, {})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    write_text(tmp_path / "f", "old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "f") as partial:
        partial.write_text("half")
        raise RuntimeError
    assert (tmp_path / "f").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_unfinished_work_is_kept_for_the_same_fingerprint_only(tmp_path):
    folder = tmp_path / "job"
    begin(folder, "one")
    write_text(folder / "part", "x")
    begin(folder, "one")
    assert (folder / "part").is_file()
    begin(folder, "two")
    assert not (folder / "part").exists()


def test_half_written_files_of_the_dead_are_removed_those_of_the_living_are_not(tmp_path):
    folder, here = tmp_path / "job", this_host()
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    begin(folder, "one")
    write_text(folder / "model" / "part", "x")
    gone = [
        folder / f".part.{here}.{dead.pid}.partial",
        folder / "model" / f".a.b.{here}.{os.getpid()}.partial",
        folder / ".part.other.1.partial",
        folder / ".part.123.partial",  # an earlier release's
    ]
    kept = [folder / f".part.{here}.1.partial", folder / "model" / f".part.other.{dead.pid}.partial"]
    for path in gone + kept:
        path.write_text("x")
    for path in gone[2:]:
        os.utime(path, (0, time.time() - 25 * 60 * 60))
    begin(folder, "one")
    assert (folder / "model" / "part").is_file()
    assert [path.exists() for path in gone + kept] == [False] * 4 + [True] * 2


def test_two_writers_of_one_file_have_names_of_their_own(tmp_path):
    with atomic_path(tmp_path / "f") as partial:
        assert partial.name == f".f.{this_host()}.{os.getpid()}.partial"
        partial.write_text("x")
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_finished_work_of_another_fingerprint_is_cleared(tmp_path):
    folder = tmp_path / "job"
    begin(folder, "one")
    write_text(folder / "part", "x")
    finish(folder, manifest("one"))
    assert read_manifest(folder) == manifest("one")
    begin(folder, "two")
    assert read_manifest(folder) is None and not (folder / "part").exists()


def test_a_damaged_manifest_is_none(tmp_path):
    write_text(tmp_path / "manifest.json", '{"fingerprint": ')
    assert read_manifest(tmp_path) is None
    write_json(tmp_path / "manifest.json", {"other": 1})
    assert read_manifest(tmp_path) is None


def test_fingerprints_follow_settings_and_inputs_not_their_order():
    assert fingerprint({"a": 1, "b": 2}, {"x": "1"}) == fingerprint({"b": 2, "a": 1}, {"x": "1"})
    assert fingerprint({"a": 1}, {}) != fingerprint({"a": 2}, {})
    assert fingerprint({"a": 1}, {"x": "1"}) != fingerprint({"a": 1}, {"x": "2"})


def test_checksums_leave_out_what_is_not_output(tmp_path):
    begin(tmp_path / "j", "m")
    write_text(tmp_path / "j" / "deep" / "f", "x")
    (tmp_path / "j" / ".f.1.partial").write_text("half")
    finish(tmp_path / "j", manifest())
    assert list(checksums(tmp_path / "j")) == ["deep/f"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.ENOTDIR, errno.EDQUOT])
def test_the_machines_refusals_are_explained(tmp_path, code):
    with pytest.raises(MachineError) as error, machine_errors(tmp_path):
        raise OSError(code, os.strerror(code), str(tmp_path / "f"))
    assert str(tmp_path / "f") in str(error.value) and error.value.exit_code == 3


def test_other_errors_of_the_system_pass():
    with pytest.raises(FileNotFoundError), machine_errors("x"):
        raise FileNotFoundError(errno.ENOENT, "none", "x")


@pytest.mark.parametrize("digit", ["1", "7"])
def test_a_manifest_with_another_digit_is_none(tmp_path, digit):
    finish_with = Manifest("m", {}, {}, {}, summary={"retention": 0.95})
    begin(tmp_path / "job", "m")
    finish(tmp_path / "job", finish_with)
    path = tmp_path / "job/manifest.json"
    assert read_manifest(tmp_path / "job") == finish_with
    path.write_text(path.read_text().replace("0.95", f"0.{digit}5"))
    assert read_manifest(tmp_path / "job") is None


def test_a_folder_that_cannot_be_made_is_said_with_the_system_s_reason(tmp_path):
    (tmp_path / "file").touch()
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    with pytest.raises(MachineError, match="A file exists where a folder is needed"):
        make_folder(tmp_path / "file" / "b")
    with pytest.raises(MachineError, match="A file exists where a folder is needed"):
        write_text(tmp_path / "file" / "b", "x")
    with pytest.raises(MachineError, match="This folder cannot be created: File name too long"):
        make_folder(tmp_path / ("x" * 300))
