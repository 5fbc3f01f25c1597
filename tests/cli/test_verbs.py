"""The command line as a user meets it: help, verbs, and one clear message for every mistake."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys

import pytest

from fusionchat.cli.verbs import guarded
from tests.cli.calls import call, refused
from tests.forked import PROGRAM
from tests.shared import ROOT, SHARED, needs_shared
from tests.tiny import copy_input, write_recipe

VERBS = [
    "init",
    "check",
    "plan",
    "run",
    "worker",
    "status",
    "add-source",
    "represent",
    "align",
    "fuse",
    "distill",
    "answer",
    "merge",
    "fisher",
    "evaluate",
    "report",
    "show",
    "export",
    "push",
    "pull",
    "chat",
    "demo",
]


def test_help_lists_every_verb_in_order(capsys):
    code, text = call(capsys, "--help")
    listed = [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line.strip()]
    assert code == 0 and listed[: len(VERBS)] == VERBS
    assert "..." not in text.partition("Commands:")[2], "a line of help is cut"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(capsys, verb):
    code, text = call(capsys, verb, "--help")
    assert code == 0 and "Usage: fusionchat" in text


def test_help_answers_at_once():
    best = min(timed([sys.executable, "-m", "fusionchat", "--help"]) for _ in range(3))
    plain = min(timed([sys.executable, "-c", "pass"]) for _ in range(3))
    assert best - plain < 1.0, "torch must have been imported"  # it takes 2 s and more; help itself 0.1


def timed(command):
    """CPU seconds of a command, which other work on the machine does not lengthen."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_init_writes_a_recipe_that_is_accepted_and_never_overwrites(capsys, tmp_path):
    from fusionchat.recipe.schema import load_recipe

    path = tmp_path / "r.yaml"
    assert call(capsys, "init", path)[0] == 0
    assert load_recipe(path).merge.method == "varm"
    assert "already exists" in refused(capsys, "init", path)


def test_plan_refuses_what_cannot_be_opened_before_it_shows_anything(capsys, tiny):
    said = refused(
        capsys, "plan", "recipe.yaml", "--set", "sources.qwen.capture={quantization: {quant_method: none}}"
    )
    assert "no quantization method 'none'" in said and "represent/pivot" not in said


def test_plan_touches_nothing_and_check_loads_no_weights(capsys, tiny):
    before = sorted(p.name for p in tiny.iterdir())
    code, text = call(capsys, "plan", "recipe.yaml")
    assert code == 0 and "represent/qwen" in text and "to do" in text
    copy_input(tiny)
    for weights in (tiny / "input").rglob("model.safetensors"):
        weights.unlink()
    code, text = call(capsys, "check", "recipe.yaml")
    assert code == 0 and "Mixtral " in text and "No problems found" in text and "«" in text
    assert sorted(p.name for p in tiny.iterdir()) == before


def test_a_run_then_merge_alone_then_chat(capsys, tiny, monkeypatch):
    """The verbs on one small run: run, its results, a stand-alone merge of its targets, a chat with the result."""
    import io

    code, text = call(capsys, "run", "recipe.yaml", "--set", "distill.epochs=0.5")
    assert code == 0 and "varm, λ 0.5" in text and "fusionchat chat runs/tiny" in text
    assert (tiny / "runs/tiny/report/report/report.html").is_file()

    targets = [p for s in ("mixtral", "qwen") for p in ("--target", f"runs/tiny/distill/{s}@0.5/model")]
    merge = ["merge", "--pivot", "input/models/pivot", *targets, "--dtype", "float32"]
    code, text = call(capsys, *merge, "--method", "varm", "--out", "merged")
    assert code == 0, text
    ours = (tiny / "merged" / "model.safetensors").read_bytes()
    assert ours == (tiny / "runs/tiny/merge/varm@0.5/model/model.safetensors").read_bytes()
    assert "granularity" in refused(capsys, *merge, "--set", "granularity=row", "--out", "other")

    monkeypatch.setattr(sys, "stdin", io.StringIO("Hello\n/quit\n"))
    code, text = call(capsys, "chat", "runs/tiny", "--max-new-tokens", "4", "--temperature", "0")
    assert code == 0

    code, text = call(capsys, "evaluate", "recipe.yaml", "--set", "distill.epochs=0.5")
    assert code == 0 and "are kept" in text


def test_add_source_makes_the_new_target_only(capsys, tiny):
    """The paper's plug-and-play: what was made for the first source is kept."""
    text = (tiny / "recipe.yaml").read_text().replace("  qwen:\n    model: input/models/qwen\n", "  # more\n")
    text = text.replace("max_tokens: 96", "max_tokens: 512")  # so that the new source cuts nothing
    assert "qwen" not in text and "max_tokens: 512" in text
    (tiny / "recipe.yaml").write_text(text)
    assert call(capsys, "run", "recipe.yaml")[0] == 0
    trained = (tiny / "runs/tiny/distill/mixtral@0.5/manifest.json").stat().st_mtime_ns
    code, text = call(capsys, "add-source", "recipe.yaml", "--source", "qwen=input/models/qwen")
    assert code == 0, text
    begun = [
        line.split()[0] for line in text.splitlines() if line.startswith(("represent/", "distill/", "align/"))
    ]
    assert begun == ["represent/qwen", "align/qwen", "distill/qwen@0.5"]
    assert (tiny / "runs/tiny/distill/mixtral@0.5/manifest.json").stat().st_mtime_ns == trained
    assert "target qwen" in text and "# more" in (tiny / "recipe.yaml").read_text()
    assert "already" in refused(capsys, "add-source", "recipe.yaml", "--source", "qwen=x")
    assert "NAME=MODEL" in refused(capsys, "add-source", "recipe.yaml", "--source", "x")


def test_a_source_that_is_not_there_leaves_the_recipe_as_it_was(capsys, tiny):
    before = (tiny / "recipe.yaml").read_bytes()
    text = refused(capsys, "add-source", "recipe.yaml", "--source", "new=./none")
    assert "sources.new.model" in text and (tiny / "recipe.yaml").read_bytes() == before


def test_a_new_source_goes_last(tmp_path):
    from fusionchat.recipe.edit import insert_source
    from fusionchat.recipe.schema import load_recipe

    for name in ("b", "m"):
        (tmp_path / name).mkdir()
    path = tmp_path / "r.yaml"
    head, tail = (
        "name: x\npivot: P\nsources:\n  b:  # one\n    model: ./b\n",
        "\n# the data\ncorpus: {train: t}\n",
    )
    path.write_text(head + tail)
    insert_source(path, "new=./m", "pivot")
    assert list(load_recipe(path).sources) == ["b", "new"]
    assert path.read_text().startswith(head) and path.read_text().endswith(tail)


def test_misspelt_keys_and_settings(capsys, tiny):
    write_recipe(tiny / "bad.yaml", distil={"epochs": 1})
    assert "distill" in refused(capsys, "run", "bad.yaml")
    assert "distill.epoch" in refused(capsys, "run", "recipe.yaml", "--set", "distill.epoch=1")
    assert "no such recipe" in refused(capsys, "plan", "none.yaml")
    assert "No such command" in refused(capsys, "fuze", "recipe.yaml")


def test_missing_models_and_corpora(capsys, tiny):
    assert "sources.qwen.model" in refused(capsys, "run", "recipe.yaml", "--set", "sources.qwen.model=./none")
    assert "no such corpus" in refused(capsys, "run", "recipe.yaml", "--set", "corpus.train=none.jsonl")
    text = refused(capsys, "run", "recipe.yaml", "--set", "pivot.template=none.jinja")
    assert "none.jinja" in text and "pivot.template" in text
    (tiny / "empty.jsonl").write_text("")
    assert "No record" in refused(capsys, "run", "recipe.yaml", "--set", "corpus.train=empty.jsonl")
    (tiny / "bad.jsonl").write_text('{"messages": [{"role": "user", "content": "x"}]}\n')
    assert "no assistant turn" in refused(capsys, "run", "recipe.yaml", "--set", "corpus.train=bad.jsonl")
    assert not list((tiny / "runs").rglob("manifest.json"))


@pytest.mark.parametrize(
    "words", [["demo", "--scale", "0"], ["chat", "x", "--temperature", "-1"], ["check", "x", "--sample", "0"]]
)
def test_options_out_of_range(capsys, words):
    assert guarded(words) == 2 and "range" in capsys.readouterr().err


def test_a_hub_that_does_not_answer(capsys, tiny):
    text = refused(capsys, "run", "recipe.yaml", "--set", "pivot.model=nobody/nothing")
    assert "nobody/nothing" in text


def test_a_tokenizer_without_a_chat_template(capsys, tiny):
    copy_input(tiny)
    folder = tiny / "input" / "models" / "qwen"
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    text = refused(capsys, "run", "recipe.yaml")
    assert "chat template" in text and "qwen" in text and "template:" in text


def test_broken_weights(capsys, tiny):
    copy_input(tiny)
    path = tiny / "input" / "models" / "mixtral" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    text = refused(capsys, "run", "recipe.yaml")
    assert "mixtral" in text
    assert not (tiny / "runs/tiny/represent/mixtral/manifest.json").exists()


def test_targets_of_another_structure(capsys, tiny):
    text = refused(
        capsys, "merge", "--pivot", "input/models/pivot", "--target", "input/models/qwen", "--out", "merged"
    )
    assert "qwen" in text and not (tiny / "merged").exists()
    assert "--pivot" in refused(capsys, "merge", "--target", "a")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(capsys, tiny):
    (tiny / "locked").mkdir(mode=0o500)
    assert "cannot be written" in refused(capsys, "run", "recipe.yaml", "--set", "output=locked", code=3)


def test_a_file_where_the_run_should_be(capsys, tiny):
    (tiny / "runs").write_text("a file")
    assert "exists where a folder is needed" in refused(capsys, "run", "recipe.yaml", code=3)


def test_a_full_disk(copied, tiny, forked):
    """A real one: files may not grow beyond 200 kB, so the targets do not fit."""
    for stage in ("distill", "merge", "evaluate", "report"):
        shutil.rmtree(copied / stage)

    def little_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [*PROGRAM, "run", "recipe.yaml"], preexec_fn=little_disk, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr and "error:" in done.stderr
    assert (tiny / "runs/tiny/fuse/qwen/manifest.json").is_file(), "what was done before is kept"
    assert not list((tiny / "runs/tiny/distill").rglob("manifest.json"))


def test_debug_shows_the_traceback(capsys):
    code, text = call(capsys, "--debug", "plan", "none.yaml")
    assert code == 2 and "Traceback" in text


@pytest.mark.parametrize(
    "name", ["paper_7b.yaml", "paper_7b_1gpu.yaml", "paper_7b_qlora.yaml", "stories.yaml"]
)
def test_published_recipes_are_valid_and_say_how_to_launch_them(name):
    from fusionchat.recipe.schema import load_recipe

    load_recipe(ROOT / "recipes" / name)
    head = (ROOT / "recipes" / name).read_text().partition("name:")[0]
    assert f"fusionchat run recipes/{name}" in head


def test_the_papers_recipe_without_weights_or_network(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    recipe = ROOT / "recipes" / "paper_7b.yaml"
    code, text = call(capsys, "plan", recipe)
    assert code == 0 and "distill/mixtral@0.9" in text
    code, text = call(capsys, "check", recipe)
    assert code == 0 and text.count("could not check") >= 4
    assert list(tmp_path.iterdir()) == []


@needs_shared
def test_the_papers_recipe_with_its_tokenizers(capsys):
    def folder(name):
        return SHARED / "tokenizers" / name

    sets = [
        f"pivot.tokenizer={folder('openchat-3.5')}",
        f"sources.mixtral.tokenizer={folder('nh2-mixtral-8x7b-dpo')}",
        f"sources.solar.tokenizer={folder('nh2-solar-10.7b')}",
        f"corpus.train={SHARED / 'chat' / 'alpaca_eval_answers.jsonl.gz'}",
    ]
    arguments = [part for setting in sets for part in ("--set", setting)]
    code, text = call(capsys, "check", ROOT / "recipes" / "paper_7b.yaml", "--sample", "20", *arguments)
    assert code == 0 and "identity" in text and "GPT4 Correct" in text
    assert text.count("could not check") == 4  # the pivot's weights and the three configurations


def test_plan_and_check_say_how_a_gguf_file_is_opened_and_a_mistake_is_one_message(capsys, tiny):
    from tests.gguf_files import write_gguf

    write_gguf(tiny / "input/models/qwen", tiny / "q.gguf")
    for verb in ("plan", "check"):
        code, text = call(capsys, verb, "recipe.yaml", "--set", "sources.qwen=q.gguf")
        assert code == 0 and "qwen: GGUF file of structure qwen2, 543 K parameters in 2 MB" in " ".join(
            text.split()
        )
        wrong = refused(capsys, verb, "recipe.yaml", "--set", "sources.qwen=r.gguf")
        assert "There is no such GGUF file: r.gguf" in wrong
