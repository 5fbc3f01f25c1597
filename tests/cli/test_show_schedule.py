"""`plan --engine ray --devices`: the paper's run, and one of ten sources and a million dialogues."""

from typing import NamedTuple

import pytest

from fusionchat.cli.show_schedule import LEAST, TFLOPS, seconds_of, tasks_of
from fusionchat.run.job import Cost, Job, Resources
from tests.cli.calls import call, refused
from tests.run.toy import Words
from tests.structure import ROOT

PAPER = ROOT / "recipes" / "paper_7b.yaml"
ASSUME = ("tokens=63e6", "pivot=7.24e9", "mixtral=46.7e9", "solar=10.7e9")


def assumed(names):
    return [word for one in names for word in ("--assume", one)]


def plan(capsys, recipe, *more):
    return call(capsys, "plan", recipe, "--engine", "ray", "--devices", "4x8x80GB", *more)


class Figures(NamedTuple):
    hours: float
    gpu_hours: float
    idle: float
    critical: float


def hours_of(words):
    """Hours of ``1 d 2 h``, ``2 h 30 min`` or ``3 min 20 s``."""
    units = {"d": 24.0, "h": 1.0, "min": 1 / 60, "s": 1 / 3600}
    numbers = words.split()
    return sum(float(number) * units[unit] for number, unit in zip(numbers[::2], numbers[1::2], strict=True))


def figures(said):
    """What the last lines of a plan say."""
    lines = said.splitlines()
    at = next(index for index, line in enumerate(lines) if " GPU-hours, " in line)
    length, gpu_hours, idle = lines[at].split(", ")
    critical = lines[at + 1].split("critical path ")[1].split(":")[0]
    return Figures(
        hours_of(length), float(gpu_hours.split()[0]), float(idle.split()[0]) / 100, hours_of(critical)
    )


def test_the_papers_run_on_four_nodes(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    code, said = plan(capsys, PAPER, *assumed(ASSUME))
    assert code == 0 and "On 4 nodes with 8 GPUs each" in said
    # 63 M tokens x 2 x 64.6 G parameters for captures, x 6 x 3 epochs x 7.24 G for each of 5 trainings
    captures, trainings = 2 * 63e6 * (7.24e9 + 46.7e9 + 10.7e9), 6 * 3 * 63e6 * 7.24e9 * 5
    found = figures(said)
    assert found.gpu_hours == pytest.approx((captures + trainings) / (TFLOPS * 1e12) / 3600, rel=0.05)
    # Mixtral on all GPUs, two at a time, then a training on the eight of a node, besides what is short
    path = 2 * 63e6 * 46.7e9 / (32 * TFLOPS * 1e12) + trainings / 5 / (8 * TFLOPS * 1e12)
    assert found.critical == pytest.approx(path / 3600, rel=0.05)
    assert "represent/mixtral -> align/mixtral -> fuse/mixtral -> distill/mixtral@0.9 -> merge/" in said
    # the three SFTs take three nodes at once, the captures the fourth; the two targets come after
    assert found.critical < found.hours < 2.2 * found.critical
    assert found.idle == pytest.approx(1 - found.gpu_hours / (32 * found.hours), abs=0.01)
    # the verdict is of the same processes: those of one node
    assert f"{trainings / 5 / (8 * TFLOPS * 1e12) / 3600:.0f} h" in said.split("distill/sft and 4 more")[1]


def test_ten_sources_and_a_million_dialogues(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    more = [
        f"  s{n}: {{model: {model}, template: pivot}}"
        for n, model in enumerate(["NousResearch/Nous-Hermes-2-SOLAR-10.7B"] * 8)
    ]
    lines = PAPER.read_text().replace("\ncorpus:", "\n" + "\n".join(more) + "\n\ncorpus:", 1)
    (tmp_path / "recipe.yaml").write_text(lines)
    sizes = [*ASSUME[1:], *(f"s{n}=10.7e9" for n in range(8))]
    code, said = plan(capsys, tmp_path / "recipe.yaml", *assumed(["tokens=660e6", *sizes]))
    assert code == 0 and "represent/s7" in said
    captures, training = 2 * 660e6 * (7.24e9 + 46.7e9 + 9 * 10.7e9), 6 * 3 * 660e6 * 7.24e9
    found = figures(said)
    assert found.gpu_hours == pytest.approx((captures + 13 * training) / (TFLOPS * 1e12) / 3600, rel=0.05)
    # thirteen trainings on four nodes: four times one after another, and the captures besides
    assert (
        found.critical < 4 * training / (8 * TFLOPS * 1e12) / 3600 < found.hours + 1
    )  # which is rounded down
    assert (
        found.idle == pytest.approx(1 - found.gpu_hours / (32 * found.hours), abs=0.01) and found.idle < 0.3
    )


def test_what_is_not_known_is_to_be_assumed(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused(capsys, "plan", PAPER, "--engine", "ray", "--devices", "4x8x80GB")
    assert "is not known: represent/pivot" in said and "--assume tokens=" in said


def test_devices_that_are_too_small_name_the_job(capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = refused(
        capsys, "plan", PAPER, "--engine", "ray", "--devices", "2x80GB", "--set", "runtime.training.processes=8",
        *assumed(ASSUME), code=3,
    )  # fmt: skip
    assert "needs 8 GPUs, and all nodes have 2" in said


@pytest.mark.parametrize(("gpus", "seconds"), [(2, LEAST + 4.0), (0, LEAST + 5.0)])
def test_a_job_is_as_long_as_its_operations_or_on_cpus_what_it_writes(gpus, seconds):
    job = Job(
        stage="a", name="b", version=1, settings=Words(), resources=Resources(gpus=gpus), cost=Cost(1e9, 8e14)
    )
    assert seconds_of(job, 100.0, 8) == pytest.approx(seconds)
    assert tasks_of([], 100.0, 8) == []
