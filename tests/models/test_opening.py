"""How weights are to be brought into memory."""

import pytest

from fusionchat.models.opening import PLAIN, Opening


def test_settings_of_devices_are_checked():
    assert Opening(device_map="auto", max_memory={0: "1GB", "cpu": 5}).most == {0: "1GB", "cpu": 5}
    with pytest.raises(ValueError, match="quant_method"):
        Opening(quantization={"load_in_4bit": True})
    with pytest.raises(ValueError, match="device_map"):
        Opening(device_map="automatic")


def test_as_it_is_asks_for_nothing():
    assert Opening() == PLAIN and PLAIN.most is None and PLAIN.quantization is None
    modules = {"lm_head": "cpu", "model": 0}
    assert Opening.model_validate(Opening(device_map=modules).model_dump(mode="json")).device_map == modules
