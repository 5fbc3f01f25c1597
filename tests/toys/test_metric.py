"""A new task is one file: its metric is in the recipe, the search, the scores and all of the report."""

import json
import shutil

import yaml

from tests.tiny import write_recipe
from tests.toys import toy


def test_a_new_task_is_one_file_and_its_metric_is_everywhere(finished, tiny):
    assert toy.files("metric") == ["src/fusionchat/evaluate/tasks/reply_length.py"]
    src = toy.apply("metric", tiny)
    shutil.copytree(finished.folder, tiny / "runs/tiny")
    write_recipe(
        tiny / "recipe.yaml",
        evaluate={"reply_length": {"max_new_tokens": 3}},
        search={"candidates": ["linear"], "metric": "reply_length"},
    )
    printed = toy.python(src, "-m", "fusionchat", "run", "recipe.yaml", cwd=tiny)
    assert "reply length" in printed.lower() and "tokens" in printed
    run = tiny / "runs/tiny"
    held = json.loads((run / "evaluate/test/pivot/scores.json").read_text())["metrics"]["reply_length"]
    assert len(held["id"]) == len(held["value"]) > 0 and set(held["value"]) <= {0.0, 1.0, 2.0, 3.0}
    report = json.loads((run / "report/report/report.json").read_text())
    assert [one["name"] for one in report["metrics"]] == ["bits_per_byte", "reply_length"]
    pivot, *_, fused = report["rows"]
    overall = pivot["results"]["reply_length"]["value"]["overall"]
    assert overall["value"] == sum(held["value"]) / len(held["value"]) and overall["n"] == len(held["id"])
    assert fused["results"]["reply_length"]["over_sft"]["overall"]["n"] == overall["n"]
    assert report["trial_metric"]["name"] == "reply_length" and len(report["trials"]) == 2
    page = (run / "report/report/report.md").read_text()
    assert (
        "| model | parameters | bits per byte | gain over SFT | reply length (tokens) | gain over SFT |"
        in page
    )
    assert "### Reply length by domain" in page and "Tokens, lower is better" in page
    assert "| merge | validation reply length (tokens) | time |" in page
    assert (run / "report/report/plots/reply_length-0-overall.svg").is_file()
    card = (run / "merge/fused/model/README.md").read_text()
    metrics = yaml.safe_load(card.split("---\n")[1])["model-index"][0]["results"][0]["metrics"]
    assert [metric["type"] for metric in metrics] == ["bits_per_byte", "reply_length"]
