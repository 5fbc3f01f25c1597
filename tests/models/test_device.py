"""The device that a recipe means, on machines with and without accelerators."""

from types import SimpleNamespace

import pytest
import torch

from fusionchat.errors import MachineError, RecipeError
from fusionchat.models.device import cuda_count, memory_held, memory_used, pick_device, rank_device


@pytest.fixture
def machine(monkeypatch):
    """A function that gives the machine GPUs and, or, Apple's accelerator."""

    def get(gpus=0, mps=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    return get


@pytest.mark.parametrize(
    ("gpus", "mps", "expected"), [(2, True, "cuda"), (0, True, "mps"), (0, False, "cpu")]
)
def test_auto_is_the_best_that_is_there(machine, gpus, mps, expected):
    machine(gpus, mps)
    assert pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps"])
def test_what_is_named_is_taken(machine, name):
    machine(gpus=2, mps=True)
    assert pick_device(name) == torch.device(name)


@pytest.mark.parametrize(("gpus", "name"), [(0, "cuda"), (2, "cuda:2"), (2, "mps"), (2, "xpu"), (2, "gpu")])
def test_what_is_not_there_is_the_machine_s_lack(machine, gpus, name):
    machine(gpus)
    with pytest.raises(MachineError, match=f"torch finds no device '{name}'"):
        pick_device(name)


def test_memory_is_the_process_s_and_that_of_all_gpus(machine, monkeypatch):
    monkeypatch.setattr(
        "psutil.Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=38e9))
    )
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert memory_used() == "memory 38 GB"
    machine(gpus=2)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", [40e9, 21e9].__getitem__)
    assert memory_used() == "memory 38 GB, GPU 61 GB"


@pytest.mark.parametrize("gpus", [0, 2])
def test_gpus_are_counted(machine, gpus):
    machine(gpus)
    assert cuda_count() == gpus


def test_each_process_has_its_gpu(machine):
    machine(2, mps=True)
    assert rank_device("auto", 1) == rank_device("cuda", 1) == torch.device("cuda:1")
    assert rank_device("cpu", 1) == torch.device("cpu")
    with pytest.raises(MachineError, match="no GPU for process 3 on this machine, which has 2"):
        rank_device("cuda", 2)
    for name in ("cuda:1", "mps"):
        with pytest.raises(RecipeError, match=f"cannot share the device {name}"):
            rank_device(name, 0)


def test_memory_that_is_held_is_the_device_s(monkeypatch):
    monkeypatch.setattr(
        "psutil.Process", lambda: SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=38e9))
    )
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", {torch.device("cuda:1"): 61}.__getitem__)
    monkeypatch.setattr(torch.mps, "current_allocated_memory", lambda: 7)
    held = [memory_held(torch.device(name)) for name in ("cpu", "cuda:1", "mps")]
    assert held == [38 * 10**9, 61, 7]
