"""Checksums of a merge's inputs: known where nothing was changed since, unknown else, never wrong."""

import json
import os
import shutil
import time

import pytest

from fusionchat import artifacts
from fusionchat.artifacts import Manifest, finish, sha256_file, sha256_known
from fusionchat.merge.fisher.diagonal import write_fisher
from fusionchat.merge.methods.fisher import Fisher
from fusionchat.merge.methods.linear import Linear
from fusionchat.merge.methods.varm import Varm
from fusionchat.merge.stream.merge import merge_models
from fusionchat.merge.stream.provenance import describe_files, known_hash, records_of
from fusionchat.merge.stream.result import InputFile
from tests.merge.folders import family, random_tensors, save

WEIGHTS = "model.safetensors"


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch):
    """As in a new process."""
    monkeypatch.setattr(artifacts, "_HASHED", {})


def digest_of(path):
    """Without leaving a trace."""
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


def known(path):
    return known_hash(path, records_of(path.parent))


def job(folder, seed):
    """An artifact of a run: a model and a manifest."""
    save(folder / "model", random_tensors(seed))
    files = {f"model/{WEIGHTS}": digest_of(folder / "model" / WEIGHTS)}
    time.sleep(0.02)  # more than the file system's clock step
    finish(folder, Manifest(fingerprint="x", settings={}, inputs={}, files=files))
    return folder / "model" / WEIGHTS


def test_a_run_s_artifact_is_known_from_its_manifest(tmp_path):
    path = job(tmp_path / "job", 1)
    assert known(path) == (digest_of(path), "manifest.json")
    assert known(job(tmp_path / "job" / "other", 2)).source == "manifest.json"


def change(path, other, how):
    """Change a file's content, keep its size; ``other`` is an older file."""
    times = path.stat()
    if how.startswith("edit"):
        with path.open("r+b") as file:
            file.seek(-4, 2)
            file.write(b"\0\0\0\0")
    if how == "edit, old time":
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    if how == "move":
        shutil.move(other, path)
    if how == "copy -p":
        shutil.copy2(other, path)
    if how == "link":
        path.unlink()
        path.symlink_to(other)
    if how == "move its folder":
        shutil.rmtree(path.parent)
        shutil.move(other.parent, path.parent)
    assert path.stat().st_size == times.st_size


CHANGES = ["edit", "edit, old time", "move", "copy -p", "link"]


@pytest.mark.parametrize("how", [*CHANGES, "move its folder"])
def test_an_artifact_that_was_changed_is_unknown(tmp_path, how):
    other, path = job(tmp_path / "b", 2), job(tmp_path / "a", 1)
    change(path, other, how)
    assert known(path) is None


@pytest.mark.parametrize("how", CHANGES)
def test_a_merged_model_that_was_changed_is_unknown(tmp_path, how):
    pivot, targets = family(tmp_path, 2)
    for name, target in (("old", "t0"), ("new", "t1")):
        merge_models(pivot, {target: targets[target]}, Linear(), tmp_path / name, threads=1)
        time.sleep(0.02)
    assert known(tmp_path / "new" / WEIGHTS).source == "merge_weights.json"
    change(tmp_path / "new" / WEIGHTS, tmp_path / "old" / WEIGHTS, how)
    assert known(tmp_path / "new" / WEIGHTS) is None


def test_a_merged_model_is_known_from_its_report_until_it_is_changed(tmp_path):
    pivot, targets = family(tmp_path, 2)
    report = merge_models(pivot, targets, Varm(), tmp_path / "first", shard_bytes=3000, threads=1)
    paths = sorted((tmp_path / "first").glob("*.safetensors"))
    assert len(paths) > 1
    for path in paths:
        assert (
            known(path)
            == (report.files[path.name], "merge_weights.json")
            == (digest_of(path), known(path)[1])
        )
    again = merge_models(pivot, {"m": tmp_path / "first"}, Linear(), tmp_path / "second", threads=1)
    assert again.inputs["m"][paths[0].name].sha256 == digest_of(paths[0])
    assert again.inputs["pivot"] == {WEIGHTS: InputFile((pivot / WEIGHTS).stat().st_size)}
    (tmp_path / "first/merge_weights.json").write_text("{")
    assert known(paths[0]) is None
    (tmp_path / "first/merge_weights.json").write_text('{"files": ["x"]}')
    assert known(paths[0]) is None


def test_a_file_in_the_hub_s_cache_is_named_by_its_checksum(tmp_path):
    save(tmp_path / "made", random_tensors(1))
    digest = digest_of(tmp_path / "made" / WEIGHTS)
    repo = tmp_path / "hub/models--owner--name"
    (repo / "blobs").mkdir(parents=True)
    snapshot = repo / "snapshots/abc"
    snapshot.mkdir(parents=True)
    shutil.move(tmp_path / "made" / WEIGHTS, repo / "blobs" / digest)
    (snapshot / WEIGHTS).symlink_to(f"../../blobs/{digest}")
    assert known(snapshot / WEIGHTS) == (digest, "hub cache")
    small = repo / "blobs" / ("0" * 40)  # git's own hash, of a file that is not in LFS
    shutil.copy(repo / "blobs" / digest, small)
    (snapshot / "small.safetensors").symlink_to(f"../../blobs/{small.name}")
    assert known(snapshot / "small.safetensors") is None
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(small, elsewhere / ("0" * 64))
    (snapshot / "link.safetensors").symlink_to(elsewhere / ("0" * 64))
    assert known(snapshot / "link.safetensors") is None


def test_what_this_process_has_read_is_known_as_long_as_it_is_the_same(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    assert sha256_known(path) is None
    digest = sha256_file(path)
    assert sha256_known(path) == digest and known(path) == (digest, "read")
    time.sleep(0.02)
    path.write_bytes(b"two")
    assert sha256_known(path) is None and known(path) is None


def test_the_rest_is_read_only_if_asked_and_only_the_rest(tmp_path, monkeypatch):
    from fusionchat.merge.stream import provenance

    pivot, _ = family(tmp_path, 1)
    target = job(tmp_path / "job", 3).parent
    read = []
    monkeypatch.setattr(provenance, "sha256_file", lambda path: read.append(path) or digest_of(path))
    free = merge_models(pivot, {"t": target}, Varm(), tmp_path / "free", threads=1)
    assert read == [] and not free.inputs["pivot"][WEIGHTS].sha256
    asked = merge_models(pivot, {"t": target}, Varm(), tmp_path / "asked", threads=1, hash_inputs=True)
    assert read == [pivot / WEIGHTS]
    assert asked.inputs["pivot"][WEIGHTS].sha256 == digest_of(pivot / WEIGHTS)
    assert asked.inputs["t"] == free.inputs["t"]
    written = json.loads((tmp_path / "asked/merge_weights.json").read_text())
    assert written["inputs"]["t"][WEIGHTS]["source"] == "manifest.json"


def test_a_fisher_merge_s_folders_are_inputs(tmp_path):
    pivot, targets = family(tmp_path, 2)
    for n in range(2):
        write_fisher(tmp_path / f"f{n}", {k: v**2 for k, v in random_tensors(n).items()})
    method = Fisher(fisher=(str(tmp_path / "f0"), str(tmp_path / "f1")))
    report = merge_models(pivot, targets, method, tmp_path / "out", threads=1, hash_inputs=True)
    assert list(report.inputs) == ["pivot", "t0", "t1", "fisher of t0", "fisher of t1"]
    assert report.inputs["fisher of t1"][WEIGHTS].sha256 == digest_of(tmp_path / "f1" / WEIGHTS)


def test_no_files_no_words():
    assert describe_files([]) == {}
