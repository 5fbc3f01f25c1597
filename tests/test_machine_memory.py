"""The memory of the machine, and of a container or batch job on it."""

from types import SimpleNamespace

import pytest

from fusionchat import machine_memory
from fusionchat.machine_memory import Limit, available, limits, total


def written(folder, files, own):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "own").write_text(own)
    return limits(folder, folder / "own")


CONTAINER = {"memory.max": "900\n", "memory.current": "700\n"}
JOB = {
    "slurm/job_7/memory.max": "900\n",
    "slurm/job_7/memory.current": "700\n",
    "slurm/job_7/memory.stat": "anon 400\ninactive_file 250\n",
    "slurm/job_7/step_0/memory.max": "max\n",
    "slurm/job_7/step_0/memory.current": "600\n",
}
OLD = {"memory/docker/1/memory.limit_in_bytes": "900\n", "memory/docker/1/memory.usage_in_bytes": "100\n"}


@pytest.mark.parametrize(
    ("files", "own", "found"),
    [
        ({}, "0::/\n", []),
        (CONTAINER, "0::/\n", [Limit(900, 700)]),
        (CONTAINER | {"memory.max": "max\n"}, "0::/\n", []),
        (JOB, "0::/slurm/job_7/step_0\n", [Limit(900, 450)]),
        (JOB | CONTAINER, "0::/slurm/job_7/step_0\n", [Limit(900, 450), Limit(900, 700)]),
        (OLD, "12:cpu,cpuacct:/docker/1\n4:memory:/docker/1\n0::/\n", [Limit(900, 100)]),
        (CONTAINER, "what\n", []),
    ],
)
def test_limits_of_all_groups_above_a_process(tmp_path, files, own, found):
    assert written(tmp_path, files, own) == found


def test_a_machine_without_control_groups_has_no_limit(tmp_path):
    assert limits(tmp_path, tmp_path / "own") == []


@pytest.mark.parametrize(
    ("found", "all_of_it", "free"),
    [
        ([], 1000, 600),
        ([Limit(500, 100)], 500, 400),
        ([Limit(2000, 100)], 1000, 600),
        ([Limit(500, 501)], 500, 0),
        ([Limit(800, 100), Limit(900, 700)], 800, 200),
    ],
)
def test_the_machines_or_a_groups_whichever_is_less(monkeypatch, found, all_of_it, free):
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=1000, available=600))
    monkeypatch.setattr(machine_memory, "limits", lambda: found)
    assert (total(), available()) == (all_of_it, free)
