"""A plan on the terminal: readable at 80 columns, and each change said once."""

import pytest
from rich.console import Console

from fusionchat import console
from fusionchat.cli.show_plan import (
    changes,
    disk,
    grouped,
    in_all,
    remarks,
    show,
    show_verdict,
    trainings,
    unknown,
)
from fusionchat.devices import Machines
from fusionchat.run.job import Cost, Job, Resources, Status
from fusionchat.run.verdict import Devices, Verdict
from fusionchat.settings import Frozen
from fusionchat.stages.pipeline import Planned

NOTHING = Cost()


def planned(job_id, state, *changed, so_far="", cost=NOTHING):
    stage, name = job_id.split("/", 1)
    job = Job(stage=stage, name=name, version=1, settings=Frozen(), cost=cost)
    return Planned(job, Status(state, changed, so_far))


ROWS = [
    planned("represent/pivot", "stale", "represent.k: 10 -> 5"),
    planned("represent/mixtral", "begun", so_far="3 of 12 shards"),
    planned("align/mixtral", "stale", "follows represent/pivot", "follows represent/mixtral"),
    planned("distill/sft", "begun", so_far="checkpoint at step 400 of 1200", cost=Cost(2e6, 12e9, 18e6)),
    planned("evaluate/test/sources/mixtral", "done", cost=Cost(0.0, 1.8e9)),
    planned("report/report", "stale", "represent.k: 10 -> 5", "corpus: version 1 -> 2"),
]


def test_each_change_is_said_once_with_its_jobs():
    assert changes(ROWS) == [
        "Stale because of:",
        "  represent.k: 10 -> 5  (represent/pivot, report/report)",
        "  corpus: version 1 -> 2  (report/report)",
        "  1 more job follows a stale one",
    ]
    assert changes(ROWS[3:5]) == []


def test_many_changes_and_jobs_are_counted():
    rows = [
        planned(f"align/{i}", "stale", *(f"key{j}: 0 -> 1" for j in range(13)), "follows corpus/corpus")
        for i in range(5)
    ]
    lines = changes(rows)
    assert lines[1] == "  key0: 0 -> 1  (align/0, align/1, align/2 and 2 more)"
    assert len(lines) == 12 and lines[-1] == "  and 3 more changes"


@pytest.mark.parametrize(
    ("cost", "text"),
    [
        (Cost(2e6, 0.0, 18e6), "2 MB + 18 MB"),
        (Cost(0.0), "0 B"),
        (Cost(), "?"),
        (Cost(None, None, None), "? + ?"),
    ],
)
def test_disk_says_what_is_needed_besides(cost, text):
    assert disk(cost) == text


@pytest.mark.parametrize(
    ("processes", "gpus", "there", "said"),
    [(1, 1, 8, 0), (4, 0, 0, 4), ("auto", 1, 8, 8), ("auto", 1, 0, 0), ("auto", 0, 8, 0)],
)
def test_processes_of_a_training_are_said(monkeypatch, processes, gpus, there, said):
    monkeypatch.setattr("fusionchat.cli.show_plan.cuda_count", lambda: there)
    asked = Resources(processes=processes, gpus=gpus, parallel="ranks")
    rows = [Planned(row.job.model_copy(update={"resources": asked}), row.status) for row in ROWS[:2]]
    assert trainings([*rows, ROWS[2]]) == (
        [f"Each training has {said} processes (runtime.training)"] if said else []
    )


@pytest.mark.parametrize("width", [80, 120])
def test_no_word_is_broken(monkeypatch, width):
    page = Console(width=width, record=True, highlight=False, force_terminal=False)
    monkeypatch.setattr(console, "_out", page)
    show(ROWS, "runs/demo")
    text = page.export_text()
    words = {word for line in text.splitlines() for word in line.replace("│", " ").split()}
    assert {"evaluate/test/sources/mixtral", "checkpoint", "shards", "GFLOP", "represent/mixtral"} <= words
    assert max(map(len, text.splitlines())) <= width


def verdict(job, needs=60e9, change=""):
    return Verdict(job, needs, 76e9, 1.5, change)


def test_a_verdict_has_jobs_of_one_stage_together_and_what_to_change(monkeypatch):
    page = Console(width=100, record=True, highlight=False, force_terminal=False)
    monkeypatch.setattr(console, "_out", page)
    found = [
        verdict("represent/mixtral", 95e9, "spread it"), verdict("distill/sft"), verdict("distill/qwen@0.9"),
        verdict("evaluate/test/pivot", None),
    ]  # fmt: skip
    assert [jobs for jobs, _ in grouped(found)] == [
        "represent/mixtral",
        "distill/sft and 1 more",
        "evaluate/test/pivot",
    ]
    show_verdict(found, Devices(Machines(1, 8, 80 * 10**9), True, 300.0))
    text = page.export_text()
    assert "On 1 x 8 x 80 GB GPUs" in text and "at 300 TFLOP/s" in text and "1 h 30 min" in text
    rows = {line.split("│")[1].strip(): line for line in text.splitlines() if line.startswith("│")}
    assert "no" in rows["represent/mixtral"] and "yes" in rows["distill/sft and 1 more"]
    assert "?" in rows["evaluate/test/pivot"] and "represent/mixtral: spread it" in text


def test_the_hosts_memory_is_marked_and_what_is_not_known_can_be_said(monkeypatch):
    page = Console(width=100, record=True, highlight=False, force_terminal=False)
    monkeypatch.setattr(console, "_out", page)
    host = Verdict("merge/varm@0.5", 1e9, 76e9, 0.02, on_host=True)
    shared = verdict("distill/sft")._replace(besides=232e9)
    devices = Devices(Machines(1, 8, 80 * 10**9), True, 300.0)
    show_verdict([host, shared], devices)
    text = " ".join(page.export_text().split())
    assert "1 GB *" in text and "assumed to equal its GPUs'" in text and "1 min 12 s" in text
    assert remarks([host, shared]) == [
        "distill/sft: 232 GB of host memory while the processes read the model"
    ]
    show_verdict([host], Devices(Machines(1, 1, 80 * 10**9), False))
    assert "*" not in page.export_text()


def test_what_is_not_known_is_named_with_how_to_say_it():
    lacks = verdict("distill/sft", None)._replace(lacks="config.json of pivot lacks hidden_size")
    (size,) = unknown([verdict("evaluate/test/pivot", None)])
    (corpus,) = unknown([verdict("align/qwen", None)._replace(on_host=True)])
    assert "--assume pivot=7e9" in size and "--assume tokens=63e6" in corpus
    assert unknown([lacks, lacks._replace(job="distill/sft#2")]) == [
        "distill/sft and 1 more: config.json of pivot lacks hidden_size"
    ]
    assert unknown([verdict("distill/sft")]) == []


def test_all_jobs_together_take_the_sum():
    served = Verdict("represent/qwen", 2e9, 76e9, 0.0, on_host=True)
    assert in_all([verdict("distill/sft"), verdict("distill/qwen@0.9")]) == [
        "All jobs, one after the other: 3 h 00 min"
    ]
    assert in_all([verdict("distill/sft"), served])[0].endswith("1 h 30 min, without the time of servers")
    assert in_all([served]) == in_all([verdict("distill/sft")._replace(hours=None)]) == []
