import json
import os
import time
from contextlib import contextmanager

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from fusionchat.artifacts import checksums
from fusionchat.demo import make
from fusionchat.demo.make import demo_paths, make_demo
from fusionchat.demo.parts import Part, making
from fusionchat.errors import MachineError

SCALE = 0.01


class Watched:
    """A progress that notes its labels, totals and advances."""

    def __init__(self):
        self.bars: list[tuple[str, int | None, list[int]]] = []

    @contextmanager
    def __call__(self, label, total):
        seen: list[int] = []
        self.bars.append((label, total, seen))
        yield seen.append


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    watched = Watched()
    make_demo(root, scale=SCALE, progress=watched)
    return root, watched


def test_models_open_with_the_auto_classes_and_answer(made):
    structures = {"pivot": "LlamaForCausalLM", "mixtral": "MixtralForCausalLM", "qwen": "Qwen2ForCausalLM"}
    for name, structure in structures.items():
        folder = made[0] / "models" / name
        model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        assert type(model).__name__ == structure and model.config.vocab_size == len(tokenizer)
        assert model.generation_config.eos_token_id == tokenizer.eos_token_id
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": "Tell me."}], add_generation_prompt=True, return_tensors="pt"
        )
        out = model.generate(**prompt, max_new_tokens=3, do_sample=False)
        assert out.shape[1] > prompt["input_ids"].shape[1]
        assert next(model.parameters()).dtype.itemsize == 4


def test_progress_adds_up(made):
    for _, total, seen in made[1].bars:
        assert total is None or sum(seen) == total
    assert len(made[1].bars) == 2


def test_nothing_is_made_twice(made):
    before = {p: p.stat().st_mtime_ns for p in made[0].rglob("*")}
    watched = Watched()
    assert make_demo(made[0], scale=SCALE, progress=watched) == demo_paths(made[0])
    assert not watched.bars
    assert before == {p: p.stat().st_mtime_ns for p in made[0].rglob("*")}


def test_a_missing_or_unfinished_part_is_made_again_and_is_the_same(made):
    root, _ = made
    before = checksums(root)
    part = Part(root, "models/pivot", 0, SCALE)
    with pytest.raises(KeyboardInterrupt), making(part) as folder:
        (folder / "config.json").write_text("{")
        raise KeyboardInterrupt
    assert not part.is_made() and not list(root.rglob("*.partial"))
    (root / "corpus" / "train.jsonl").unlink()
    (root / ".made" / "corpus.json").write_text("{", encoding="utf-8")
    watched = Watched()
    make_demo(root, scale=SCALE, progress=watched)
    assert [label for label, *_ in watched.bars] == ["write the chat corpus", "train 1 tiny chat LLM"]
    assert checksums(root) == before


def test_another_seed_or_scale_is_stale(made):
    assert Part(made[0], "corpus", 0, SCALE).is_made()
    assert not Part(made[0], "corpus", 1, SCALE).is_made()
    assert not Part(made[0], "corpus", 0, 0.5).is_made()


def test_workers_make_what_this_process_makes(made, tmp_path, monkeypatch, forked):
    monkeypatch.setattr(make, "SMALL", 0)
    root = tmp_path / "beside"
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # one worker makes both
    for kept in ("corpus", "models/mixtral"):
        part, whole = Part(root, kept, 0, SCALE), made[0] / kept
        with making(part) as folder:
            for file in whole.iterdir():
                (folder / file.name).write_bytes(file.read_bytes())
    watched = Watched()
    make_demo(root, scale=SCALE, progress=watched)
    [(_, total, seen)] = watched.bars
    assert sum(seen) == total
    assert checksums(root / "models") == checksums(made[0] / "models")


def test_models_are_shared_out_by_the_length_of_their_training(tmp_path):
    parts = [Part(tmp_path, f"models/{name}", 0, 1.0) for name in ("pivot", "mixtral", "qwen")]
    names = [[part.path.name for part in share] for share in make.share_out(parts, 2)]
    assert names == [["mixtral", "pivot"], ["qwen"]]
    assert [len(share) for share in make.share_out(parts, 3)] == [1, 1, 1]


def test_a_failing_worker_is_an_error_that_says_why(tmp_path):
    log = tmp_path / "log"
    log.write_text("The disk is full")
    part = Part(tmp_path, "models/pivot", 0, SCALE)
    with pytest.raises(MachineError, match="The disk is full"):
        make._check([part], MachineError.exit_code, log)
    with pytest.raises(MachineError, match="killed by signal 9"):
        make._check([part], -9, log)
    with pytest.raises(RuntimeError, match="disk is full"):
        make._check([part], 1, log)
    make._check([part], 0, log)


def test_an_unusable_folder_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MachineError, match="file exists where a folder is needed"):
        make_demo(tmp_path / "file" / "demo", scale=SCALE, progress=Watched())
    with pytest.raises(ValueError, match="scale"):
        make_demo(tmp_path, scale=0, progress=Watched())


def test_time_is_not_spent_on_imports_where_all_is_there(made):
    start = time.process_time()
    make_demo(made[0], scale=SCALE, progress=Watched())
    assert time.process_time() - start < 0.5
    assert json.loads((made[0] / ".made" / "pivot.json").read_text())["fingerprint"]
