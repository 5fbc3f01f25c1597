"""Which devices a recipe may name."""

import pytest
from pydantic import ValidationError

from fusionchat.runtime import RuntimeSettings


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda", "cuda:1", "mps"])
def test_devices_to_compute_on(device):
    assert RuntimeSettings(device=device).device == device


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "xpu", "", "cpu:"])
def test_devices_that_are_none(device):
    with pytest.raises(ValidationError, match="must be auto, cpu, cuda, cuda:N or mps, not"):
        RuntimeSettings(device=device)


@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:0", "xpu"])
def test_devices_to_merge_on(device):
    assert RuntimeSettings(merge_device=device).merge_device == device


@pytest.mark.parametrize("device", ["auto", "mps", "gpu"])
def test_devices_that_cannot_merge(device):
    with pytest.raises(ValidationError, match="must be cpu, cuda, cuda:N or xpu, not"):
        RuntimeSettings(merge_device=device)
