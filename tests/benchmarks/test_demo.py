"""What benchmarks.demo makes of a report, and that its busy processes end."""

import os
import time

from benchmarks import demo


def row(label, value, gain=None):
    return {
        "label": label,
        "results": {
            "bits_per_byte": {
                "value": {"overall": {"value": value, "se": 0.1}},
                "over_sft": gain and {"overall": {"value": gain, "se": 0.01}},
            }
        },
    }


REPORT = {
    "headline": {"row": "varm", "over_sft": 0.2, "over_soup": 0.1, "se_sft": 0.01, "se_soup": 0.02},
    "rows": [row("SFT", 1.2), row("varm", 1.0, 0.2)],
    "pairs": [{"label": "qwen", "retention": 0.97}],
    "stages": [
        {"stage": "distill", "job": "sft", "seconds": 3.0},
        {"stage": "distill", "job": "qwen", "seconds": 4.0},
        {"stage": "merge", "job": "varm", "seconds": 0.5},
    ],
}


def test_figures_are_the_reports_and_the_rest_of_the_time_made_the_input():
    found = demo.figures(demo.Measured(20.0, 30.0, REPORT), demo.Measured(50.0, 33.0, REPORT))
    assert found["stages"] == {"input": 12.5, "distill": 7.0, "merge": 0.5}
    assert found["headline"] == REPORT["headline"]
    assert (found["bpb"], found["gain"], found["se"]) == (
        {"SFT": 1.2, "varm": 1.0},
        {"varm": 0.2},
        {"varm": 0.01},
    )
    assert (found["seconds"], found["cpu_seconds"], found["seconds_busy"]) == (20.0, 30.0, 50.0)
    assert demo.figures(demo.Measured(20.0, 30.0, REPORT), None)["seconds_busy"] is None


def test_busy_processes_are_busy_and_end_with_the_block():
    started = os.times().children_user
    with demo.busy_processes(1):
        time.sleep(0.4)
    assert os.times().children_user > started
