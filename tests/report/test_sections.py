"""What a report says: key figures, and which sections there are."""

from dataclasses import replace

from fusionchat.report import svg, text
from fusionchat.report.figures import MergedTensor, MergeTrial
from fusionchat.report.sections import content, facts, versions
from tests.report.sample import BITS


def test_a_merge_without_shares_says_why_there_is_no_picture(sample):
    tensor = MergedTensor("w", (), (0.1, 0.2), (0.5,), 0.1, 0.1, 0.0)
    small = replace(sample, domains=(), choices=())
    made = replace(small, weights=(), tensors=(tensor,), merge="ties density=0.3")
    said = next(section for section in content(made).sections if section.anchor == "weights")
    assert "This merge (ties density=0.3) decides element by element" in said.text
    assert "The share of each target in every part" not in said.text
    shares = next(section for section in content(small).sections if section.anchor == "weights")
    assert "The share of each target in every part" in shares.text and "element by element" not in shares.text


def test_key_figures_come_in_the_order_of_the_metrics(sample):
    found = {fact.name: fact for fact in facts(sample)}
    assert list(found)[:4] == ["bits per byte", "gain over sft", "gain over soup", "exact match"]
    assert found["parameters"] == ("parameters", text.count(1_050_000), "those of the pivot")
    worst = min(pair.retention for pair in sample.pairs if pair.retention is not None)
    assert found["lowest retention"].figure == f"{worst:.3f}"
    assert found["wall time"].figure == "1 min 25 s"


def test_sections_come_in_order_and_only_where_there_is_something_to_say(sample, monkeypatch):
    monkeypatch.setattr(svg, "draw", lambda figure, name: "<svg/>")
    small = replace(sample, domains=())
    anchors = [section.anchor for section in content(small).sections]
    assert anchors == [
        "results", "gains", "soup", "captures", "alignment", "choices", "weights", "sweep", "corpus", "rejects", "time", "recipe",
    ]  # fmt: skip
    trials = (MergeTrial("linear", 0.5, 1.0, True),)
    made = replace(
        small,
        trials=trials,
        trial_metric=BITS,
        captures=(),
        entries=(),
        pairs=(),
        choices=(),
        weights=(),
        rejects=(),
        recipe="",
    )
    assert [section.anchor for section in content(made).sections] == [
        "results", "gains", "soup", "sweep", "search", "time",
    ]  # fmt: skip


def test_what_made_the_report_is_one_line(sample):
    assert versions(sample) == "fusionchat 0.1.0 · torch 2.8.0"
