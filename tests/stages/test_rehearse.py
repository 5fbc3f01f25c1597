"""What would stop a run later is said before its first capture, with the model and the file."""

import json
import shutil
import struct
from collections import namedtuple

import pytest
import torch
from safetensors.torch import load_file, save_file

from fusionchat.errors import FusionChatError, ModelError
from fusionchat.recipe.schema import load_recipe
from fusionchat.stages import rehearse as module
from fusionchat.stages.pipeline import run
from tests.tiny import copy_input

WEIGHTS = "model.safetensors"


def refused(*settings, until=None):
    """The message of a run that must end before any job but the corpus is done."""
    recipe = load_recipe("recipe.yaml", settings)
    with pytest.raises(FusionChatError) as caught:
        run(recipe, until=until)
    assert caught.value.exit_code == 2
    done = {path.parent.parent.name for path in recipe.run_folder.rglob("manifest.json")}
    assert done <= {"corpus"}, "a job ran before the refusal"
    return str(caught.value)


def sharded(folder):
    """Split a model's weights in two files with an index."""
    tensors = list(load_file(folder / WEIGHTS).items())
    index = {}
    for i, part in enumerate((tensors[::2], tensors[1::2]), 1):
        name = f"model-0000{i}-of-00002.safetensors"
        save_file({n: t.contiguous() for n, t in part}, folder / name, {"format": "pt"})
        index |= {n: name for n, _ in part}
    (folder / WEIGHTS).unlink()
    (folder / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))


def cut(folder):
    path = folder / WEIGHTS
    path.write_bytes(path.read_bytes()[:-64])


def damage_header(folder):
    path = folder / WEIGHTS
    raw = bytearray(path.read_bytes())
    raw[8:12] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)


def lose_a_shard(folder):
    sharded(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()


def cut_a_shard(folder):
    sharded(folder)
    path = folder / "model-00002-of-00002.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def leave_a_pointer(folder):
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")


HARMS = {
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "There are no weights of 'NAME'", "recipe"),
    "cut": (cut, "cut short", WEIGHTS),
    "empty": (lambda folder: (folder / WEIGHTS).write_bytes(b""), "empty", WEIGHTS),
    "header": (damage_header, "header is damaged", WEIGHTS),
    "lost shard": (lose_a_shard, "missing: model-00002-of-00002.safetensors", f"{WEIGHTS}.index.json"),
    "cut shard": (cut_a_shard, "cut short", "model-00002-of-00002.safetensors"),
    "pointer": (leave_a_pointer, "Git LFS pointer", "git lfs pull"),
    "other name": (
        lambda folder: (folder / WEIGHTS).rename(folder / "weights.safetensors"),
        "transformers finds no weights",
        "save it again",
    ),
}


@pytest.mark.parametrize("name", ["qwen", "pivot"])
@pytest.mark.parametrize("harm", HARMS)
def test_weights_that_cannot_be_read_are_named_before_the_first_capture(tiny, name, harm):
    copy_input(tiny)
    change, what, named = HARMS[harm]
    change(tiny / "input/models" / name)
    text = refused()
    assert what.replace("NAME", name) in text and named in text and f"models/{name}" in text and "do:" in text
    assert (tiny / "runs/tiny/corpus/corpus/manifest.json").is_file(), "the corpus needs no weights"


def test_weights_that_no_job_reads_are_not_looked_at(tiny, finished):
    """A source whose capture and evaluation are done may be gone: only the rest is made."""
    copy_input(tiny)
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    run(load_recipe("recipe.yaml"))
    with pytest.raises(ModelError, match="There are no weights of 'qwen'"):
        (tiny / "input/models/qwen" / WEIGHTS).unlink()
        run(load_recipe("recipe.yaml"))


def test_a_type_that_only_a_merge_cannot_read_is_no_fault_of_a_source(tiny):
    """The file says F4_E2M1X, which transformers may know one day; the pivot with it is refused."""
    copy_input(tiny)
    for name in ("qwen", "pivot"):
        path = tiny / "input/models" / name / WEIGHTS
        raw = path.read_bytes()
        size = struct.unpack("<Q", raw[:8])[0]
        header = json.loads(raw[8 : 8 + size])
        first = next(n for n in header if n != "__metadata__")
        header[first]["dtype"] = "F4_E2M1X"
        text = json.dumps(header).encode()
        path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])
    refs = {n: module.ModelRef(n, str(tiny / "input/models" / n), "") for n in ("qwen", "pivot")}
    module.require_weights(refs["qwen"])
    assert "F4_E2M1X" in refused()


def test_a_tokenizer_that_does_not_fit_is_named_before_the_first_capture(tiny):
    """The source's model has fewer rows than the ids of the text: the corpus refuses it, not the second capture."""
    copy_input(tiny)
    folder = tiny / "input/models/qwen"
    tensors = load_file(folder / WEIGHTS)
    config = json.loads((folder / "config.json").read_text())
    rows = config["vocab_size"]
    small = {n: t[:40].clone() if t.shape[:1] == torch.Size([rows]) else t for n, t in tensors.items()}
    save_file(small, folder / WEIGHTS, {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": 40}))
    text = refused()
    assert "The tokenizer of 'qwen' produces token" in text and "the model has 40 rows" in text


def test_a_missing_tokenizer_and_a_missing_corpus_are_named_before_the_first_capture(tiny):
    copy_input(tiny)
    for path in (tiny / "input/models/qwen").glob("*token*"):
        path.unlink()
    assert "The tokenizer of 'qwen' has no tokens: there is no" in refused()
    (tiny / "input/corpus/test.jsonl").unlink()
    assert "test.jsonl" in refused()


def test_too_little_disk_is_said_before_the_first_capture(tiny, monkeypatch, capsys):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage(10, 9, 1000))
    run(load_recipe("recipe.yaml"), until="represent")
    said = " ".join(capsys.readouterr().err.split())
    assert "of disk (a rough estimate), and" in said and "are free" in said
