"""The file of a training's figures."""

import json

from fusionchat.distill.metrics import MetricsFile, read_metrics


def test_a_line_has_numbers_of_seven_digits(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0).write(
        {"step": 1, "loss": 1 / 3, "share_of_rows": {"pivot": 2 / 3}, "rows": 12345678}
    )
    assert json.loads(path.read_text()) == {
        "step": 1, "loss": 0.3333333, "share_of_rows": {"pivot": 0.6666667}, "rows": 12345678,
    }  # fmt: skip


def test_a_resumed_training_writes_no_step_twice(tmp_path):
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path, 0)
    for step in range(1, 6):
        first.write({"step": step})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # killed meanwhile
    again = MetricsFile(path, 3)
    assert (again.reached, [line["step"] for line in again.lines]) == (5, [1, 2, 3])
    again.write({"step": 4})
    assert [line["step"] for line in read_metrics(path)] == [1, 2, 3, 4]


def test_one_process_writes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    MetricsFile(path, 0, writes=False).write({"step": 1})
    MetricsFile(None, 0).write({"step": 1})
    assert read_metrics(path) == [] and not path.exists()
