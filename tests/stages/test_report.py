"""What a report gathers of a finished run."""

import json
from pathlib import Path

import pytest

from fusionchat.artifacts import sha256_file, write_json
from fusionchat.stages.names import Row
from fusionchat.stages.report import show, title
from tests.stages.recipes import summarized


def test_the_report_lists_every_model_with_standard_errors(finished):
    report = json.loads((finished.path("report/report") / "report.json").read_text())
    kinds = [row["kind"] for row in report["rows"]]
    assert kinds == ["pivot", "source", "source", "sft", "target", "target", "merge"]
    for row in report["rows"]:
        found = row["results"]["bits_per_byte"]
        overall = found["value"]["overall"]
        assert overall["value"] > 0 and overall["se"] > 0
    assert found["over_sft"]["overall"]["n"] == overall["n"]


def test_the_report_says_which_files_were_merged(finished):
    """Checksums of targets and pivot are known without reading them again."""
    report = json.loads((finished.path("report/report") / "report.json").read_text())
    files = {file["model"]: file for file in report["merge_files"]}
    assert list(files) == ["pivot", "mixtral", "qwen", "fused model"]
    assert len(report["merge_files"]) == 4
    places = {
        "pivot": Path(finished.refs["pivot"].model),
        "qwen": finished.path("distill/qwen@0.5") / "model",
        "fused model": finished.path("merge/fused") / "model",
    }
    for model, folder in places.items():
        path = folder / "model.safetensors"
        assert files[model]["sha256"] == sha256_file(path) and files[model]["bytes"] == path.stat().st_size
    page = (finished.path("report/report") / "report.html").read_text()
    assert files["qwen"]["sha256"] in page


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (Row(kind="pivot", base="pivot"), "pivot"),
        (Row(kind="source", base="a"), "a"),
        (Row(kind="sft", base="sft", number=2), "SFT"),
        (Row(kind="soup", base="sft#soup"), "SFT soup"),
        (Row(kind="self", base="pivot", weight=0.9), "self-distillation, λ 0.9"),
        (Row(kind="target", base="a", weight=0.5, number=3), "target a, λ 0.5"),
        (Row(kind="merge", base="varm", weight="best"), "varm, λ 0.25"),
        (Row(kind="merge", base="search"), "search: ties density=0.3"),
    ],
)
def test_rows_are_called_by_what_they_are_whatever_the_seed(tmp_path, row, expected):
    (tmp_path / "merge/selection").mkdir(parents=True)
    write_json(tmp_path / "merge/selection/selection.json", {"label_weight": 0.25, "trials": {}})
    found = summarized(tmp_path, merge__search={"best": "ties density=0.3"})
    assert title(found, row) == expected


def test_a_finished_run_s_report_has_them(finished):
    folder = finished.path("report/report")
    held = json.loads((folder / "report.json").read_text())["captures"]
    assert [one["label"] for one in held] == ["pivot", "mixtral", "qwen"]
    summary = finished.manifest("represent/qwen").summary
    assert (
        held[2]["domains"] == summary["bits_per_byte_by_domain"] and held[2]["entropy"] == summary["entropy"]
    )
    for file in ("report.html", "report.md"):
        assert f"{summary['entropy']:.2f}" in (folder / file).read_text()


def test_a_finished_run_s_tables_are_printed_captures_first(finished, capsys):
    show(finished)
    blocks = [block.splitlines()[0].strip() for block in capsys.readouterr().out.strip().split("\n\n")]
    assert blocks[:3] == [
        "Captures",
        "Captured distributions",
        "Captured text by domain",
    ]
    assert blocks.index("Results") > 2 and any(block.startswith("The fused model") for block in blocks)
