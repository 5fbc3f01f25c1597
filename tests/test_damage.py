"""Damaged files: named when they are read, and in a run made again by the same command, bit by bit."""

import os
import shutil

import pytest
from safetensors.numpy import load_file

from fusionchat import artifacts, damage
from fusionchat.artifacts import Manifest, begin, checksums, finish, sha256_file, write_text
from fusionchat.cli.verbs import guarded
from fusionchat.damage import discard, verified, verified_folder
from fusionchat.errors import DamagedError
from fusionchat.recipe.schema import load_recipe
from fusionchat.represent.store.write import StoreWriter
from fusionchat.stages.pipeline import open_run, run
from tests.tiny import write_recipe

ROWS = 100
"""Rows of a shard where a test needs several."""
READERS = {  # a file of each kind, and the job that reads it
    "corpus/corpus/train.jsonl": "represent/qwen",
    "corpus/corpus/test.jsonl": "evaluate/test/pivot",
    "represent/qwen/shard-00000.safetensors": "align/qwen",
    "align/qwen/shard-00000.safetensors": "fuse/qwen",
    "fuse/qwen/shard-00000.safetensors": "distill/qwen@0.5",
    "distill/qwen@0.5/model/model.safetensors": "merge/varm@0.5",
    "distill/qwen@0.5/model/tokenizer.json": "evaluate/test/targets/qwen@0.5",
    "merge/selection/selection.json": "merge/fused",
    "merge/varm@0.5/model/model.safetensors": "merge/fused",
    "evaluate/test/pivot/scores.json": "report/report",
    "evaluate/test/sft/events.safetensors": "report/report",
    "merge/varm@0.5/model/config.json": "evaluate/test/varm@0.5",
    "corpus/corpus/tokens/pivot/train.safetensors": "distill/sft",
}


@pytest.fixture
def copy(tiny, finished, monkeypatch):
    """A copy of the run in the working directory, as a new process sees it."""
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    monkeypatch.setattr(artifacts, "_HASHED", {})
    return tiny / "runs/tiny"


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", READERS)
def test_a_flipped_bit_is_named_and_the_file_made_again(copy, finished, capsys, name):
    flip(copy / name)
    shutil.rmtree(copy / READERS[name])
    assert guarded(["run", "recipe.yaml"]) == 0
    said = capsys.readouterr().err
    assert name in said and "damaged" in said and "made again" in said
    assert sha256_file(copy / name) == sha256_file(finished.folder / name)


@pytest.mark.parametrize(
    "name",
    ["merge/fused/model/model.safetensors", "merge/fused/model/tokenizer.json", "report/report/report.html",
     "evaluate/test/sources/mixtral/scores.json"],
)  # fmt: skip
def test_what_a_finished_run_shows_is_looked_at(copy, finished, capsys, name):
    flip(copy / name)
    assert guarded(["run", "recipe.yaml"]) == 0
    assert name in capsys.readouterr().err
    if "report" not in name:  # it has a date
        assert sha256_file(copy / name) == sha256_file(finished.folder / name)


def test_only_the_damaged_shards_of_a_capture_are_made_again(copy, monkeypatch, tiny):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: ROWS)
    shutil.rmtree(copy / "represent")
    recipe = load_recipe("recipe.yaml")
    run(recipe, until="represent")
    folder = copy / "represent/pivot"
    before = {p.name: sha256_file(p) for p in folder.glob("shard-*")}
    assert len(before) >= 3
    kept = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    (folder / "shard-00001.safetensors").write_bytes(b"")
    made = []
    original = StoreWriter.write_scored
    monkeypatch.setattr(
        StoreWriter,
        "write_scored",
        lambda self, index, *rest: made.append(self.path(index)) or original(self, index, *rest),
    )
    shutil.rmtree(copy / "align")
    run(recipe, until="align")
    assert [path.name for path in made if path.parent.parent.name == "represent"] == [
        "shard-00001.safetensors"
    ]
    assert {p.name: sha256_file(p) for p in folder.glob("shard-*")} == before
    assert (folder / "shard-00000.safetensors").stat().st_mtime_ns == kept


def test_an_unfinished_capture_s_damaged_shard_is_made_again(copy, finished):
    folder = copy / "represent/qwen"
    mark = artifacts.read_manifest(folder).fingerprint
    (folder / "manifest.json").unlink()
    artifacts.write_json(folder / "progress.json", {"fingerprint": mark})
    (folder / "shard-00000.safetensors").write_bytes(b"\0" * 40)
    run(load_recipe("recipe.yaml"), until="represent")
    name = "represent/qwen/shard-00000.safetensors"
    assert sha256_file(copy / name) == sha256_file(finished.folder / name)


@pytest.mark.parametrize("note", ["manifest.json", "progress.json"])
def test_a_damaged_note_loses_no_shard(copy, finished, note):
    """Shards say themselves what they are of: a capture of days does not hang on a bit of its manifest."""
    folder = copy / "represent/qwen"
    shard = folder / "shard-00000.safetensors"
    if note == "progress.json":
        artifacts.write_json(folder / note, {"fingerprint": artifacts.read_manifest(folder).fingerprint})
        (folder / "manifest.json").unlink()
    flip(folder / note)
    kept = shard.stat().st_mtime_ns
    run(load_recipe("recipe.yaml"), until="represent")
    assert shard.stat().st_mtime_ns == kept
    assert (
        artifacts.read_manifest(folder).files
        == artifacts.read_manifest(finished.folder / "represent/qwen").files
    )
    assert not (folder / "progress.json").exists()


def test_a_file_that_is_damaged_again_at_once_ends_the_run(copy, monkeypatch, capsys):
    """A broken disk: no endless loop."""
    name = copy / "evaluate/test/pivot/scores.json"
    original = artifacts.finish

    def and_damage(folder, manifest):
        original(folder, manifest)
        if folder.resolve() == name.parent.resolve():
            flip(name)

    monkeypatch.setattr("fusionchat.run.execute.finish", and_damage)
    flip(name)
    assert guarded(["run", "recipe.yaml"]) == 2
    assert "remove runs/tiny/evaluate/test/pivot" in capsys.readouterr().err


def test_chat_and_merge_name_a_damaged_model(copy, capsys):
    flip(copy / "merge/fused/model/model.safetensors")
    assert guarded(["chat", "runs/tiny"]) == 2
    assert "merge/fused/model/model.safetensors" in capsys.readouterr().err
    flip(copy / "distill/qwen@0.5/model/model.safetensors")
    pair = ["--target", "runs/tiny/distill/qwen@0.5/model", "--target", "runs/tiny/distill/mixtral@0.5/model"]
    assert guarded(["merge", "--pivot", "input/models/pivot", *pair, "--out", "merged"]) == 2
    assert "distill/qwen@0.5/model/model.safetensors" in capsys.readouterr().err


def test_a_model_of_another_run_is_named_not_made(copy, tiny):
    write_recipe(tiny / "next.yaml", name="next", pivot={"model": "runs/tiny/merge/fused/model"})
    path = copy / "merge/fused/model/model.safetensors"
    flip(path)
    with pytest.raises(DamagedError, match="merge/fused"):
        run(load_recipe("next.yaml"), until="represent")
    assert path.is_file() and load_file(path)


def test_a_stand_in_for_a_manifest_is_not_believed(copy):
    """A flipped bit in a manifest: its job is to do again."""
    path = copy / "align/qwen/manifest.json"
    path.write_text(path.read_text().replace('"rows": ', '"rows": 1'))
    planned = open_run(load_recipe("recipe.yaml"))
    assert planned.status(planned.jobs["align/qwen"]).state == "to do"


def write_job(folder, files):
    """A job's folder with these files, written by a process that is gone."""
    begin(folder, "m")
    for name, text in files.items():
        write_text(folder / name, text)
    finish(folder, Manifest("m", {}, {}, checksums(folder)))
    artifacts._HASHED.clear()


HARM = {
    "a byte flipped": lambda path: path.write_bytes(b"X" + path.read_bytes()[1:]),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "emptied": lambda path: path.write_bytes(b""),
    "grown": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "lost": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("name", ["part-1", "model/w", "model/deep/t"])
def test_a_damaged_file_is_named_when_it_is_read(tmp_path, harm, name):
    folder = tmp_path / "job"
    write_job(folder, {"part-0": "zero", "part-1": "one", "model/w": "weights", "model/deep/t": "template"})
    path = folder / name
    assert verified(path) == path and verified_folder(folder) == folder
    HARM[harm](path)
    for look in (
        lambda: verified(path),
        lambda: verified_folder(folder),
        lambda: verified_folder(path.parent),
    ):
        with pytest.raises(DamagedError) as error:
            look()
        assert str(path) in str(error.value) and f"remove {folder}" in str(error.value)
        assert error.value.exit_code == 2
    assert verified(folder / "part-0") == folder / "part-0"


def test_a_file_is_read_for_its_checksum_once_as_long_as_it_is_not_changed(tmp_path, monkeypatch):
    write_job(tmp_path / "job", {"a": "x"})
    read = []
    original = artifacts.sha256_file
    monkeypatch.setattr(damage, "sha256_file", lambda path: read.append(path) or original(path))
    for _ in range(3):
        verified(tmp_path / "job/a")
    assert read == [tmp_path / "job/a"]


def test_what_no_job_wrote_or_finished_has_no_checksum(tmp_path):
    write_text(tmp_path / "model/w", "x")
    write_text(tmp_path / "manifest.json", '{"name": "of another program"}')
    assert verified(tmp_path / "model/w") and verified_folder(tmp_path / "model")
    begin(tmp_path / "job", "m")
    write_text(tmp_path / "job/a", "x")
    assert verified(tmp_path / "job/a")


def test_of_a_damaged_job_the_whole_parts_stay(tmp_path):
    folder = tmp_path / "job"
    write_job(folder, {f"part-{i}": f"text {i}" for i in range(4)} | {"sum": "of all"})
    for index in (1, 3):
        HARM["cut short"](folder / f"part-{index}")
    with pytest.raises(DamagedError) as error:
        verified(folder / "part-1")
    discard(error.value, keep="part-*")
    begin(folder, "m")
    assert sorted(p.name for p in folder.iterdir()) == ["part-0", "part-2", "progress.json"]
    write_job(folder, {"part-0": "x"})
    discard(DamagedError("It is damaged", path=folder / "part-0", folder=folder))
    assert not folder.exists()


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def flip_and_keep_the_time(path):
    status = path.stat()
    flip(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


PLANNED = {
    "missing": (lambda path: path.unlink(), "missing", "missing"),
    "cut": (cut, "damaged", "damaged"),
    "empty": (lambda path: path.write_bytes(b""), "damaged", "damaged"),
    "flipped": (flip, "damaged", "damaged"),
    "flipped, same time": (flip_and_keep_the_time, None, "damaged"),
    "touched": (os.utime, None, None),
}


@pytest.mark.parametrize("harm", PLANNED)
@pytest.mark.parametrize("name", ["represent/qwen/shard-00000.safetensors", "merge/fused/model/config.json"])
def test_plan_names_a_damaged_file(copy, finished, capsys, name, harm):
    change, seen, verified_as = PLANNED[harm]
    change(copy / name)
    for options, how in (((), seen), (("--verify",), verified_as)):
        assert guarded(["plan", "recipe.yaml", *options]) == 0
        said = capsys.readouterr().out
        assert (f"{name} is {how}" in said and "1 of" in said) if how else "Everything is done." in said
    assert guarded(["run", "recipe.yaml", "--verify"]) == 0
    assert sha256_file(copy / name) == sha256_file(finished.folder / name)


def test_a_missing_shard_leaves_the_others(copy, monkeypatch):
    monkeypatch.setattr("fusionchat.stages.represent.shard_rows", lambda _: ROWS)
    shutil.rmtree(copy / "represent")
    run(load_recipe("recipe.yaml"), until="represent")
    folder = copy / "represent/pivot"
    kept = (folder / "shard-00000.safetensors").stat().st_mtime_ns
    (folder / "shard-00001.safetensors").unlink()
    cut(folder / "shard-00002.safetensors")
    run(load_recipe("recipe.yaml"), until="represent")
    assert (folder / "shard-00000.safetensors").stat().st_mtime_ns == kept
    assert (folder / "shard-00001.safetensors").is_file() and (folder / "manifest.json").is_file()


def test_a_copied_run_is_done(tiny, finished, capsys):
    """Copied without its times: the files are read, and are right."""
    shutil.copytree(finished.folder, tiny / "runs/tiny", copy_function=shutil.copyfile)
    assert guarded(["plan", "recipe.yaml"]) == 0
    assert "Everything is done." in capsys.readouterr().out
