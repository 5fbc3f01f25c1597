"""The verbs that take checkpoints."""

import json
import shutil

import click
import pytest

from fusionchat.cli.merge import _said, merge, show_plan
from fusionchat.errors import MergeError
from fusionchat.merge.stream.planning import MergePlan
from tests.cli.calls import call, header, refused


def test_merge_reads_mergekit_files_and_plans(capsys, tiny):
    shutil.copytree(tiny / "input/models/pivot", tiny / "other")
    (tiny / "kit.yaml").write_text(
        "merge_method: task_arithmetic\nbase_model: input/models/pivot\ndtype: float32\n"
        "models: [{model: other, parameters: {weight: 0.5}}]\n"
    )
    code, text = call(capsys, "merge", "kit.yaml", "--out", "merged")
    assert code == 0, text
    assert (tiny / "merged" / "model.safetensors").is_file()
    code, text = call(capsys, "merge", "--pivot", "input/models/pivot", "--target", "other", "--dry-run")
    assert code == 0 and "about 1 s" in text and "granularity" in text and "looks" in text and "{" not in text
    assert header(tiny / "merged")["model.norm.weight"]["dtype"] == "F32"
    code, text = call(capsys, "merge", "kit.yaml", "--dry-run", "--dtype", "float16")
    assert code == 0 and "task_arithmetic" in text
    assert "--out" in refused(capsys, "merge", "kit.yaml")
    assert call(capsys, "merge", "kit.yaml", "--out", "half", "--dtype", "float16", "--hash-inputs")[0] == 0
    assert header(tiny / "half")["model.norm.weight"]["dtype"] == "F16"
    inputs = json.loads((tiny / "half" / "merge_weights.json").read_text())["inputs"]
    assert all(len(file["sha256"]) == 64 for files in inputs.values() for file in files.values())


def test_merge_help_names_every_method(capsys):
    from fusionchat.cli.merge import METHODS
    from fusionchat.merge.methods import NAMES

    assert METHODS == NAMES
    text = " ".join(call(capsys, "merge", "--help")[1].split())
    assert all(name in text for name in NAMES)


def test_passthrough_of_the_pivot_needs_no_target(capsys, tiny):
    alone = ["merge", "--pivot", "input/models/pivot", "--method", "passthrough"]
    twice = "slices=[{model: pivot, layers: [0, 1]}, {model: pivot, layers: [0, 2]}]"
    code, text = call(capsys, *alone, "--set", twice, "--dry-run")
    assert code == 0 and "pivot 0 to 1, pivot 0 to 2" in text and "{" not in text
    code, text = call(capsys, *alone, "--set", twice, "--out", "deep")
    assert code == 0, text
    assert json.loads((tiny / "deep/config.json").read_text())["num_hidden_layers"] == 3


def test_merge_refuses_options_that_would_do_nothing(capsys, tiny):
    (tiny / "kit.yaml").write_text("merge_method: linear\nmodels: [{model: input/models/pivot}]\n")
    assert "--method" in refused(capsys, "merge", "kit.yaml", "--out", "x", "--method", "varm")
    assert "--set" in refused(capsys, "merge", "kit.yaml", "--out", "x", "--set", "power=2")
    assert "--dry-run" in refused(capsys, "merge", "recipe.yaml", "--dry-run")
    assert "--out" in refused(capsys, "merge", "recipe.yaml", "--out", "x")
    assert "--target" in refused(capsys, "merge", "--pivot", "input/models/pivot", "--out", "x")
    assert "fusionchat plan recipe.yaml" in refused(capsys, "merge", "recipe.yaml", "--dry-run")
    assert "no such file: nowhere.yaml" in refused(capsys, "merge", "nowhere.yaml", "--out", "x")
    (tiny / "typo.yaml").write_text("merge_methd: linear\nmodels: [{model: a}]\n")
    assert "merge_methd" in refused(capsys, "merge", "typo.yaml", "--out", "x")
    pair = ["merge", "--pivot", "input/models/pivot", "--target", "a", "--out", "x"]
    assert "--threads" in refused(capsys, *pair, "--threads", "-1")
    assert "--shard-gb" in refused(capsys, *pair, "--shard-gb", "0")
    assert not (tiny / "x").exists()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "default"),
        (0.5, "0.5"),
        ((1.0, 2.0), "1.0, 2.0"),
        ([{"model": "pivot", "layers": (0, 3)}, {"model": "a", "layers": [1, 2]}], "pivot 0 to 3, a 1 to 2"),
    ],
)
def test_settings_are_said_in_words(value, said):
    assert _said(value) == said


@pytest.mark.parametrize(
    ("seconds", "said"), [(3.4, "about 3 s"), (119.0, "about 119 s"), (150.0, "about 2 min")]
)
def test_a_plan_has_a_row_for_each_figure(monkeypatch, seconds, said):
    shown = []
    monkeypatch.setattr("fusionchat.console.table", lambda title, columns, rows: shown.extend(rows))
    method = {"method": "varm", "power": 1.0}
    files = {"model.safetensors": 2_000_000}
    show_plan(MergePlan(method, 3, 1_234_567, 8_000_000, 2_000_100, files, 2, seconds, 70_000_000))
    assert shown == [
        ("method", "varm"), ("power", "1.0"), ("tensors", "3"), ("parameters", "1,234,567"), ("inputs", "8 MB"),
        ("model.safetensors", "2 MB"), ("written", "2 MB"), ("looks at the inputs", "2"), ("time", said),
        ("memory", "about 70 MB"),
    ]  # fmt: skip


def test_only_options_that_were_given_are_refused():
    from fusionchat.cli.merge import refuse

    with merge.make_context("merge", ["--threads", "2", "--out", "x"]) as ctx:
        refuse(ctx, "a recipe", ["method", "dtype"])  # defaults
        with pytest.raises(MergeError, match="--threads has no effect with a recipe"):
            refuse(ctx, "a recipe", ["method", "threads"])
    assert isinstance(merge, click.Command)
