"""How weights are to be brought into memory."""

import pytest

from fusionchat.models.opening import PLAIN, Opening


def test_settings_of_devices_are_checked():
    assert Opening(device_map="auto", max_memory={0: "1GB", "cpu": 5}).most == {0: "1GB", "cpu": 5}
    with pytest.raises(ValueError, match="quant_method"):
        Opening(quantization={"load_in_4bit": True})
    for wrong in ("automatic", 3, ["auto"], {"model": 1.5}):
        with pytest.raises(ValueError, match=r"must be auto, balanced, .* or \{module: device\}, not"):
            Opening(device_map=wrong)
    for size in ("70GB", "1.5 gib", 0, 5):
        assert Opening(max_memory={"cpu": size}).most == {"cpu": size}
    for size in ("lots", "70", "1TB", 1.5, -1, True, None):
        with pytest.raises(
            ValueError, match="0 must have a size, such as 70GB, 70GiB or a number of bytes, not"
        ):
            Opening(max_memory={0: size})


def test_as_it_is_asks_for_nothing():
    assert Opening() == PLAIN and PLAIN.most is None and PLAIN.quantization is None
    modules = {"lm_head": "cpu", "model": 0}
    assert Opening.model_validate(Opening(device_map=modules).model_dump(mode="json")).device_map == modules
