"""The README is true: its commands run, its recipe is valid, its files exist, its tree is the tree."""

import json
import re
import shlex
import shutil
import subprocess

import numpy as np
import pytest
from benchmarks.real_chat_json import gain_over

from fusionchat.yaml import parse_value
from tests.forked import PROGRAM
from tests.shared import ROOT
from tests.tiny import write_recipe

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)


def commands():
    lines = [line for kind, text in BLOCKS if kind == "bash" for line in text.splitlines()]
    return [line.partition("#")[0].strip() for line in lines if line.partition("#")[0].strip()]


def run(command, folder, *, given=""):
    words = shlex.split(command)
    assert words[0] == ".venv/bin/fusionchat"
    done = subprocess.run(
        [*PROGRAM, *words[1:]], cwd=folder, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_command_runs(tiny, finished, forked):
    """In the README's order; the recipe that `init` writes is filled in with tiny models, and its run has begun."""
    shutil.copytree(finished.folder, tiny / "runs/my-fusion")
    for left in ("merge/fused", "report"):
        shutil.rmtree(tiny / "runs/my-fusion" / left)
    unknown = []
    for command in commands():
        if command == "make demo":  # the test of the demo runs what it runs
            assert "$(BIN)/fusionchat demo" in (ROOT / "Makefile").read_text()
        elif command == ".venv/bin/fusionchat init recipe.yaml":
            (tiny / "recipe.yaml").unlink()
            run(command, tiny)
            assert "pivot:" in (tiny / "recipe.yaml").read_text()
            write_recipe(tiny / "recipe.yaml", name="my-fusion")
        elif command.startswith(".venv/bin/fusionchat merge --pivot"):
            targets = {
                name: f"runs/my-fusion/distill/{source}@0.5/model"
                for name, source in (("A", "mixtral"), ("B", "qwen"))
            }
            places = targets | {"P": "input/models/pivot", "DIR": "merged"}
            run(" ".join(places.get(word, word) for word in command.split()), tiny)
            assert (tiny / "merged" / "model.safetensors").is_file()
        elif command.startswith(".venv/bin/fusionchat add-source"):
            shutil.copytree(tiny / "input/models/qwen", tiny / "other")
            run(command.replace("NAME=MODEL", "other=./other"), tiny)
        elif command.endswith("merge mergekit.yaml --out DIR2"):
            kit = "merge_method: linear\nmodels: [{model: input/models/pivot}, {model: runs/my-fusion/distill/sft/model}]\n"
            (tiny / "mergekit.yaml").write_text(kit)
            run(command, tiny)
        elif command.startswith(".venv/bin/fusionchat fisher"):
            places = {"A": "input/models/pivot", "chats.jsonl": "input/corpus/validation.jsonl"}
            run(" ".join(places.get(word, word) for word in command.split()), tiny)
            assert (tiny / "A.fisher" / "model.safetensors").is_file()
        elif command.startswith(".venv/bin/fusionchat answer"):
            prompts = (tiny / "input/corpus/test.jsonl").read_text().splitlines()[:8]
            (tiny / "prompts.jsonl").write_text("\n".join(prompts))
            run(command, tiny)
            assert '"model": "qwen"' in (tiny / "answers.jsonl").read_text()
        elif command.split()[1] in {"check", "plan", "run", "chat", "show", "export"}:
            run(command, tiny, given="Hello\n/quit\n")
        else:
            unknown.append(command)
    assert unknown == []


def test_the_python_example_runs(copied, tiny, capsys):
    """With the epochs of the example as of the run that is there: the report alone is made."""
    shutil.rmtree(copied / "report")
    exec(next(text for kind, text in BLOCKS if kind == "python"), {})
    assert (tiny / "merged" / "model.safetensors").is_file() and "Estimate(value=" in capsys.readouterr().out


def test_the_demo_runs_at_a_small_scale(tiny_input, tmp_path, forked):
    """What `make demo` runs, small: it ends with the tables, the report and what to type next. Its models are there."""
    shutil.copytree(tiny_input, tmp_path / "runs/demo/input")
    printed = run(".venv/bin/fusionchat demo --scale 0.03", tmp_path)
    assert "target all, λ 0.5" in printed and "linear, λ 0.5" in printed and "SFT soup" in printed
    assert "Next: fusionchat chat runs/demo" in printed
    assert (tmp_path / "runs/demo/report/report/report.html").is_file()


def test_the_annotated_recipe_is_valid():
    from fusionchat.recipe.schema import validate_recipe
    from fusionchat.yaml import parse_yaml

    texts = [text for kind, text in BLOCKS if kind == "yaml"]
    assert len(texts) == 1
    recipe = validate_recipe(parse_yaml(texts[0], name="README"), name="README", folder=".")
    assert set(parse_value(texts[0], where="")) <= set(type(recipe).model_fields)


def test_the_study_s_table_has_the_figures_of_its_result():
    """Bits per byte, means over seeds, of all test dialogues and of each domain; and the fused model's gains."""
    held = json.loads((ROOT / "docs/results/real_chat.json").read_text())
    domains, bytes_C = np.array(held["dialogues"]["domains"]), np.array(held["dialogues"]["bytes"])
    bits = {row["model"]: np.mean(row["seeds"], axis=0) for row in held["rows"]}
    masks = [np.ones(len(domains), bool), *(domains == name for name in dict.fromkeys(held["domains"]))]
    table = README.partition("bits per byte of 252 held-out dialogues")[2].partition("\n\n")[0]
    found = [[cell.strip(" *") for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    names = ("pivot", "SFT", "SFT soup", "target qwen", "target gemma", "varm")
    for name, (_, *figures, gain) in zip(names, found, strict=True):
        assert figures == [f"{bits[name][of].sum() / bytes_C[of].sum():.3f}" for of in masks], name
        if name != "varm":
            own = gain_over(held["rows"], "varm", name, bytes_C.tolist(), domains.tolist()).overall
            assert gain == f"{own.value:+.4f} ±{own.se:.4f}", name
    assert f"chosen among {held['variants']} variants" in README.replace("\n", " ")


def test_every_link_leads_somewhere():
    links = re.findall(r"\]\(([^)#]+)\)", README)
    missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
    assert missing == []


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_the_tree_names_everything_in_the_package(kind):
    tree = (ROOT / "docs" / "architecture.md").read_text().partition("## Rooms")[2].partition("```\n\n")[0]
    source = ROOT / "src" / "fusionchat"
    if kind == "file":
        names = {p.name for p in source.glob("*.py")} - {"__init__.py", "__main__.py"}
    else:
        names = {f"{p.parent.name}/" for p in source.glob("*/__init__.py")}
    assert [name for name in sorted(names) if name not in tree] == []


def test_the_pasted_output_is_a_demos():
    pasted = README.partition("<!-- demo-output -->")[2].partition("<!-- /demo-output -->")[0]
    for words in ("pivot", "mixtral", "qwen", "SFT", "varm", "linear", "fusionchat chat runs/demo"):
        assert words in pasted
