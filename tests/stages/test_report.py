"""What a report gathers of a finished run."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from fusionchat.artifacts import sha256_file, write_json
from fusionchat.report.model import Captured, Choice, CorpusEntry, MergeTrial, Pair, Reject
from fusionchat.stages.names import Row
from fusionchat.stages.report import (
    make_captured,
    make_choice,
    make_entries,
    make_pair,
    make_rejects,
    make_sweep,
    make_trials,
    show,
    title,
)
from tests.stages.recipes import evaluated, recipe


def inputs(folder=None, **summaries):
    """Finished jobs with these summaries; ``__`` in a name is a slash."""
    held = {
        name.replace("__", "/"): SimpleNamespace(summary=summary, seconds=2.5)
        for name, summary in summaries.items()
    }
    return SimpleNamespace(manifest=held.__getitem__, folder=lambda job: folder / job)


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
    found = inputs(tmp_path, merge__search={"best": "ties density=0.3"})
    assert title(found, row) == expected


def test_a_capture_s_figures_are_its_job_s():
    probe = {
        "conversations": 16,
        "tokens": 90,
        "bits_per_byte": 1.0,
        "bound": 0.1,
        "label": {"mean": 0.01, "worst": 0.2},
    }
    summary = {
        "backend": "transformers", "version": "5.24.0", "dtype": "bfloat16", "supervised_tokens": 700, "bits_per_byte": 1.5,
        "bits_per_byte_by_domain": {"code": 1.0, "math": 2.0}, "mass_kept": 0.97, "sampled_rows": 600, "entropy": 1.2,
        "k99_median": 4, "k99_p95": 60, "tokens_per_second": 900, "out_of_memory": 1, "probe": probe,
    }  # fmt: skip
    assert make_captured(inputs(represent__a=summary), "a", 10) == Captured(
        "a", "transformers 5.24.0", "bfloat16", 700, 1.5, (0.01, 0.2), tokens_per_second=900,
        domains={"code": 1.0, "math": 2.0}, k=10, mass_kept=0.97, sampled_rows=600, entropy=1.2, k99_median=4, k99_p95=60,
        halved=1,
    )  # fmt: skip
    unknown = dict.fromkeys(("entropy", "k99_median", "k99_p95", "tokens_per_second"))
    bare = {"probe": probe | {"label": None, "unchecked": "no room"}, "sampled_rows": 0} | unknown
    found = make_captured(inputs(represent__a=summary | bare), "a", 10)
    assert (found.entropy, found.k99_median, found.tokens_per_second) == (None, None, None)
    assert (found.differs, found.unchecked) == (None, "no room")


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


def test_an_alignment_s_figures_are_its_job_s():
    summary = {
        "rows": 100, "exact_share": 0.9, "inside_share": 0.08, "unaligned_share": 0.02, "kept_mass": 0.99,
        "retention": 0.97, "map_retention": 0.95, "method": "byte_prefix",
    }  # fmt: skip
    assert make_pair(inputs(align__a=summary), "a") == Pair(
        "a", rows=100, exact=0.9, inside=0.08, unaligned=0.02, mass_kept=0.99, retention=0.97, map_retention=0.95, seconds=2.5,
        method="byte_prefix",
    )  # fmt: skip


def test_whose_distributions_a_target_learnt_from():
    shares = {"": {"pivot": 0.25, "a": 0.75}, "math": {"pivot": 1.0, "a": 0.0}}
    found = make_choice(
        recipe(), inputs(fuse__a={"shares": shares, "rows": 200, "fallback_rows": 3}), "a", ("a",)
    )
    assert found == Choice("a", "min_ce", ("pivot", "a"), {"all": (0.25, 0.75), "math": (1.0, 0.0)}, 0.015)


def test_entries_of_the_corpus_say_what_became_of_their_records():
    entry = {
        "place": "train",
        "name": "chat",
        "records": 10,
        "used": 8,
        "rejected": 1,
        "left": {"over the limit": 1},
    }
    found = make_entries(inputs(corpus__corpus={"entries": [entry]}))
    assert found == (CorpusEntry("train chat", 10, 8, 1, {"over the limit": 1}),)


def test_rejects_are_counted_of_all_records(tmp_path):
    """20 conversations are used, 3 records are not; of the used ones 2 have a key that nothing reads."""
    folder = tmp_path / "corpus/corpus"
    folder.mkdir(parents=True)
    for name, counts in {
        "rejects": {"no answer": 3},
        "unused": {"score": 2},
        "notes": {"a template trims": 5},
    }.items():
        write_json(folder / f"{name}.json", counts)
    parts = {name: {"conversations": n} for name, n in {"train": 15, "validation": 3, "test": 2}.items()}
    assert make_rejects(inputs(tmp_path, corpus__corpus=parts)) == (
        Reject("corpus", "no answer", 3, 23),
        Reject("corpus, used", "key `score` is not read", 2, 23),
        Reject("corpus, used", "a template trims", 5, 23),
    )


def test_trials_of_a_search_are_in_the_metric_s_own_direction():
    """A search minimizes: an exact match of 0.25 is kept as -0.25."""
    trials = [
        {"label": "linear", "score": -0.25, "seconds": 1.5, "reason": None},
        {"label": "slerp", "score": None, "seconds": 0.0, "reason": "needs 1 to 2 targets"},
    ]
    own = recipe(search={"metric": "exact_match"}, evaluate={"exact_match": {"answer_pattern": "(.*)"}})
    found = make_trials(own, inputs(merge__search={"best": "linear", "trials": trials}))
    assert found == (
        MergeTrial("linear", 0.25, 1.5, True, ""),
        MergeTrial("slerp", None, 0.0, False, "needs 1 to 2 targets"),
    )
    assert make_trials(recipe(), inputs()) == ()


def test_label_weights_of_a_sweep_have_standard_errors(tmp_path):
    (tmp_path / "merge/selection").mkdir(parents=True)
    trials = {"0.9": 1.5, "0.5": 0.75}
    write_json(tmp_path / "merge/selection/selection.json", {"label_weight": 0.5, "trials": trials})
    for weight, bits in trials.items():
        evaluated(tmp_path, weight, bits)
    points = make_sweep(recipe(), inputs(tmp_path))
    assert [(point.label_weight, point.value.value, point.chosen) for point in points] == [
        (0.9, 1.5, False),
        (0.5, 0.75, True),
    ]
