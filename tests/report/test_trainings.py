"""The course of trainings."""

import re
from dataclasses import replace

from fusionchat.report.as_json import report_json
from fusionchat.report.model import Report
from fusionchat.report.sections import sections
from fusionchat.report.trainings import POINTS, course, training_plots, training_table

EMPTY = Report("x", "2026-01-02T00:00:00", (), (), "", "")


def lines(count, **more):
    return [
        {"step": step, "label_loss": 2.0 / step, "rows": 10, "tokens_per_second": 100.0 * step, "memory": 2e9}
        | more
        for step in range(1, count + 1)
    ]


def fused(count):
    shares = {"share_of_rows": {"pivot": 0.25, "qwen": 0.75}}
    return lines(count, agreement=0.5, distribution_loss=0.125, **shares)


REPORT = replace(EMPTY, trainings=(course("sft", lines(4)), course("qwen@0.9", fused(4))))


def test_a_long_training_is_drawn_by_means_of_some_steps():
    short, long = course("sft", lines(POINTS)), course("sft", lines(2 * POINTS - 1))
    assert short.figures["label_loss"][:2] == ((1.0, 2.0), (2.0, 1.0))
    assert len(long.figures["label_loss"]) == POINTS and long.figures["label_loss"][0] == (2.0, 1.5)
    assert long.steps == 2 * POINTS - 1 == long.figures["label_loss"][-1][0]


def test_figures_that_few_steps_have_are_of_these_steps():
    held = [line | ({"held_out_bits_per_byte": 0.5} if line["step"] % 3 == 0 else {}) for line in lines(7)]
    assert course("sft", held).figures["held_out_bits_per_byte"] == ((3.0, 0.5), (6.0, 0.5))


def test_one_panel_a_figure_that_is_there():
    shown = {plot.name: plot for plot in training_plots(REPORT)}
    assert shown.keys() == {
        "training-label-loss", "training-distribution-loss", "training-agreement", "training-tokens-per-second",
    }  # fmt: skip
    speed = shown["training-tokens-per-second"].svg
    assert len(re.findall(r'id="training-tokens-per-second-line2d_\d+"', speed)) > 2 and "tokens/s" in speed


def test_the_table_has_where_each_ended():
    assert [[cell.text for cell in row] for row in training_table(REPORT).rows] == [
        ["sft", "4", "0.500", "-", "-", "300", "2 GB", "-"],
        ["qwen@0.9", "4", "0.500", "0.125", "50.0 %", "300", "2 GB", "pivot 25 %, qwen 75 %"],
    ]


def test_a_page_has_the_section_where_anything_was_watched():
    assert "trainings" not in [section.anchor for section in sections(EMPTY)]
    (found,) = [section for section in sections(REPORT) if section.anchor == "trainings"]
    assert [key.name for key in found.parts[0].key] == ["sft", "qwen@0.9"] and len(found.parts[0].plots) == 4
    assert report_json(REPORT)["trainings"][1]["shares"] == {"pivot": 0.25, "qwen": 0.75}
