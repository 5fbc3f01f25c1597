"""The file of the study's result: its gains follow from its rows."""

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.real_chat_json import NAMES, OVER, added, gain_over, measured_tasks, result, task_gains

from fusionchat.evaluate.scores import Items, Scores, write_scores
from fusionchat.recipe.schema import load_recipe

COMMITTED = Path(__file__).parents[2] / "docs/results/real_chat.json"


def require_true(held):
    """Its gains, worked out again from its rows; the value once more by hand."""
    bytes_C, domains = held["dialogues"]["bytes"], held["dialogues"]["domains"]
    rows = {row["model"]: np.array(row["seeds"]) for row in held["rows"]}
    for over, gain in held["gain"].items():
        again = gain_over(held["rows"], held["fused"], NAMES.get(over, over), bytes_C, domains)
        assert gain["value"] == pytest.approx(again.overall.value)
        assert gain["se"] == pytest.approx(again.overall.se)
        assert gain["clear"] == again.overall.is_clear
        by_hand = (rows[NAMES.get(over, over)].mean(0).sum() - rows[held["fused"]].mean(0).sum()) / sum(
            bytes_C
        )
        assert gain["value"] == pytest.approx(by_hand)
        for name, one in again.domains.items():
            assert held["domains"][name][over]["value"] == pytest.approx(one.value)


def test_gains_of_a_run_follow_from_its_rows(copied):
    held = json.loads(json.dumps(result(load_recipe("recipe.yaml"), "0" * 40, 99)))
    assert held["gain"].keys() == {"sft", "pivot"} < set(OVER)
    require_true(held)
    said = json.loads((copied / "report/report/report.json").read_text())["headline"]
    assert held["gain"]["sft"]["value"] == pytest.approx(said["over_sft"], abs=1e-6)
    sft = next(row for row in held["rows"] if row["model"] == "SFT")
    sft["seeds"][0][0] += 100
    with pytest.raises(AssertionError):
        require_true(held)


def test_noise_is_that_of_the_seeds():
    """Two seeds a side, 4 bits apart in every dialogue of 100 bytes."""
    rows = [
        {
            "model": "varm",
            "kind": "merge",
            "seeds": [[100.0, 90.0] * 30, [104.0, 94.0] * 30],
            "fingerprints": [],
        },
        {
            "model": "SFT",
            "kind": "sft",
            "seeds": [[120.0, 110.0] * 30, [124.0, 114.0] * 30],
            "fingerprints": [],
        },
        {"model": "gold", "kind": "rival", "seeds": [[122.0, 112.0] * 30], "fingerprints": []},
    ]
    over = {name: gain_over(rows, "varm", name, [100] * 60, ["a"] * 60).overall for name in ("SFT", "gold")}
    assert over["SFT"].value == pytest.approx(0.2) and over["gold"].value == pytest.approx(0.2)
    # Both sides' means vary by half of a training's variance, (0.04^2 / 2) each.
    assert over["SFT"].training_se == pytest.approx((0.5 * 0.0008 + 0.5 * 0.0008) ** 0.5)
    assert over["gold"].training_se == pytest.approx((0.5 * 0.0008 + 0.0008) ** 0.5)


def test_tasks_are_compared_item_by_item(tmp_path):
    """SFT gets 40 and 44 of 80 questions right, the fused model 50 and 54: 12.5 points more."""
    right = {"SFT": (40, 44), "varm": (50, 54), "pivot": (30,)}
    for name, seeds in right.items():
        for seed, count in enumerate(seeds, start=1):
            values = np.array([1.0] * count + [0.0] * (80 - count))
            items = Items(tuple(map(str, range(80))), ("a", "b") * 40, values, np.ones(80, np.int64))
            write_scores(tmp_path / name / str(seed), Scores(1, {"right_answer": items}))
    kinds = {"SFT": "sft", "varm": "merge", "pivot": "pivot", "gone": "soup"}
    rows = measured_tasks(tmp_path, kinds)
    found = json.loads(json.dumps(task_gains(rows, "varm")))["right_answer"]
    assert found["questions"] == 80 and found["rows"] == {
        "SFT": [0.5, 0.55],
        "varm": [0.625, 0.675],
        "pivot": [0.375],
    }
    assert found["gain"]["SFT"]["value"] == pytest.approx(0.125)
    assert found["gain"]["pivot"]["value"] == pytest.approx(0.275)
    assert found["gain"]["SFT"]["seen"] > found["gain"]["SFT"]["se"] > 0
    assert found["gain"]["SFT"]["domains"].keys() == {"a", "b"}


def test_what_was_measured_later_is_added(tmp_path):
    row = {"kind": "merge", "fingerprints": []}
    held = {
        "fused": "varm",
        "dialogues": {"bytes": [100, 50], "domains": ["a", "b"]},
        "rows": [{"model": "varm", "seeds": [[50.0, 20.0]], **row}],
        "tasks": {},
        "commit": "1",
    }
    for name, bits in (("first", 60.0), ("second", 70.0), ("other", 70.0)):
        sizes = np.array([100, 50 + (name == "other")])
        items = Items(("x", "y"), ("a", "b"), np.array([bits, 30.0]), sizes)
        write_scores(tmp_path / name, Scores(1, {"bits_per_byte": items}))
    found = added(held, [f"gold={tmp_path / 'first'},{tmp_path / 'second'}"], "2")
    assert found["rows"][1] == {
        "model": "gold", "kind": "rival", "seeds": [[60.0, 30.0], [70.0, 30.0]], "fingerprints": [], "commit": "2"
    }  # fmt: skip
    assert found["gain"]["gold"]["value"] == pytest.approx((65 + 30 - 70) / 150)
    assert found["domains"]["b"]["gold"]["value"] == pytest.approx(10 / 50)
    assert found["commit"] == "1" and len(held["rows"]) == 1
    again = added(found, [f"gold={tmp_path / 'first'}"], "3")
    assert [row["commit"] for row in again["rows"][1:]] == ["3"]
    with pytest.raises(AssertionError, match="other dialogues"):
        added(held, [f"gold={tmp_path / 'other'}"], "2")


@pytest.mark.skipif(not COMMITTED.is_file(), reason="the study's final run is not made yet")
def test_the_committed_result_is_true():
    held = json.loads(COMMITTED.read_text())
    require_true(held)
    assert held["seeds"] >= 3 and held["variants"] == sum(
        one["kind"] == "variant" for one in held["choosing"]
    )
    page = COMMITTED.with_suffix(".md").read_text().replace("**", "")
    for one in held["choosing"]:
        figures = (f"{one[key]:.4f}" for key in ("all", *dict.fromkeys(held["dialogues"]["domains"])))
        assert f"| {one['model']} | {' | '.join(figures)} |" in page
