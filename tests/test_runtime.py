"""Which devices a recipe may name."""

import pytest
from pydantic import ValidationError

from fusionchat.runtime import RuntimeSettings


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices_to_compute_on(device):
    assert RuntimeSettings(device=device).device == device


@pytest.mark.parametrize("processes", ["auto", 1, 8])
def test_processes(processes):
    assert RuntimeSettings(training={"processes": processes}).training.processes == processes


def test_strategies():
    assert RuntimeSettings().training.strategy == "ddp"
    with pytest.raises(ValidationError, match="'ddp' or 'fsdp2'"):
        RuntimeSettings(training={"strategy": "deepspeed"})


@pytest.mark.parametrize("processes", [0, -1, "all", 1.5])
def test_processes_that_are_none(processes):
    with pytest.raises(ValidationError, match=r"training\.processes"):
        RuntimeSettings(training={"processes": processes})


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "xpu", "", "cpu:"])
def test_devices_that_are_none(device):
    with pytest.raises(ValidationError, match="must be auto, cpu, cuda, cuda:N or mps, not"):
        RuntimeSettings(device=device)


def test_a_setting_that_is_gone_says_so():
    with pytest.raises(ValidationError, match=r"`merge_device` was removed.*delete it"):
        RuntimeSettings(merge_device="cpu")
