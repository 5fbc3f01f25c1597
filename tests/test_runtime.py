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


def test_a_setting_that_is_gone_says_so():
    with pytest.raises(ValidationError, match=r"`merge_device` is gone.*remove it"):
        RuntimeSettings(merge_device="cpu")
