"""Devices in words."""

import pytest

from fusionchat.devices import parse_device, parse_machines
from fusionchat.errors import RecipeError


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", ("auto", None)),
        ("cpu", ("cpu", None)),
        ("mps", ("mps", None)),
        ("cuda", ("cuda", None)),
        ("cuda:12", ("cuda", 12)),
        ("xpu:0", ("xpu", 0)),
        ("cpu:0", None),
        ("auto:1", None),
        ("cuda:", None),
        ("cuda:-1", None),
        ("gpu", None),
        ("", None),
        ("cuda:0\n", None),
    ],
)
def test_a_device_of_this_machine(text, device):
    assert parse_device(text) == device


@pytest.mark.parametrize(
    ("text", "machines"),
    [
        ("80GB", (1, 1, 80 * 10**9)),
        ("8x80GB", (1, 8, 80 * 10**9)),
        ("4x8x80GB", (4, 8, 80 * 10**9)),
        ("2x24 gb", (1, 2, 24 * 10**9)),
        ("1x79.5GiB", (1, 1, int(79.5 * 2**30))),
    ],
)
def test_machines_by_nodes_gpus_and_memory(text, machines):
    assert parse_machines(text, where="--devices") == machines


@pytest.mark.parametrize(
    "text", ["8x80", "80", "0x80GB", "8x0GB", "x80GB", "1x4x8x80GB", "8*80GB", "-1x80GB", ""]
)
def test_other_words_are_refused_with_what_to_give(text):
    with pytest.raises(RecipeError, match=r"(?s)not describe devices.*--devices.*4x8x80GB"):
        parse_machines(text, where="--devices")
